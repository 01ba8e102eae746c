package metadata

import (
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// maxFindings is the most that Check reports.
const maxFindings = 20

// Check proves the facts that the package's documentation numbers. The error joins one for each violation, up to 20. Writers wait meanwhile.
func (x *Index) Check() error {
	x.counting.Lock()
	defer x.counting.Unlock()
	x.mu.RLock()
	defer x.mu.RUnlock()
	c := checker{x: x}
	c.papers()
	for _, f := range x.fields {
		c.field(f)
		c.column(f)
	}
	c.places()
	c.sizes()
	return errors.Join(c.findings...)
}

type checker struct {
	x        *Index
	findings []error
}

func (c *checker) bad(fact int, format string, args ...any) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, fmt.Errorf("fact %d: %s", fact, fmt.Sprintf(format, args...)))
	}
}

// papers proves facts 1 and 2.
func (c *checker) papers() {
	postings := 0
	for o, at := range c.x.papers {
		terms := c.x.terms(nil, at)
		if !c.x.all.Contains(o) {
			c.bad(1, "paper %d is not among all", o)
		}
		postings += len(terms)
		for i, t := range terms {
			if !t.has(o) {
				c.bad(2, "paper %d is not among those of its value %s of %s", o, t.Value, t.field.name)
			}
			if c.x.fields[t.field.name] != t.field || t.field.find(t.Value) != t {
				c.bad(2, "the value %s of %s of paper %d is not in the index", t.Value, t.field.name, o)
			}
			if i > 0 && terms[i-1].field.name > t.field.name || i > 1 && terms[i-2].field == t.field && compareValues(terms[i-1].Value, t.Value) >= 0 || slices.Contains(terms[:i], t) {
				c.bad(2, "the values of paper %d are not in order", o) // but for the first of each field, which is the paper's first
			}
		}
	}
	if n := int(c.x.all.GetCardinality()); n != len(c.x.papers) {
		c.bad(1, "%d papers, %d in all", len(c.x.papers), n)
	}
	for _, f := range c.x.fields {
		for t := range f.terms() {
			postings -= t.count()
		}
	}
	if postings != 0 {
		c.bad(2, "papers have %d values more than values have papers", postings)
	}
}

// field proves facts 3 and 4 of a field.
func (c *checker) field(f *field) {
	var all union
	dates := 0
	for t := range f.terms() {
		if int(t.place) >= len(c.x.known) || c.x.known[t.place] != t {
			c.bad(3, "the value %s of %s is not in its place", t.Value, f.name)
		}
		if t.field != f {
			c.bad(3, "a value of %s is of %s", f.name, t.field.name)
		}
		if t.count() == 0 {
			c.bad(3, "no paper has the value %s of %s", t.Value, f.name)
		}
		if !t.posting.ordered() {
			c.bad(3, "the papers of %s of %s are not in order, or too many", t.Value, f.name)
		}
		if p, ok := parseDate(t.Text); t.dated != (ok && own[f.name] == 0 && t.Kind == String) || t.dated && t.date != p.from {
			c.bad(3, "whether %s of %s is a date is wrong", t.Value, f.name)
		}
		if t.dated {
			dates++
		}
		t.addTo(&all)
	}
	union := all.owned()
	if !union.Equals(f.papers) || f.papers.IsEmpty() {
		c.bad(3, "%d papers have a value of %s, %d have the field", union.GetCardinality(), f.name, f.papers.GetCardinality())
	}
	several := 0
	for o := range roaring.Values(f.papers) {
		n := 0
		for _, t := range c.x.terms(nil, c.x.papers[o]) {
			if t.field == f {
				n++
			}
		}
		if n > 1 {
			several++
		}
	}
	if several != f.several {
		c.bad(3, "%d papers have several values of %s, not %d", several, f.name, f.several)
	}
	c.sorted(f, &f.byText, "byText", len(f.texts))
	c.sorted(f, &f.byNumber, "byNumber", len(f.numbers))
	c.sorted(f, &f.byDate, "byDate", dates)
}

// column proves fact 6.
func (c *checker) column(f *field) {
	if f.column == nil {
		return
	}
	var size int64
	for n, p := range f.column.pages {
		size += p.size()
		want := c.x.page(f, n)
		if !slices.Equal(p.at, want.at) || !slices.Equal(p.ends, want.ends) || !slices.Equal(p.values, want.values) {
			c.bad(6, "page %d of %s has other values than its papers", n, f.name)
		}
	}
	if size != f.column.size {
		c.bad(6, "pages of %s take %d bytes, not %d", f.name, size, f.column.size)
	}
}

// ordered tells whether a posting is in order.
func (p *posting) ordered() bool {
	return slices.IsSorted(p.few) && len(p.few) <= maxFew && (p.many == nil || p.few == nil)
}

func (p *posting) bitmap() *roaring.Bitmap {
	var u union
	p.addTo(&u)
	return u.owned()
}

// sorted proves fact 4.
func (c *checker) sorted(f *field, s *sorted, name string, want int) {
	var last *term
	n := 0
	for _, b := range s.blocks {
		if len(b.terms) == 0 || len(b.terms) > maxBlock {
			c.bad(4, "%s of %s has a block of %d values", name, f.name, len(b.terms))
		}
		for _, t := range b.terms {
			if last != nil && s.order(last, t) >= 0 {
				c.bad(4, "%s of %s is not in order at %s", name, f.name, t.Value)
			}
			if *s.home(t) != b || f.find(t.Value) != t {
				c.bad(4, "%s of %s has a stray value %s", name, f.name, t.Value)
			}
			last = t
			n++
		}
		if want, got := b.union(), b.all; !b.all.ordered() || want.count() != got.count() || !want.bitmap().Equals(got.bitmap()) {
			c.bad(4, "a block of %s of %s has other papers than its values", name, f.name)
		}
	}
	if n != s.n || n != want {
		c.bad(4, "%s of %s has %d values, counts %d, should have %d", name, f.name, n, s.n, want)
	}
}

// places proves of fact 3 that no place is lost or has a term that no field has.
func (c *checker) places() {
	terms := 0
	for _, f := range c.x.fields {
		for range f.terms() {
			terms++
		}
	}
	if len(c.x.known) != terms+len(c.x.free) {
		c.bad(3, "%d places for %d values, %d of them free", len(c.x.known), terms, len(c.x.free))
	}
	for _, place := range c.x.free {
		if c.x.known[place] != nil {
			c.bad(3, "place %d is free and has a value", place)
		}
	}
}

// sizes proves fact 5.
func (c *checker) sizes() {
	var size int64
	for _, at := range c.x.papers {
		size += paperSize(len(at))
	}
	for _, f := range c.x.fields {
		size += fieldSize(f)
		for t := range f.terms() {
			size += termSize(t) + t.size()
		}
	}
	if size != c.x.size {
		c.bad(5, "papers, fields and values take %d bytes, not %d", size, c.x.size)
	}
}
