package store

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestRange(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "d", "b", "a", "c") // 1 to 4
	if _, _, err := s.Delete([]string{"b"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Put([]Write{testWrite("d", 2)}); err != nil { // 5
		t.Fatal(err)
	}
	if s.Next() != 6 {
		t.Fatalf("the next ordinal is %d, want 6", s.Next())
	}
	const plenty = 1 << 20
	for _, test := range []struct {
		after, before uint64
		limit, bytes  int
		want          string
	}{
		{0, 6, 10, plenty, "acd"}, {0, 5, 10, plenty, "ac"}, {3, 6, 10, plenty, "cd"}, {0, 6, 2, plenty, "ac"}, {0, 6, 10, 1, "a"},
		{5, 6, 10, plenty, ""}, {6, 6, 10, plenty, ""}, {7, 6, 10, plenty, ""}, {0, 0, 10, plenty, ""}, {0, 6, 0, plenty, ""},
		{0, math.MaxUint64, 10, plenty, "acd"}, {math.MaxUint64, math.MaxUint64, 10, plenty, ""}, {math.MaxUint64 - 1, math.MaxUint64, 10, plenty, ""},
	} {
		ordinals, records, err := s.Range(test.after, test.before, test.limit, test.bytes)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for i, r := range records {
			got.WriteString(r.Paper.ID)
			if o, err := s.Ordinal(r.Paper.ID); err != nil || o != ordinals[i] {
				t.Errorf("%s is said to have the ordinal %d, and has %d, %v", r.Paper.ID, ordinals[i], o, err)
			}
		}
		if got.String() != test.want || !slices.IsSorted(ordinals) {
			t.Errorf("Range(%d, %d, %d, %d) = %q %v, want %q", test.after, test.before, test.limit, test.bytes, got.String(), ordinals, test.want)
		}
	}
}
