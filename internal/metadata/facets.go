package metadata

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// Facet is a value of a field, and how many papers have it.
type Facet struct {
	Value Value
	Count int
}

// Facets are the counts of the values of a field in a set of papers.
type Facets struct {
	// Field is the name of the field, as Fields gives it.
	Field string
	// Top are the values that most papers have, the most frequent first, of equal ones in the order of values.
	Top []Facet
	// Values is how many different ones the papers have. Strings that are too long to be compared are not among them.
	Values int
	// Without is how many papers of the set have no value.
	Without int
}

const (
	// countHold is how long Facets keeps writers waiting at a time, but for what a page or a paper takes beyond it.
	countHold = 500 * time.Microsecond
	// pageShare: where fewer than one of so many papers of a field are counted, they are looked at one by one. To look at one takes about as long
	// as to count sixteen in pages, by BenchmarkFacets.
	pageShare = 16
	// countSteps is how much is counted between two looks at the context.
	countSteps = 1 << 16
)

// FullName gives the full name of a field that is named as in a filter, quotes included. The error, an *Error, says that it is none's.
func FullName(name string) (string, error) {
	if own[name] != 0 {
		return name, nil
	}
	f, err := Parse(name + ":*")
	if err != nil || f.empty() || f.root.op != has {
		return "", &Error{Message: fmt.Sprintf("%s is not the name of a field; write it as in a filter", shorten(name))}
	}
	return f.root.field, nil
}

