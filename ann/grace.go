package ann

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// grace lets a writer wait until every search that was under way has ended, without holding up those that begin meanwhile:
// searches count themselves in one of two counters, and the writer turns new ones to the other.
type grace struct {
	turn    sync.Mutex // one waits at a time
	epoch   atomic.Uint32
	readers [2]struct {
		n atomic.Int64
		_ [56]byte // a cache line each
	}
}

// enter begins a search; its result goes to leave.
func (g *grace) enter() uint32 {
	for {
		e := g.epoch.Load() & 1
		g.readers[e].n.Add(1)
		if g.epoch.Load()&1 == e {
			return e
		}
		g.readers[e].n.Add(-1)
	}
}

func (g *grace) leave(e uint32) { g.readers[e].n.Add(-1) }

// wait returns when every search that began before has ended.
func (g *grace) wait() {
	g.turn.Lock()
	defer g.turn.Unlock()
	old := g.epoch.Add(1) - 1
	for i := 0; g.readers[old&1].n.Load() != 0; i++ {
		if i < 100 {
			runtime.Gosched()
		} else {
			time.Sleep(20 * time.Microsecond)
		}
	}
}
