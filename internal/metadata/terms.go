package metadata

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
)

// term is one value of one field, and the papers that have it.
type term struct {
	field *field
	Value
	date  float64 // what Text names as a date, where that is so
	dated bool
	// Most values are of few papers: a bitmap of its own would take each of them 200 bytes.
	few  []uint32        // in order, until there are more than maxFew
	many *roaring.Bitmap // after that
	// The blocks that the term is in, by its value and by its date; nil: none.
	block, dates *block
}

const maxFew = 32

func (t *term) add(ordinal uint32) {
	if t.many != nil {
		t.many.Add(ordinal)
		return
	}
	if i, found := slices.BinarySearch(t.few, ordinal); !found {
		t.few = slices.Insert(t.few, i, ordinal)
	}
	if len(t.few) > maxFew {
		t.many, t.few = roaring.BitmapOf(t.few...), nil
	}
}

func (t *term) remove(ordinal uint32) {
	if t.many != nil {
		t.many.Remove(ordinal)
	} else if i, found := slices.BinarySearch(t.few, ordinal); found {
		t.few = slices.Delete(t.few, i, i+1)
	}
}

func (t *term) count() int {
	if t.many != nil {
		return int(t.many.GetCardinality())
	}
	return len(t.few)
}

func (t *term) addTo(u *union) {
	if t.many != nil {
		u.maps = append(u.maps, t.many)
	} else {
		u.few = append(u.few, t.few...)
	}
}

// byValue and byDate are the orders in which terms lie in blocks. By date, terms of one date lie in the order of their texts.
func byValue(a, b *term) int { return compareValues(a.Value, b.Value) }

func byDate(a, b *term) int {
	return cmp.Or(cmp.Compare(a.date, b.date), strings.Compare(a.Text, b.Text))
}

// sorted has the terms of a field in an order, in blocks, each with the union of its terms' papers: a range is the unions of the blocks that
// lie in it whole, and the terms at its ends.
type sorted struct {
	blocks []*block // none is empty
	order  func(a, b *term) int
	home   func(*term) **block // where a term keeps its block
	n      int                 // terms
}

type block struct {
	terms []*term // at most maxBlock
	all   *roaring.Bitmap
}

const maxBlock = 128

// find gives the place of a term in s.blocks, or where it would be put.
func (s *sorted) find(t *term) int {
	i := sort.Search(len(s.blocks), func(i int) bool { return s.order(s.blocks[i].terms[0], t) > 0 })
	return max(i-1, 0)
}

func (s *sorted) insert(t *term) {
	s.n++
	if len(s.blocks) == 0 {
		s.blocks = []*block{{terms: []*term{t}, all: roaring.New()}}
		*s.home(t) = s.blocks[0]
		return
	}
	at := s.find(t)
	b := s.blocks[at]
	i, _ := slices.BinarySearchFunc(b.terms, t, s.order)
	b.terms = slices.Insert(b.terms, i, t)
	*s.home(t) = b
	if len(b.terms) > maxBlock {
		half := &block{terms: slices.Clone(b.terms[maxBlock/2:])}
		clear(b.terms[maxBlock/2:])
		b.terms = b.terms[:maxBlock/2]
		for _, t := range half.terms {
			*s.home(t) = half
		}
		b.all, half.all = b.union(), half.union()
		s.blocks = slices.Insert(s.blocks, at+1, half)
	}
}

// union is what all must be.
func (b *block) union() *roaring.Bitmap {
	var u union
	for _, t := range b.terms {
		t.addTo(&u)
	}
	return u.owned()
}

// remove takes out a term that no paper has any more.
func (s *sorted) remove(t *term) {
	s.n--
	b := *s.home(t)
	*s.home(t) = nil
	at := s.find(t) // before the block's first term is out
	i, _ := slices.BinarySearchFunc(b.terms, t, s.order)
	b.terms = slices.Delete(b.terms, i, i+1)
	if len(b.terms) == 0 {
		s.blocks = slices.Delete(s.blocks, at, at+1)
	}
}

// between collects the papers of the terms from the first that is in to the last before the first that is out. Both hold from some term on.
func (s *sorted) between(in, out func(*term) bool, u *union) {
	from, to := s.search(in), s.search(out)
	for at := from.block; at < len(s.blocks) && at <= to.block; at++ {
		terms, first, end := s.blocks[at].terms, 0, len(s.blocks[at].terms)
		if at == from.block {
			first = from.term
		}
		if at == to.block {
			end = to.term
		}
		if first == 0 && end == len(terms) {
			u.maps = append(u.maps, s.blocks[at].all)
			continue
		}
		for i := first; i < end; i++ {
			terms[i].addTo(u)
		}
	}
}

// place is of a term in sorted: its block, and its number in that.
type place struct{ block, term int }

// search finds the first term for which from holds.
func (s *sorted) search(from func(*term) bool) place {
	at := sort.Search(len(s.blocks), func(i int) bool { b := s.blocks[i].terms; return from(b[len(b)-1]) })
	if at == len(s.blocks) {
		return place{at, 0}
	}
	return place{at, sort.Search(len(s.blocks[at].terms), func(i int) bool { return from(s.blocks[at].terms[i]) })}
}

// union collects sets of papers.
type union struct {
	maps []*roaring.Bitmap
	few  []uint32
}

// owned is the union, in a bitmap of its own.
func (u *union) owned() *roaring.Bitmap {
	b, shared := u.bitmap()
	if shared {
		return b.Clone()
	}
	return b
}

// bitmap is the union. It is shared when it is one of the index's, and must not be changed.
func (u *union) bitmap() (b *roaring.Bitmap, shared bool) {
	if len(u.maps) == 1 && len(u.few) == 0 {
		return u.maps[0], true
	}
	b = roaring.FastOr(u.maps...)
	b.AddMany(u.few)
	return b, false
}
