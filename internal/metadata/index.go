package metadata

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/RoaringBitmap/roaring/v2"
)

// Type is what the values of a field have in common.
type Type uint8

const (
	StringType Type = iota + 1
	NumberType
	BoolType
	// DateType: strings, each of which is a date.
	DateType
	// MixedType: values of more than one kind.
	MixedType
)

func (t Type) String() string {
	return [...]string{"", "string", "number", "bool", "date", "mixed"}[t]
}

// Index holds the fields of papers, for filters. All methods may be called from many goroutines at once; each sees all of an Add or a Remove,
// or nothing of it. Writers wait for each other and for the Selects under way.
type Index struct {
	counting sync.Mutex // held by who reads the columns of fields, before mu: so no writer waits for several of them

	mu     sync.RWMutex // guards what follows
	fields map[string]*field
	// What each paper has: terms by their places in known. Papers have many, and pointers to them would all be followed by the garbage collector.
	papers map[uint32][]uint32
	known  []*term         // nil where a place is free
	free   []uint32        // places
	all    *roaring.Bitmap // the keys of papers
	drops  uint64          // values that no paper had any more
	moves  uint64          // Adds and Removes
	size   int64           // bytes of what is counted as it comes and goes: fields, values and their papers, papers and their values

	answers answers
}

// field is what is known of one field. A field that no paper has is not kept.
type field struct {
	name    string
	papers  *roaring.Bitmap // that have it
	several int             // papers that have more than one value
	texts   map[string]*term
	numbers map[float64]*term
	bools   [2]*term
	long    *term // for all strings that are too long

	byText, byNumber, byDate sorted // byDate: those of byText that are dates

	column *column // for Facets; nil until somebody asks
}

// New makes an index without papers.
func New() *Index {
	return &Index{fields: map[string]*field{}, papers: map[uint32][]uint32{}, all: roaring.New()}
}

func newField(name string) *field {
	home := func(t *term) **block { return &t.block }
	return &field{
		name: name, papers: roaring.New(), texts: map[string]*term{}, numbers: map[float64]*term{},
		byText: sorted{order: byText, home: home}, byNumber: sorted{order: byNumber, home: home},
		byDate: sorted{order: byDate, home: func(t *term) **block { return &t.dates }},
	}
}

// Add places a paper under an ordinal; one that is there already is replaced. It fails for an ordinal above 4,294,967,295, which is more
// papers than a machine holds.
func (x *Index) Add(ordinal uint64, p Fields) error {
	if ordinal > math.MaxUint32 {
		return fmt.Errorf("ordinal %d cannot be filtered by; the limit is %d", ordinal, uint32(math.MaxUint32))
	}
	o := uint32(ordinal)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.moves++
	x.remove(o)
	terms := make([]*term, len(p.entries))
	var f *field
	for i, e := range p.entries {
		if f == nil || f.name != e.name {
			f = x.field(e.name)
			f.papers.Add(o)
			f.column.forget(o)
		} else if terms[i-1].field == f && (i < 2 || terms[i-2].field != f) {
			f.several++
		}
		t := f.term(x, e.value)
		x.size -= t.size()
		t.add(o)
		x.size += t.size()
		if t.block != nil {
			t.block.all.add(o)
		}
		if t.dates != nil {
			t.dates.all.add(o)
		}
		terms[i] = t
	}
	x.papers[o] = places(terms)
	x.all.Add(o)
	x.size += paperSize(len(terms))
	return nil
}

// places are those of terms.
func places(terms []*term) []uint32 {
	out := make([]uint32, len(terms))
	for i, t := range terms {
		out[i] = t.place
	}
	return out
}

// terms appends the terms at places.
func (x *Index) terms(to []*term, at []uint32) []*term {
	for _, place := range at {
		to = append(to, x.known[place])
	}
	return to
}

// field finds or makes a field.
func (x *Index) field(name string) *field {
	f := x.fields[name]
	if f == nil {
		f = newField(strings.Clone(name))
		x.fields[f.name] = f
		x.size += fieldSize(f)
	}
	return f
}

// term finds or makes the term of a value.
func (f *field) term(x *Index, v Value) *term {
	t := f.find(v)
	if t != nil {
		return t
	}
	v.Text = strings.Clone(v.Text) // which may be part of something larger
	t = &term{field: f, Value: v}
	if n := len(x.free); n > 0 {
		t.place, x.free = x.free[n-1], x.free[:n-1]
		x.known[t.place] = t
	} else {
		t.place = uint32(len(x.known))
		x.known = append(x.known, t)
	}
	switch v.Kind {
	case String:
		f.texts[v.Text] = t
		f.byText.insert(t)
		if own[f.name] == 0 {
			if p, ok := parseDate(v.Text); ok {
				t.date, t.dated = p.from, true
				f.byDate.insert(t)
			}
		}
	case Number:
		f.numbers[v.Number] = t
		f.byNumber.insert(t)
	case Bool:
		f.bools[int(v.Number)] = t
	case long:
		f.long = t
	}
	x.size += termSize(t)
	return t
}

// find gives the term of a value; nil: no paper has it.
func (f *field) find(v Value) *term {
	switch v.Kind {
	case String:
		return f.texts[v.Text]
	case Number:
		return f.numbers[v.Number]
	case Bool:
		return f.bools[int(v.Number)]
	}
	return f.long
}

