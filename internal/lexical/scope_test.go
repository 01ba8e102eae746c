package lexical

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"embedd/internal/testkit"
)

// Ordinals gives those of a set, in no order.
func (s set) Ordinals() iter.Seq[uint64] { return maps.Keys(s) }

// A search within some papers finds what an index of these alone finds, whatever there is beside them and however that changes.
func TestSearchWithin(t *testing.T) {
	rng := testkit.Rand(t)
	x, m := New(), truth{}
	scope, version := set{}, uint64(0)
	for step := range 400 {
		for range 10 {
			ordinal := 1 + rng.Uint64N(400)
			if rng.IntN(4) == 0 {
				x.Remove(ordinal)
				delete(m, ordinal)
				continue
			}
			m[ordinal] = Analyze(words(rng, rng.IntN(8)), words(rng, rng.IntN(30)))
			x.Add(ordinal, m[ordinal])
		}
		if step%3 == 0 {
			scope, version = set{}, version+1
			for range rng.IntN(200) {
				scope[1+rng.Uint64N(500)] = true // of which the index does not have all
			}
		}
		alone, only := New(), truth{}
		for ordinal := range scope {
			if d, there := m[ordinal]; there {
				alone.Add(ordinal, d)
				only[ordinal] = d
			}
		}
		q, k := ParseQuery(words(rng, rng.IntN(6))), rng.IntN(30)
		var within Set
		if rng.IntN(2) == 0 {
			some := set{}
			for range 250 {
				some[1+rng.Uint64N(400)] = true
			}
			within = some
		}
		of := []uint64{1 + rng.Uint64N(400), 1 + rng.Uint64N(400), 1e9}
		s := Scope{"scope", version, scope}
		got, scores, err := x.SearchWithin(t.Context(), q, k, s, within, of)
		if err != nil {
			t.Fatal(err)
		}
		alike(t, got, only.search(q, k, within))
		same, sameScores, err := alone.SearchWithin(t.Context(), q, k, s, within, of)
		if err != nil || !slices.Equal(got, same) || !slices.Equal(scores, sameScores) {
			t.Fatalf("step %d: found %v with the scores %v; without other papers %v, %v, %v", step, got, scores, same, sameScores, err)
		}
		_, want, err := alone.Search(t.Context(), q, 0, nil, of)
		for i := range of {
			if err != nil || scores[i] != want[i] {
				t.Fatalf("the score of %d is %v, want %v, %v", of[i], scores[i], want[i], err)
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := x.SearchWithin(ended, ParseQuery("word1 word2"), 3, Scope{"another", 1, scope}, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a search that has ended: %v", err)
	}
	for i := range 3 * maxScopes {
		if _, _, err := x.SearchWithin(t.Context(), ParseQuery("word1"), 3, Scope{fmt.Sprint(i), 1, scope}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := x.scopes.kept.Len(); n != maxScopes {
		t.Errorf("%d scopes are kept, want %d", n, maxScopes)
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
}
