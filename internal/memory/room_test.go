//go:build !race

package memory

import (
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"embedd/internal/testkit"
)

// The race detector keeps a memory of its own for each page that was touched, which does not go when the page does.

// What is kept on the heap makes it tight; what is let go makes room again.
func TestRoom(t *testing.T) {
	debug.FreeOSMemory() // what other tests have left
	before, err := unreclaimable()
	if err != nil {
		t.Skip(err)
	}
	was := debug.SetMemoryLimit(-1)
	const more = 256 << 20
	limit := before + more
	var mu sync.Mutex
	var told []error
	g, err := Watch(limit, true, func(err error) { mu.Lock(); defer mu.Unlock(); told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Room(); err != nil {
		t.Fatalf("at first: %v", err)
	}
	if u := g.Usage(); u.Limit != limit || u.Held == 0 || u.Heap == 0 || u.Heap > limit {
		t.Errorf("%+v", u)
	}
	kept := make([]byte, more)
	for i := 0; i < len(kept); i += 4096 {
		kept[i] = 1
	}
	testkit.Eventually(t, "it is tight", func() bool { return g.Room() != nil })
	if err := g.Room(); !strings.Contains(err.Error(), "--memory-limit") {
		t.Errorf("%v", err)
	}
	if kept[4096] != 1 { // until here it is needed
		t.Error("it was overwritten")
	}
	kept = nil
	defer func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%d before, limit %d, seen last %+v; heap: %d in use, %d idle, %d of them released, %d collections", before, limit, g.Usage(), m.HeapInuse, m.HeapIdle, m.HeapReleased, m.NumGC)
	}()
	testkit.Eventually(t, "there is room again", func() bool { return g.Room() == nil }) // although nothing is allocated any more
	mu.Lock()
	if len(told) != 2 || told[0] == nil || told[1] != nil {
		t.Errorf("told %v", told)
	}
	mu.Unlock()
	g.Close()
	if now := debug.SetMemoryLimit(-1); now != was {
		t.Errorf("the heap's limit is %d, before it was %d", now, was)
	}
}
