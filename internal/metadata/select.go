package metadata

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
)

// Set is a set of ordinals. It does not change, and may be used by many goroutines at once.
type Set struct {
	bits    *roaring.Bitmap
	version uint64
}

// Version is how often the index had changed when the set was made: for one filter, what has the same version has the same ordinals.
func (s *Set) Version() uint64 { return s.version }

// Len is the number of ordinals.
func (s *Set) Len() int { return int(s.bits.GetCardinality()) }

// Contains tells whether an ordinal is in the set.
func (s *Set) Contains(ordinal uint64) bool {
	return ordinal <= math.MaxUint32 && s.bits.Contains(uint32(ordinal))
}

// Ordinals gives the ordinals in ascending order.
func (s *Set) Ordinals() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		var buffer [256]uint32
		it := s.bits.ManyIterator()
		for n := it.NextMany(buffer[:]); n > 0; n = it.NextMany(buffer[:]) {
			for _, o := range buffer[:n] {
				if !yield(uint64(o)) {
					return
				}
			}
		}
	}
}

// Without is the set without some ordinals. Its version also says how many they are: of those that only ever become more, it is for the same ones.
func (s *Set) Without(ordinals iter.Seq[uint64]) *Set {
	b := s.bits.Clone()
	gone := uint64(0)
	for o := range ordinals {
		if o <= math.MaxUint32 && b.CheckedRemove(uint32(o)) {
			gone++
		}
	}
	return &Set{bits: b, version: s.version + gone<<32}
}

// Select gives the papers that meet a filter, as they are at one moment. A filter that names a field of the user's that no paper has, or
// compares a field with what none of its values is, is refused with an *Error.
func (x *Index) Select(f *Filter) (*Set, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if f.empty() {
		return &Set{x.all.Clone(), x.moves}, nil
	}
	b, err := x.meeting(f)
	if err != nil {
		return nil, err
	}
	return &Set{b, x.moves}, nil
}

// ErrScope is in the error of SelectWithin where the scope is what is wrong.
var ErrScope = errors.New("the scope does not fit the papers")

// SelectWithin gives the papers that meet both a scope and a filter, as if there were no others than those of the scope: what papers beyond it
// have does not show in the error. A filter that names a field of the user's that no paper of the scope has is refused; compared may be what is never
// equal.
func (x *Index) SelectWithin(scope, f *Filter) (*Set, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all, err := x.scope(scope)
	if err != nil {
		return nil, err
	}
	if f.empty() {
		return &Set{all, x.moves}, nil
	}
	if err := x.checkWithin(f.root, all); err != nil {
		return nil, err
	}
	some, _ := x.eval(f.root)
	return &Set{roaring.And(all, some), x.moves}, nil
}

// answers are the papers of filters, until one comes or goes: a scope is asked for several times by each call, and people look at the pages of one filter.
type answers struct {
	mu   sync.Mutex
	at   uint64                     // the index's moves
	sets map[string]*roaring.Bitmap // by the text of the filter; they do not change
}

// mostAnswers is how many are kept, mostFilter how long the text of one may be.
const mostAnswers, mostFilter = 64, 1 << 10

// bytes is about what is kept of answers.
func (a *answers) bytes() (n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, set := range a.sets {
		n += mapEntry(24) + int64(len(name)) + bitmapSize(set)
	}
	return n
}

// scope gives the papers of a scope, in a bitmap that must not be changed. x.mu is held.
func (x *Index) scope(scope *Filter) (*roaring.Bitmap, error) {
	if scope.empty() {
		return nil, fmt.Errorf("%w: it is empty", ErrScope)
	}
	set, err := x.meeting(scope)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScope, err)
	}
	return set, nil
}

