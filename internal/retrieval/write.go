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

// WriteMode says which papers a write may write.
type WriteMode uint8

const (
	// WriteAny adds papers and changes papers.
	WriteAny WriteMode = iota
	// InsertOnly refuses a paper that is stored, with AlreadyExists.
	InsertOnly
	// UpdateOnly refuses a paper that is not stored, with NotFound.
	UpdateOnly
)

// Upsert is Write of any papers.
func (c *Collection) Upsert(ctx context.Context, papers []Paper) (results []UpsertResult, version uint64, err error) {
	return c.Write(ctx, papers, WriteAny)
}

// Write stores papers, all or none, and returns once they are durable and can be found. A paper whose text, or vector where papers bring their own, is
// stored already is not encoded again. Whether a paper is stored is decided when it is written: of two clients that insert the same id one is
// refused. version is the collection's version with the papers in it.
func (c *Collection) Write(ctx context.Context, papers []Paper, mode WriteMode) (results []UpsertResult, version uint64, err error) {
	err = placed(c, func(c *Collection) (err error) {
		results, version, err = c.writeAll(ctx, papers, mode)
		return err
	})
	return results, version, err
}

// writeAll is Write to this collection.
func (c *Collection) writeAll(ctx context.Context, papers []Paper, mode WriteMode) (results []UpsertResult, version uint64, err error) {
	if err := c.enter(); err != nil {
		return nil, 0, err
	}
	defer c.leave()
	if err := checkPapers(papers); err != nil {
		return nil, 0, err
	}
	u := newUpsert(c, papers, mode)
	version, err = u.run(ctx)
	if err != nil {
		return nil, 0, err
	}
	return u.results, version, nil
}

// Ingest is Write of papers that do not depend on each other: one that is refused, with refused[i], leaves the others alone. err is about all of
// them, and then results and refused are none.
func (c *Collection) Ingest(ctx context.Context, papers []Paper, mode WriteMode) (results []UpsertResult, refused []error, version uint64, err error) {
	err = placed(c, func(c *Collection) (err error) {
		results, refused, version, err = c.ingest(ctx, papers, mode, nil)
		return err
	})
	return results, refused, version, err
}

// ingest is Ingest to this collection. vectors, where it is set, gives the vectors of some of the papers; nil: the model reads their texts.
func (c *Collection) ingest(ctx context.Context, papers []Paper, mode WriteMode, vectors func(ctx context.Context, which []int) ([]Encoding, error)) (results []UpsertResult, refused []error, version uint64, err error) {
	if err := c.enter(); err != nil {
		return nil, nil, 0, err
	}
	defer c.leave()
	u := newUpsert(c, papers, mode)
	u.refused, u.vectors = make([]error, len(papers)), vectors
	for i := range papers {
		if checkID("", papers[i].ID) != nil { // most are well, and need no name
			u.refused[i] = checkID(u.field(i)+".id", papers[i].ID)
		}
	}
	if version, err = u.run(ctx); err != nil {
		return nil, nil, 0, err
	}
	return u.results, u.refused, version, nil
}

// checkPapers checks the papers of one call: their number, and that they have ids, none of which is there twice.
func checkPapers(papers []Paper) error {
	return checkDistinct("papers", ".id", len(papers), func(i int) string { return papers[i].ID })
}

// upsert is one Write on its way. Its papers have different ids.
type upsert struct {
	c       *Collection
	papers  []Paper
	mode    WriteMode
	writes  []store.Write  // Vector nil: the stored one stays
	results []UpsertResult // Outcome as of the last compare
	state   []written
	// refused, where it is set, has the papers that are refused; otherwise the first ends the write.
	refused []error
	// vectors, where it is set, makes those that are lacking; nil: the encoder reads the texts.
	vectors func(ctx context.Context, which []int) ([]Encoding, error)
}

// written is how far a paper has come.
type written struct {
	checked bool // the paper keeps to all limits
	timed   bool // its time and its vector do
	hashed  bool // the write's Content is set
	encoded bool // the write holds a fresh encoding
	// Of the last compare: what is stored has expired, and is taken for nothing; it has the same title and abstract.
	expired, sameWords bool
}

