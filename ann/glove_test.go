package ann

import (
	"compress/gzip"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"embedd/internal/evalsets"
)

func unzip(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// half is the value of an IEEE half float. The set has no infinities.
func half(b []byte) float32 {
	h := binary.LittleEndian.Uint16(b)
	exponent, fraction := int(h>>10&31), float64(h&1023)
	v := math.Ldexp(1+fraction/1024, exponent-15)
	if exponent == 0 {
		v = math.Ldexp(fraction/1024, -14)
	}
	if h>>15 == 1 {
		v = -v
	}
	return float32(v)
}

// Recall@10 on 50,000 word vectors: at least 0.99 at some ef, and Exact gives the published neighbours.
func TestRecallOnGlove(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a graph of 50,000 vectors")
	}
	dir := evalsets.Dir(t, "glove100-50k")
	const dim, n, queries = 100, 50000, 1000
	load := func(name string) [][]float32 {
		data := unzip(t, filepath.Join(dir, name))
		out := make([][]float32, len(data)/2/dim)
		for i := range out {
			v := make([]float32, dim)
			for j := range v {
				v[j] = half(data[2*(i*dim+j):])
			}
			out[i] = normalized(v)
		}
		return out
	}
	base, query := load("base.f16.gz"), load("query.f16.gz")
	truth := unzip(t, filepath.Join(dir, "neighbours.i32.gz"))
	if len(base) != n || len(query) != queries || len(truth) != queries*100*4 {
		t.Fatalf("%d vectors, %d queries, %d bytes of neighbours", len(base), len(query), len(truth))
	}
	begin := time.Now()
	x := bulk(t, base, 0, &Options{Seed: 1})
	t.Logf("built in %v", time.Since(begin).Round(time.Millisecond))
	want := make([]map[uint64]bool, queries)
	different := 0
	for i, q := range query {
		want[i] = map[uint64]bool{}
		for j := range 10 {
			want[i][uint64(binary.LittleEndian.Uint32(truth[4*(i*100+j):]))] = true
		}
		for _, l := range labels(exact(t, x, q, 10)) {
			if !want[i][l] {
				different++
			}
		}
	}
	if different > 3 { // three queries have a tie across rank 10 and 11
		t.Errorf("Exact differs from the published neighbours in %d of %d places", different, 10*queries)
	}
	best := 0.0
	for _, ef := range []int{16, 32, 64, 128, 256, 512, 1024} {
		found := 0
		begin := time.Now()
		for i, q := range query {
			for _, l := range labels(search(t, x, q, 10, ef)) {
				if want[i][l] {
					found++
				}
			}
		}
		recall := float64(found) / (10 * queries)
		best = max(best, recall)
		t.Logf("ef %4d: recall@10 %.4f, %.0f queries/s", ef, recall, queries/time.Since(begin).Seconds())
	}
	if best < 0.99 {
		t.Errorf("recall@10 reaches %.4f, want at least 0.99 at some ef", best)
	}
}
