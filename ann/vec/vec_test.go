package vec

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// each runs a test with every implementation of this machine, and puts the fastest back.
func each(t *testing.T, test func(t *testing.T)) {
	defer func() {
		if err := Use(Implementations()[0]); err != nil {
			t.Error(err)
		}
	}()
	for _, name := range Implementations() {
		if err := Use(name); err != nil {
			t.Fatal(err)
		}
		t.Run(name, test)
	}
}

var expected = flag.String("implementations", "", "the implementations that this machine must have, with commas")

func TestImplementations(t *testing.T) {
	got := strings.Join(Implementations(), ",")
	t.Log(got)
	if *expected != "" && got != *expected {
		t.Errorf("%s, want %s", got, *expected)
	}
}

// batch is a kernel of one query against many rows, and what its tests need to know of it.
type batch[Q, R any, O int32 | float32] struct {
	step int // what a stride is a multiple of
	call func(query []Q, rows []R, ids []uint32, out []O)
	of   func(k kernels) func(query []Q, rows []R, ids []uint32, out []O)
	q    func(rng *rand.Rand) Q
	r    func(rng *rand.Rand) R
}

var (
	codes = batch[int8, byte, int32]{Block, DotCodes, func(k kernels) func([]int8, []byte, []uint32, []int32) { return k.dotCodes },
		func(rng *rand.Rand) int8 { return int8(rng.IntN(255) - 127) },
		func(rng *rand.Rand) byte { return byte(rng.IntN(MaxCode + 1)) }}
	wide = batch[int16, byte, int32]{Block, DotWide, func(k kernels) func([]int16, []byte, []uint32, []int32) { return k.dotWide },
		func(rng *rand.Rand) int16 { return int16(rng.IntN(1 << 16)) }, // some sums wrap
		func(rng *rand.Rand) byte { return byte(rng.IntN(256)) }}
	floats = batch[float32, float32, float32]{Lanes, DotFloats, func(k kernels) func([]float32, []float32, []uint32, []float32) { return k.dotFloats },
		ofAnySize, ofAnySize}
	words = batch[uint64, uint64, int32]{Words, Hamming, func(k kernels) func([]uint64, []uint64, []uint32, []int32) { return k.hamming },
		(*rand.Rand).Uint64, (*rand.Rand).Uint64}
)

// ofAnySize makes floats whose sums depend on the order, and some zeros of both signs.
func ofAnySize(rng *rand.Rand) float32 {
	if rng.IntN(8) == 0 {
		return float32(math.Copysign(0, rng.Float64()-0.5))
	}
	return float32(rng.NormFloat64() * math.Exp2(float64(rng.IntN(40)-20)))
}

// random makes a query and n rows, of dim values each and zeros behind them, at an odd place in memory.
func (k batch[Q, R, O]) random(rng *rand.Rand, stride, dim, n int) (query []Q, rows []R) {
	query, rows = make([]Q, stride+3)[3:], make([]R, n*stride+5)[5:]
	for j := range dim {
		query[j] = k.q(rng)
	}
	for i := range n {
		for j := range dim {
			rows[i*stride+j] = k.r(rng)
		}
	}
	return query, rows
}

func randomIDs(rng *rand.Rand, n, below int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(rng.IntN(below))
	}
	return ids
}

// same tells whether two results have the same bits.
func same[O int32 | float32](a, b O) bool {
	return a == b && math.Signbit(float64(a)) == math.Signbit(float64(b))
}

// agree tests that every implementation gives Go's results, for every stride, number of ids, and place in memory.
func (k batch[Q, R, O]) agree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	each(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for stride := k.step; stride <= 16*Block; stride += k.step {
			query, rows := k.random(rng, stride, stride-rng.IntN(k.step), 9)
			for _, n := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 33} {
				ids := randomIDs(rng, n, 9)
				got, want := make([]O, n+1), make([]O, n)
				got[n] = -7 // what lies behind the results
				k.call(query, rows, ids, got)
				k.of(plain)(query, rows, ids, want)
				if !slices.EqualFunc(got[:n], want, same) || got[n] != -7 {
					t.Fatalf("stride %d, %d ids: %v, want %v", stride, n, got, want)
				}
			}
		}
	})
}

func TestDotCodes(t *testing.T)  { codes.agree(t) }
func TestDotWide(t *testing.T)   { wide.agree(t) }
func TestDotFloats(t *testing.T) { floats.agree(t) }
func TestHamming(t *testing.T)   { words.agree(t) }

// constant tests one query of a value against one row of another.
func (k batch[Q, R, O]) constant(t *testing.T, q Q, r R, product O) {
	each(t, func(t *testing.T) {
		for stride := k.step; stride <= 64*k.step; stride *= 2 {
			out := make([]O, 1)
			k.call(slices.Repeat([]Q{q}, stride), slices.Repeat([]R{r}, stride), []uint32{0}, out)
			if want := product * O(stride); out[0] != want {
				t.Errorf("%v against %v, stride %d: %v, want %v", q, r, stride, out[0], want)
			}
		}
	})
}

