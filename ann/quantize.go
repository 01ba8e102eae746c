package ann

import (
	"math"
	"unsafe"

	"embedd/ann/vec"
)

// A vector v is kept in two steps, as in locally-adaptive vector quantization (Aguerrebere et al., "Similarity search in the
// blink of an eye with compressed indices", PVLDB 16(11), 2023), but with one scale for the whole index, so that the integer
// products of a search order candidates as they are:
//
//	code   c = round(v / scale), cut to -63 … 63, kept with 64 added
//	fine   f = round((v - scale·c) / step), -127 … 127, with a step for each vector
//
// The scale is chosen by the dimension alone: a value of a unit vector is about 1/√dim, and clipAt times that is as good as
// never exceeded. Where it is, the code is cut, the step is larger, and both still add up to v.

// centre is what is added to the whole numbers of a code.
const centre = 64

// clipAt is the largest value that a code holds, in units of 1/√dim.
const clipAt = 4.0

// most values of codes, of fine codes, and of queries in 8 and 16 bits.
const (
	mostCode  = 63
	mostFine  = 127
	mostQuery = 127
	mostWide  = 32767
)

// strideOf is how many bytes a code of dim values takes, and floatsOf how many values a float32 row.
func strideOf(dim int, c Code) int {
	if c == Bit {
		dim = (dim + 7) / 8
	}
	return roundUp(dim, vec.Block)
}
func floatsOf(dim int) int { return roundUp(dim, 16) }

// scaleOf is the scale of the codes of vectors of dim values.
func scaleOf(dim int) float32 { return float32(min(1, clipAt/math.Sqrt(float64(dim))) / mostCode) }

// round is the nearest whole number, ties to even, of a value between -2^22 and 2^22: adding 1.5·2^23 leaves no place for a
// fraction. The conversions forbid to fuse the product with the sum, which some CPUs would.
func round(f float32) int32 {
	const magic = 3 << 22
	return int32(math.Float32bits(f+magic)) - int32(math.Float32bits(magic))
}

// store writes a vector into its slot, which nobody knows yet.
func (x *Index) store(a *arrays, slot uint32, v []float32) {
	if x.opt.Memory != Residual {
		row := a.floats[int(slot)*x.fstride:][:x.fstride]
		clear(row[copy(row, v):])
	}
	code := a.codes[int(slot)*x.stride:][:x.stride]
	if x.opt.Code == Bit {
		signs(words64(code), v)
		return
	}
	inverse := 1 / x.scale
	var sum int32
	for j, f := range v {
		w := min(mostCode, max(-mostCode, round(float32(min(1, max(-1, f))*inverse))))
		code[j] = byte(w + centre)
		sum += w
	}
	for j := len(v); j < len(code); j++ {
		code[j] = centre
	}
	a.sums[slot] = sum
	var most, squares float32
	for j, f := range v {
		r := f - float32(x.scale*float32(int32(code[j])-centre))
		most = max(most, r, -r)
		squares += float32(r * r)
	}
	a.errs[slot] = float32(math.Sqrt(float64(squares)))
	if x.opt.Memory != Residual {
		return
	}
	fine := a.fine[int(slot)*x.stride:][:x.stride]
	step := most / mostFine
	a.steps[slot] = step
	clear(fine)
	if step == 0 {
		return
	}
	inverse = 1 / step
	for j, f := range v {
		r := f - float32(x.scale*float32(int32(code[j])-centre))
		fine[j] = byte(int8(min(mostFine, max(-mostFine, round(float32(r*inverse))))))
	}
}

// signs sets a bit for each value above 0.
func signs(bits []uint64, v []float32) {
	clear(bits)
	for j, f := range v {
		if f > 0 {
			bits[j/64] |= 1 << (j % 64)
		}
	}
}

// words64 is memory that is aligned for words, as words.
func words64(b []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/8)
}

// Vector gives the vector of a live label as it is kept: exact in the memory modes Fast and Lean. Otherwise each value is off by at most
// half a step: 6e-6 for 384 values, and more for a vector with values beyond what a code holds, whose step is the 127th part of the
// largest excess.
func (x *Index) Vector(label uint64) ([]float32, bool) {
	defer x.grace.leave(x.grace.enter())
	a, slot, ok := x.lookup(label)
	if !ok {
		return nil, false
	}
	return x.vector(a, slot), true
}

// vector is a slot's vector as it is kept.
func (x *Index) vector(a *arrays, slot uint32) []float32 { return x.decode(a, slot, nil) }

