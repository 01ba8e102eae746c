package works

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"embedd/internal/parts"
	"embedd/internal/testkit"
)

// truth finds the same works by the package's documentation: it sorts the papers into buckets, compares those near each other, and walks.
type truth map[uint64]Features

func (m truth) links() map[uint64][]uint64 {
	buckets := map[uint32][]uint64{}
	for ordinal, f := range m {
		for _, key := range f.keys(nil) {
			buckets[key] = append(buckets[key], ordinal)
		}
	}
	linked := map[[2]uint64]bool{}
	for _, members := range buckets {
		slices.Sort(members)
		for i, p := range members {
			for _, q := range members[i+1 : min(len(members), i+1+window)] {
				f, g := m[p], m[q]
				if Alike(&f, &g) {
					linked[[2]uint64{p, q}], linked[[2]uint64{q, p}] = true, true
				}
			}
		}
	}
	links := map[uint64][]uint64{}
	for l := range linked {
		links[l[0]] = append(links[l[0]], l[1])
	}
	for _, all := range links {
		slices.Sort(all)
	}
	return links
}

func (m truth) same(links map[uint64][]uint64, ordinal uint64, within Set) []uint64 {
	all := []uint64{ordinal}
	for i := 0; i < len(all); i++ {
		for _, q := range links[all[i]] {
			if !slices.Contains(all, q) && (within == nil || within.Contains(q)) {
				all = append(all, q)
			}
		}
	}
	all = slices.Clone(all[1:min(len(all), 1+MaxWork)])
	slices.Sort(all)
	return all
}

type set map[uint64]bool

func (s set) Contains(ordinal uint64) bool { return s[ordinal] }

// someone makes a paper that is often a version of another: few titles, few abstracts, which differ in some words, and few ids.
func someone(rng *rand.Rand) Paper {
	var p Paper
	if rng.IntN(4) > 0 {
		p.Title = fmt.Sprintf("A title of some length, the %d.", rng.IntN(15))
	}
	if rng.IntN(4) > 0 {
		which := rng.IntN(15)
		var all []string
		for i := range 60 {
			all = append(all, fmt.Sprintf("word%d", i*100+which))
		}
		for range rng.IntN(12) {
			all[rng.IntN(len(all))] = fmt.Sprintf("other%d", rng.IntN(1000))
		}
		p.Abstract = strings.Join(all[:20+rng.IntN(41)], " ")
	}
	if rng.IntN(3) == 0 {
		p.DOI = fmt.Sprintf("10.1000/%d", rng.IntN(40))
	}
	if rng.IntN(3) == 0 {
		p.ArxivID = fmt.Sprintf("2104.000%02dv%d", rng.IntN(40), 1+rng.IntN(3))
	}
	return p
}

func TestAgainstTruth(t *testing.T) {
	rng := testkit.Rand(t)
	for _, most := range []uint64{30, 300} { // few papers that come and go, and so many that buckets are larger than the window
		x, m := New(), truth{}
		for step := range 2000 {
			ordinal := 1 + rng.Uint64N(most)
			_, there := m[ordinal]
			if rng.IntN(3) > 0 {
				m[ordinal] = Analyze(someone(rng))
				x.Add(ordinal, m[ordinal])
			} else if delete(m, ordinal); x.Remove(ordinal) != there {
				t.Fatalf("removing %d: want %v", ordinal, there)
			}
			if _, there := m[ordinal]; x.Len() != len(m) || x.Contains(ordinal) != there {
				t.Fatalf("step %d: %d papers, want %d", step, x.Len(), len(m))
			}
			if step%50 == 0 {
				compareWithTruth(t, rng, x, m, most)
			}
		}
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		// The order of adding leaves no trace, and neither what was removed.
		y := New()
		ordinals := slices.Collect(maps.Keys(m))
		rng.Shuffle(len(ordinals), func(i, j int) { ordinals[i], ordinals[j] = ordinals[j], ordinals[i] })
		for _, ordinal := range ordinals {
			y.Add(ordinal, m[ordinal])
		}
		var a, b bytes.Buffer
		if err := errors.Join(x.WriteSnapshot(&a, nil), y.WriteSnapshot(&b, nil)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatal("the same papers give another snapshot")
		}
		for ordinal := range m {
			if got, want := y.Same(ordinal, nil), x.Same(ordinal, nil); !slices.Equal(got, want) {
				t.Fatalf("the same work as %d is %v in another order of adding, and was %v", ordinal, got, want)
			}
		}
		for _, ordinal := range ordinals {
			x.Remove(ordinal)
		}
		if err := x.Check(); err != nil || len(x.buckets) != 0 || len(x.links) != 0 {
			t.Fatalf("without papers there are %d buckets and %d links; %v", len(x.buckets), len(x.links), err)
		}
	}
}