// The largest values of all do not saturate, and the integers wrap.
func TestExtremes(t *testing.T) {
	for _, q := range []int8{-127, 127} {
		codes.constant(t, q, MaxCode, int32(q)*MaxCode)
	}
	for _, q := range []int16{-32768, 32767} {
		for _, r := range []int8{-128, -127, 127} {
			wide.constant(t, q, byte(r), int32(q)*int32(r))
		}
	}
	words.constant(t, 0, 1<<64-1, 64)
	words.constant(t, 1<<64-1, 1<<64-1, 0)
	floats.constant(t, 1<<60, 1<<60, 1<<120)
	floats.constant(t, math.SmallestNonzeroFloat32, 1, math.SmallestNonzeroFloat32)
}

// The order of the sum is the one that is written at DotFloats.
func TestDotFloatsOrder(t *testing.T) {
	each(t, func(t *testing.T) {
		query, row, out := make([]float32, 192), slices.Repeat([]float32{1}, 192), make([]float32, 1)
		// The small one is lost in 1<<24 unless 64 products of its own lane, or 32 lanes off, take the large one away first.
		query[3], query[3+64], query[3+32] = 1<<24, -1<<24, 1
		if DotFloats(query, row, []uint32{0}, out); out[0] != 1 {
			t.Errorf("sums of every 64th: %v", out[0])
		}
		query = make([]float32, 192)
		query[3], query[3+32], query[3+16] = 1<<24, -1<<24, 1
		if DotFloats(query, row, []uint32{0}, out); out[0] != 1 {
			t.Errorf("32 apart before 16: %v", out[0])
		}
	})
}

// refuses tests that calls of wrong sizes panic.
func (k batch[Q, R, O]) refuses(t *testing.T) {
	each(t, func(t *testing.T) {
		row := func(n int) []R { return make([]R, n) }
		for name, call := range map[string]func(){
			"no query":       func() { k.call(nil, nil, nil, nil) },
			"half a block":   func() { k.call(make([]Q, k.step/2), row(k.step), []uint32{0}, make([]O, 1)) },
			"no room":        func() { k.call(make([]Q, k.step), row(k.step), []uint32{0}, nil) },
			"row beyond":     func() { k.call(make([]Q, k.step), row(2*k.step-1), []uint32{1, 0}, make([]O, 2)) },
			"row far beyond": func() { k.call(make([]Q, k.step), row(10*k.step), []uint32{1<<32 - 1}, make([]O, 1)) },
		} {
			mustPanic(t, name, call)
		}
	})
}

func mustPanic(t *testing.T, name string, call func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", name)
		}
	}()
	call()
}

func TestRefusals(t *testing.T) {
	codes.refuses(t)
	wide.refuses(t)
	floats.refuses(t)
	words.refuses(t)
	mustPanic(t, "a query without room", func() { Centre(make([]int8, 7), make([]byte, 8)) })
	if err := Use("mmx"); err == nil {
		t.Error("an implementation that there is not")
	}
}

// fuzz compares the implementations on random rows.
func (k batch[Q, R, O]) fuzz(f *testing.F) {
	f.Add(uint64(1), uint8(6), uint8(5))
	f.Fuzz(func(t *testing.T, seed uint64, blocks, n uint8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		stride := (1 + int(blocks)%40) * k.step
		query, rows := k.random(rng, stride, stride, 5)
		ids := randomIDs(rng, int(n)+1, 5)
		want := make([]O, len(ids))
		k.of(plain)(query, rows, ids, want)
		for _, im := range implementations {
			got := make([]O, len(ids))
			k.of(im)(query, rows, ids, got)
			if !slices.EqualFunc(got, want, same) {
				t.Errorf("%s, stride %d, %d ids: %v, want %v", im.name, stride, len(ids), got, want)
			}
		}
	})
}

func FuzzDotCodes(f *testing.F)  { codes.fuzz(f) }
func FuzzDotWide(f *testing.F)   { wide.fuzz(f) }
func FuzzDotFloats(f *testing.F) { floats.fuzz(f) }
func FuzzHamming(f *testing.F)   { words.fuzz(f) }

func TestCentre(t *testing.T) {
	for n := range 300 {
		code, dst := make([]byte, n), make([]int8, n+1)
		for j := range code {
			code[j] = byte((j*7 + n) % (MaxCode + 1))
		}
		dst[n] = 7
		Centre(dst, code)
		for j, c := range code {
			if want := int8(c) - 64; dst[j] != want {
				t.Fatalf("%d codes: %d becomes %d, want %d", n, c, dst[j], want)
			}
		}
		if dst[n] != 7 {
			t.Fatalf("%d codes: wrote beyond", n)
		}
	}
}

func BenchmarkCentre(b *testing.B) {
	dst, code := make([]int8, 384), make([]byte, 384)
	for b.Loop() {
		Centre(dst, code)
	}
}

func ExampleDotCodes() {
	query, rows, out := make([]int8, Block), make([]byte, 2*Block), make([]int32, 2)
	query[0], rows[0], rows[Block] = -3, 5, 100
	DotCodes(query, rows, []uint32{1, 0}, out)
	fmt.Println(out)
	// Output: [-300 -15]
}
