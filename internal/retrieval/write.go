package retrieval

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"embedd/internal/store"
)

// Outcome is what became of one paper of an Upsert.
type Outcome uint8

const (
	// Created: the id was new.
	Created Outcome = iota + 1
	// Updated: something of the paper changed.
	Updated
	// Unchanged: the paper was stored exactly so already.
	Unchanged
)

// UpsertResult says what became of one paper.
type UpsertResult struct {
	ID      string
	Outcome Outcome
	TextUse TextUse
}

// PaperText is the text that stands for a paper: its title, a space, and its abstract.
func PaperText(p *Paper) string { return strings.TrimSpace(p.Title + " " + p.Abstract) }

// Upsert stores papers, all or none, and returns once they are durable and can be found. A paper whose text is stored
// already is not encoded again. version is the collection's version with the papers in it.
func (c *Collection) Upsert(ctx context.Context, papers []Paper) (results []UpsertResult, version uint64, err error) {
	if err := c.enter(); err != nil {
		return nil, 0, err
	}
	defer c.leave()
	if err := checkPapers(papers); err != nil {
		return nil, 0, err
	}
	u := upsert{c: c, papers: papers, writes: make([]store.Write, len(papers)), results: make([]UpsertResult, len(papers))}
	for i := range papers {
		u.writes[i].Record = store.Record{Paper: papers[i], Content: sha256.Sum256([]byte(PaperText(&papers[i])))}
	}
	// Encoding takes a while, in which another writer may change a paper; the store then refuses to keep its vector, and the
	// comparison is made again.
	for {
		lacking, err := u.compare()
		if err != nil {
			return nil, 0, err
		}
		if err := u.encode(ctx, lacking); err != nil {
			return nil, 0, err
		}
		begin := time.Now()
		version, err = c.commit(ctx, u.commit)
		c.observe(ctx, OpUpsert, StageCommit, begin)
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			continue
		}
		return u.results, version, err
	}
}

// checkPapers checks the papers of one call: each, their number, and that no id is there twice.
func checkPapers(papers []Paper) error {
	if len(papers) == 0 {
		return invalid("papers", "is empty; must have 1 to %d papers", MaxPapersPerCall)
	}
	if len(papers) > MaxPapersPerCall {
		return invalid("papers", "has %d papers; the limit is %d in one call", len(papers), MaxPapersPerCall)
	}
	first := make(map[string]int, len(papers))
	for i := range papers {
		field := fmt.Sprintf("papers[%d]", i)
		if err := checkPaper(field, &papers[i]); err != nil {
			return err
		}
		if j, twice := first[papers[i].ID]; twice {
			return invalid(field+".id", "%q is also the id of papers[%d]; each id may stand once in a call", papers[i].ID, j)
		}
		first[papers[i].ID] = i
	}
	return nil
}

// upsert is one Upsert on its way.
type upsert struct {
	c       *Collection
	papers  []Paper
	writes  []store.Write  // Vector nil: the stored one stays
	results []UpsertResult // Outcome as of the last compare
	encoded []bool         // writes[i] holds a fresh encoding
}

// compare sets each paper's outcome against the store as it is now, and returns the papers that must be encoded.
func (u *upsert) compare() (lacking []int, err error) {
	if u.encoded == nil {
		u.encoded = make([]bool, len(u.papers))
	}
	for i := range u.papers {
		w, r := &u.writes[i], &u.results[i]
		r.ID = u.papers[i].ID
		old, ordinal, err := u.c.store.Get(r.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCorrupt) { // what is damaged is replaced
			return nil, storeError("read paper", err)
		}
		if err == nil && old.Content == w.Record.Content {
			// The stored vector stays, and with it the paper's place in the index.
			w.Record.Tokens, w.Record.Truncated = old.Tokens, old.Truncated
			r.Outcome = Updated
			if samePaper(&old.Paper, &u.papers[i]) {
				r.Outcome = Unchanged
			}
			w.Vector, w.Keep, u.encoded[i] = nil, ordinal, false
		} else {
			r.Outcome = Updated
			if err != nil {
				r.Outcome = Created
			}
			if !u.encoded[i] {
				lacking = append(lacking, i)
			}
		}
		r.TextUse = TextUse{w.Record.Tokens, w.Record.Truncated}
	}
	return lacking, nil
}

// encode fills the vectors of some of the papers.
func (u *upsert) encode(ctx context.Context, which []int) error {
	if len(which) == 0 {
		return nil
	}
	texts := make([]string, len(which))
	for j, i := range which {
		texts[j] = PaperText(&u.papers[i])
	}
	begin := time.Now()
	enc, err := u.c.encoder.Encode(ctx, Bulk, Document, texts)
	u.c.observe(ctx, OpUpsert, StageEncode, begin)
	if err != nil {
		return encodeError(err, func(j int) string { return fmt.Sprintf("papers[%d]", which[j]) })
	}
	for j, i := range which {
		u.writes[i].Vector = enc[j].Vector
		u.writes[i].Record.Tokens, u.writes[i].Record.Truncated = enc[j].Tokens, enc[j].Truncated
		u.results[i].TextUse = enc[j].TextUse
		u.encoded[i] = true
	}
	return nil
}