// meeting gives the papers that meet a filter, in a bitmap that must not be changed. x.mu is held.
func (x *Index) meeting(f *Filter) (*roaring.Bitmap, error) {
	s, name := &x.answers, f.String()
	s.mu.Lock()
	if s.at != x.moves {
		s.at, s.sets = x.moves, nil
	}
	set := s.sets[name]
	s.mu.Unlock()
	if set != nil {
		return set, nil
	}
	if err := x.check(f.root); err != nil {
		return nil, err
	}
	set, shared := x.eval(f.root)
	if shared {
		set = set.Clone()
	}
	if len(name) > mostFilter {
		return set, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil || len(s.sets) >= mostAnswers {
		s.sets = map[string]*roaring.Bitmap{}
	}
	s.sets[name] = set
	return set, nil
}

// checkWithin refuses a filter that names a field that none of some papers has.
func (x *Index) checkWithin(n *node, of *roaring.Bitmap) error {
	for _, p := range n.parts {
		if err := x.checkWithin(p, of); err != nil {
			return err
		}
	}
	if len(n.parts) > 0 || own[n.field] != 0 || n.op == published {
		return nil
	}
	if f := x.fields[n.field]; f == nil || !f.papers.Intersects(of) {
		return &Error{n.text, n.at, fmt.Sprintf("no paper has a field %s", shorten(quoteName(n.field)))}
	}
	return nil
}

// check refuses a filter that some comparison of keeps from being what was meant.
func (x *Index) check(n *node) error {
	for _, p := range n.parts {
		if err := x.check(p); err != nil {
			return err
		}
	}
	if len(n.parts) > 0 || own[n.field] != 0 || n.op == published { // which Parse has checked, or nobody has written
		return nil
	}
	f := x.fields[n.field]
	if f == nil {
		return &Error{n.text, n.at, x.unknown(n.field)}
	}
	if err := n.check(f.typ()); err != nil {
		return err
	}
	return nil
}

// eval gives the papers that meet a part of a filter. They are shared when the bitmap is one of the index's, and must not be changed.
func (x *Index) eval(n *node) (b *roaring.Bitmap, shared bool) {
	switch n.op {
	case and:
		return x.every(n.parts), false
	case or:
		var u union
		for _, p := range n.parts {
			b, _ := x.eval(p)
			u.maps = append(u.maps, b)
		}
		return u.bitmap()
	case not:
		b, _ := x.eval(n.parts[0])
		return roaring.AndNot(x.all, b), false
	}
	f := x.fields[n.field]
	if f == nil {
		return roaring.New(), false
	}
	switch n.op {
	case has:
		return f.papers, true
	case published:
		var u union
		f.published(n.value.period, &u)
		return u.bitmap()
	case unequal:
		var u union
		f.collect(n, &u)
		b, _ := u.bitmap()
		return roaring.AndNot(f.papers, b), false
	}
	var u union
	f.collect(n, &u)
	return u.bitmap()
}

// every gives the papers that meet all parts.
func (x *Index) every(parts []*node) *roaring.Bitmap {
	var yes, no []*roaring.Bitmap
	for _, p := range parts {
		if p.op == not {
			b, _ := x.eval(p.parts[0])
			no = append(no, b)
			continue
		}
		b, _ := x.eval(p)
		if b.IsEmpty() {
			return roaring.New()
		}
		yes = append(yes, b)
	}
	b := x.all
	if len(yes) > 0 {
		slices.SortFunc(yes, func(a, b *roaring.Bitmap) int { return cmp.Compare(a.GetCardinality(), b.GetCardinality()) })
		b = roaring.FastAnd(yes...)
	}
	for _, other := range no {
		b = roaring.AndNot(b, other)
	}
	return b
}

// collect gives the papers that have a value which meets a comparison; of unequal, one that is equal.
func (f *field) collect(n *node, u *union) {
	l := &n.value
	if l.dated {
		in, out := n.op.bounds(func(t *term) int {
			switch {
			case t.date < l.period.from:
				return -1
			case t.date >= l.period.to:
				return 1
			}
			return 0
		})
		f.byDate.between(in, out, u)
	}
	byItself := func(t *term) int { return compareValues(t.Value, l.Value) }
	switch {
	case l.prefix:
		f.byText.between(
			func(t *term) bool { return t.Text >= l.Text },
			func(t *term) bool { return t.Text >= l.Text && !strings.HasPrefix(t.Text, l.Text) }, u)
	case !n.op.ordered():
		if t := f.find(l.Value); t != nil {
			t.addTo(u)
		}
	case l.Kind == Number:
		in, out := n.op.bounds(byItself)
		f.byNumber.between(in, out, u)
	case l.Kind == String && (!l.dated || f.byDate.n == 0):
		in, out := n.op.bounds(byItself)
		f.byText.between(in, out, u)
	case l.Kind == String && f.byDate.n < len(f.texts): // dates among other strings: those have been compared, and as dates
		for _, t := range f.texts {
			if !t.dated && n.op.meets(byItself(t)) {
				t.addTo(u)
			}
		}
	}
}

// bounds turns an operator into the range of terms that meet it: the first for which in holds, and the first after them, for which out holds.
// side tells on which side of the filter's value a term lies, and grows with the terms.
func (o op) bounds(side func(*term) int) (in, out func(*term) bool) {
	begin := func(*term) bool { return true }
	end := func(*term) bool { return false }
	at := func(t *term) bool { return side(t) >= 0 }
	after := func(t *term) bool { return side(t) > 0 }
	switch o {
	case less:
		return begin, at
	case lessEqual:
		return begin, after
	case greater:
		return after, end
	case greaterEqual:
		return at, end
	}
	return at, after
}

// unknown says that no paper has a field, and which it may be instead.
func (x *Index) unknown(name string) string {
	const most = 2000 // fields that are looked at, for an answer in a millisecond or two whatever clients have put in
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	bare := strings.TrimPrefix(name, userPrefix)
	consider := func(other string) {
		near = append(near, candidate{other, distance(bare, strings.TrimPrefix(other, userPrefix))})
	}
	for other := range own {
		consider(other)
	}
	for other := range x.fields {
		if len(near) == most {
			break
		}
		if own[other] == 0 {
			consider(other)
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range near[:3] {
		if c.distance <= len(bare)/2 {
			names = append(names, shorten(quoteName(c.name)))
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("no paper has a field %s, nor one of a like name; GetInfo and embedd info list the fields", shorten(quoteName(name)))
	}
	return fmt.Sprintf("no paper has a field %s; is it %s?", shorten(quoteName(name)), strings.Join(names, ", or "))
}

// distance is how many letters must be changed, put in or taken out (Levenshtein). Of long names it compares the first letters.
func distance(a, b string) int {
	const most = 32
	a, b = a[:min(most, len(a))], b[:min(most, len(b))]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// terms gives the terms of a field, in no order.
func (f *field) terms() iter.Seq[*term] {
	return func(yield func(*term) bool) {
		for _, t := range f.texts {
			if !yield(t) {
				return
			}
		}
		for _, t := range f.numbers {
			if !yield(t) {
				return
			}
		}
		for _, t := range []*term{f.bools[0], f.bools[1], f.long} {
			if t != nil && !yield(t) {
				return
			}
		}
	}
}
