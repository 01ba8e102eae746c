package retrieval

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"embedd/ann"
	"embedd/internal/store"
)

// Recall is probed, so that somebody hears of it when the index does not find any more what it should.
const (
	// probeEvery is how long after the start the first probe is, and after each the next; there is one after each calibration too.
	probeEvery = time.Hour
	// probeQueries stored vectors are searched for by the index and exactly, as by default, for their probeK nearest.
	probeQueries = 100
	probeK       = 10
	// probeRest is for how many times as long as a query took the probe rests after it: it takes a fifth of one core, for some
	// seconds with a million vectors.
	probeRest = 4
)

// probe is when recall is measured, and what it was.
type probe struct {
	timer *time.Timer
	due   atomic.Bool
	last  atomic.Pointer[Probe]
}

// Probe is a measurement of recall.
type Probe struct {
	// Recall is the share of the exact answers that the index found, At when.
	Recall float64
	At     time.Time
	// Queries is how many there were.
	Queries int
}

// probeRecall compares what searches find with what they should.
func (c *Collection) probeRecall(ctx context.Context) ([]any, error) {
	c.probe.due.Store(false)
	c.probe.timer.Reset(probeEvery)
	p, found, wanted := Probe{}, 0, 0
	for _, label := range some(slices.Collect(c.index.Labels()), probeQueries) {
		begin := time.Now()
		v, err := c.store.Vector(label)
		if errors.Is(err, store.ErrNotFound) { // it has gone meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		f, w, err := c.compare(label, v)
		if err != nil {
			return nil, fmt.Errorf("vector %d: %w", label, err)
		}
		p.Queries++
		found, wanted = found+f, wanted+w
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(probeRest * time.Since(begin)):
		}
	}
	if wanted == 0 { // a single paper has no neighbours
		return []any{"queries", p.Queries}, nil
	}
	p.Recall, p.At = float64(found)/float64(wanted), time.Now()
	c.probe.last.Store(&p)
	return []any{"queries", p.Queries, "recall", p.Recall}, nil
}

// compare tells how many of the nearest of a vector of the index, which is not among them, there are, and how many of them a search
// finds. What is as near as the last of them counts: which of several equals is found does not matter.
func (c *Collection) compare(label uint64, v []float32) (found, wanted int, err error) {
	others := func(near []ann.Neighbor) []ann.Neighbor {
		near = slices.DeleteFunc(near, func(n ann.Neighbor) bool { return n.Label == label })
		return near[:min(probeK, len(near))]
	}
	exact, err := c.index.Exact(v, probeK+1)
	if err != nil {
		return 0, 0, err
	}
	answer, err := c.index.Search(v, ann.Query{K: probeK + 1})
	if err != nil {
		return 0, 0, err
	}
	want := others(exact)
	for _, n := range others(answer.Neighbors) {
		if len(want) > 0 && n.Distance <= want[len(want)-1].Distance {
			found++
		}
	}
	return min(found, len(want)), len(want), nil
}

// some gives up to n of all, which are put in another order.
func some(all []uint64, n int) []uint64 {
	n = min(n, len(all))
	for i := range n {
		j := i + rand.IntN(len(all)-i)
		all[i], all[j] = all[j], all[i]
	}
	return all[:n]
}
