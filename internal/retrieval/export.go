package retrieval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"embedd/internal/store"
)

// Limits of what Export gives at a time.
const (
	// MaxExport is the most papers.
	MaxExport = 100
	// exportBytes are the bytes from which on no more papers are added: about those of a message.
	exportBytes = 1 << 20
	// exportLook is how many papers that do not meet a filter any more are passed over at most before others may use the core.
	exportLook = 1000
)

// Export is a reading of all papers of some kind, in the order in which they were stored. It is of one goroutine at a time, and holds no part of the
// collection between two calls of Next, whatever the time between them.
type Export struct {
	c       *Collection
	which   Which
	vectors bool
	after   uint64 // the last ordinal that was looked at
	before  uint64 // the first that was not given out when it began
	// next gives the ordinals where the papers are chosen; nil: all are.
	next func() (uint64, bool)
	stop func()
}

// Exported is a paper of an Export.
type Exported struct {
	Paper Paper
	// Vector is nil where it was not asked for.
	Vector []float32
}

// Export begins to read the papers that w is about. Each is given once; one that is stored, changed or removed meanwhile may be given, as it is
// then, or not. Close must be called.
func (c *Collection) Export(ctx context.Context, w Which, vectors bool) (*Export, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	x := &Export{c: c, which: w, vectors: vectors, before: c.store.Next(), stop: func() {}}
	chosen, err := c.chosen(ctx, w)
	if err != nil {
		return nil, err
	}
	if chosen != nil {
		x.next, x.stop = iter.Pull(chosen.Ordinals())
	}
	return x, nil
}

// Close lets go of what the export holds in memory.
func (x *Export) Close() { x.stop() }

// Next gives the next papers, 1 to MaxExport, and about a MiB of them where they are not longer one by one; io.EOF when there are no more.
func (x *Export) Next(ctx context.Context) ([]Exported, error) {
	if err := x.c.enter(); err != nil {
		return nil, err
	}
	defer x.c.leave()
	var out []Exported
	for bytes, looked := 0, 0; len(out) < MaxExport && bytes < exportBytes && (len(out) == 0 || looked < exportLook); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ordinals, records, err := x.read(MaxExport-len(out), exportBytes-bytes)
		if err != nil {
			return nil, storeError("read papers", err)
		}
		if len(ordinals) == 0 {
			break
		}
		for i, ordinal := range ordinals {
			x.after = ordinal
			looked++
			if !x.which.meets(&records[i].Paper) || x.c.gone(&records[i].Paper) { // which may have changed since it was chosen
				continue
			}
			e := Exported{Paper: records[i].Paper}
			if x.vectors {
				if e.Vector, err = x.vector(ordinal, e.Paper.ID); err != nil {
					return nil, storeError("read vector", err)
				}
				if e.Vector == nil {
					continue
				}
			}
			out = append(out, e)
			bytes += paperBytes(&e.Paper) + 4*len(e.Vector)
		}
	}
	if len(out) == 0 {
		return nil, io.EOF
	}
	return out, nil
}

// read gives the next papers that may be of the export: none at its end.
func (x *Export) read(limit, bytes int) ([]uint64, []store.Record, error) {
	if x.next == nil {
		return x.c.store.Range(x.after, x.before, limit, bytes)
	}
	for { // one by one: a hundred papers as large as they may be would be too much at once
		ordinal, more := x.next()
		if !more {
			return nil, nil, nil
		}
		records, present, err := x.c.store.Records([]uint64{ordinal})
		if err != nil || present[0] {
			return []uint64{ordinal}, records, err
		}
	}
}

// vector gives the vector of a paper; nil where it was removed, or moved, since it was read.
func (x *Export) vector(ordinal uint64, id string) ([]float32, error) {
	v, err := x.c.store.Vector(ordinal)
	if !errors.Is(err, store.ErrNotFound) {
		return v, err
	}
	switch now, err := x.c.store.Ordinal(id); {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err == nil && now == ordinal:
		return nil, fmt.Errorf("%w: paper %q has no vector", store.ErrCorrupt, id)
	default:
		return nil, err
	}
}

// paperBytes is about what a paper takes on the wire.
func paperBytes(p *Paper) int {
	n := len(p.ID) + len(p.Title) + len(p.Abstract) + len(p.Venue) + len(p.DOI) + len(p.ArxivID) + len(p.URL) + len(p.Metadata) + 64
	for _, a := range p.Authors {
		n += len(a) + 4
	}
	return n
}
