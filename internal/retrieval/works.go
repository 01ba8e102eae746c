package retrieval

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"embedd/internal/metadata"
	"embedd/internal/store"
	"embedd/internal/works"
)

// worksSnapshotName is the snapshot of the works in a data directory.
const worksSnapshotName = "works.snapshot"

// catalogue knows the papers' aliases, and which papers are the same work. It lies in memory.
//
// What needs it waits until all papers are in it: an id in another form than it is stored in, and a search that excludes papers. Other
// searches do not wait: until then they compare what they find with the query and among each other (see apart). Asking for a paper tells that it
// is not complete.
type catalogue struct {
	kept
	index *works.Index
}

func (w *catalogue) init() {
	w.index = works.New()
	w.kept.init("the papers' works", "a work", worksSnapshotName, w.index)
	w.note, w.open = works.Note, opens(works.Open)
	w.take = func(from keptIndex) {
		index, ok := from.(*works.Index)
		if !ok {
			index = works.New()
		}
		w.index.Take(index)
	}
	w.put = func(ordinals []uint64, records []store.Record, present []bool) error {
		all := make([]works.Features, len(ordinals))
		inParallel(len(ordinals), func(i int) {
			if present[i] {
				all[i] = featuresOf(&records[i].Paper)
			}
		})
		for i, ordinal := range ordinals {
			if present[i] {
				w.index.Add(ordinal, all[i])
			} else {
				w.index.Remove(ordinal)
			}
		}
		return nil
	}
}

func workPaper(p *Paper) works.Paper {
	return works.Paper{ID: p.ID, Title: p.Title, Abstract: p.Abstract, DOI: p.DOI, ArxivID: p.ArxivID, URL: p.URL, Metadata: p.Metadata}
}

func featuresOf(p *Paper) works.Features { return works.Analyze(workPaper(p)) }

// within is a set for package works: nil is all.
func within(s *metadata.Set) works.Set {
	if s == nil {
		return nil
	}
	return s
}

// resolveID gives the id under which the paper is stored that an id stands for: itself, where a paper has that; otherwise, of the papers with
// that scholarly id, in whatever form, the one whose text was stored first. Of a version of an arXiv paper that nobody has, it is the
// paper itself. Papers beyond the scope are none. field is the request's, for errors.
func (c *Collection) resolveID(ctx context.Context, field, id string, w Which) (string, error) {
	if err := checkID(field, id); err != nil {
		return "", err
	}
	seen, err := c.chosen(ctx, Which{Scope: w.Scope})
	if err != nil {
		return "", err
	}
	ordinal, err := c.store.Ordinal(id)
	if err == nil && (seen == nil || seen.Contains(ordinal)) {
		gone, err := c.goneAt(ordinal)
		if err != nil || !gone {
			return id, err
		}
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", storeError("look up paper", err)
	}
	return c.byAlias(ctx, field, id, w)
}

// byAlias is resolveID of an id that no paper has as its own.
func (c *Collection) byAlias(ctx context.Context, field, id string, w Which) (string, error) {
	forms := works.Forms(id)
	if len(forms) == 0 {
		return "", notFound(field, id)
	}
	scope := Which{Scope: w.Scope}
	seen, err := c.chosen(ctx, scope)
	if err != nil {
		return "", err
	}
	if err := c.works.wait(ctx, c); err != nil {
		return "", err
	}
	for _, form := range forms {
		for _, ordinal := range c.works.index.ByAlias(form, within(seen)) {
			records, present, err := c.store.Records([]uint64{ordinal})
			if err != nil {
				return "", storeError("read paper", err)
			}
			if !present[0] {
				records[0], present[0] = c.moves.under(ordinal)
			}
			p := &records[0].Paper
			if present[0] && slices.Contains(works.Aliases(workPaper(p)), form) && scope.meets(p) && !c.gone(p) { // it may have changed since
				return p.ID, nil
			}
			if err := ctx.Err(); err != nil {
				return "", err
			}
		}
	}
	return "", notFound(field, id)
}

// vectorOfAny is vectorOf by any of the paper's ids; it gives the one that it is stored under. An id that is stored is looked up once.
func (c *Collection) vectorOfAny(ctx context.Context, field, id string, w Which) (own string, v []float32, ordinal uint64, err error) {
	v, ordinal, err = c.vectorOf(field, id)
	if err == nil || KindOf(err) != NotFound {
		return id, v, ordinal, err
	}
	if own, err = c.byAlias(ctx, field, id, w); err != nil {
		return "", nil, 0, err
	}
	v, ordinal, err = c.vectorOf(field, own)
	if err != nil && KindOf(err) == NotFound {
		err = notFound(field, id) // it went meanwhile
	}
	return own, v, ordinal, err
}

