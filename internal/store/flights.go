package store

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// flights are the writes that can be read and are not yet on disk. Who reads such a paper waits: a paper that was seen must
// not be gone after a crash.
type flights struct {
	n  atomic.Int64 // of ids
	mu sync.Mutex
	of map[string]chan struct{} // by id: closed when its latest write is on disk
}

// begin notes that the ids are about to be written.
func (f *flights) begin(ids []string) (landed chan struct{}) {
	landed = make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[string]chan struct{}{}
	}
	for _, id := range ids {
		f.of[id] = landed
	}
	f.n.Store(int64(len(f.of)))
	return landed
}

// end notes that they are on disk, or will never be.
func (f *flights) end(ids []string, landed chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if f.of[id] == landed {
			delete(f.of, id)
		}
	}
	f.n.Store(int64(len(f.of)))
	close(landed)
}

// flightPatience is how long a read waits for a write that it would show to be on disk: many times as long as a sync takes.
const flightPatience = 2 * time.Second

// wait returns when what could be read of the id before the call is on disk, or ErrDisk where that takes too long.
func (f *flights) wait(id string) error {
	if f.n.Load() == 0 {
		return nil
	}
	f.mu.Lock()
	landed := f.of[id]
	f.mu.Unlock()
	if landed == nil {
		return nil
	}
	timer := time.NewTimer(flightPatience)
	defer timer.Stop()
	select {
	case <-landed:
		return nil
	case <-timer.C:
		return fmt.Errorf("paper %q: %w", id, ErrDisk)
	}
}