// decode is vector in the memory of v, where it is enough.
func (x *Index) decode(a *arrays, slot uint32, v []float32) []float32 {
	v = resize(v, x.dim)
	if x.opt.Memory != Residual {
		copy(v, a.floats[int(slot)*x.fstride:])
		return v
	}
	code, fine, step := a.codes[int(slot)*x.stride:][:x.dim], a.fine[int(slot)*x.stride:][:x.dim], a.steps[slot]
	for j := range v {
		v[j] = float32(x.scale*float32(int32(code[j])-centre)) + float32(step*float32(int8(fine[j])))
	}
	return v
}

// probe is a vector in the forms in which others are compared with it.
type probe struct {
	bits   []uint64 // Bit: signs
	q      []int8   // Byte: whole numbers, as long as a code
	offset int32    // centre times their sum: what the added centre of a code makes of a product

	// For the second comparison of what was found.
	wide   []int16 // Residual
	size   float64 // of a unit of wide
	sum    int64   // of wide
	floats []float32

	dots, more []int32
	products   []float32
}

// ofSlot makes a probe of a slot's code, with which codes can be compared in the same units for all slots.
func (p *probe) ofSlot(x *Index, a *arrays, slot uint32) {
	if x.opt.Code == Bit {
		p.bits = append(p.bits[:0], words64(a.codes[int(slot)*x.stride:][:x.stride])...)
		return
	}
	p.q = resize(p.q, x.stride)
	vec.Centre(p.q, a.codes[int(slot)*x.stride:][:x.stride])
	p.offset = centre * a.sums[slot]
}

// ofVector makes a probe of a vector, of which eight bits are kept, and more for the second comparison.
func (p *probe) ofVector(x *Index, v []float32) {
	most := largest(v)
	if x.opt.Code == Bit {
		p.bits = resize(p.bits, x.stride/8)
		signs(p.bits, v)
		p.again(x, v, most)
		return
	}
	p.q = resize(p.q, x.stride)
	inverse := mostQuery / most
	var sum int32
	for j, f := range v {
		w := round(float32(f * inverse))
		p.q[j] = int8(w)
		sum += w
	}
	clear(p.q[len(v):])
	p.offset = centre * sum
	p.again(x, v, most)
}

// again prepares the second comparison with a vector whose largest value is most.
func (p *probe) again(x *Index, v []float32, most float32) {
	if x.opt.Memory != Residual {
		p.floats = resize(p.floats, x.fstride)
		clear(p.floats[copy(p.floats, v):])
		return
	}
	// As large as the type of a value and that of a sum of products allow: a row's norm is at most 127·√dim.
	inverse := min(mostWide/most, float32(math.MaxInt32*0.99/(mostFine*math.Sqrt(float64(x.dim)))))
	p.size = 1 / float64(inverse)
	p.wide = resize(p.wide, x.stride)
	p.sum = 0
	for j, f := range v {
		w := round(float32(f * inverse))
		p.wide[j] = int16(w)
		p.sum += int64(w)
	}
	clear(p.wide[len(v):])
}

// largest is the largest absolute value.
func largest(v []float32) float32 {
	var most uint32
	for _, f := range v { // without their sign, floats are in the order of their bits
		most = max(most, math.Float32bits(f)&^(1<<31))
	}
	return math.Float32frombits(most)
}

// resize gives a slice of n elements, in the memory of s where it is enough.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// compare gives for each slot a whole number that is larger for nearer ones. The result is the probe's memory until the next call.
func (p *probe) compare(a *arrays, slots []uint32) []int32 {
	p.dots = resize(p.dots, len(slots))
	if len(p.bits) > 0 {
		vec.Hamming(p.bits, words64(a.codes), slots, p.dots)
		for i, d := range p.dots {
			p.dots[i] = -d
		}
		return p.dots
	}
	vec.DotCodes(p.q, a.codes, slots, p.dots)
	return p.dots
}

// similarity turns a product into the one of the centred codes, which is the same from both sides.
func (p *probe) similarity(dot int32) int32 { return dot - p.offset }

// distances gives the cosine distance of each slot by the vectors as they are kept. The result is the probe's memory until the
// next call.
func (p *probe) distances(x *Index, a *arrays, slots []uint32) []float32 {
	p.products = resize(p.products, len(slots))
	if x.opt.Memory != Residual {
		vec.DotFloats(p.floats, a.floats, slots, p.products)
		for i, d := range p.products {
			p.products[i] = max(0, 1-d)
		}
		return p.products
	}
	p.dots, p.more = resize(p.dots, len(slots)), resize(p.more, len(slots))
	vec.DotWide(p.wide, a.codes, slots, p.dots)
	vec.DotWide(p.wide, a.fine, slots, p.more)
	scale := float64(x.scale) * p.size
	for i, slot := range slots {
		coarse := float64(scale * float64(int64(p.dots[i])-centre*p.sum))
		fine := float64(float64(a.steps[slot]) * float64(p.size*float64(p.more[i])))
		p.products[i] = max(0, float32(1-float64(coarse+fine)))
	}
	return p.products
}