// Versions gives a stored paper's aliases, and the ids of the other papers in scope that are the same work, in the order of storing. pending: not
// all papers are read yet, and there may be more.
func (c *Collection) Versions(ctx context.Context, p *Paper, w Which) (aliases, same []string, pending bool, err error) {
	if err := c.enter(); err != nil {
		return nil, nil, false, err
	}
	defer c.leave()
	aliases = works.Aliases(workPaper(p))
	if !c.works.ready() {
		c.works.begin(c)
		return aliases, nil, true, nil
	}
	scope := Which{Scope: w.Scope}
	seen, err := c.chosen(ctx, scope)
	if err != nil {
		return nil, nil, false, err
	}
	ordinal, err := c.store.Ordinal(p.ID)
	if errors.Is(err, store.ErrNotFound) { // it went meanwhile
		return aliases, nil, false, nil
	}
	if err != nil {
		return nil, nil, false, storeError("look up paper", err)
	}
	same, err = c.idsUnder(c.works.index.Same(ordinal, within(seen)), scope, p.ID)
	return aliases, same, false, err
}

// idsUnder gives the ids of papers, each once, that meet what a call is about, without one.
func (c *Collection) idsUnder(ordinals []uint64, w Which, without string) (all []string, err error) {
	if len(ordinals) == 0 {
		return nil, nil
	}
	records, present, err := c.records(ordinals, w.all()) // of which a filter may ask for more
	if err != nil {
		return nil, storeError("read papers", err)
	}
	for i := range records {
		if p := &records[i].Paper; present[i] && p.ID != without && w.meets(p) && !c.gone(p) && !slices.Contains(all, p.ID) {
			all = append(all, p.ID)
		}
	}
	return all, nil
}

// apart keeps papers out of an answer: those that are excluded, and versions of the same work as the input or as a hit before. Only papers in scope
// are looked at. The nil apart keeps nothing out.
type apart struct {
	c     *Collection
	which Which
	scope *metadata.Set       // nil: all
	out   map[uint64]struct{} // are not in the answer, whatever is found
	let   bool                // versions are let in
	// direct: the works are still being read, and papers are compared as they are found: with those of the input, and with each other.
	direct bool
	input  []works.Features

	// Of one try:
	chosen *metadata.Set
	same   map[uint64]struct{} // the same work as some hit
	mates  map[uint64][]uint64 // the same work as a hit
	found  []directHit         // direct: the hits so far
	left   int                 // candidates that were left out and for which no other was asked
}

// directHit is a hit of a search that compares by itself.
type directHit struct {
	ordinal uint64
	works.Features
	kin map[uint64]string // ids of those that were left out for it, by ordinal
}

// keepApart begins to keep papers out of the answer to a request. It waits for the works where papers are excluded.
func (c *Collection) keepApart(ctx context.Context, r *SearchRequest, l *looking) (*apart, error) {
	a := &apart{c: c, which: r.Which, let: r.SameWork}
	var err error
	if a.scope, err = c.chosen(ctx, Which{Scope: r.Which.Scope}); err != nil {
		return nil, err
	}
	if len(r.Exclude) > 0 {
		if err := c.works.wait(ctx, c); err != nil {
			return nil, err
		}
		if err := a.exclude(ctx, r.Exclude); err != nil {
			return nil, err
		}
	}
	if a.direct = !c.works.ready(); a.let {
		return a, nil
	}
	if !a.direct {
		for _, self := range l.selves {
			a.keepOut(c.works.index.Same(self, within(a.scope))...)
		}
		for _, p := range l.unknown {
			a.keepOut(c.works.index.SameAs(featuresOf(p), within(a.scope))...)
		}
		return a, nil
	}
	for _, p := range l.unknown {
		a.input = append(a.input, featuresOf(p))
	}
	records, present, err := c.store.Records(l.selves)
	if err != nil {
		return nil, storeError("read papers", err)
	}
	for i, self := range l.selves {
		if !present[i] {
			records[i], present[i] = c.moves.under(self)
		}
		if present[i] {
			a.input = append(a.input, featuresOf(&records[i].Paper))
		}
	}
	return a, nil
}

// checkExclude refuses what cannot be ids, and too many of them.
func checkExclude(ids []string) error {
	if len(ids) > MaxExclude {
		return invalid("exclude", "has %d ids; the limit is %d", len(ids), MaxExclude)
	}
	for i, id := range ids {
		if err := checkID(fmt.Sprintf("exclude[%d]", i), id); err != nil {
			return err
		}
	}
	return nil
}

// exclude leaves out the papers in scope that ids stand for, and what is the same work as them. A scholarly id stands for all papers that
// have it: a paper's own id is one of them.
func (a *apart) exclude(ctx context.Context, ids []string) error {
	index := a.c.works.index
	for i, id := range ids {
		if i%256 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if forms := works.Forms(id); len(forms) > 0 {
			for _, form := range forms {
				for _, ordinal := range index.ByAlias(form, within(a.scope)) {
					a.leaveOut(ordinal)
				}
			}
			continue
		}
		switch ordinal, err := a.c.store.Ordinal(id); {
		case err == nil:
			a.leaveOut(ordinal)
		case !errors.Is(err, store.ErrNotFound):
			return storeError("look up paper", err)
		}
	}
	return nil
}

