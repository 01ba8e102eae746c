package retrieval

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"embedd/internal/store"
)

// When the index is tended.
const (
	// consolidateFrom tombstones, and the consolidateShare-th part of all slots, are what it takes to consolidate: fewer cost
	// searches next to nothing.
	consolidateFrom  = 1000
	consolidateShare = 20
	// calibrateFrom vectors are what it takes to calibrate: fewer are scanned, or searched as fast with any list.
	calibrateFrom = 5000
)

// upkeep is what the index needs after many changes: one job at a time, in the background, until Close.
type upkeep struct {
	ctx    context.Context
	cancel context.CancelFunc

	timer *time.Timer // for what is due by the time that has passed

	mu      sync.Mutex    // guards what follows
	running chan struct{} // closed at the end of the goroutine; nil: there is none
	failed  bool          // it is not tried again before the next start
	jobs    map[string]Jobs
}

// The kinds of jobs, by what the index was afterwards.
const (
	consolidated = "consolidated"
	calibrated   = "calibrated"
	saved        = "saved"
	swept        = "swept"
	probed       = "probed"
	listed       = "listed"
	mapped       = "mapped"
)

// job is something to do for the index; it returns what to log.
type job struct {
	name string
	do   func(ctx context.Context) ([]any, error)
}

// due gives the next job, nil for none.
func (c *Collection) due() *job {
	live, dead := c.index.Len(), c.index.Tombstones()
	switch known := int(c.calibrated.Load()); {
	case c.expiryDue():
		return &job{swept, c.sweep}
	case dead > max(consolidateFrom, (live+dead)/consolidateShare):
		return &job{consolidated, func(ctx context.Context) ([]any, error) {
			n, err := c.index.Consolidate(ctx)
			return []any{"tombstones", n}, err
		}}
	case live >= calibrateFrom && live >= known+known/2:
		return &job{calibrated, func(ctx context.Context) ([]any, error) {
			err := c.index.Calibrate(ctx)
			if err == nil {
				c.calibrated.Store(int64(live))
				c.probe.due.Store(true)
			}
			return []any{"vectors", live}, err
		}}
	case c.neighboursDue():
		return &job{listed, c.makeNeighbours}
	case c.mapDue():
		return &job{mapped, c.tendMap}
	case c.snapshotDue():
		return &job{saved, func(context.Context) ([]any, error) {
			err := c.saveSnapshot()
			return []any{"vectors", live}, err
		}}
	case live > 0 && c.probe.due.Load():
		return &job{probed, c.probeRecall}
	}
	return nil
}

// tend starts the upkeep of the index where it is due and does not run.
func (c *Collection) tend() {
	u := &c.upkeep
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.running != nil || u.failed || u.ctx.Err() != nil || c.due() == nil {
		return
	}
	u.running = make(chan struct{})
	go c.keepUp(u.running)
}

// keepUp does what is due until nothing is.
func (c *Collection) keepUp(done chan struct{}) {
	u := &c.upkeep
	defer close(done)
	for {
		u.mu.Lock()
		next := c.due()
		if next == nil || u.failed || u.ctx.Err() != nil {
			u.running = nil // under the lock: a change after due was asked finds no goroutine, and starts one
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		begin := time.Now()
		about, err := next.do(u.ctx)
		u.count(next.name, err)
		about = append(about, slog.Duration("took", time.Since(begin).Round(time.Millisecond)))
		switch {
		case err == nil:
			if next.name == consolidated || next.name == calibrated {
				c.snapshots.touched.Store(true)
			}
			said := "the index was " + next.name
			switch next.name {
			case listed:
				said = "the neighbours of the papers were listed"
			case mapped:
				said = "the map of the papers was drawn"
			}
			c.log.Info(said, about...)
		case errors.Is(err, context.Canceled):
			c.log.Debug("the index is closed before it was " + next.name)
		case next.name == saved && errors.Is(err, store.ErrRoom) && c.snapshots.short.Swap(true):
			c.log.Debug("no snapshot of the index was written: there still is no room for one", append(about, "error", err)...)
		case next.name == swept:
			c.log.Warn("papers that have expired were not removed; they are in no answer. It is tried again", append(about, "in", expiryRest, "error", err)...)
		case next.name == saved:
			c.log.Warn("no snapshot of the index was written; a start would take longer. It is tried again", append(about, "in", saveAfter, "error", err)...)
		case next.name == probed:
			c.log.Warn("the recall of the index was not probed. It is tried again", append(about, "in", probeEvery, "error", err)...)
		case next.name == listed:
			c.neighbours.gaveUp.Store(true)
			c.log.Warn("the neighbours of the papers were not listed; related papers are searched for, where none are kept, until the next start", append(about, "error", err)...)
		case next.name == mapped:
			c.chart.gaveUp.Store(true)
			c.log.Warn("the map of the papers was not drawn; it is not tried again before the next start, unless somebody asks for it", append(about, "error", err)...)
		default:
			u.mu.Lock()
			u.failed = true
			u.mu.Unlock()
			c.log.Error("the index was not "+next.name+"; searches go on, slower or less near to the recall that is asked for", append(about, "error", err)...)
		}
	}
}

// count counts a job that has ended, unless it was cut short by Close.
func (u *upkeep) count(kind string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	jobs := u.jobs[kind]
	switch {
	case err == nil:
		jobs.Done++
	case errors.Is(err, context.Canceled):
		return
	default:
		jobs.Failed++
	}
	if u.jobs == nil {
		u.jobs = map[string]Jobs{}
	}
	u.jobs[kind] = jobs
}

// Settle waits until the index has no upkeep to do, so that what is measured afterwards is measured undisturbed. The error is
// that of ctx.
func (c *Collection) Settle(ctx context.Context) error {
	for {
		c.upkeep.mu.Lock()
		running := c.upkeep.running
		c.upkeep.mu.Unlock()
		if running == nil {
			return ctx.Err()
		}
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