// FieldName is FullName of a field that some paper has, or may have; with a scope, a paper of that. Otherwise it is an error, an *Error, in which
// what papers beyond the scope have does not show.
func (x *Index) FieldName(name string, scope *Filter) (string, error) {
	full, err := FullName(name)
	if err != nil || own[full] != 0 {
		return full, err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if scope.empty() {
		if x.fields[full] == nil {
			return "", &Error{Message: x.unknown(full)}
		}
		return full, nil
	}
	all, err := x.scope(scope)
	if f := x.fields[full]; err != nil || f == nil || !f.papers.Intersects(all) {
		return "", &Error{Message: fmt.Sprintf("no paper has a field %s", shorten(quoteName(full)))}
	}
	return full, nil
}

// Facets counts the values of a field, named as FieldName gives it, within a set, and gives the n that most papers have. Each paper of the set
// counts once, as it is at some moment of the call; one that is removed before it is counted has no value. Writers are let in every half
// millisecond.
//
// What is counted is remembered, by 128 papers, until one of them changes, so that counting again takes some nanoseconds a value. With alone
// nothing is remembered or looked up: the time is that of the set's own papers, about two microseconds each, whatever others there are.
//
// The error is the end of ctx.
func (x *Index) Facets(ctx context.Context, field string, set *Set, n int, alone bool) (Facets, error) {
	c := counter{x: x, field: field, of: set.bits}
	x.mu.RLock()
	c.drops = x.drops
	if f := x.fields[field]; f != nil && !alone {
		c.of = roaring.And(set.bits, f.papers)
		alone = c.of.GetCardinality()*pageShare < f.papers.GetCardinality()
	}
	x.mu.RUnlock()
	var err error
	if alone {
		err = c.one(ctx)
	} else if err = c.gather(ctx); err == nil {
		err = c.count(ctx)
	}
	if err != nil {
		return Facets{}, err
	}
	out := c.best(n)
	out.Field, out.Without = quoteName(field), set.Len()-c.with
	return out, ctx.Err()
}

// counter is a call of Facets under way.
type counter struct {
	x     *Index
	field string
	of    *roaring.Bitmap // the papers that are counted
	drops uint64          // of the index, when it began
	with  int             // papers that have values
	// What has been counted, one by one, or by number, part by part.
	terms map[*term]int
	parts []*part
}

// one looks at the papers one by one.
func (c *counter) one(ctx context.Context) error {
	c.terms = map[*term]int{}
	x, papers := c.x, c.of.Iterator()
	var values []*term
	for papers.HasNext() {
		if err := ctx.Err(); err != nil {
			return err
		}
		x.mu.RLock()
		begin := time.Now()
		for steps := 0; papers.HasNext(); {
			values = x.values(values, papers.Next(), c.field)
			for _, t := range values {
				c.terms[t]++
			}
			if len(values) > 0 {
				c.with++
			}
			if steps += 1 + len(values); steps >= 64 {
				if steps = 0; time.Since(begin) > countHold {
					break
				}
			}
		}
		x.mu.RUnlock()
	}
	return nil
}

// values puts the values that a paper has of a field into room, which may be nil. mu is held.
func (x *Index) values(room []*term, o uint32, field string) []*term {
	at := x.papers[o]
	i, _ := slices.BinarySearchFunc(at, field, func(place uint32, name string) int { return strings.Compare(x.known[place].field.name, name) })
	j := i
	for j < len(at) && x.known[at[j]].field.name == field {
		j++
	}
	return x.terms(room[:0], at[i:j])
}

// column has, for each paper, the numbers of its values of a field. It is a cache: a page of it is made when it is first counted, and forgotten
// when one of its papers changes. Who reads holds counting and mu for reading; who forgets, mu for writing.
type column struct {
	terms []*term          // by number. What is there stays there; some have no paper any more
	pages map[uint32]*page // by the upper bits of ordinals
	size  int64            // of pages
}

// pageBits are the lower bits of an ordinal, which say where it is in a page.
const pageBits = 7

// page has the values of 128 papers. It does not change.
type page struct {
	at     []uint8  // the lower bits of the ordinals of papers that have values, ascending
	ends   []uint32 // where their values end
	values []uint32 // by number
}

func (p *page) size() int64 {
	return 3*24 + int64(cap(p.at)) + 4*int64(cap(p.ends)+cap(p.values)) + mapEntry(4+8)
}

// forget is called when a paper changes.
func (k *column) forget(o uint32) {
	if k == nil {
		return
	}
	if p, ok := k.pages[o>>pageBits]; ok {
		k.size -= p.size()
		delete(k.pages, o>>pageBits)
	}
}

func (k *column) bytes() int64 {
	if k == nil {
		return 0
	}
	return k.size + 8*int64(cap(k.terms))
}

// find gives the number of a value, which some paper has.
func (k *column) find(t *term) uint32 {
	if n := int(t.number); n >= len(k.terms) || k.terms[n] != t {
		t.number = uint32(len(k.terms))
		k.terms = append(k.terms, t)
	}
	return t.number
}

// page makes a page of a field.
func (x *Index) page(f *field, n uint32) *page {
	p := &page{}
	first := n << pageBits
	papers := f.papers.Iterator()
	var values []*term
	for papers.AdvanceIfNeeded(first); papers.HasNext() && papers.PeekNext()>>pageBits == n; {
		o := papers.Next()
		values = x.values(values, o, f.name)
		for _, t := range values {
			p.values = append(p.values, f.column.find(t))
		}
		p.at, p.ends = append(p.at, uint8(o-first)), append(p.ends, uint32(len(p.values)))
	}
	p.at, p.ends, p.values = slices.Clip(p.at), slices.Clip(p.ends), slices.Clip(p.values)
	return p
}

// part are pages of one column.
type part struct {
	column *column
	terms  []*term // that the pages have, by number
	pages  []numbered
	counts []uint32 // by number
}

type numbered struct {
	n uint32
	*page
}

// gather collects the pages that have papers to be counted, and makes those that are not there.
func (c *counter) gather(ctx context.Context) error {
	for papers := c.of.Iterator(); papers.HasNext(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !c.some(papers) {
			return nil
		}
	}
	return nil
}

// some gathers for as long as writers may wait. It tells whether the field is still there.
func (c *counter) some(papers roaring.IntPeekable) bool {
	x := c.x
	x.counting.Lock()
	defer x.counting.Unlock()
	x.mu.RLock()
	defer x.mu.RUnlock()
	f := x.fields[c.field]
	if f == nil {
		return false
	}
	if f.column == nil || len(f.column.terms) > 2*f.values()+1024 { // more than half of them are gone
		f.column = &column{pages: map[uint32]*page{}}
	}
	k := f.column
	if n := len(c.parts); n == 0 || c.parts[n-1].column != k {
		c.parts = append(c.parts, &part{column: k})
	}
	to := c.parts[len(c.parts)-1]
	for begin := time.Now(); papers.HasNext() && time.Since(begin) <= countHold; {
		n := papers.PeekNext() >> pageBits
		p := k.pages[n]
		if p == nil {
			p = x.page(f, n)
			k.pages[n] = p
			k.size += p.size()
		}
		to.pages = append(to.pages, numbered{n, p})
		papers.AdvanceIfNeeded(n<<pageBits | (1<<pageBits - 1)) // the last of the page
		if papers.HasNext() && papers.PeekNext()>>pageBits == n {
			papers.Next()
		}
	}
	to.terms = k.terms
	return true
}

// count counts what was gathered. Nobody waits for it.
func (c *counter) count(ctx context.Context) error {
	papers := c.of.Iterator()
	for _, part := range c.parts {
		part.counts = make([]uint32, len(part.terms))
		steps := 0
		for _, p := range part.pages {
			if steps += len(p.values) + len(p.at); steps > countSteps {
				if steps = 0; ctx.Err() != nil {
					return ctx.Err()
				}
			}
			begin := uint32(0)
			for i, at := range p.at {
				values := p.values[begin:p.ends[i]]
				begin = p.ends[i]
				o := p.n<<pageBits | uint32(at)
				if papers.AdvanceIfNeeded(o); !papers.HasNext() || papers.PeekNext() != o {
					continue
				}
				c.with++
				for _, v := range values {
					part.counts[v]++
				}
			}
		}
	}
	return nil
}

// all gives each value that was counted, and how often. One that was dropped meanwhile and came anew is there twice.
func (c *counter) all() iter.Seq2[*term, int] {
	return func(yield func(*term, int) bool) {
		for t, n := range c.terms {
			if t.Kind != long && !yield(t, n) {
				return
			}
		}
		for _, part := range c.parts {
			for i, n := range part.counts {
				if n > 0 && part.terms[i].Kind != long && !yield(part.terms[i], int(n)) {
					return
				}
			}
		}
	}
}

// best gives the n most frequent values, and counts all.
func (c *counter) best(n int) (f Facets) {
	c.x.mu.RLock()
	dropped := c.x.drops != c.drops
	c.x.mu.RUnlock()
	top := top{n: n}
	if !dropped && len(c.parts) < 2 {
		for t, count := range c.all() {
			f.Values++
			top.add(Facet{t.Value, count})
		}
	} else {
		counts := map[Value]int{}
		for t, count := range c.all() {
			counts[t.Value] += count
		}
		f.Values = len(counts)
		for v, count := range counts {
			top.add(Facet{v, count})
		}
	}
	f.Top = top.list()
	return f
}

// compare puts the most frequent first, and equal ones in the order of values.
func (f Facet) compare(g Facet) int {
	return cmp.Or(cmp.Compare(g.Count, f.Count), compareValues(f.Value, g.Value))
}

// top keeps the first n by Facet.compare.
type top struct {
	n    int
	kept []Facet
	full bool // kept[n-1], when it was put in order last, has n-1 before it
}

func (t *top) add(f Facet) {
	if t.n <= 0 || t.full && f.compare(t.kept[t.n-1]) > 0 {
		return
	}
	if t.kept = append(t.kept, f); len(t.kept) >= 2*t.n+64 {
		t.kept = t.list()
		t.full = true
	}
}

func (t *top) list() []Facet {
	slices.SortFunc(t.kept, Facet.compare)
	return t.kept[:max(0, min(t.n, len(t.kept)))]
}