func compareWithTruth(t *testing.T, rng *rand.Rand, x *Index, m truth, most uint64) {
	t.Helper()
	links := m.links()
	var within Set
	if rng.IntN(2) == 0 {
		some := set{}
		for range most / 2 {
			some[1+rng.Uint64N(most)] = true
		}
		within = some
	}
	for ordinal := range m {
		if got, want := x.Same(ordinal, within), m.same(links, ordinal, within); !slices.Equal(got, want) {
			t.Fatalf("the same work as %d is %v, want %v", ordinal, got, want)
		}
	}
	alias := fmt.Sprintf("DOI:10.1000/%d", rng.IntN(40))
	var want []uint64
	for ordinal, f := range m {
		if f.hasAlias(hashString(alias)) && (within == nil || within.Contains(ordinal)) {
			want = append(want, ordinal)
		}
	}
	slices.Sort(want)
	if got := x.ByAlias(alias, within); !slices.Equal(got, want) {
		t.Fatalf("%s is the alias of %v, want %v", alias, got, want)
	}
	// A paper that is not there is the same work as if it were stored last.
	f := Analyze(someone(rng))
	got := x.SameAs(f, nil)
	x.Add(1e9, f)
	if want := x.Same(1e9, nil); !slices.Equal(got, want) {
		t.Fatalf("the same work as one that is not there is %v, want %v", got, want)
	}
	x.Remove(1e9)
}

// TestAlike: what is the same work, and what is not.
func TestAlike(t *testing.T) {
	abstract := "We study how well sentence encoders find related papers, and show that small models that were trained on citations come near to large ones. " +
		"Our experiments on three collections compare them by what readers clicked, and we release the code, the data and the models for others to use."
	reworded := strings.ReplaceAll(strings.ReplaceAll(abstract, "three collections", "five data sets"), "and we release", "and release")
	other := "The crystal structure of a new superconducting oxide is refined from neutron diffraction data between room temperature and four kelvin, " +
		"and a phase transition at ninety kelvin is found in which the oxygen octahedra rotate about two of their axes."
	const long, short = "A title that is long enough to say which paper it is", "Editorial note"
	for _, test := range []struct {
		name string
		a, b Paper
		want bool
	}{
		{"nothing", Paper{}, Paper{}, false},
		{"a DOI", Paper{Title: "One", DOI: "10.1000/X"}, Paper{Title: "Other", URL: "https://doi.org/10.1000/x"}, true},
		{"versions of an arXiv paper", Paper{Title: "One", ArxivID: "2104.08821v1"}, Paper{Title: "Other", ArxivID: "2104.08821v2"}, true},
		{"title, hyphens, abstract reworded", Paper{Title: "Re-ranking: A Survey", Abstract: abstract}, Paper{Title: "Reranking – a survey", Abstract: reworded}, true},
		{"title, other abstract", Paper{Title: long, Abstract: abstract}, Paper{Title: long, Abstract: other}, false},
		{"long title, no abstract", Paper{Title: long, Abstract: abstract}, Paper{Title: long}, true},
		{"short title, no abstract", Paper{Title: short, Abstract: abstract}, Paper{Title: short}, false},
		{"another title, abstract reworded", Paper{Title: "One", Abstract: abstract}, Paper{Title: "Other", Abstract: reworded}, true},
		{"another title, short abstract", Paper{Title: "One", Abstract: "This paper has been withdrawn by its authors."}, Paper{Title: "Other", Abstract: "This paper has been withdrawn by its authors."}, false},
		{"another title and abstract", Paper{Title: "One", Abstract: abstract}, Paper{Title: "Other", Abstract: other}, false},
		{"no spaces", Paper{Abstract: strings.Repeat("我们研究句子编码器如何找到相关论文并比较它们", 1) + "在三个数据集上的实验表明小模型接近大模型"}, Paper{Abstract: "我们研究句子编码器如何找到相关论文并比较它们" + "。在三个数据集上的实验表明小模型接近大模型"}, true},
	} {
		f, g := Analyze(test.a), Analyze(test.b)
		if got := Alike(&f, &g); got != test.want || Alike(&g, &f) != got {
			t.Errorf("%s: %v, want %v (similarity %.2f)", test.name, got, test.want, f.similarity(&g))
		}
	}
}

