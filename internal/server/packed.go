package server

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// A form is how the vectors of a call are given: how many of their values, and as what.
type form struct {
	dimension int // of what is given
	cut       bool
	kind      embeddv1.VectorType // FLOAT32, FLOAT16, INT8 or BINARY
	packed    bool
}

// formOf checks what a request says of its vectors.
func formOf(req *embeddv1.EncodeRequest, m retrieval.Model) (form, error) {
	f := form{dimension: m.Dimension, kind: req.GetType(), packed: req.GetPacked()}
	if n := int(req.GetDimension()); n != 0 && n != m.Dimension {
		switch {
		case slices.Contains(m.Dimensions, n):
			f.dimension, f.cut = n, true
		case len(m.Dimensions) == 0:
			return f, &retrieval.Error{Kind: retrieval.Invalid, Field: "dimension",
				Message: fmt.Sprintf("is %d; the model's is %d, and it was not trained to have its vectors cut; leave it out", n, m.Dimension)}
		default:
			return f, &retrieval.Error{Kind: retrieval.Invalid, Field: "dimension",
				Message: fmt.Sprintf("is %d; the model's is %d, and its vectors can be cut to %v only", n, m.Dimension, m.Dimensions)}
		}
	}
	switch f.kind {
	case embeddv1.VectorType_VECTOR_TYPE_UNSPECIFIED:
		f.kind = embeddv1.VectorType_VECTOR_TYPE_FLOAT32
	case embeddv1.VectorType_VECTOR_TYPE_FLOAT32:
	case embeddv1.VectorType_VECTOR_TYPE_FLOAT16, embeddv1.VectorType_VECTOR_TYPE_INT8, embeddv1.VectorType_VECTOR_TYPE_BINARY:
		f.packed = true
	default:
		return f, &retrieval.Error{Kind: retrieval.Invalid, Field: "type", Message: fmt.Sprintf("%d is not a VectorType", f.kind)}
	}
	return f, nil
}

// bytes is how many a packed vector has.
func (f form) bytes() int {
	switch f.kind {
	case embeddv1.VectorType_VECTOR_TYPE_FLOAT16:
		return 2 * f.dimension
	case embeddv1.VectorType_VECTOR_TYPE_INT8:
		return f.dimension
	case embeddv1.VectorType_VECTOR_TYPE_BINARY:
		return (f.dimension + 7) / 8
	}
	return 4 * f.dimension
}

// encodings puts vectors, which it cuts where they lie, onto the wire. The messages of a call, and its bytes, are made at once.
func (f form) encodings(all []retrieval.Encoding) ([]*embeddv1.Encoding, error) {
	out := make([]*embeddv1.Encoding, len(all))
	messages := make([]struct {
		embeddv1.Encoding
		use    embeddv1.TextUse
		vector embeddv1.Vector
		packed embeddv1.PackedVector
	}, len(all))
	var room []byte
	if f.packed {
		room = make([]byte, 0, len(all)*f.bytes())
	}
	for i := range all {
		v, m := all[i].Vector, &messages[i]
		if f.cut {
			if v = v[:f.dimension:f.dimension]; !rescale(v) {
				return nil, &retrieval.Error{Kind: retrieval.Internal, Field: fmt.Sprintf("texts[%d]", i),
					Message: fmt.Sprintf("the first %d values of its vector are 0", f.dimension)}
			}
		}
		m.use.TokenCount, m.use.Truncated = int32(all[i].Tokens), all[i].Truncated
		m.TextUse = &m.use
		if f.packed {
			begin := len(room)
			room, m.packed.Scale = f.pack(room, v)
			m.packed.Values, m.packed.Type, m.packed.Dimension = room[begin:len(room):len(room)], f.kind, int32(len(v))
			m.Packed = &m.packed
		} else {
			m.vector.Values = v
			m.Vector = &m.vector
		}
		out[i] = &m.Encoding
	}
	return out, nil
}

// pack appends a vector's bytes. scale is what an int8 is multiplied by, 0 for other types.
func (f form) pack(to []byte, v []float32) (_ []byte, scale float32) {
	switch f.kind {
	case embeddv1.VectorType_VECTOR_TYPE_FLOAT16:
		for _, x := range v {
			to = binary.LittleEndian.AppendUint16(to, half(x))
		}
	case embeddv1.VectorType_VECTOR_TYPE_INT8:
		return packInt8(to, v)
	case embeddv1.VectorType_VECTOR_TYPE_BINARY:
		return packBits(to, v), 0
	default:
		for _, x := range v {
			to = binary.LittleEndian.AppendUint32(to, math.Float32bits(x))
		}
	}
	return to, 0
}

// rescale brings v to norm 1, and tells whether it can be: a vector of zeros cannot.
func rescale(v []float32) bool {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return false
	}
	n := math.Sqrt(sum)
	for i, x := range v {
		v[i] = float32(float64(x) / n)
	}
	return true
}

// packInt8 gives the largest value 127, or -127, and the others by that.
func packInt8(to []byte, v []float32) (_ []byte, scale float32) {
	var largest float32
	for _, x := range v {
		largest = max(largest, max(x, -x))
	}
	if largest == 0 {
		return append(to, make([]byte, len(v))...), 0
	}
	scale = largest / 127
	for _, x := range v {
		to = append(to, byte(int8(min(127, max(-127, math.RoundToEven(float64(x)/float64(scale)))))))
	}
	return to, scale
}

// packBits gives a bit for each value, 1 above 0, the first of them the highest of the first byte; what is left of the last byte is 0.
func packBits(to []byte, v []float32) []byte {
	for len(v) > 0 {
		some := v[:min(8, len(v))]
		v = v[len(some):]
		var b byte
		for i, x := range some {
			if x > 0 {
				b |= 0x80 >> i
			}
		}
		to = append(to, b)
	}
	return to
}

// half is the nearest number of IEEE 754 half precision, by its bits: of two that are as near, the one whose last bit is 0. From 65,520 on it is
// infinity.
func half(x float32) uint16 {
	bits := math.Float32bits(x)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000: // NaN stays one
		return sign | 0x7e00
	case bits >= 0x47800000: // 65,536
		return sign | 0x7c00
	case bits < 0x38800000: // below the least normal half, 2⁻¹⁴, a half counts multiples of 2⁻²⁴: adding 1/2 leaves their number in the last bits of a float32, rounded so
		return sign | uint16(math.Float32bits(math.Float32frombits(bits)+0.5)-math.Float32bits(0.5))
	}
	// The exponent moves from a bias of 127 to one of 15, and 13 bits of the fraction go; what carries over goes into the exponent.
	bits += 0xfff + bits>>13&1
	return sign | uint16(bits>>13-(127-15)<<10)
}
