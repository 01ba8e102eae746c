package vec

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/viterin/vek/vek32"
)

// The benchmarks give the time of one distance of 384 values, of rows in random order, 32 in a call: in a core's second cache, in
// memory, and far from all caches.
const benchDim, benchCall = 384, 32

var benchRows = []int{2_000, 100_000, 1_000_000}

// benchData gives n rows, all of one value, and ids in random order.
func benchData[R any](b *testing.B, value R, stride, n int) (rows []R, ids []uint32) {
	size := int(unsafe.Sizeof(value))
	rows = unsafe.Slice((*R)(unsafe.Pointer(unsafe.SliceData(huge(b, n*stride*size)))), n*stride)
	rows[0] = value
	for filled := 1; filled < len(rows); filled *= 2 {
		copy(rows[filled:], rows[:filled])
	}
	return rows, randomIDs(rand.New(rand.NewPCG(1, 1)), 1<<20, n)
}

// benchmark measures a kernel whose rows have stride values, with every implementation.
func (k batch[Q, R, O]) benchmark(b *testing.B, stride int) {
	defer func() { _ = Use(Implementations()[0]) }()
	query, out := make([]Q, stride), make([]O, benchCall)
	for j := range query {
		query[j] = k.q(rand.New(rand.NewPCG(2, 2)))
	}
	for _, n := range benchRows {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			rows, ids := benchData(b, k.r(rand.New(rand.NewPCG(1, 1))), stride, n)
			for _, name := range Implementations() {
				b.Run("implementation="+name, func(b *testing.B) {
					if err := Use(name); err != nil {
						b.Fatal(err)
					}
					at := 0
					for i := 0; i < b.N; i += benchCall {
						k.call(query, rows, ids[at:at+benchCall], out)
						at = (at + benchCall) % len(ids)
					}
				})
			}
		})
	}
}

func BenchmarkDotCodes(b *testing.B)  { codes.benchmark(b, benchDim) }
func BenchmarkDotWide(b *testing.B)   { wide.benchmark(b, benchDim) }
func BenchmarkDotFloats(b *testing.B) { floats.benchmark(b, benchDim) }
func BenchmarkHamming(b *testing.B)   { words.benchmark(b, benchDim/64+2) } // 384 bits in a cache line

// BenchmarkVek is what the others are measured against: vek's dot product of float32 rows.
func BenchmarkVek(b *testing.B) {
	for _, n := range benchRows {
		b.Run(fmt.Sprintf("rows=%d/implementation=vek32", n), func(b *testing.B) {
			rows, ids := benchData(b, float32(1), benchDim, n)
			query := make([]float32, benchDim)
			var sum float32
			b.ResetTimer()
			for i := range b.N {
				id := int(ids[i%len(ids)])
				sum += vek32.Dot(query, rows[id*benchDim:][:benchDim])
			}
			_ = sum
		})
	}
}

// BenchmarkExpand gives the time of one hop: 32 links, of which some 13 are new, alone and with the distances of these; and the
// same when only DotCodes fetches rows.
func BenchmarkExpand(b *testing.B) {
	defer func() { _ = Use(Implementations()[0]) }()
	for _, n := range []int{120_000, 1_000_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			rows, _ := benchData(b, byte(1), benchDim, n)
			rng := rand.New(rand.NewPCG(1, 1))
			const lists = 1 << 15
			links := make([]uint32, lists*benchCall)
			for l := range lists {
				list := links[l*benchCall:][:benchCall]
				for i := range list {
					if list[i] = rng.Uint32N(uint32(n)); i > 0 && rng.IntN(benchCall) >= 13 {
						list[i] = list[rng.IntN(i)]
					}
				}
			}
			query, visited, out := make([]int8, benchDim), make([]uint64, (n+63)/64), make([]int32, benchCall)
			fresh := make([]uint32, benchCall)
			for _, name := range Implementations() {
				for _, then := range []string{"nothing", "DotCodes", "DotCodes-unfetched"} {
					b.Run(fmt.Sprintf("implementation=%s/then=%s", name, then), func(b *testing.B) {
						if err := Use(name); err != nil {
							b.Fatal(err)
						}
						total, rows := 0, rows
						dots := rows
						if then == "DotCodes-unfetched" {
							rows = nil
						}
						for i := range b.N {
							count := Expand(links[i%lists*benchCall:][:benchCall], visited, uint32(n), fresh, rows, benchDim)
							if then != "nothing" {
								DotCodes(query, dots, fresh[:count], out)
							}
							for _, id := range fresh[:count] {
								visited[id/64] = 0
							}
							total += count
						}
						b.ReportMetric(float64(total)/float64(b.N), "fresh/op")
					})
				}
			}
		})
	}
}
