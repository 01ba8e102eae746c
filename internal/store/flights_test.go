package store

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// What can be read before it is on disk is not told to anybody before: a crash may still take it away. That goes for what is gone, too.
func TestNothingIsToldBeforeItIsOnDisk(t *testing.T) {
	for name, test := range map[string]struct {
		write func(s *Store) error
		ask   func(s *Store) error // right when the write is on disk
	}{
		"get": {
			func(s *Store) error { _, _, err := s.Put([]Write{testWrite("a", 2)}); return err },
			func(s *Store) error {
				r, _, err := s.Get("a")
				if err == nil && r.Tokens != 2 {
					err = errors.New("it has the version before")
				}
				return err
			},
		},
		"get of what is gone": {
			func(s *Store) error { _, _, err := s.Delete([]string{"a"}); return err },
			func(s *Store) error {
				if _, _, err := s.Get("a"); !errors.Is(err, ErrNotFound) {
					return errors.New("it is there")
				}
				return nil
			},
		},
		"delete of what is gone": {
			func(s *Store) error { _, _, err := s.Delete([]string{"a"}); return err },
			func(s *Store) error {
				ordinals, revision, err := s.Delete([]string{"a"})
				if err == nil && (ordinals[0] != 0 || revision != 2) {
					err = errors.New("it was deleted twice, or is of an earlier revision")
				}
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			// The sync of the log stands still from hold on, until release.
			hold, syncs, release := make(chan struct{}), make(chan struct{}, 1), make(chan struct{})
			stuck := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log") {
					select {
					case <-hold:
						select {
						case syncs <- struct{}{}:
						default:
						}
						<-release
					default:
					}
				}
				return nil
			})
			s := open(t, "store", &Options{FS: errorfs.Wrap(vfs.NewMem(), stuck)})
			put(t, s, "a")
			before, err := getEntry(s.db, "a")
			if err != nil {
				t.Fatal(err)
			}
			close(hold)
			written, asked := make(chan error, 1), make(chan error, 1)
			go func() { written <- test.write(s) }()
			<-syncs
			for { // the log may be synced before the write can be seen, and who asks then is before it
				if now, err := getEntry(s.db, "a"); err != nil || now != before {
					break
				}
				time.Sleep(time.Millisecond)
			}
			go func() { asked <- test.ask(s) }()
			select {
			case err := <-asked:
				t.Errorf("told before the write is on disk: %v", err)
				asked <- err
			case <-time.After(50 * time.Millisecond):
			}
			close(release)
			if err := errors.Join(<-written, <-asked); err != nil {
				t.Error(err)
			}
		})
	}
}

// A paper that changes all the time, and back again, is never taken for damage.
func TestGetOfWhatChanges(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "a")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := s.Get("a"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for version := range 3000 {
		if _, _, err := s.Put([]Write{{Record: testRecord("a", 1+version%2, 1)}}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
}