// TestHostile: any number of papers that share everything costs each of them the same.
func TestHostile(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	abstract := strings.Repeat("the same abstract with a number of words that differ ", 1)
	for i := range 60 {
		abstract += fmt.Sprint(" word", i)
	}
	all := Analyze(Paper{Title: "The title that all of them have", Abstract: abstract, DOI: "10.1000/x", ArxivID: "2104.08821v1"})
	x := New()
	for i := range n {
		x.Add(uint64(n-i), all)
	}
	links := 0
	for _, l := range x.links {
		links += len(l)
	}
	if most := 2 * window * n; links > most {
		t.Errorf("%d links, want at most %d", links, most)
	}
	if perPaper := x.Bytes() / int64(n); perPaper > 1000 {
		t.Errorf("%d bytes a paper", perPaper)
	}
	middle := uint64(n / 2)
	got := x.Same(middle, nil)
	if len(got) != MaxWork || got[0] < middle-MaxWork || got[MaxWork-1] > middle+MaxWork {
		t.Errorf("%d papers, %v", len(got), got)
	}
	if found := x.SameAs(all, nil); len(found) != MaxWork {
		t.Errorf("%d papers are the same work as one more of them, want %d", len(found), MaxWork)
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	for i := range n - 10 { // the oldest first
		x.Remove(uint64(i + 1))
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	if got := x.Same(uint64(n), nil); len(got) != 9 {
		t.Errorf("%v are left, want 9", got)
	}
	// A long text is not read to its end, and one of nothing is no text.
	for _, text := range []string{strings.Repeat("x", 1<<18), strings.Repeat("a b ", 1<<16), strings.Repeat("\xff", 1<<18), strings.Repeat("你", 1<<16)} {
		f := Analyze(Paper{Title: text, Abstract: text, ID: text, DOI: text, ArxivID: text, URL: text, Metadata: []byte(text)})
		if f.shingles > maxWords || f.aliases != "" {
			t.Errorf("%d shingles, %d bytes of aliases", f.shingles, len(f.aliases))
		}
	}
}

// made is an index with papers, some of which were removed.
func made(rng *rand.Rand, n int) *Index {
	x := New()
	for ordinal := range uint64(n) {
		x.Add(ordinal+1, Analyze(someone(rng)))
	}
	for range n / 10 {
		x.Remove(1 + rng.Uint64N(uint64(n)))
	}
	return x
}

func TestSnapshot(t *testing.T) {
	rng := testkit.Rand(t)
	for _, n := range []int{0, 1, 500, partSize + 10} {
		x := made(rng, n)
		var b bytes.Buffer
		if err := x.WriteSnapshot(&b, []byte("note")); err != nil {
			t.Fatal(err)
		}
		if size := x.SnapshotSize(); int64(b.Len()) > size || int64(b.Len()) < size-2*parts.MaxNote-int64(n*sketchSize) {
			t.Errorf("%d bytes were foretold, %d written", size, b.Len())
		}
		y, note, err := Open(bytes.NewReader(b.Bytes()))
		if err != nil || string(note) != "note" {
			t.Fatalf("note %q, %v", note, err)
		}
		if err := y.Check(); err != nil {
			t.Fatal(err)
		}
		for _, ordinal := range x.Ordinals()[:min(200, x.Len())] {
			if got, want := y.Same(ordinal, nil), x.Same(ordinal, nil); !slices.Equal(got, want) {
				t.Fatalf("the same work as %d is %v, want %v", ordinal, got, want)
			}
		}
		for range 200 { // what was opened goes on as another
			y.Add(1+rng.Uint64N(600), Analyze(someone(rng)))
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
