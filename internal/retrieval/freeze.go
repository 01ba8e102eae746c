package retrieval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"embedd/internal/store"
)

// FreezeRequest says what of a collection is frozen.
type FreezeRequest struct {
	// Which are the papers.
	Which Which
	// Abstracts: they are given too. Without them a paper is as the basic view shows it.
	Abstracts bool
	// DateField has the papers' dates: year, or a field of the metadata whose values are years or dates. Empty: year.
	DateField string
}

// Frozen is a paper of a frozen collection.
type Frozen struct {
	// Ordinal is the label of its vector in the index. It has so many passages, 1 for most, whose labels follow it.
	Ordinal  uint64
	Passages int
	// Date is the first value of the field of dates, as it is stored; a year, or "" where there is none.
	Date  string
	Paper Paper
}

// freezePiece is how many papers are handed out at a time.
const freezePiece = 512

// Freeze keeps the index as it is, in the file name of the folder to, which does not change any more, and hands out the papers of it in the order of
// storing: so that a job may work on them for as long as it takes, and go on with the same after the process has ended. to is the root of the data
// directory that the collection lies in. The latest snapshot of the index is linked, where it has all; else it is written first, and
// inserts wait for that. A paper that is removed meanwhile is not handed out; those that come meanwhile are not in the index.
func (c *Collection) Freeze(ctx context.Context, to *os.Root, name string, r FreezeRequest, yield func([]Frozen) error) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.upkeep.ctx, cancel)()
	err := c.freeze(ctx, to, name, r, yield)
	if err != nil && c.upkeep.ctx.Err() != nil {
		return c.ended()
	}
	return err
}

func (c *Collection) freeze(ctx context.Context, to *os.Root, name string, r FreezeRequest, yield func([]Frozen) error) error {
	dates := ""
	if r.DateField != "" && r.DateField != "year" {
		full, err := c.dateField(ctx, r.Which, r.DateField)
		if err != nil {
			return err
		}
		dates = full
	}
	set, err := c.chosen(ctx, r.Which)
	if err != nil {
		return err
	}
	if c.unsaved() {
		if err := c.saveSnapshot(); err != nil {
			return storeError("save the index for the job", err)
		}
	}
	if err := c.linkSnapshot(to, name); err != nil {
		return internal("keep the index for the job", err)
	}
	var all []uint64
	for label := range c.index.Labels() {
		if !c.passages.part(label) && (set == nil || set.Contains(label)) {
			all = append(all, label)
		}
	}
	slices.Sort(all)
	out := make([]Frozen, 0, freezePiece)
	for some := range slices.Chunk(all, freezePiece) {
		if err := ctx.Err(); err != nil {
			return err
		}
		records, present, damaged, err := c.lookedAt(some, r.Abstracts)
		if err != nil {
			return err
		}
		var of []string
		if dates != "" {
			of = c.groups(dates, some)
		}
		out = out[:0]
		for i, ordinal := range some {
			p := &records[i].Paper
			if damaged[i] {
				c.log.Error("a damaged paper is left out of a job", "ordinal", ordinal)
			}
			if !present[i] || c.gone(p) {
				continue
			}
			f := Frozen{Ordinal: ordinal, Passages: len(c.passages.labels(ordinal)), Paper: *p}
			switch {
			case of != nil:
				f.Date = of[i]
			case p.Year > 0:
				f.Date = fmt.Sprintf("%04d", p.Year)
			}
			out = append(out, f)
		}
		if len(out) == 0 {
			continue
		}
		if err := yield(out); err != nil {
			return err
		}
	}
	return nil
}

// lookedAt reads some papers, full or as the basic view shows them, and tells which of them are damaged; those are not present. The cards are looked into, and not filled: reading
// all papers is no reason to forget those of others.
func (c *Collection) lookedAt(ordinals []uint64, full bool) (records []store.Record, present, damaged []bool, err error) {
	records, present, damaged = make([]store.Record, len(ordinals)), make([]bool, len(ordinals)), make([]bool, len(ordinals))
	var lacking []uint64
	var at []int
	for i, ordinal := range ordinals {
		if !full {
			if found, _ := c.cards.get(ordinal); found != "" {
				found.paper(&records[i].Paper)
				present[i] = true
				continue
			}
		}
		lacking, at = append(lacking, ordinal), append(at, i)
	}
	read, there, err := c.store.Records(lacking)
	if errors.Is(err, store.ErrCorrupt) { // one by one, without those that are damaged
		read, there, err = make([]store.Record, len(lacking)), make([]bool, len(lacking)), nil
		for j, ordinal := range lacking {
			r, p, err := c.store.Records([]uint64{ordinal})
			switch {
			case errors.Is(err, store.ErrCorrupt):
				damaged[at[j]] = true
			case err != nil:
				return nil, nil, nil, storeError("read papers", err)
			default:
				read[j], there[j] = r[0], p[0]
			}
		}
	}
	if err != nil {
		return nil, nil, nil, storeError("read papers", err)
	}
	for j, i := range at {
		records[i], present[i] = read[j], there[j]
	}
	return records, present, damaged, nil
}

// linkSnapshot gives the latest snapshot another name, below the root to, under which it stays; where the file system has no links, it is copied.
func (c *Collection) linkSnapshot(to *os.Root, name string) error {
	s := &c.snapshots
	s.mu.Lock() // it is not replaced meanwhile
	defer s.mu.Unlock()
	if _, err := c.root.Stat(snapshotName); errors.Is(err, os.ErrNotExist) { // nothing has ever been stored
		if _, err := c.writeSnapshot(c.root, snapshotName); err != nil {
			return err
		}
	}
	below, err := filepath.Rel(to.Name(), c.root.Name())
	if err != nil || strings.HasPrefix(below, "..") {
		return fmt.Errorf("%s is not in the data directory %s", c.root.Name(), to.Name())
	}
	if to.Link(path.Join(filepath.ToSlash(below), snapshotName), name) == nil {
		return nil
	}
	from, err := c.root.Open(snapshotName)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Sync(), f.Close())
}
