package store

import (
	"errors"
	"fmt"
	"time"
)

const (
	// markEvery is how often the mark is brought up to date, and the room on the disk looked at. What damage to Pebble's log may take
	// in silence is not older.
	markEvery = time.Second
	// idleFlush is how long nothing must have been written for the log to be written into tables, where damage is found.
	idleFlush = time.Minute
)

// keeper is the goroutine that looks after the store until it is told to stop.
type keeper struct {
	stop chan struct{}
	done chan struct{}
}

func (s *Store) keep(every time.Duration) {
	defer close(s.keeper.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	revision, since, flushed := s.Revision(), time.Now(), s.Revision()
	for {
		select {
		case <-s.keeper.stop:
			return
		case <-tick.C:
		}
		s.disk.look()
		s.mark(false)
		if now := s.Revision(); now != revision {
			revision, since = now, time.Now()
		} else if now != flushed && time.Since(since) >= idleFlush {
			flushed = now
			if _, err := s.db.AsyncFlush(); err != nil {
				s.log.Errorf("flush of an idle store: %v", err)
			}
		}
	}
}

// mark writes a mark of what is on disk. If that cannot be synced, nothing can be promised any more.
func (s *Store) mark(clean bool) error {
	// gofail: var beforeMark struct{}

	err := s.marker.write(*s.state.Load(), clean)
	var failed *syncError
	if errors.As(err, &failed) {
		s.log.Fatalf("sync of the mark or the MANIFEST: %v", err)
	}
	if err != nil {
		s.log.Errorf("the mark of revision %d was not written: %v", s.Revision(), err)
		return fmt.Errorf("write mark: %w", err)
	}
	return nil
}
