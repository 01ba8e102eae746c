package store

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCrash cuts the power at random moments: while a store opens, while it is written, while it closes. Each time it
// goes on with what the disk would hold then, of which Pebble's memory file system keeps all that was synced and a random
// part of what was not. It must hold that
//
//  1. the store opens, and Check finds nothing;
//  2. of each writer, all calls are there up to the last acknowledged one, or up to the one in flight; each as a whole;
//  3. every paper has its record and its vector, of versions that were written together;
//  4. the revision is not behind an acknowledged one, and no acknowledged ordinal is given again.
func TestCrash(t *testing.T) {
	crashes := 200
	if testing.Short() {
		crashes = 40
	}
	rng := newRand(t)
	c := &crashTest{}
	for n := range crashes {
		if n%20 == 0 { // a new disk
			*c = crashTest{fs: vfs.NewCrashableMem()}
			for w := range crashWriters {
				c.writers = append(c.writers, &crashWriter{name: fmt.Sprintf("writer%d", w), history: []crashState{{}}})
			}
		}
		c.cycle(t, rng, n)
		if t.Failed() {
			t.Fatalf("at crash %d", n)
		}
	}
	t.Logf("%d calls were acknowledged", c.calls)
}

const crashWriters, crashIDs = 4, 6

type crashTest struct {
	fs      *vfs.MemFS
	writers []*crashWriter

	// What was acknowledged before the moment of the crash.
	uuid     string
	revision uint64
	ordinal  uint64 // the highest

	calls int
}

// crashState is what a writer's ids hold; absent: not stored.
type crashState map[string]crashPaper

type crashPaper struct{ version, vector int }

// crashWriter writes ids that no other writes, one call at a time.
type crashWriter struct {
	name    string
	version int // the last used

	mu sync.Mutex
	// history[k] is the state after k calls of this cycle; the last may be in flight.
	history           []crashState
	acknowledged      int // calls
	revision, ordinal uint64
}

// disk makes what the disk holds after a crash now.
func (c *crashTest) disk(rng *rand.Rand) *vfs.MemFS {
	percent := []int{0, 100, 1 + rng.IntN(99)}[rng.IntN(3)]
	return c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
}

func (c *crashTest) cycle(t *testing.T, rng *rand.Rand, n int) {
	// The clone is made beside an Open, the writers or a Close, or after them, if they are fast.
	var clone *vfs.MemFS
	crash := make(chan struct{})
	during := func(f func(), within time.Duration) {
		wait := time.Duration(rng.Int64N(int64(within)))
		go func() {
			defer close(crash)
			time.Sleep(wait)
			clone = c.disk(rng)
		}()
		f()
		<-crash
	}

	var s *Store
	moment := rng.IntN(4)
	openStore := func() {
		var err error
		if s, err = Open("a/b/store", testIdentity, &Options{FS: c.fs}); err != nil {
			t.Fatalf("Open: %v", err)
		}
	}
	if moment == 0 {
		during(openStore, 4*time.Millisecond)
	} else {
		openStore()
		c.verify(t, s)
		c.uuid = s.UUID()
		stop := c.write(t, rng, s)
		if moment == 1 {
			stop()
			during(func() { checkAndClose(t, s) }, 4*time.Millisecond)
		} else {
			time.Sleep(time.Duration(rng.IntN(8000)) * time.Microsecond)
			// In this order: what is acknowledged after the look, but before the crash, is only allowed to be there.
			for _, w := range c.writers {
				w.mu.Lock()
				w.history = w.history[w.acknowledged:]
				w.acknowledged = 0
				c.revision, c.ordinal = max(c.revision, w.revision), max(c.ordinal, w.ordinal)
				w.mu.Unlock()
			}
			clone = c.disk(rng)
			for _, w := range c.writers {
				w.mu.Lock()
				w.history = slices.Clone(w.history) // which the writer goes on with
				w.mu.Unlock()
			}
			c.fs = clone
			// The histories go on until the writers stop; what came after the clone cannot be in it, so to have it in the
			// history only makes the test a little weaker.
			stop()
		}
	}
	checkAndClose(t, s)
	for _, w := range c.writers {
		if moment == 1 {
			w.history = w.history[w.acknowledged:]
			w.acknowledged = 0
			c.revision, c.ordinal = max(c.revision, w.revision), max(c.ordinal, w.ordinal)
		}
		w.revision, w.ordinal = 0, 0
	}
	c.fs = clone
}