// leaveOut leaves out a paper, if it is in scope, and what is the same work. The works are there.
func (a *apart) leaveOut(ordinal uint64) {
	if a.keepsOut(ordinal) || a.scope != nil && !a.scope.Contains(ordinal) {
		return
	}
	a.keepOut(ordinal)
	a.keepOut(a.c.works.index.Same(ordinal, within(a.scope))...)
}

// keepOut keeps papers out, whatever is found.
func (a *apart) keepOut(ordinals ...uint64) {
	if a.out == nil && len(ordinals) > 0 {
		a.out = map[uint64]struct{}{}
	}
	for _, ordinal := range ordinals {
		a.out[ordinal] = struct{}{}
	}
}

// keepsOut tells whether a paper is kept out, whatever is found.
func (a *apart) keepsOut(ordinal uint64) bool {
	if a == nil || len(a.out) == 0 {
		return false
	}
	_, out := a.out[ordinal]
	return out
}

// How many more papers are asked for, because so many are kept out: of a hybrid search, whose pools are to be the same for every k, as many as
// there can be; otherwise a few, and more when they are found.
const (
	spareMost = 64
	sparePool = MaxExclude + MaxK
)

// spare is how many more papers to ask for.
func (a *apart) spare(m Mode) int {
	switch {
	case a == nil:
		return 0
	case m == Hybrid:
		return min(len(a.out), sparePool)
	}
	return min(len(a.out), spareMost)
}

// begin begins a try, among the papers that the call is about.
func (a *apart) begin(chosen *metadata.Set) {
	a.chosen, a.left = chosen, 0
	a.same, a.mates, a.found = nil, nil, nil
}

// short notes that so many were left out of what was found, and no others were asked for in their place.
func (a *apart) short(n int) {
	if a != nil {
		a.left = max(0, n)
	}
}

// takes tells whether a paper may be the next hit: it is not another version of the input or of a hit so far.
func (a *apart) takes(ordinal uint64, p *Paper) bool {
	switch {
	case a == nil || a.let:
		return true
	case a.direct:
		return a.takesDirect(ordinal, p)
	}
	if _, again := a.same[ordinal]; again {
		a.left++
		return false
	}
	mates := a.c.works.index.Same(ordinal, within(a.scope))
	if len(mates) == 0 {
		return true
	}
	if a.same == nil {
		a.same, a.mates = map[uint64]struct{}{}, map[uint64][]uint64{}
	}
	a.mates[ordinal] = mates
	for _, m := range mates {
		a.same[m] = struct{}{}
	}
	return true
}

// takesDirect is takes while the works are being read.
func (a *apart) takesDirect(ordinal uint64, p *Paper) bool {
	f := featuresOf(p)
	if slices.ContainsFunc(a.input, func(g works.Features) bool { return works.Alike(&g, &f) }) {
		a.left++
		return false
	}
	for i := range a.found {
		if h := &a.found[i]; works.Alike(&h.Features, &f) {
			if h.kin == nil {
				h.kin = map[uint64]string{}
			}
			h.kin[ordinal] = p.ID
			a.left++
			return false
		}
	}
	a.found = append(a.found, directHit{ordinal: ordinal, Features: f})
	return true
}

// tell says with each hit which papers it stands for: of the same work, among those that the call is about.
func (a *apart) tell(ctx context.Context, hits []Hit) error {
	for i := range hits {
		h := &hits[i]
		if a.direct {
			if j := slices.IndexFunc(a.found, func(f directHit) bool { return f.ordinal == h.ordinal }); j >= 0 {
				for _, ordinal := range slices.Sorted(maps.Keys(a.found[j].kin)) {
					h.SameWork = append(h.SameWork, a.found[j].kin[ordinal])
				}
			}
			continue
		}
		mates := slices.DeleteFunc(a.mates[h.ordinal], func(ordinal uint64) bool {
			return a.keepsOut(ordinal) || a.chosen != nil && !a.chosen.Contains(ordinal)
		})
		if len(mates) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if h.SameWork, err = a.c.idsUnder(mates, a.which, h.Paper.ID); err != nil {
			return err
		}
	}
	return nil
}

// idsOfPaper are the ids that a paper may be stored under, its own first.
func idsOfPaper(p *Paper) []string {
	var all []string
	if p.ID != "" {
		all = append(all, p.ID)
	}
	for _, alias := range works.Aliases(workPaper(p)) {
		if alias != p.ID {
			all = append(all, alias)
		}
	}
	return all
}