func newUpsert(c *Collection, papers []Paper, mode WriteMode) *upsert {
	n := len(papers)
	papers = slices.Clone(papers)
	u := &upsert{c: c, papers: papers, mode: mode, writes: make([]store.Write, n), results: make([]UpsertResult, n), state: make([]written, n)}
	for i := range papers {
		if at := papers[i].Expires; !at.IsZero() {
			papers[i].Expires = at.UTC().Round(0)
		}
		p := papers[i]
		p.Vector = nil
		u.writes[i].Record.Paper = p
		u.results[i].ID = papers[i].ID
	}
	return u
}

func (u *upsert) field(i int) string { return fmt.Sprintf("papers[%d]", i) }

// refuse refuses a paper, or with it all of them.
func (u *upsert) refuse(i int, err error) error {
	if u.refused == nil {
		return err
	}
	u.refused[i] = err
	return nil
}

func (u *upsert) isRefused(i int) bool { return u.refused != nil && u.refused[i] != nil }

// run writes the papers. Encoding takes a while, in which another writer may change a paper; the store then refuses the write, and the comparison is
// made again.
func (u *upsert) run(ctx context.Context) (version uint64, err error) {
	for {
		lacking, err := u.compare()
		if err != nil {
			return 0, err
		}
		if err := u.encode(ctx, lacking); err != nil {
			return 0, err
		}
		begin := time.Now()
		version, err = u.c.commit(ctx, u.commit)
		u.c.observe(ctx, OpUpsert, StageCommit, begin)
		if !conflict(err) {
			return version, err
		}
	}
}

// conflict tells whether the store has refused a write because a paper is not what it was when it was compared.
func conflict(err error) bool {
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists)
}

// compare sets each paper's outcome against the store as it is now, and returns the papers that must be encoded.
func (u *upsert) compare() (lacking []int, err error) {
	for i := range u.papers {
		if u.isRefused(i) {
			continue
		}
		lacks, err := u.compareOne(i)
		var about *Error
		if errors.As(err, &about) && about.Field != "" {
			err = u.refuse(i, err)
		}
		if err != nil {
			return nil, err
		}
		if lacks && !u.isRefused(i) {
			lacking = append(lacking, i)
		}
	}
	return lacking, nil
}

// compareOne compares one paper with what is stored, and tells whether it must be encoded. One that is stored to the byte was checked when it was
// written, and is not looked into any further, but for its time and its vector. An error that names a field is about the paper.
func (u *upsert) compareOne(i int) (lacks bool, err error) {
	p, w, r, s := &u.papers[i], &u.writes[i], &u.results[i], &u.state[i]
	old, err := u.c.store.Stored(p.ID)
	known := err == nil
	damaged := errors.Is(err, store.ErrCorrupt) // what is damaged is replaced
	if err != nil && !damaged && !errors.Is(err, store.ErrNotFound) {
		return false, storeError("read paper", err)
	}
	var rec store.Record
	same := false
	if known {
		if rec, same = old.Same(p); !same {
			rec, err = old.Record()
			known, damaged = err == nil, err != nil
		}
	}
	if err := u.check(i, same); err != nil {
		return false, err
	}
	s.expired = known && u.c.gone(&rec.Paper)
	there := damaged || known && !s.expired
	switch {
	case u.mode == InsertOnly && there:
		return false, &Error{Kind: AlreadyExists, Field: u.field(i) + ".id", Message: fmt.Sprintf("a paper with the id %q is stored already; write it in the mode upsert or update", p.ID)}
	case u.mode == UpdateOnly && !there:
		return false, notFound(u.field(i)+".id", p.ID)
	}
	w.Was, w.Keep, w.Absent = nil, 0, u.mode == InsertOnly && !known
	if known && (u.mode != WriteAny || s.expired) {
		w.Was = old
	}
	r.Outcome = Created
	if known && !s.expired {
		r.Outcome = Updated
	}
	s.sameWords = false
	if known && same && !u.c.settings.OwnVectors {
		w.Record.Content, s.hashed = rec.Content, true // of the same text
	}
	if !s.hashed {
		w.Record.Content, s.hashed = u.c.contentOf(p), true
	}
	if known && rec.Content == w.Record.Content && u.c.hasSentences(old.Ordinal) && u.c.hasPassages(old.Ordinal, &rec) {
		// The stored vector stays, and with it the paper's place in the index.
		w.Record.Tokens, w.Record.Truncated = rec.Tokens, rec.Truncated
		if same && !s.expired {
			r.Outcome = Unchanged
		}
		w.Vector, w.Sentences, w.Passages, w.Keep, w.Was, s.encoded = nil, nil, nil, old.Ordinal, old, false
		s.sameWords = rec.Paper.Title == p.Title && rec.Paper.Abstract == p.Abstract
	} else {
		lacks = !s.encoded
	}
	r.TextUse = TextUse{w.Record.Tokens, w.Record.Truncated}
	return lacks, nil
}

