package lexical

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"embedd/internal/testkit"
)

// truth scores all papers one by one, by the formula of the package's documentation.
type truth map[uint64]Doc

func (m truth) search(q Query, k int, within Set) []Match {
	n, length, df := 0, 0.0, map[string]int{}
	for _, d := range m {
		n++
		length += float64(d.length)
		for _, t := range d.counts {
			df[t.term]++
		}
	}
	var all []Match
	for ordinal, d := range m {
		score := 0.0
		for _, t := range q.counts {
			i := slices.IndexFunc(d.counts, func(c count) bool { return c.term == t.term })
			if i < 0 {
				continue
			}
			f := float64(d.counts[i].n)
			idf := math.Log(1 + (float64(n)-float64(df[t.term])+0.5)/(float64(df[t.term])+0.5))
			score += t.weight * idf * f * (k1 + 1) / (f + k1*(1-b+b*float64(d.length)*float64(n)/length))
		}
		if score > 0 && (within == nil || within.Contains(ordinal)) {
			all = append(all, Match{ordinal, float32(score)})
		}
	}
	slices.SortFunc(all, func(a, b Match) int {
		if worse(b, a) {
			return -1
		}
		return 1
	})
	return all[:min(k, len(all))]
}

type set map[uint64]bool

func (s set) Contains(ordinal uint64) bool { return s[ordinal] }

// words makes a text of words of which some are rare.
func words(rng *rand.Rand, n int) string {
	var all []string
	for range n {
		all = append(all, fmt.Sprintf("word%d", int(math.Exp(rng.Float64()*5))))
	}
	return strings.Join(all, " ")
}

// alike compares answers: scores are sums of float32 here and of float64 there, and may order papers otherwise where they are next to equal.
func alike(t *testing.T, got, want []Match) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d matches, want %d", len(got), len(want))
	}
	for i := range got {
		if math.Abs(float64(got[i].Score-want[i].Score)) > 1e-5*float64(want[i].Score) {
			t.Fatalf("match %d is %v, want %v", i, got[i], want[i])
		}
	}
	if !slices.IsSortedFunc(got, func(a, b Match) int {
		if worse(b, a) {
			return -1
		}
		return 1
	}) {
		t.Fatalf("not in order: %v", got)
	}
}

