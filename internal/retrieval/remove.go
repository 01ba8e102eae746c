package retrieval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"embedd/internal/store"
)

// deleteIf removes those of some papers that still are what they are taken for (nil: all), and gives the ordinals that they had, 0 for those that
// were not removed.
func (c *Collection) deleteIf(ctx context.Context, ids []string, still func(store.Record) bool) (removed []uint64, version uint64, err error) {
	begin := time.Now()
	defer func() { c.observe(ctx, OpDelete, StageCommit, begin) }()
	var got []uint64
	version, err = c.commit(ctx, func() (uint64, error) {
		ordinals, revision, err := c.store.DeleteIf(ids, still)
		if err != nil {
			return 0, storeError("delete papers", err)
		}
		// gofail: var beforeUnindex struct{}

		got = ordinals
		c.unindex(ordinals, revision)
		return revision, nil
	})
	if err != nil {
		return nil, 0, err // what got has may still be written
	}
	return got, version, nil
}

// unindex takes papers that were removed at a revision out of all that is derived from them. Ordinal 0 is no paper's.
func (c *Collection) unindex(ordinals []uint64, revision uint64) {
	if !slices.ContainsFunc(ordinals, func(ordinal uint64) bool { return ordinal != 0 }) {
		c.version.wait(revision) // which is another call's
		return
	}
	for _, ordinal := range ordinals {
		if ordinal != 0 {
			c.removePaper(ordinal)
			c.snapshots.changes.Add(1)
		}
	}
	c.update(ordinals, ordinals)
	c.version.reach(revision)
	c.tend()
}

// CountIDs tells how many of some ids are of stored papers, and which are not, in order: what Delete would remove.
func (c *Collection) CountIDs(ctx context.Context, ids []string) (stored int, missing []string, version uint64, err error) {
	if err := c.enter(); err != nil {
		return 0, nil, 0, err
	}
	defer c.leave()
	if err := checkIDs(ids); err != nil {
		return 0, nil, 0, err
	}
	version = c.version.load()
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return 0, nil, 0, err
		}
		rec, _, err := c.store.Get(id)
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && c.gone(&rec.Paper):
			missing = append(missing, id)
		case err != nil && !errors.Is(err, store.ErrCorrupt): // a damaged one can be removed
			return 0, nil, 0, storeError("read paper", err)
		default:
			stored++
		}
	}
	return stored, missing, version, nil
}

// DeleteWhere removes all papers that meet a filter when the call begins and still do when it is their turn, a thousand at a time; dry counts them
// and removes nothing. Where ctx ends first a part of them has gone: the error says how many, and another call goes on.
func (c *Collection) DeleteWhere(ctx context.Context, w Which, dry bool) (deleted int, version uint64, err error) {
	err = placed(c, func(c *Collection) error {
		n, v, err := c.deleteWhereHere(ctx, w, dry)
		deleted, version = deleted+n, v
		return err
	})
	return deleted, version, err
}

// deleteWhereHere is DeleteWhere of this collection.
func (c *Collection) deleteWhereHere(ctx context.Context, w Which, dry bool) (deleted int, version uint64, err error) {
	if err := c.enter(); err != nil {
		return 0, 0, err
	}
	defer c.leave()
	if w.Filter == nil {
		return 0, 0, invalid(w.Field, "is empty; it must say which papers to remove")
	}
	version = c.version.load()
	ids, err := c.idsOf(ctx, w)
	if err != nil || dry {
		return len(ids), version, err
	}
	still := w.still(c)
	for some := range slices.Chunk(ids, MaxPapersPerCall) {
		removed, v, err := c.deleteIf(ctx, some, still)
		if ctx.Err() != nil {
			return deleted, version, unfinished(ctx.Err(), deleted, len(ids))
		}
		if err != nil {
			return deleted, version, err
		}
		version = v
		for _, ordinal := range removed {
			if ordinal != 0 {
				deleted++
			}
		}
	}
	return deleted, version, nil
}

// still tells of a paper whether a call is about it.
func (w Which) still(c *Collection) func(store.Record) bool {
	return func(r store.Record) bool { return w.meets(&r.Paper) && !c.gone(&r.Paper) }
}

// unfinished is the end of a removal before its end.
func unfinished(why error, deleted, of int) error {
	if errors.Is(why, context.Canceled) {
		return why
	}
	return &Error{Kind: Late, Message: fmt.Sprintf("the deadline passed after %d of %d papers were removed, and some more may be gone; the same call again goes on", deleted, of)}
}

// idsOf gives the ids of the papers that a call is about. One that gets another text meanwhile is at another place: then it is looked again.
func (c *Collection) idsOf(ctx context.Context, w Which) ([]string, error) {
	for try := 1; ; try++ {
		before := c.moves.ended.Load()
		chosen, err := c.chosen(ctx, w)
		if err != nil {
			return nil, err
		}
		ids := make([]string, 0, chosen.Len())
		seen := make(map[string]struct{}, chosen.Len())
		for ordinals := range slices.Chunk(slices.Collect(chosen.Ordinals()), MaxPapersPerCall) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			records, present, err := c.store.Records(ordinals)
			if err != nil {
				return nil, storeError("read papers", err)
			}
			for i := range records {
				if !present[i] { // it is moving
					records[i], present[i] = c.moves.under(ordinals[i])
				}
				p := &records[i].Paper
				if _, again := seen[p.ID]; present[i] && !again && w.meets(p) && !c.gone(p) {
					seen[p.ID] = struct{}{}
					ids = append(ids, p.ID)
				}
			}
		}
		if len(ids) == chosen.Len() || c.moves.ended.Load() == before || try == searchTries {
			return ids, nil
		}
	}
}