// check checks a paper once; of one that is stored as it is, only what is not stored.
func (u *upsert) check(i int, same bool) error {
	p, s := &u.papers[i], &u.state[i]
	if s.checked {
		return nil
	}
	if !s.timed {
		if !p.Expires.IsZero() {
			if err := u.c.checkExpires(u.field(i)+".expires", p); err != nil {
				return err
			}
		}
		if p.Vector != nil || u.c.settings.OwnVectors {
			if err := u.c.checkOwnVector(u.field(i)+".vector", p); err != nil {
				return err
			}
		}
		s.timed = true
	}
	if same {
		return nil
	}
	s.checked = true
	return u.c.checkPaper(u.field(i), p)
}

// contentOf is the hash of what a paper's vector is made of: of its text, or of the vector that it brings.
func (c *Collection) contentOf(p *Paper) [32]byte {
	if c.settings.OwnVectors {
		return hashVector(p.Vector)
	}
	return sha256.Sum256([]byte(PaperText(p)))
}

// encode fills the vectors of some of the papers.
func (u *upsert) encode(ctx context.Context, which []int) error {
	if len(which) == 0 {
		return nil
	}
	if u.c.settings.OwnVectors {
		for _, i := range which {
			u.writes[i].Vector, u.state[i].encoded = u.papers[i].Vector, true
		}
		return nil
	}
	texts := make([]string, len(which))
	for j, i := range which {
		texts[j] = PaperText(&u.papers[i])
	}
	begin := time.Now()
	var enc []Encoding
	var err error
	if u.vectors != nil {
		enc, err = u.vectors(ctx, which)
	} else {
		enc, err = u.c.encoder.Encode(ctx, Bulk, Document, texts)
	}
	u.c.observe(ctx, OpUpsert, StageEncode, begin)
	var about *TextError
	if u.refused != nil && errors.As(err, &about) && about.Index >= 0 && about.Index < len(which) {
		at := about.Index
		u.refused[which[at]] = encodeError(err, func(int) string { return u.field(which[at]) })
		rest := slices.Delete(slices.Clone(which), at, at+1)
		half := len(rest) / 2 // so that many of them cost little more than one
		if err := u.encode(ctx, rest[:half]); err != nil {
			return err
		}
		return u.encode(ctx, rest[half:])
	}
	if err != nil {
		return encodeError(err, func(j int) string { return u.field(which[j]) })
	}
	for j, i := range which {
		u.writes[i].Vector = enc[j].Vector
		u.writes[i].Record.Tokens, u.writes[i].Record.Truncated = enc[j].Tokens, enc[j].Truncated
		u.results[i].TextUse = enc[j].TextUse
		u.state[i].encoded = true
	}
	if err := u.encodePassages(ctx, which); err != nil {
		return err
	}
	return u.encodeSentences(ctx, which)
}

