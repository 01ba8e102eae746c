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

	"embedd/internal/parts"
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
	slices.SortFunc(all, compare)
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
	if !slices.IsSortedFunc(got, compare) {
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

// plain is Search without its short ways: each paper's sum, in the order in which words are added up, and all of them sorted. Scores are equal to the
// last bit.
func (x *Index) plain(q Query, k int, within Set) (best []Match) {
	t := x.saturations()
	scores := map[uint64]float32{}
	for _, w := range x.weigh(q) {
		for i, c := range x.chunks {
			for _, p := range w.chunks[i].list {
				scores[c.ordinals[p.at()]] += float32(w.weight * t.saturation(p.count(), c.lengths[p.at()]))
			}
		}
	}
	for ordinal, score := range scores {
		if within == nil || within.Contains(ordinal) {
			best = append(best, Match{ordinal, score})
		}
	}
	slices.SortFunc(best, compare)
	return best[:min(k, len(best))]
}

// common makes the words of a paper, some of which most papers have, and some that have one often.
func common(rng *rand.Rand) (d Doc) {
	for i := range 40 {
		if rng.Float64() < 2/float64(i+2) {
			n := 1 + uint32(rng.ExpFloat64())
			if rng.IntN(1000) == 0 {
				n = 10 + rng.Uint32N(20)
			}
			d.counts = append(d.counts, count{fmt.Sprintf("word%02d", i), n})
			d.length += n
		}
	}
	if rng.IntN(10) == 0 {
		d.counts = append(d.counts, count{fmt.Sprintf("xare%d", rng.IntN(20)), 1})
		d.length++
	}
	return d
}

// TestManyPapers has words that most papers have, so that what they give is looked up, papers that come and go, and more than one chunk.
func TestManyPapers(t *testing.T) {
	rng := testkit.Rand(t)
	x := New()
	n := uint64(30_000)
	if !testing.Short() {
		n = chunkSize + 20_000
	}
	for ordinal := uint64(1); ordinal <= n; ordinal++ {
		x.Add(ordinal, common(rng))
	}
	looked := 0
	for range 6 {
		for range 40 {
			var text []string
			for range 1 + rng.IntN(5) {
				text = append(text, fmt.Sprintf("word%02d", rng.IntN(20)))
			}
			for range rng.IntN(5) {
				text = append(text, fmt.Sprintf("xare%d", rng.IntN(20)))
			}
			q, k := ParseQuery(strings.Join(text, " ")), []int{0, 1, 10, 200, 3000}[rng.IntN(5)]
			var within Set
			if rng.IntN(4) == 0 {
				some := set{}
				for range n / 10 {
					some[1+rng.Uint64N(n)] = true
				}
				within = some
			}
			of := []uint64{1 + rng.Uint64N(n), 1 + rng.Uint64N(n), n + 1}
			got, scores, err := x.Search(t.Context(), q, k, within, of)
			if err != nil {
				t.Fatal(err)
			}
			if want := x.plain(q, k, within); !slices.Equal(got, want) {
				t.Fatalf("%q, k %d, within %t: found %v, want %v", text, k, within != nil, got, want)
			}
			for i, ordinal := range of {
				want := float32(0)
				if all := x.plain(q, 1, set{ordinal: true}); len(all) > 0 {
					want = all[0].Score
				}
				if scores[i] != want {
					t.Fatalf("%q: the score of %d is %v, want %v", text, ordinal, scores[i], want)
				}
			}
			s := sumsPool.Get().(*sums)
			if len(s.rest) > 0 {
				looked++
			}
			sumsPool.Put(s)
		}
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		for range n / 5 { // so many that some words are rare for a while
			if ordinal := 1 + rng.Uint64N(n); rng.IntN(3) > 0 {
				x.Remove(ordinal)
			} else {
				x.Add(ordinal, common(rng))
			}
		}
	}
	if looked == 0 {
		t.Error("no word was looked up: the test does not see what it is for")
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
		if size := x.SnapshotSize(); int64(b.Len()) > size || int64(b.Len()) < size-2*parts.MaxNote {
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
	if err := New().WriteSnapshot(&bytes.Buffer{}, make([]byte, parts.MaxNote+1)); err == nil {
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
		if _, _, err := Open(bytes.NewReader(damaged)); !errors.Is(err, parts.ErrSnapshot) {
			t.Fatalf("byte %d of %d is changed: %v", i, b.Len(), err)
		}
		if _, _, err := Open(bytes.NewReader(b.Bytes()[:i])); !errors.Is(err, parts.ErrSnapshot) {
			t.Fatalf("cut to %d bytes of %d: %v", i, b.Len(), err)
		}
	}
	if _, _, err := Open(bytes.NewReader(append(b.Bytes(), 0))); !errors.Is(err, parts.ErrSnapshot) {
		t.Errorf("a byte more: %v", err)
	}
}
