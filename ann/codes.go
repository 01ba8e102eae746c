package ann

import (
	"math"

	"embedd/ann/vec"
)

// Searches and builds compare codes: a vector's values as whole numbers from -63 to 63 times a scale of its own, kept with 64
// added, a byte each. That is a quarter of the bytes of float32, and bytes are what a search waits for. What is found is then
// compared again by the vectors themselves. Integers are the same on every machine, so a graph does not depend on its kind.

// middle is what is added to the whole numbers of a code.
const middle = 64

// strideOf is how many bytes a code of dim values takes.
func strideOf(dim int) int { return (dim + vec.Block - 1) / vec.Block * vec.Block }

// appendCode appends the code of v and gives its scale.
func (x *Index) appendCode(v []float32) {
	var most float32
	for _, f := range v {
		most = max(most, max(f, -f))
	}
	scale := most / (middle - 1)
	begin := len(x.codes)
	x.codes = append(x.codes, make([]byte, x.stride)...)
	code := x.codes[begin:]
	for j, f := range v {
		code[j] = byte(int(math.RoundToEven(float64(f/scale))) + middle)
	}
	x.scales = append(x.scales, scale)
}

// code is the code of a slot.
func (x *Index) code(slot uint32) []byte { return x.codes[int(slot)*x.stride:][:x.stride] }

// probe is a vector in the form in which others are compared with it.
type probe struct {
	q      []int8 // whole numbers, as long as a code
	offset int32  // middle times their sum: what the added middle of a code makes of a dot product
	scale  float32
	dots   []int32
}

// of makes a probe of a slot's code.
func (p *probe) of(x *Index, slot uint32) {
	p.q = p.q[:0]
	var sum int32
	for _, c := range x.code(slot)[:x.dim] {
		w := int8(int(c) - middle)
		p.q = append(p.q, w)
		sum += int32(w)
	}
	p.finish(x, sum, x.scales[slot])
}

// ofVector makes a probe of a vector, of which eight bits are kept.
func (p *probe) ofVector(x *Index, v []float32) {
	var most float32
	for _, f := range v {
		most = max(most, max(f, -f))
	}
	scale := most / 127
	p.q = p.q[:0]
	var sum int32
	for _, f := range v {
		w := int8(math.RoundToEven(float64(f / scale)))
		p.q = append(p.q, w)
		sum += int32(w)
	}
	p.finish(x, sum, scale)
}

func (p *probe) finish(x *Index, sum int32, scale float32) {
	for len(p.q) < x.stride {
		p.q = append(p.q, 0)
	}
	p.offset, p.scale = middle*sum, scale
}

// distances gives the distance of each slot, as far as codes tell. The result is the probe's memory until the next call.
func (p *probe) distances(x *Index, slots []uint32) []int32 {
	for len(p.dots) < len(slots) {
		p.dots = append(p.dots, 0)
	}
	vec.DotCodes(p.q, x.codes, slots, p.dots)
	return p.dots[:len(slots)]
}

// distance turns a slot's dot product into a cosine distance.
func (p *probe) distance(x *Index, slot uint32, dot int32) float32 {
	return 1 - float32(p.scale*x.scales[slot])*float32(dot-p.offset)
}
