package retrieval

import (
	"maps"
	"time"

	"embedd/internal/store"
)

// StoreCacheBytes is what the stores of all collections of the process may keep of what they have read: see [store.SharedCacheBytes].
const StoreCacheBytes = store.SharedCacheBytes

// StoreFigures are what the store has counted since it was opened.
type StoreFigures = store.Figures

// Figures are what a collection has counted since it was opened, and what its start came upon: for metrics.
type Figures struct {
	Store StoreFigures
	// ReadOnly: papers are not taken.
	ReadOnly bool
	// Start is of the index.
	Start IndexStart
	// SnapshotAt is when the index's latest snapshot was written, zero for none.
	SnapshotAt time.Time
	// Upkeep is by kind: consolidated, calibrated, listed (neighbours), mapped, saved, probed, swept.
	Upkeep map[string]Jobs
	// Probe is the last of recall; its At is zero where there was none.
	Probe Probe
}

// IndexStart is how the index was brought up to the store.
type IndexStart struct {
	// Took is the time for reading and proving a snapshot, and for what it lacked.
	Took time.Duration
	// UnusedSnapshots could not be used: damaged, or of another store, model or parameters.
	UnusedSnapshots int
	// Rebuilt: there was none to use, and there were papers. Inserted is how many were put in.
	Rebuilt  bool
	Inserted int
}

// Jobs counts those of one kind.
type Jobs struct{ Done, Failed uint64 }

// Figures returns what was counted until now. Unlike other methods it does so after Close too, and has nobody wait.
func (c *Collection) Figures() Figures {
	f := Figures{Store: c.store.Figures(), ReadOnly: c.store.Writable() != nil, Start: c.start}
	if at := c.snapshots.written.Load(); at != 0 {
		f.SnapshotAt = time.Unix(0, at)
	}
	if p := c.probe.last.Load(); p != nil {
		f.Probe = *p
	}
	c.upkeep.mu.Lock()
	defer c.upkeep.mu.Unlock()
	f.Upkeep = map[string]Jobs{consolidated: {}, calibrated: {}, listed: {}, mapped: {}, saved: {}, probed: {}, swept: {}}
	maps.Copy(f.Upkeep, c.upkeep.jobs)
	return f
}

// DerivedBytes is about what is derived and in memory takes, by what it is: fields, words, works, neighbours, map, and cards, papers that are kept as the basic view
// shows them.
func (c *Collection) DerivedBytes() map[string]int64 {
	return map[string]int64{
		"fields": c.fields.index.Bytes(), "words": c.words.index.Bytes(), "works": c.works.index.Bytes(), "neighbours": c.neighbours.bytes(), "map": c.chart.bytes(), "cards": c.cards.bytes.Load(),
	}
}