// Remove takes a paper out. It tells whether there was one.
func (x *Index) Remove(ordinal uint64) bool {
	if ordinal > math.MaxUint32 {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.moves++
	return x.remove(uint32(ordinal))
}

func (x *Index) remove(o uint32) bool {
	at, there := x.papers[o]
	if !there {
		return false
	}
	terms := x.terms(nil, at)
	x.size -= paperSize(len(terms))
	delete(x.papers, o)
	x.all.Remove(o)
	for i, t := range terms {
		f := t.field
		x.size -= t.size()
		t.remove(o)
		x.size += t.size()
		if t.block != nil { // no other term of the block has the paper when this is over
			t.block.all.remove(o)
		}
		if t.dates != nil {
			t.dates.all.remove(o)
		}
		if t.count() == 0 {
			f.drop(x, t)
		}
		switch { // the terms of one field follow each other
		case i == 0 || terms[i-1].field != f:
			f.papers.Remove(o)
			f.column.forget(o)
		case i == 1 || terms[i-2].field != f:
			f.several--
		}
		if f.papers.IsEmpty() && (i == len(terms)-1 || terms[i+1].field != f) {
			x.size -= fieldSize(f)
			delete(x.fields, f.name)
		}
	}
	return true
}

// drop forgets a term that no paper has.
func (f *field) drop(x *Index, t *term) {
	x.size -= termSize(t) + t.size()
	x.drops++
	x.known[t.place], x.free = nil, append(x.free, t.place)
	switch t.Kind {
	case String:
		delete(f.texts, t.Text)
		f.byText.remove(t)
		if t.dated {
			f.byDate.remove(t)
		}
	case Number:
		delete(f.numbers, t.Number)
		f.byNumber.remove(t)
	case Bool:
		f.bools[int(t.Number)] = nil
	case long:
		f.long = nil
	}
}

// values is the number of distinct values.
func (f *field) values() int {
	n := len(f.texts) + len(f.numbers)
	for _, t := range []*term{f.bools[0], f.bools[1], f.long} {
		if t != nil {
			n++
		}
	}
	return n
}

// typ is 0 for a nil field.
func (f *field) typ() Type {
	if f == nil {
		return 0
	}
	strings, numbers, bools := len(f.texts) > 0 || f.long != nil, len(f.numbers) > 0, f.bools[0] != nil || f.bools[1] != nil
	switch {
	case strings && !numbers && !bools && f.byDate.n == len(f.texts) && f.long == nil:
		return DateType
	case strings && !numbers && !bools:
		return StringType
	case numbers && !strings && !bools:
		return NumberType
	case bools && !strings && !numbers:
		return BoolType
	}
	return MixedType
}

// Field is what can be said of a field.
type Field struct {
	// Name is what a filter calls it: "year", or "metadata." and the name that the user gave it.
	Name string
	Type Type
	// Repeated: some paper has more than one value.
	Repeated bool
	// Papers have the field; Values is how many different ones there are.
	Papers, Values int
}

// Fields lists the paper's own fields and those of the user that some paper has, in the order of their names.
func (x *Index) Fields() []Field {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var list []Field
	for name, t := range own {
		if x.fields[name] == nil {
			list = append(list, Field{Name: name, Type: t})
		}
	}
	for name, f := range x.fields {
		list = append(list, Field{quoteName(name), f.typ(), f.several > 0, int(f.papers.GetCardinality()), f.values()})
	}
	slices.SortFunc(list, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Version is how often the index has changed: what a set of the same version has is as it was.
func (x *Index) Version() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.moves
}

// Len is the number of papers.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.papers)
}

// Bytes is about what the index holds in memory.
func (x *Index) Bytes() int64 {
	x.counting.Lock()
	defer x.counting.Unlock()
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := x.size + bitmapSize(x.all) + 8*int64(cap(x.known)) + 4*int64(cap(x.free)) + x.answers.bytes()
	for _, f := range x.fields {
		n += bitmapSize(f.papers) + f.column.bytes()
		for _, s := range []*sorted{&f.byText, &f.byNumber, &f.byDate} {
			for _, b := range s.blocks {
				n += int64(unsafe.Sizeof(*b)) + 8 + 8*int64(cap(b.terms)) + b.all.size()
			}
		}
	}
	return n
}

// mapEntry is about what a map takes beside its keys and values, for each: Go's are between 7/16 and 7/8 full.
func mapEntry(keyAndValue uintptr) int64 { return int64(float64(keyAndValue+1) * 1.5) }

func paperSize(terms int) int64 {
	return mapEntry(unsafe.Sizeof(uint32(0))+4+unsafe.Sizeof([]uint32{})) + 4*int64(terms)
}

func termSize(t *term) int64 {
	n := int64(unsafe.Sizeof(*t)+15) &^ 15
	switch t.Kind {
	case String:
		return n + mapEntry(unsafe.Sizeof(t.Text)+8) + (int64(len(t.Text))+7)&^7
	case Number:
		return n + mapEntry(16)
	}
	return n
}

func fieldSize(f *field) int64 {
	return int64(unsafe.Sizeof(*f)) + 2*48 + mapEntry(24) + int64(len(f.name))
}

// bitmapSize is what a bitmap takes: its containers, and what holds them.
func bitmapSize(b *roaring.Bitmap) int64 { return int64(b.GetSizeInBytes()) + 160 }
