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
	date   float64 // what Text names as a date, where that is so
	dated  bool
	number uint32 // in the field's column, where that has the term under it
	place  uint32 // in Index.known
	posting
	// The blocks that the term is in, by its value and by its date; nil: none.
	block, dates *block
}

// posting is a set of papers. Most values are of few papers, and a bitmap of its own would take each of them 200 bytes.
type posting struct {
	few  []uint32        // in order, until there are more than maxFew
	many *roaring.Bitmap // after that
}

const maxFew = 256

func (p *posting) add(ordinal uint32) {
	if p.many != nil {
		p.many.Add(ordinal)
		return
	}
	if n := len(p.few); n == 0 || p.few[n-1] < ordinal {
		p.few = append(p.few, ordinal)
	} else if i, found := slices.BinarySearch(p.few, ordinal); !found {
		p.few = slices.Insert(p.few, i, ordinal)
	}
	if len(p.few) > maxFew {
		p.many, p.few = roaring.BitmapOf(p.few...), nil
	}
}

func (p *posting) remove(ordinal uint32) {
	if p.many != nil {
		p.many.Remove(ordinal)
	} else if i, found := slices.BinarySearch(p.few, ordinal); found {
		p.few = slices.Delete(p.few, i, i+1)
	}
}

func (p *posting) count() int {
	if p.many != nil {
		return int(p.many.GetCardinality())
	}
	return len(p.few)
}

func (p *posting) has(ordinal uint32) bool {
	if p.many != nil {
		return p.many.Contains(ordinal)
	}
	_, found := slices.BinarySearch(p.few, ordinal)
	return found
}

func (p *posting) addTo(u *union) {
	if p.many != nil {
		u.maps = append(u.maps, p.many)
	} else {
		u.few = append(u.few, p.few...)
	}
}

// size is the bytes beside the posting itself.
func (p *posting) size() int64 {
	if p.many != nil {
		return bitmapSize(p.many)
	}
	return 4 * int64(cap(p.few))
}

// byText, byNumber and byDate are the orders in which terms lie in blocks. By date, terms of one date lie in the order of their texts.
func byText(a, b *term) int { return strings.Compare(a.Text, b.Text) }

func byNumber(a, b *term) int { return cmp.Compare(a.Number, b.Number) }

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
	all   posting
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
		s.blocks = []*block{{terms: []*term{t}}}
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
func (b *block) union() posting {
	var u union
	for _, t := range b.terms {
		t.addTo(&u)
	}
	all := u.owned()
	if all.GetCardinality() > maxFew {
		return posting{many: all}
	}
	return posting{few: all.ToArray()}
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
			s.blocks[at].all.addTo(u)
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

const (
	fewMaps  = 8    // that are united as bitmaps, whatever their size
	smallMap = 4096 // papers, of one that is better taken apart where there are more
)

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
	if len(u.maps) > fewMaps { // each of which would be gone through container by container
		u.maps = slices.DeleteFunc(u.maps, func(m *roaring.Bitmap) bool {
			small := m.GetCardinality() <= smallMap
			if small {
				u.few = append(u.few, m.ToArray()...)
			}
			return small
		})
	}
	few := u.fewMap()
	if len(u.maps) == 0 {
		return few, false
	}
	return roaring.FastOr(append(u.maps, few)...), false
}

// fewMap is a bitmap of few.
func (u *union) fewMap() *roaring.Bitmap {
	// To set bits takes a nanosecond each, to add to a bitmap ten times that. Where ordinals lie far apart, there would be more zeros to write.
	if len(u.few) > 64 && int(slices.Max(u.few))/64 < 4*len(u.few) {
		bits := make([]uint64, slices.Max(u.few)/64+1)
		for _, o := range u.few {
			bits[o/64] |= 1 << (o % 64)
		}
		return roaring.FromDense(bits, false)
	}
	slices.Sort(u.few)
	return roaring.BitmapOf(u.few...)
}
