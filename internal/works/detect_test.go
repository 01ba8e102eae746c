package works

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"embedd/internal/evalsets"
)

// text is a line of an evaluation set.
type text struct {
	ID    string `json:"_id"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

func readTexts(t testing.TB, path string) (all []text) {
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
	d := json.NewDecoder(bufio.NewReader(z))
	for d.More() {
		var one text
		if err := d.Decode(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// pair has the lesser id first.
type pair [2]string

func pairOf(a, b string) pair {
	if a > b {
		a, b = b, a
	}
	return pair{a, b}
}

// inspected are pairs that were found and that nobody has labelled, read by eye: whether they are versions of one work. All others that are found
// have equal titles, and abstracts that are equal but for some words: pairs.tsv has not all pairs of a work of three, and a few papers are there
// twice under ids like 2606.17557 and 2606.17557v1.
var inspected = map[pair]bool{
	{"2504.03948", "2505.22858"}: true,  // retitled, by the same authors
	{"2505.17413", "2511.12832"}: true,  // retitled
	{"2510.20714", "2601.05194"}: true,  // retitled, shortened
	{"2511.20277", "2605.02317"}: true,  // retitled
	{"2511.15535", "2511.16294"}: false, // the abstract of one paper stands with another of the same authors
}

// TestDetection: versions of works among 50,000 abstracts are found by their texts alone, and next to nothing else is.
func TestDetection(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 50,000 abstracts")
	}
	dev, arxiv := evalsets.Dir(t, "neardup-dev"), evalsets.Dir(t, "arxiv")
	texts := readTexts(t, filepath.Join(dev, "corpus.jsonl.gz"))
	known := map[string]bool{}
	for _, one := range texts {
		id, _, _ := strings.Cut(strings.TrimPrefix(one.ID, "arxiv:"), "@")
		known[id] = true
	}
	labels := map[pair]string{}
	table, err := os.ReadFile(filepath.Join(dev, "pairs.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		f := strings.Split(line, "\t")
		labels[pairOf(f[0], f[1])] = f[4]
	}
	var others []text
	for i := range 6 {
		for _, one := range readTexts(t, filepath.Join(arxiv, fmt.Sprintf("corpus-%d.jsonl.gz", i))) {
			if !known[one.ID] { // it would be a pair that nobody has labelled
				others = append(others, one)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 0))
	rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	if len(others) < 50_000 {
		t.Fatalf("%d abstracts", len(others))
	}
	texts = append(texts, others[:50_000]...)

	x := New()
	for i, one := range texts {
		x.Add(uint64(i+1), Analyze(Paper{Title: one.Title, Abstract: one.Text}))
	}
	found := map[pair]bool{}
	for i, one := range texts {
		for _, o := range x.Same(uint64(i+1), nil) {
			found[pairOf(one.ID, texts[o-1].ID)] = true
		}
	}
	byID := map[string]text{}
	for _, one := range texts {
		byID[one.ID] = one
	}
	var hit, extra, missed []pair
	same := 0
	for p := range found {
		switch labels[p] {
		case "same":
			hit = append(hit, p)
		case "":
			extra = append(extra, p)
		}
	}
	for p, label := range labels {
		if label == "same" {
			if same++; !found[p] {
				missed = append(missed, p)
			}
		}
	}
	precision, recall := float64(len(hit))/float64(len(hit)+len(extra)), float64(len(hit))/float64(same)
	f1 := 2 * precision * recall / (precision + recall)
	t.Logf("%d texts: precision %.4f, recall %.4f, F1 %.4f: %d found, %d missed, %d beside; %.0f bytes a paper", len(texts), precision, recall, f1, len(hit), len(missed), len(extra), float64(x.Bytes())/float64(len(texts)))
	wrong := 0
	for _, p := range extra {
		a, b := byID[p[0]], byID[p[1]]
		f, g := Analyze(Paper{Title: a.Title, Abstract: a.Text}), Analyze(Paper{Title: b.Title, Abstract: b.Text})
		if right, read := inspected[p]; read && !right || !read && (f.title != g.title || f.similarity(&g) < 0.9) {
			wrong++
		}
	}
	right := float64(len(hit) + len(extra) - wrong)
	t.Logf("with those that were inspected: precision %.4f, F1 %.4f; %d of the %d beside are no versions", right/(right+float64(wrong)), 2*right/(2*right+float64(wrong+len(missed))), wrong, len(extra))
	show := func(what string, pairs []pair) {
		slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
		for _, p := range pairs {
			a, b := byID[p[0]], byID[p[1]]
			f, g := Analyze(Paper{Title: a.Title, Abstract: a.Text}), Analyze(Paper{Title: b.Title, Abstract: b.Text})
			t.Logf("%s: %s %s, titles equal %v, similarity %.2f\n\t%s\n\t%s", what, p[0], p[1], f.title == g.title, f.similarity(&g), a.Title, b.Title)
		}
	}
	show("missed", missed)
	show("beside", extra)
	if f1 < 0.95 {
		t.Errorf("F1 is %.4f, want at least 0.95", f1)
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
}
