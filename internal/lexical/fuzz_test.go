package lexical

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// FuzzSnapshot opens chunks with a right checksum around any body, which must be refused or make an index that can be searched.
func FuzzSnapshot(f *testing.F) {
	f.Add(made(rand.New(rand.NewPCG(1, 2)), 10).chunks[0].encode())
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
		if _, _, err := x.Search(t.Context(), ParseQuery("word1 word2 word9"), 10, nil, []uint64{1}); err != nil {
			t.Fatal(err)
		}
		for ordinal := range uint64(10) {
			x.Remove(ordinal)
			x.Add(ordinal+1, Analyze("word1", "word3"))
		}
	})
}
