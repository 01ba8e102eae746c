// Package memory keeps the process below a limit of memory.
//
// What a process takes has two parts. The Go heap yields: its collector works harder where it is told of a limit. The rest does not: the
// index, outside of the heap, and what the encoder's library holds. So a [Guard] looks at what the process has in memory, gives the heap what
// the rest leaves of the limit, and where that is not enough says that there is no [Guard.Room] for more papers. It cannot take memory
// away: who asks it for room must not go on without.
//
// Pages of files that are mapped do not count: the system takes them back when it needs them.
package memory

import (
	"fmt"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/procfs"
)

const (
	// share of what the system gives is the limit where none is set: other processes, and the system's own caches, need the rest.
	share = 0.8
	// tight and loose are the parts of the limit from which on there is no room, and up to which there is again.
	tight = 0.9
	loose = 0.85
	// heapMost of the limit is what heap and others may have together, as far as the collector can help: less than loose, or it would leave
	// garbage where there is no room for it.
	heapMost = 0.8
	// heapLeast of the limit is the heap's in any case: a collector that may keep nothing would do nothing else.
	heapLeast = 0.1
	// againAfter is how often garbage is collected while there is no room.
	againAfter = 2 * time.Second
	// every is how often it is looked.
	every = 250 * time.Millisecond
)

// Default is the limit where none is set, in bytes: 80 % of what the process's control groups may have, or of the machine's memory where that
// is less or there is no such limit.
func Default() (uint64, error) {
	all, err := memlimit.FromSystem()
	if err != nil {
		return 0, fmt.Errorf("how much memory there is cannot be told: %w", err)
	}
	if groups, err := memlimit.FromCgroup(); err == nil {
		all = min(all, groups)
	}
	return part(all, share), nil
}

// Guard watches the memory of the process. Its methods may be called from many goroutines at once. The nil Guard watches nothing, and has
// room.
type Guard struct {
	limit, tight, loose uint64

	tell  func(error)
	heap  bool // the heap's own limit is ours to set
	old   int64
	freed time.Time // when garbage was last collected; of the watch
	stop  chan struct{}
	done  chan struct{}

	mu    sync.Mutex
	usage Usage
	full  error
}

// Usage is how much memory there is and is used, in bytes.
type Usage struct {
	// Limit is what may be used.
	Limit uint64
	// Held is what the process holds and the system cannot take back, as of the last look.
	Held uint64
	// Heap is the part of the limit that the Go heap was given.
	Heap uint64
	// Err is why the last look did not tell; the others are then of the one before.
	Err error
}

// Watch begins to watch, until Close. tell, where it is not nil, is called when there is no more room, with the reason, and with nil when there
// is again; one call at a time. heap is whether the Go heap's limit is to be set; it is not where GOMEMLIMIT says it.
func Watch(limit uint64, heap bool, tell func(error)) (*Guard, error) {
	g := &Guard{limit: limit, tight: part(limit, tight), loose: part(limit, loose), tell: tell, heap: heap, old: debug.SetMemoryLimit(-1), stop: make(chan struct{}), done: make(chan struct{})}
	if err := g.look(); err != nil {
		return nil, err
	}
	go g.watch()
	return g, nil
}

// Close ends the watch, and gives the heap the limit that it had.
func (g *Guard) Close() {
	if g == nil {
		return
	}
	close(g.stop)
	<-g.done
	if g.heap {
		debug.SetMemoryLimit(g.old)
	}
}

// Room returns nil, or why nothing may be kept that takes memory, with the figures.
func (g *Guard) Room() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.full
}

// Usage returns what was seen last.
func (g *Guard) Usage() Usage {
	if g == nil {
		return Usage{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.usage
}

func (g *Guard) watch() {
	defer close(g.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-tick.C:
			if err := g.look(); err != nil { // it went well once; what was seen last stays
				g.mu.Lock()
				g.usage.Err = err
				g.mu.Unlock()
			}
		}
	}
}

// look looks once.
func (g *Guard) look() error {
	held, err := unreclaimable()
	if err != nil {
		return err
	}
	if g.mayBeGarbage(held) {
		debug.FreeOSMemory()
		g.freed = time.Now()
		if held, err = unreclaimable(); err != nil {
			return err
		}
	}
	heap := g.heapLimit(held)
	if g.heap {
		debug.SetMemoryLimit(int64(min(heap, math.MaxInt64)))
	}
	g.mu.Lock()
	g.usage = Usage{Limit: g.limit, Held: held, Heap: heap}
	before := g.full
	switch {
	case held > g.tight:
		g.full = fmt.Errorf("the memory is nearly used up: %d MiB of %d MiB; papers are taken again below %d MiB; delete some, or give the server more with --memory-limit",
			held>>20, g.limit>>20, g.loose>>20)
	case held < g.loose:
		g.full = nil
	}
	now := g.full
	g.mu.Unlock()
	if g.tell != nil && (before == nil) != (now == nil) {
		g.tell(now)
	}
	return nil
}

// mayBeGarbage tells whether it is worth looking how much of what is held is garbage: before there is no room, and from time to time while there
// is none. The collector would do so only when the process allocates.
func (g *Guard) mayBeGarbage(held uint64) bool {
	if g.Room() == nil {
		return held > g.tight
	}
	return held >= g.loose && time.Since(g.freed) >= againAfter
}

// heapLimit is what the heap may have: what is not held by others, of the part of the limit that is room.
func (g *Guard) heapLimit(held uint64) uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	heap := sample[0].Value.Uint64() - sample[1].Value.Uint64()
	others := held - min(heap, held)
	room := part(g.limit, heapMost)
	return max(room-min(others, room), part(g.limit, heapLeast))
}

func part(of uint64, share float64) uint64 { return uint64(share * float64(of)) }

// Resident is how much of the process is in memory, in bytes, pages of files that are mapped included.
func Resident() (uint64, error) {
	s, err := status()
	return s.VmRSS, err
}

// unreclaimable is what the process holds, without pages of files.
func unreclaimable() (uint64, error) {
	s, err := status()
	return s.VmRSS - s.RssFile, err
}

func status() (procfs.ProcStatus, error) {
	p, err := procfs.Self()
	if err != nil {
		return procfs.ProcStatus{}, fmt.Errorf("the memory of this process is read from /proc: %w", err)
	}
	s, err := p.NewStatus()
	if err != nil {
		err = fmt.Errorf("the memory of this process is read from /proc: %w", err)
	}
	return s, err
}
