package vec

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/viterin/vek/vek32"
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

// random makes a query and n rows of a stride, dim values each, at an odd place in memory.
func random(rng *rand.Rand, stride, dim, n int) (query []int8, rows []byte) {
	query, rows = make([]int8, stride+3)[3:], make([]byte, n*stride+5)[5:]
	for j := range dim {
		query[j] = int8(rng.IntN(255) - 127)
	}
	for i := range n {
		for j := range dim {
			rows[i*stride+j] = byte(rng.IntN(MaxCode + 1))
		}
	}
	return query, rows
}

// Every implementation gives Go's integers, for every stride, number of ids, and place in memory.
func TestDotCodes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	each(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for stride := Block; stride <= 16*Block; stride += Block {
			for n := range 12 {
				dim := stride - rng.IntN(Block)
				query, rows := random(rng, stride, dim, 9)
				ids := make([]uint32, n)
				for i := range ids {
					ids[i] = uint32(rng.IntN(9))
				}
				got, want := make([]int32, n+1), make([]int32, n)
				got[n] = -7 // what lies behind the results
				DotCodes(query, rows, ids, got)
				dotCodesGo(query, rows, ids, want)
				if !slices.Equal(got[:n], want) || got[n] != -7 {
					t.Fatalf("stride %d, %d ids: %v, want %v", stride, n, got, want)
				}
			}
		}
	})
}

// The largest values of all do not saturate.
func TestDotCodesOfExtremes(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, q := range []int8{-127, 127} {
			for stride := Block; stride <= 64*Block; stride *= 2 {
				query, rows := slices.Repeat([]int8{q}, stride), slices.Repeat([]byte{MaxCode}, stride)
				out := make([]int32, 1)
				DotCodes(query, rows, []uint32{0}, out)
				if want := int32(q) * MaxCode * int32(stride); out[0] != want {
					t.Errorf("stride %d: %d, want %d", stride, out[0], want)
				}
			}
		}
	})
}

func TestDotCodesRefuses(t *testing.T) {
	for name, call := range map[string]func(){
		"no query":       func() { DotCodes(nil, nil, nil, nil) },
		"half a block":   func() { DotCodes(make([]int8, 32), make([]byte, 64), []uint32{0}, make([]int32, 1)) },
		"no room":        func() { DotCodes(make([]int8, 64), make([]byte, 64), []uint32{0}, nil) },
		"row beyond":     func() { DotCodes(make([]int8, 64), make([]byte, 127), []uint32{1}, make([]int32, 1)) },
		"row far beyond": func() { DotCodes(make([]int8, 64), make([]byte, 640), []uint32{1 << 31}, make([]int32, 1)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
	if err := Use("mmx"); err == nil {
		t.Error("an implementation that there is not")
	}
}

func FuzzDotCodes(f *testing.F) {
	f.Add(uint64(1), uint8(6), uint8(5))
	f.Fuzz(func(t *testing.T, seed uint64, blocks, n uint8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		stride := (1 + int(blocks)%40) * Block
		query, rows := random(rng, stride, stride, 5)
		ids := make([]uint32, n)
		for i := range ids {
			ids[i] = uint32(rng.IntN(5))
		}
		want := make([]int32, n)
		dotCodesGo(query, rows, ids, want)
		for _, im := range implementations {
			got := make([]int32, n)
			if n > 0 {
				im.dot(query, rows, ids, got)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, stride %d, %d ids: %v, want %v", im.name, stride, n, got, want)
			}
		}
	})
}

// One distance of 384 values, of rows in random order: in a core's second cache, in memory, and vek's of float32 rows beside it.
func BenchmarkDotCodes(b *testing.B) {
	const dim, call = 384, 32
	for _, n := range []int{2_000, 100_000, 1_000_000} {
		rng := rand.New(rand.NewPCG(1, 1))
		query, rows := random(rng, dim, dim, 1)
		rows = slices.Repeat(rows[:dim:dim], n)
		ids := make([]uint32, 1<<16)
		for i := range ids {
			ids[i] = uint32(rng.IntN(n))
		}
		out := make([]int32, call)
		for _, name := range Implementations() {
			b.Run(fmt.Sprintf("%s/rows=%d", name, n), func(b *testing.B) {
				if err := Use(name); err != nil {
					b.Fatal(err)
				}
				at := 0
				for i := 0; i < b.N; i += call {
					DotCodes(query, rows, ids[at:at+call], out)
					at = (at + call) % len(ids)
				}
			})
		}
		if err := Use(Implementations()[0]); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("vek32/rows=%d", n), func(b *testing.B) {
			floats, q := make([]float32, n*dim), make([]float32, dim)
			for i := range floats {
				floats[i] = 1
			}
			b.ResetTimer()
			var sum float32
			for i := range b.N {
				id := int(ids[i%len(ids)])
				sum += vek32.Dot(q, floats[id*dim:(id+1)*dim])
			}
			_ = sum
		})
	}
}
