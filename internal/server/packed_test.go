package server

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"testing"

	"embedd/internal/retrieval"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// halfValue is what a half stands for, by the definition: IEEE 754, 3.4.
func halfValue(h uint16) float64 {
	sign, exponent, fraction := 1.0, int(h>>10&31), float64(h&1023)
	if h>>15 == 1 {
		sign = -1
	}
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// Each half comes back as itself, and what lies between two goes to the nearer, or to the even one from the middle.
func TestHalf(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		v := halfValue(h)
		if v != v {
			if got := half(float32(v)); halfValue(got) == halfValue(got) {
				t.Fatalf("NaN became %#04x", got)
			}
			continue
		}
		if got := half(float32(v)); got != h {
			t.Fatalf("%v: %#04x, want %#04x", v, got, h)
		}
		next := h + 1 // away from 0
		if h&0x7fff >= 0x7c00 {
			continue
		}
		above := halfValue(next)
		if math.IsInf(above, 0) {
			above = math.Copysign(65536, v) // infinity counts as the next of its kind: 4.3.1
		}
		middle := float32((v + above) / 2) // exact: it has one bit more than a half
		even := h
		if h&1 == 1 {
			even = next
		}
		down, up := math.Nextafter32(middle, float32(v)), math.Nextafter32(middle, float32(above))
		for _, c := range []struct {
			x    float32
			want uint16
		}{{middle, even}, {down, h}, {up, next}} {
			if got := half(c.x); got != c.want {
				t.Fatalf("%v, beside %v: %#04x, want %#04x", c.x, v, got, c.want)
			}
		}
	}
	for _, c := range []struct {
		x    float32
		want uint16
	}{{math.MaxFloat32, 0x7c00}, {-math.MaxFloat32, 0xfc00}, {math.SmallestNonzeroFloat32, 0}, {float32(math.Copysign(0, -1)), 0x8000}} {
		if got := half(c.x); got != c.want {
			t.Errorf("%v: %#04x, want %#04x", c.x, got, c.want)
		}
	}
}

// slowCut is the first n values at norm 1, with 200 bits.
func slowCut(v []float32, n int) []float32 {
	sum := new(big.Float).SetPrec(200)
	for _, x := range v[:n] {
		f := new(big.Float).SetPrec(200).SetFloat64(float64(x))
		sum.Add(sum, f.Mul(f, f))
	}
	norm := sum.Sqrt(sum)
	out := make([]float32, n)
	for i, x := range v[:n] {
		f := new(big.Float).SetPrec(200).SetFloat64(float64(x))
		out[i], _ = f.Quo(f, norm).Float32()
	}
	return out
}

func TestForms(t *testing.T) {
	r := testkit.Rand(t)
	const dim = 100 // not of whole bytes of bits
	m := retrieval.Model{Dimension: dim, Dimensions: []int{12, 37, 64}}
	for _, n := range []int{0, dim, 12, 37, 64} {
		for _, kind := range []embeddv1.VectorType{0, 1, 2, 3, 4} {
			for _, packed := range []bool{false, true} {
				f, err := formOf(&embeddv1.EncodeRequest{Dimension: int32(n), Type: kind, Packed: packed}, m)
				if err != nil {
					t.Fatal(err)
				}
				var all []retrieval.Encoding
				var want [][]float32
				for i := range 5 {
					v := make([]float32, dim)
					for j := range v {
						v[j] = float32(r.NormFloat64())
					}
					v = slowCut(v, dim)
					cut := v
					if n != 0 && n != dim {
						cut = slowCut(v, n)
					}
					want = append(want, slices.Clone(cut))
					all = append(all, retrieval.Encoding{Vector: v, TextUse: retrieval.TextUse{Tokens: i, Truncated: i == 3}})
				}
				out, err := f.encodings(all)
				if err != nil {
					t.Fatal(err)
				}
				for i, e := range out {
					if e.GetTextUse().GetTokenCount() != int32(i) || e.GetTextUse().GetTruncated() != (i == 3) {
						t.Errorf("text use %v", e.GetTextUse())
					}
					if kind < 2 && !packed {
						if e.GetPacked() != nil {
							t.Errorf("packed, and not asked for")
						}
						near(t, e.GetVector().GetValues(), want[i], 1e-7)
						continue
					}
					if e.GetVector() != nil {
						t.Errorf("dimension %d, type %v: not packed", n, kind)
					}
					near(t, unpack(t, e.GetPacked()), unpacked(kind, want[i]), map[embeddv1.VectorType]float64{0: 1e-7, 1: 1e-7, 2: 1e-3, 3: 1e-2}[kind])
				}
			}
		}
	}
}