// commit stores what changed and brings the index up to it.
func (u *upsert) commit() (version uint64, err error) {
	c := u.c
	var writes []store.Write
	var which []int
	for i, r := range u.results {
		if r.Outcome != Unchanged {
			writes, which = append(writes, u.writes[i]), append(which, i)
		}
	}
	if len(writes) == 0 {
		// All is stored, perhaps by a call that is not in the index yet.
		revision := c.store.Revision()
		c.version.wait(revision)
		return revision, nil
	}
	var leaving []uint64
	for i := range writes {
		writes[i].Moving = func(old uint64, as store.Record) {
			leaving = append(leaving, old)
			c.moves.leave(old, as)
		}
	}
	placements, revision, err := c.store.Put(writes)
	if err != nil {
		for _, old := range leaving {
			c.moves.left(old)
		}
	}
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if err != nil {
		return 0, storeError("store papers", err)
	}
	// gofail: var beforeApplyIndex struct{}

	var placed, replaced []uint64
	for _, p := range placements {
		if placed = append(placed, p.Ordinal); p.Replaced != 0 {
			replaced = append(replaced, p.Replaced)
		}
	}
	c.update(placed) // before they can be found by their vectors
	for j, p := range placements {
		if writes[j].Vector == nil {
			continue
		}
		u.results[which[j]].Outcome = Created
		if p.Replaced != 0 {
			u.results[which[j]].Outcome = Updated
		}
		if e := c.place(p, writes[j].Vector); err == nil {
			err = e
		}
	}
	c.update(replaced)
	if err != nil {
		// Stored, but not to be found before the next start, which finds no snapshot that has forgotten them.
		c.snapshots.wrong.Store(true)
		c.log.Error("papers are stored and not in the index", "error", err)
		err = internal("papers are stored but not indexed; restart the server", err)
	}
	c.version.reach(revision)
	c.tend()
	return revision, err
}

// place puts a paper's new vector into the index in the place of its old one. Commits come to the index in any order: one that was
// overtaken takes its vector out again.
func (c *Collection) place(p store.Placement, vector []float32) error {
	if err := c.index.Insert(p.Ordinal, vector); err != nil {
		return err
	}
	c.snapshots.changes.Add(1)
	if err := c.neighbours.come(c, p.Ordinal, vector); err != nil {
		return err
	}
	if p.Replaced != 0 {
		c.moves.left(p.Replaced)
		c.remove(p.Replaced)
	}
	if c.moves.came(p.Ordinal) {
		c.index.Delete(p.Ordinal)
		c.neighbours.leave(p.Ordinal)
	}
	return nil
}

// Delete removes papers, all or none, and returns once the removal is durable and no search finds them. notFound are
// the ids that were not stored, in order.
func (c *Collection) Delete(ctx context.Context, ids []string) (deleted int, missing []string, version uint64, err error) {
	if err := c.enter(); err != nil {
		return 0, nil, 0, err
	}
	defer c.leave()
	if len(ids) == 0 {
		return 0, nil, 0, invalid("ids", "is empty; must have 1 to %d ids", MaxPapersPerCall)
	}
	if len(ids) > MaxPapersPerCall {
		return 0, nil, 0, invalid("ids", "has %d ids; the limit is %d in one call", len(ids), MaxPapersPerCall)
	}
	first := make(map[string]int, len(ids))
	for i, id := range ids {
		field := fmt.Sprintf("ids[%d]", i)
		if err := checkID(field, id); err != nil {
			return 0, nil, 0, err
		}
		if j, twice := first[id]; twice {
			return 0, nil, 0, invalid(field, "%q is also ids[%d]; each id may stand once in a call", id, j)
		}
		first[id] = i
	}
	if err := ctx.Err(); err != nil {
		return 0, nil, 0, err
	}
	var removed []uint64
	begin := time.Now()
	defer func() { c.observe(ctx, OpDelete, StageCommit, begin) }()
	version, err = c.commit(ctx, func() (uint64, error) {
		ordinals, revision, err := c.store.Delete(ids)
		if err != nil {
			return 0, storeError("delete papers", err)
		}
		// gofail: var beforeUnindex struct{}

		removed = ordinals
		if !slices.ContainsFunc(ordinals, func(ordinal uint64) bool { return ordinal != 0 }) {
			c.version.wait(revision) // which is another call's
			return revision, nil
		}
		for _, ordinal := range ordinals {
			if ordinal != 0 {
				c.remove(ordinal)
				c.snapshots.changes.Add(1)
			}
		}
		c.update(ordinals) // 0 is no paper's
		c.version.reach(revision)
		c.tend()
		return revision, nil
	})
	if err != nil {
		return 0, nil, 0, err
	}
	for i, ordinal := range removed {
		if ordinal == 0 {
			missing = append(missing, ids[i])
			continue
		}
		deleted++
	}
	return deleted, missing, version, nil
}