// commit stores what changed and brings the index up to it.
func (u *upsert) commit() (version uint64, err error) {
	c := u.c
	var writes []store.Write
	var which []int
	for i, r := range u.results {
		if r.Outcome != Unchanged && !u.isRefused(i) {
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
	placements, revision, err := c.putPapers(writes)
	if err != nil {
		for _, old := range leaving {
			c.moves.left(old)
		}
	}
	if conflict(err) {
		return 0, err
	}
	if err != nil {
		return 0, storeError("store papers", err)
	}
	// gofail: var beforeApplyIndex struct{}

	var placed, reworded, replaced []uint64
	for j, p := range placements {
		placed = append(placed, p.Ordinal)
		if !u.state[which[j]].sameWords {
			reworded = append(reworded, p.Ordinal)
		}
		if p.Replaced != 0 {
			replaced = append(replaced, p.Replaced)
		}
	}
	c.update(placed, reworded) // before they can be found by their vectors
	for j, p := range placements {
		if writes[j].Vector == nil {
			continue
		}
		u.results[which[j]].Outcome = Created
		if p.Replaced != 0 && !u.state[which[j]].expired {
			u.results[which[j]].Outcome = Updated
		}
		if e := c.place(p, writes[j].Vector, writes[j].Passages); err == nil {
			err = e
		}
	}
	c.update(replaced, replaced)
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
func (c *Collection) place(p store.Placement, vector []float32, passages []store.NewPassage) error {
	if err := c.placePassages(p.Ordinal, passages); err != nil {
		return err
	}
	if err := c.index.Insert(p.Ordinal, vector); err != nil {
		return err
	}
	c.snapshots.changes.Add(1)
	c.neighbours.came.Add(1)
	c.chart.change.Add(1)
	if err := c.neighbours.come(c, p.Ordinal, vector); err != nil {
		return err
	}
	if p.Replaced != 0 {
		c.cards.forget([]uint64{p.Replaced}) // while searches still read it from the store
		c.moves.left(p.Replaced)
		c.removePaper(p.Replaced)
	}
	if c.moves.came(p.Ordinal) {
		for _, label := range c.passages.take(p.Ordinal) {
			c.index.Delete(label)
		}
		c.neighbours.leave(p.Ordinal)
		c.chart.leave(p.Ordinal)
	}
	return nil
}

// Delete removes papers, all or none, and returns once the removal is durable and no search finds them. notFound are
// the ids that were not stored, in order.
func (c *Collection) Delete(ctx context.Context, ids []string) (deleted int, missing []string, version uint64, err error) {
	err = placed(c, func(c *Collection) (err error) {
		deleted, missing, version, err = c.deleteHere(ctx, ids)
		return err
	})
	return deleted, missing, version, err
}

// deleteHere is Delete from this collection.
func (c *Collection) deleteHere(ctx context.Context, ids []string) (deleted int, missing []string, version uint64, err error) {
	if err := c.enter(); err != nil {
		return 0, nil, 0, err
	}
	defer c.leave()
	if err := checkIDs(ids); err != nil {
		return 0, nil, 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, nil, 0, err
	}
	gone, err := c.expired()
	if err != nil {
		return 0, nil, 0, err
	}
	removed, version, err := c.deleteIf(ctx, ids, nil)
	if err != nil {
		return 0, nil, 0, err
	}
	for i, ordinal := range removed {
		if ordinal == 0 || gone[ordinal] {
			missing = append(missing, ids[i])
			continue
		}
		deleted++
	}
	return deleted, missing, version, nil
}

// checkIDs checks the ids of a call that has nothing else.
func checkIDs(ids []string) error {
	return checkDistinct("ids", "", len(ids), func(i int) string { return ids[i] })
}

// checkDistinct checks the ids of a list of a request: how many there are, each, and that none is there twice. member is that of an element which has the
// id, with a point before it.
func checkDistinct(list, member string, n int, id func(i int) string) error {
	if n == 0 {
		return invalid(list, "is empty; must have 1 to %d %s", MaxPapersPerCall, list)
	}
	if n > MaxPapersPerCall {
		return invalid(list, "has %d %s; the limit is %d in one call", n, list, MaxPapersPerCall)
	}
	first := make(map[string]int, n)
	for i := range n {
		field, id := fmt.Sprintf("%s[%d]%s", list, i, member), id(i)
		if err := checkID(field, id); err != nil {
			return err
		}
		if j, twice := first[id]; twice {
			return invalid(field, "%q is also %s[%d]%s; each id may stand once in a call", id, list, j, member)
		}
		first[id] = i
	}
	return nil
}