// unpack reads a packed vector as a client would.
func unpack(t *testing.T, p *embeddv1.PackedVector) (out []float32) {
	t.Helper()
	b := p.GetValues()
	for i := range int(p.GetDimension()) {
		switch p.GetType() {
		case embeddv1.VectorType_VECTOR_TYPE_FLOAT32:
			out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		case embeddv1.VectorType_VECTOR_TYPE_FLOAT16:
			out = append(out, float32(halfValue(binary.LittleEndian.Uint16(b[2*i:]))))
		case embeddv1.VectorType_VECTOR_TYPE_INT8:
			out = append(out, float32(int8(b[i]))*p.GetScale())
		case embeddv1.VectorType_VECTOR_TYPE_BINARY:
			out = append(out, float32(b[i/8]>>(7-i%8)&1))
		default:
			t.Fatalf("type %v", p.GetType())
		}
	}
	return out
}

// unpacked is what unpack should come near to.
func unpacked(kind embeddv1.VectorType, v []float32) []float32 {
	if kind != embeddv1.VectorType_VECTOR_TYPE_BINARY {
		return v
	}
	bits := make([]float32, len(v))
	for i, x := range v {
		if x > 0 {
			bits[i] = 1
		}
	}
	return bits
}

func near(t *testing.T, got, want []float32, within float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i := range got {
		if math.Abs(float64(got[i]-want[i])) > within {
			t.Fatalf("value %d is %v, want %v within %v", i, got[i], want[i], within)
		}
	}
}

func TestInt8(t *testing.T) {
	for _, c := range []struct {
		v     []float32
		want  []int8
		scale float32
	}{
		{[]float32{0, 0}, []int8{0, 0}, 0},
		{[]float32{127, -127, 1.5, 2.5, -0.4}, []int8{127, -127, 2, 2, 0}, 1},
		{[]float32{0.25, -0.5}, []int8{64, -127}, 0.5 / 127},
	} {
		b, scale := packInt8(nil, c.v)
		for i := range c.want {
			if int8(b[i]) != c.want[i] || scale != c.scale {
				t.Errorf("%v: %v by %v, want %v by %v", c.v, b, scale, c.want, c.scale)
			}
		}
	}
}

func TestFormOfRefuses(t *testing.T) {
	for _, c := range []struct {
		req   *embeddv1.EncodeRequest
		model retrieval.Model
		field string
	}{
		{&embeddv1.EncodeRequest{Dimension: 8}, retrieval.Model{Dimension: 16}, "dimension"},
		{&embeddv1.EncodeRequest{Dimension: -1}, retrieval.Model{Dimension: 16, Dimensions: []int{8}}, "dimension"},
		{&embeddv1.EncodeRequest{Dimension: 17}, retrieval.Model{Dimension: 16, Dimensions: []int{8}}, "dimension"},
		{&embeddv1.EncodeRequest{Type: 5}, retrieval.Model{Dimension: 16}, "type"},
		{&embeddv1.EncodeRequest{Type: -1}, retrieval.Model{Dimension: 16}, "type"},
	} {
		_, err := formOf(c.req, c.model)
		if e, ok := err.(*retrieval.Error); !ok || e.Field != c.field || e.Kind != retrieval.Invalid {
			t.Errorf("%v: %v, want an error of %s", c.req, err, c.field)
		}
	}
	if _, err := (form{dimension: 2, cut: true, kind: 1}).encodings([]retrieval.Encoding{{Vector: []float32{0, 0, 1}}}); err == nil {
		t.Error("a vector of zeros was cut to norm 1")
	}
}

// Packing takes the same few allocations for any number of texts.
func TestPackingAllocates(t *testing.T) {
	f := form{dimension: 384, kind: embeddv1.VectorType_VECTOR_TYPE_FLOAT16, packed: true}
	all := make([]retrieval.Encoding, 500)
	for i := range all {
		all[i].Vector = make([]float32, 384)
	}
	if n := testing.AllocsPerRun(5, func() {
		if _, err := f.encodings(all); err != nil {
			t.Error(err)
		}
	}); n > 4 {
		t.Errorf("%v allocations for 500 texts", n)
	}
}
