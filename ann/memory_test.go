package ann

import (
	"testing"
)

// Whatever is kept of vectors: the graph is the same for a kind of code, recall is high, and answers differ by no more than what is
// kept does.
func TestMemoryModes(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 48, some(4000))
	queries := like(r, vectors, 100)
	truth := bulk(t, vectors, 0, &Options{Memory: Fast})
	for _, c := range []struct {
		o  Options
		ef int
	}{
		{Options{Memory: Residual}, 64}, {Options{Memory: Fast}, 64}, {Options{Memory: Lean, Dir: t.TempDir()}, 64},
		{Options{Memory: Fast, Code: Bit}, 1000}, {Options{Memory: Lean, Code: Bit}, 1000},
	} {
		x := bulk(t, vectors, 0, &c.o)
		found := 0
		for _, q := range queries {
			want := exact(t, truth, q, 10)
			got, err := x.Search(q, Query{K: 10, Ef: c.ef, Plan: Graph})
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range exact(t, x, q, 10) {
				if d := n.Distance - want[i].Distance; d > 5e-4 || d < -5e-4 {
					t.Errorf("%v %v: exact distance %v, want %v", c.o.Memory, c.o.Code, n.Distance, want[i].Distance)
				}
			}
			for _, n := range got.Neighbors {
				if n.Distance <= want[9].Distance+5e-4 {
					found++
				}
			}
		}
		u := x.Usage()
		t.Logf("%v %v: recall %.3f at ef %d, %d bytes a vector, %d in a file", c.o.Memory, c.o.Code, float64(found)/1000, c.ef, u.Bytes/int64(len(vectors)), u.FileBytes/int64(len(vectors)))
		if found < 970 {
			t.Errorf("%v %v: recall %.3f", c.o.Memory, c.o.Code, float64(found)/1000)
		}
	}
	if _, err := New(4, &Options{Code: Bit}); err == nil {
		t.Error("signs without vectors to compare again")
	}
}