func TestAgainstTruth(t *testing.T) {
	rng := testkit.Rand(t)
	x, m := New(), truth{}
	for step := range 3000 {
		ordinal := 1 + rng.Uint64N(400)
		_, there := m[ordinal]
		if rng.IntN(3) > 0 {
			m[ordinal] = Analyze(words(rng, rng.IntN(8)), words(rng, rng.IntN(30)))
			x.Add(ordinal, m[ordinal])
			there = true
		} else if delete(m, ordinal); x.Remove(ordinal) != there {
			t.Fatalf("removing %d: want %v", ordinal, there)
		} else {
			there = false
		}
		if x.Len() != len(m) || x.Contains(ordinal) != there {
			t.Fatalf("step %d: %d papers, want %d", step, x.Len(), len(m))
		}
		if step%20 != 0 {
			continue
		}
		q, k := ParseQuery(words(rng, rng.IntN(6))), rng.IntN(30)
		var within Set
		if rng.IntN(2) == 0 {
			some := set{}
			for range 100 {
				some[1+rng.Uint64N(400)] = true
			}
			within = some
		}
		of := []uint64{ordinal, 1 + rng.Uint64N(400), 1e9}
		got, scores, err := x.Search(t.Context(), q, k, within, of)
		if err != nil {
			t.Fatal(err)
		}
		alike(t, got, m.search(q, k, within))
		for i, o := range of {
			want := float32(0)
			if all := m.search(q, math.MaxInt, set{o: true}); len(all) > 0 {
				want = all[0].Score
			}
			if math.Abs(float64(scores[i]-want)) > 1e-5*float64(want) {
				t.Fatalf("the score of %d is %v, want %v", o, scores[i], want)
			}
		}
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
}

// TestChunks has more papers than one chunk has room for.
func TestChunks(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	rng := testkit.Rand(t)
	common, rare := Analyze("", "common common"), Analyze("", "common rare")
	x := New()
	const n = 2*chunkSize + 1000
	for ordinal := uint64(1); ordinal <= n; ordinal++ {
		d := common
		if ordinal%1000 == 0 {
			d = rare
		}
		x.Add(ordinal, d)
	}
	rares := func() (found []uint64) {
		t.Helper()
		got, _, err := x.Search(t.Context(), ParseQuery("rare"), n, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range got {
			found = append(found, m.Ordinal)
		}
		return found
	}
	var want []uint64
	for ordinal := uint64(1000); ordinal <= n; ordinal += 1000 {
		want = append(want, ordinal)
	}
	if got := rares(); !slices.Equal(got, want) {
		t.Fatalf("found %v, want %v", got, want)
	}
	// One of two goes; others take their places.
	for _, i := range rng.Perm(n) {
		if ordinal := uint64(i + 1); ordinal%2000 != 0 && ordinal%2 == 0 {
			x.Remove(ordinal)
		}
	}
	want = slices.DeleteFunc(want, func(ordinal uint64) bool { return ordinal%2000 != 0 })
	if got := rares(); !slices.Equal(got, want) {
		t.Fatalf("found %v, want %v", got, want)
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	chunks := len(x.chunks)
	for ordinal := uint64(n + 1); ordinal < n+n/4; ordinal++ {
		x.Add(ordinal, common)
	}
	if len(x.chunks) != chunks {
		t.Errorf("%d chunks, want %d: places of papers that are gone are not used again", len(x.chunks), chunks)
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestAnalyze(t *testing.T) {
	for _, test := range []struct{ title, abstract, want string }{
		{"Searching", "searched searches", "search 4"},
		{"The of and", "a the to", ""},
		{"", "", ""},
		{"Résumé", "naïve", "naïv 1, résumé 2"},
		{"BERT-based 3.5 e-mail", "α-synuclein", "3.5 2, base 2, bert 2, e 2, mail 2, synuclein 1, α 1"},
		{"", "patient's patients’", "patient 2"},
		{"", strings.Repeat("x", 65) + " " + strings.Repeat("z", 64), strings.Repeat("z", 64) + " 1"},
		{"", "\x00\xff word", "word 1"},
	} {
		d := Analyze(test.title, test.abstract)
		var got []string
		for _, c := range d.counts {
			got = append(got, fmt.Sprint(c.term, " ", c.n))
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%q, %q: %s, want %s", test.title, test.abstract, strings.Join(got, ", "), test.want)
		}
	}
	if !ParseQuery("of the").Empty() || ParseQuery("of words").Empty() {
		t.Error("a query of stop words is not empty, or another one is")
	}
}

// made is an index with papers, some of which were removed.
func made(rng *rand.Rand, n int) *Index {
	x := New()
	for ordinal := range uint64(n) {
		x.Add(ordinal+1, Analyze(words(rng, 5), words(rng, 20)))
	}
	for range n / 10 {
		x.Remove(1 + rng.Uint64N(uint64(n)))
	}
	return x
}

func TestSnapshot(t *testing.T) {
	rng := testkit.Rand(t)
	for _, n := range []int{0, 1, 500} {
		x := made(rng, n)
		var b bytes.Buffer
		if err := x.WriteSnapshot(&b, []byte("note")); err != nil {
			t.Fatal(err)
		}
		if size := x.SnapshotSize(); int64(b.Len()) > size || int64(b.Len()) < size-2*MaxNote {
			t.Errorf("%d bytes were foretold, %d written", size, b.Len())
		}
		y, note, err := Open(bytes.NewReader(b.Bytes()))
		if err != nil || string(note) != "note" {
			t.Fatalf("note %q, %v", note, err)
		}
		if err := y.Check(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			q := ParseQuery(words(rng, 4))
			want, _, _ := x.Search(t.Context(), q, 50, nil, nil)
			if got, _, err := y.Search(t.Context(), q, 50, nil, nil); err != nil || !slices.Equal(got, want) {
				t.Fatalf("found %v, want %v; %v", got, want, err)
			}
		}
		for range 200 { // what was opened goes on as another
			y.Add(1+rng.Uint64N(600), Analyze(words(rng, 3), words(rng, 10)))
			y.Remove(1 + rng.Uint64N(600))
		}
		if err := y.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if err := New().WriteSnapshot(&bytes.Buffer{}, make([]byte, MaxNote+1)); err == nil {
		t.Error("a note that is too long is taken")
	}
}

// TestDamagedSnapshot: each byte that is changed, and each that is missing, is found.
func TestDamagedSnapshot(t *testing.T) {
	var b bytes.Buffer
	if err := made(testkit.Rand(t), 20).WriteSnapshot(&b, []byte("note")); err != nil {
		t.Fatal(err)
	}
	for i := range b.Bytes() {
		damaged := bytes.Clone(b.Bytes())
		damaged[i] ^= 1 << (i % 8)
		if _, _, err := Open(bytes.NewReader(damaged)); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("byte %d of %d is changed: %v", i, b.Len(), err)
		}
		if _, _, err := Open(bytes.NewReader(b.Bytes()[:i])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut to %d bytes of %d: %v", i, b.Len(), err)
		}
	}
	if _, _, err := Open(bytes.NewReader(append(b.Bytes(), 0))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a byte more: %v", err)
	}
}
