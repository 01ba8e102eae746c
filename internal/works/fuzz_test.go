package works

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// FuzzSnapshot opens parts with a right checksum around any body, which must be refused or make an index that can be used.
func FuzzSnapshot(f *testing.F) {
	x := made(rand.New(rand.NewPCG(1, 2)), 10)
	f.Add(x.encode([]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		var b bytes.Buffer
		if err := form.Write(&b, nil, 1, func(int) []byte { return body }); err != nil {
			t.Fatal(err)
		}
		x, _, err := Open(&b)
		if err != nil {
			return
		}
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		for ordinal := range uint64(10) {
			x.Same(ordinal, nil)
			x.Remove(ordinal)
			x.Add(ordinal+1, Analyze(Paper{Title: "A title of some length", DOI: "10.1000/1"}))
		}
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
