package ann

import (
	"iter"
	"math/bits"
)

// Filter is a set of labels that may be in an answer: a bitmap and its count. It is for labels that are small numbers, as it takes a
// bit for each label up to the largest. A Filter does not change, and may be used by many searches and indexes at once.
type Filter struct {
	bits []uint64
	n    int
}

// NewFilter makes a filter of labels, in any order.
func NewFilter(labels iter.Seq[uint64]) *Filter {
	f := &Filter{}
	for label := range labels {
		i := label / 64
		if i >= uint64(len(f.bits)) {
			f.bits = append(f.bits, make([]uint64, i+1-uint64(len(f.bits)))...)
		}
		if f.bits[i]>>(label%64)&1 == 0 {
			f.bits[i] |= 1 << (label % 64)
			f.n++
		}
	}
	return f
}

// Len is the number of labels.
func (f *Filter) Len() int { return f.n }

// Contains tells whether a label is in the filter.
func (f *Filter) Contains(label uint64) bool {
	i := label / 64
	return i < uint64(len(f.bits)) && f.bits[i]>>(label%64)&1 == 1
}

// Labels gives the labels in ascending order.
func (f *Filter) Labels() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i, word := range f.bits {
			for ; word != 0; word &= word - 1 {
				if !yield(uint64(64*i + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}
