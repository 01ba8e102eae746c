package vec

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// randomLinks makes links of every kind: below n and not, flagged, twice, and now and then End.
func randomLinks(rng *rand.Rand, length int, n uint32) []uint32 {
	links := make([]uint32, length)
	for i := range links {
		switch rng.IntN(12) {
		case 0:
			links[i] = rng.Uint32()
		case 1:
			links[i] = n + rng.Uint32N(3)
		case 2:
			links[i] = links[rng.IntN(i+1)]
		case 3:
			if rng.IntN(8) == 0 {
				links[i] = End
			}
		default:
			links[i] = rng.Uint32N(max(n, 1))
		}
		if rng.IntN(3) == 0 {
			links[i] |= 1 << 31
		}
	}
	return links
}

// compareExpand tests an implementation against Go's, on visited that may have the bits of full.
func compareExpand(t *testing.T, k kernels, rng *rand.Rand, length int, n uint32, full uint64) {
	t.Helper()
	links := randomLinks(rng, length, n)
	visited := make([]uint64, (n+63)/64+1)
	for i := range visited {
		visited[i] = rng.Uint64() & full
	}
	var rows []byte // too few of them, but nothing reads them
	stride := rng.IntN(1000)
	if rng.IntN(2) == 0 {
		rows = make([]byte, 1+stride)
	}
	before, reference := slices.Clone(links), slices.Clone(visited)
	want, got := make([]uint32, length), make([]uint32, length+1)
	got[length] = 7
	wanted := expandGo(links, reference, n, want, rows, stride)
	count := k.expand(links, visited, n, got, rows, stride)
	if count != wanted || !slices.Equal(got[:count], want[:count]) {
		t.Errorf("%s, links %x below %d: %v, want %v", k.name, links, n, got[:count], want[:wanted])
	}
	if !slices.Equal(visited, reference) {
		t.Errorf("%s, links %x below %d: visited %x, want %x", k.name, links, n, visited, reference)
	}
	if got[length] != 7 || !slices.Equal(links, before) {
		t.Errorf("%s, %d links: wrote where it must not", k.name, length)
	}
}

func TestExpandAgrees(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, im := range implementations {
		rng := rand.New(rand.NewPCG(seed, 3))
		for length := 1; length <= 70; length++ {
			for _, n := range []uint32{1, 2, 63, 64, 65, 1000, 100_000} {
				for _, full := range []uint64{0, 0x5a5a5a5a5a5a5a5a, 1<<64 - 1} {
					compareExpand(t, im, rng, length, n, full)
				}
			}
		}
	}
}

func TestExpand(t *testing.T) {
	const flag = 1 << 31
	each(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			links []uint32
			seen  uint64
			n     uint32
			want  []uint32
			after uint64
		}{
			{"none", nil, 0, 10, nil, 0},
			{"nothing below 0", []uint32{0, 1}, 0, 0, nil, 0},
			{"all", []uint32{3, 1, 2}, 0, 10, []uint32{3, 1, 2}, 0b1110},
			{"to the end", []uint32{3, End, 2}, 0, 10, []uint32{3}, 0b1000},
			{"flagged", []uint32{3 | flag, 3, 2, 2 | flag}, 0, 10, []uint32{3, 2}, 0b1100},
			{"beyond", []uint32{10, 9, Mask, 1<<32 - 2}, 0, 10, []uint32{9}, 1 << 9},
			{"seen", []uint32{3, 1, 2}, 0b1010, 10, []uint32{2}, 0b1110},
			{"the last bit", []uint32{63, 63}, 0, 64, []uint32{63}, 1 << 63},
		} {
			visited, fresh := []uint64{c.seen}, make([]uint32, len(c.links))
			count := Expand(c.links, visited, c.n, fresh, make([]byte, 640), 64)
			if !slices.Equal(fresh[:count], c.want) || visited[0] != c.after {
				t.Errorf("%s: %v and %b, want %v and %b", c.name, fresh[:count], visited[0], c.want, c.after)
			}
		}
		mustPanic(t, "visited too short", func() { Expand(nil, make([]uint64, 1), 65, nil, nil, 0) })
		mustPanic(t, "no room", func() { Expand([]uint32{1}, make([]uint64, 1), 64, nil, nil, 0) })
		mustPanic(t, "a negative stride", func() { Expand([]uint32{1}, make([]uint64, 1), 64, make([]uint32, 1), make([]byte, 64), -64) })
	})
}

// Links that change meanwhile give ids that are below n and not twice.
func TestExpandOfChangingLinks(t *testing.T) {
	each(t, func(t *testing.T) {
		const n = 1000
		links := make([]uint32, 32)
		var stop atomic.Bool
		var others sync.WaitGroup
		others.Go(func() {
			rng := rand.New(rand.NewPCG(1, 1))
			for !stop.Load() {
				for i := range links {
					atomic.StoreUint32(&links[i], rng.Uint32())
				}
				for i := range links {
					atomic.StoreUint32(&links[i], rng.Uint32N(2*n))
				}
			}
		})
		fresh := make([]uint32, 32)
		for range 2000 {
			visited := make([]uint64, (n+63)/64)
			count := Expand(links, visited, n, fresh, nil, 0)
			seen := map[uint32]bool{}
			for _, id := range fresh[:count] {
				if id >= n || seen[id] || visited[id/64]>>(id%64)&1 == 0 {
					t.Fatalf("fresh %v", fresh[:count])
				}
				seen[id] = true
			}
		}
		stop.Store(true)
		others.Wait()
	})
}

func FuzzExpand(f *testing.F) {
	f.Add(uint64(1), uint8(32), uint32(1000), uint64(1<<64-1))
	f.Fuzz(func(t *testing.T, seed uint64, length uint8, n uint32, full uint64) {
		for _, im := range implementations {
			compareExpand(t, im, rand.New(rand.NewPCG(seed, 4)), int(length)+1, n%20_000+1, full)
		}
	})
}
