package similar

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"embedd/ann"
	"embedd/internal/table"
	"embedd/internal/testkit"
)

const dim = 24

// unit makes a vector of norm 1.
func unit(v []float32) []float32 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(sum))
	}
	return v
}

// points makes vectors that lie in heaps.
func points(rng *rand.Rand, n int) [][]float32 {
	centres := make([][]float32, 20)
	for i := range centres {
		for range dim {
			centres[i] = append(centres[i], float32(rng.NormFloat64()))
		}
	}
	all := make([][]float32, n)
	for i := range all {
		for _, c := range centres[rng.IntN(len(centres))] {
			all[i] = append(all[i], c+0.6*float32(rng.NormFloat64()))
		}
		unit(all[i])
	}
	return all
}

// frozen is a corpus for tests: papers, and the vectors of their passages.
type frozen struct {
	papers  []Paper
	vectors map[uint64][]float32
}

// simple makes a corpus of one vector a paper, with labels that have gaps.
func simple(vectors [][]float32) frozen {
	f := frozen{vectors: map[uint64][]float32{}}
	for i, v := range vectors {
		label := uint64(3*i + 1)
		f.papers = append(f.papers, Paper{Label: int64(label), Passages: 1, ID: fmt.Sprintf("p%d", i), Title: fmt.Sprintf("On heap %d of things", i%7), Year: int32(2000 + i%20), Date: strconv.Itoa(2000 + i%20)})
		f.vectors[label] = v
	}
	return f
}

// write freezes the corpus in a folder; kept tells which papers are in the table.
func (f frozen) write(t testing.TB, dir string, kept func(Paper) bool) {
	t.Helper()
	x, err := ann.New(dim, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	var labels []uint64
	for l := range f.vectors {
		labels = append(labels, l)
	}
	slices.Sort(labels)
	if err := x.InsertAll(t.Context(), labels, func(i int) ([]float32, error) { return f.vectors[labels[i]], nil }, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	save := func(name string, write func(io.Writer) error) {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save(IndexName, func(w io.Writer) error { return x.WriteSnapshot(w, []byte("{}")) })
	save(PapersName, func(w io.Writer) error {
		out, err := table.NewWriter[Paper](w, table.Parquet, nil)
		if err != nil {
			return err
		}
		for _, p := range f.papers {
			if kept == nil || kept(p) {
				err = errors.Join(err, out.Write([]Paper{p}))
			}
		}
		return errors.Join(err, out.Close())
	})
}

// runIn does a task in a folder, and gives its files and report.
func runIn(t testing.TB, dir string, task Task) (map[string][]byte, Report) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := Run(t.Context(), root, task, func(string, int, int) {}); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range append(Files(&task), ReportName) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var report Report
	if err := json.Unmarshal(files[ReportName], &report); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != Mine && e.Name() != Theirs {
			t.Errorf("%s is left", e.Name())
		}
	}
	return files, report
}

// rows reads a result.
func rows[T any](t testing.TB, b []byte, f table.Format) (all []T) {
	t.Helper()
	_, err := table.Read(bytes.NewReader(b), int64(len(b)), f, func(some []T) error {
		all = append(all, some...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// truth are the k nearest others of each paper by comparing all, each by the two passages that are nearest.
func (f frozen) truth(among, of []Paper, k int, vectors map[uint64][]float32) map[string][]Edge {
	out := map[string][]Edge{}
	for _, a := range among {
		var all []Edge
		for _, b := range of {
			if a.ID == b.ID {
				continue
			}
			best := float32(-2)
			for i := range uint64(a.Passages) {
				for j := range uint64(b.Passages) {
					var dot float32
					for n, x := range f.vectors[uint64(a.Label)+i] {
						dot += x * vectors[uint64(b.Label)+j][n]
					}
					best = max(best, dot)
				}
			}
			all = append(all, Edge{Source: a.ID, Target: b.ID, Score: best})
		}
		slices.SortFunc(all, func(a, b Edge) int { return cmp.Compare(b.Score, a.Score) })
		out[a.ID] = all[:min(k, len(all))]
	}
	return out
}

// agree tells which share of the true neighbours was found, and fails where a score or an order is wrong.
func agree(t testing.TB, got []Edge, want map[string][]Edge) float64 {
	t.Helper()
	by := map[string][]Edge{}
	for _, e := range got {
		by[e.Source] = append(by[e.Source], e)
		if list := by[e.Source]; int(e.Rank) != len(list) || len(list) > 1 && list[len(list)-2].Score < e.Score {
			t.Fatalf("out of order: %+v", e)
		}
	}
	found, all := 0, 0
	for id, edges := range want {
		all += len(edges)
		if len(by[id]) != len(edges) {
			t.Fatalf("%s has %d neighbours, want %d", id, len(by[id]), len(edges))
		}
		for i, e := range by[id] {
			if e.Target == id {
				t.Fatalf("%s is its own neighbour", id)
			}
			if e.Score >= edges[len(edges)-1].Score-2e-3 {
				found++
			}
			_ = i
		}
	}
	return float64(found) / float64(all)
}

func TestGraph(t *testing.T) {
	rng := testkit.Rand(t)
	f := simple(points(rng, 1600))
	for _, test := range []struct {
		name string
		kept func(Paper) bool
		task Task
		want float64
	}{
		{"all", nil, Task{}, 0.97},
		{"exact", nil, Task{Exact: true}, 1},
		{"without a few", func(p Paper) bool { return p.Label%100 != 1 }, Task{}, 0.97},
		{"those of a filter", func(p Paper) bool { return p.Year < 2006 }, Task{}, 0.97},
		{"those of a filter, exact", func(p Paper) bool { return p.Year < 2006 }, Task{Exact: true}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			f.write(t, filepath.Join(dir, Mine), test.kept)
			task := test.task
			task.Kind, task.K, task.Format, task.Threads = KnnGraph, 7, "parquet", 1
			first, report := runIn(t, dir, task)
			task.Threads = 3
			if again, _ := runIn(t, dir, task); !bytes.Equal(first["neighbours.parquet"], again["neighbours.parquet"]) || !bytes.Equal(first[ReportName], again[ReportName]) {
				t.Error("another number of threads gives another result")
			}
			papers := f.papers
			if test.kept != nil {
				papers = slices.DeleteFunc(slices.Clone(papers), func(p Paper) bool { return !test.kept(p) })
			}
			share := agree(t, rows[Edge](t, first["neighbours.parquet"], table.Parquet), f.truth(papers, papers, 7, f.vectors))
			if share < test.want {
				t.Errorf("recall %.4f, want %v", share, test.want)
			}
			if told, _ := strconv.ParseFloat(report["recall"], 64); math.Abs(told-share) > 0.02 {
				t.Errorf("told %v, is %.4f", report["recall"], share)
			}
			if report["papers"] != strconv.Itoa(len(papers)) {
				t.Errorf("%v", report)
			}
		})
	}
}

// Papers of several passages count by the nearest two, once.
func TestPassages(t *testing.T) {
	rng := testkit.Rand(t)
	f := simple(points(rng, 600))
	more := points(rng, 1200)
	for i := range f.papers {
		if i%4 == 0 {
			f.papers[i].Passages = 3
			f.vectors[uint64(f.papers[i].Label)+1], f.vectors[uint64(f.papers[i].Label)+2] = more[2*i], more[2*i+1]
		}
	}
	dir := t.TempDir()
	f.write(t, filepath.Join(dir, Mine), nil)
	f.write(t, filepath.Join(dir, Theirs), func(p Paper) bool { return p.Year > 2010 })
	for _, exact := range []bool{false, true} {
		got, _ := runIn(t, dir, Task{Kind: KnnGraph, K: 5, Format: "jsonl", Exact: exact})
		if share := agree(t, rows[Edge](t, got["neighbours.jsonl"], table.JSONL), f.truth(f.papers, f.papers, 5, f.vectors)); share < 0.97 || exact && share < 1 {
			t.Errorf("exact %v: recall %.4f", exact, share)
		}
		theirs := slices.DeleteFunc(slices.Clone(f.papers), func(p Paper) bool { return p.Year <= 2010 })
		cross, report := runIn(t, dir, Task{Kind: CrossSimilarity, K: 5, Format: "jsonl", Exact: exact})
		edges := rows[Edge](t, cross["neighbours.jsonl"], table.JSONL)
		edges = slices.DeleteFunc(edges, func(e Edge) bool { return e.Source == e.Target }) // the truth here is without
		at := 0
		for i := range edges {
			if i > 0 && edges[i].Source == edges[i-1].Source {
				at++
			} else {
				at = 1
			}
			edges[i].Rank = int32(at)
		}
		edges = slices.DeleteFunc(edges, func(e Edge) bool { return e.Rank > 4 })
		if share := agree(t, edges, f.truth(f.papers, theirs, 4, f.vectors)); share < 0.97 {
			t.Errorf("cross, exact %v: recall %.4f", exact, share)
		}
		if report["papers"] != "600" || report["other_papers"] != strconv.Itoa(len(theirs)) {
			t.Errorf("%v", report)
		}
	}
}

// All kinds give the same bytes whatever the number of threads, and go on with what is there.
func TestSameBytes(t *testing.T) {
	rng := testkit.Rand(t)
	vectors := points(rng, 500)
	for i := range 60 { // near duplicates
		copy(vectors[i], vectors[400+i])
		vectors[i][rng.IntN(dim)] += 0.05
		unit(vectors[i])
	}
	f := simple(vectors)
	for i := range 60 {
		f.papers[i].Title, f.papers[400+i].Title = "a title that says which text this one is "+strconv.Itoa(i), "a title that says which text this one is "+strconv.Itoa(i)
		text := strings.Repeat("w"+strconv.Itoa(i)+" ", 3) + "and some words that all of them have in common in this test of texts"
		f.papers[i].Abstract, f.papers[400+i].Abstract = text, text+" more"
	}
	dir := t.TempDir()
	f.write(t, filepath.Join(dir, Mine), nil)
	f.write(t, filepath.Join(dir, Theirs), nil)
	score := float32(0.9)
	for _, task := range []Task{
		{Kind: KnnGraph, MinScore: &score}, {Kind: KnnGraph, Once: true}, {Kind: NearDuplicates}, {Kind: NearDuplicates, Threshold: &score}, {Kind: CrossSimilarity}, {Kind: Clusters}, {Kind: Map},
	} {
		for _, format := range []string{"parquet", "csv"} {
			task.Format, task.Threads = format, 1
			first, report := runIn(t, dir, task)
			task.Threads = 3
			again, _ := runIn(t, dir, task)
			for name := range first {
				if !bytes.Equal(first[name], again[name]) {
					t.Errorf("%s, %s: another number of threads gives another file", task.Kind, name)
				}
			}
			t.Log(task.Kind, report)
			if task.Kind == NearDuplicates && format == "parquet" {
				checkDuplicates(t, rows[Duplicate](t, first["duplicates.parquet"], table.Parquet), rows[DuplicatePair](t, first["pairs.parquet"], table.Parquet), task.Threshold == nil)
			}
		}
	}
}

func checkDuplicates(t *testing.T, all []Duplicate, pairs []DuplicatePair, planted bool) {
	t.Helper()
	of := map[string]Duplicate{}
	sizes := map[int32]int32{}
	for _, d := range all {
		if _, twice := of[d.ID]; twice {
			t.Fatalf("%s is there twice", d.ID)
		}
		of[d.ID] = d
		sizes[d.Cluster]++
	}
	for _, d := range all {
		if d.Copies != sizes[d.Cluster] || d.Copies < 2 || d.Is != (d.ID == d.Representative) || of[d.Representative].Cluster != d.Cluster || d.First > d.Date || d.Last < d.Date || d.Score > 1.001 {
			t.Errorf("%+v", d)
		}
	}
	for _, p := range pairs {
		if of[p.A].Cluster != p.Cluster || of[p.B].Cluster != p.Cluster || p.Cluster == 0 {
			t.Errorf("%+v", p)
		}
	}
	for i := range 60 {
		if a, b := of[fmt.Sprint("p", i)], of[fmt.Sprint("p", 400+i)]; planted && (a.Cluster == 0 || a.Cluster != b.Cluster) {
			t.Errorf("%d: %+v, %+v", i, a, b)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	simple(points(testkit.Rand(t), 5)).write(t, filepath.Join(dir, Mine), nil)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	low, nan := float32(0.2), float32(math.NaN())
	for field, task := range map[string]Task{
		"kind": {Kind: "no such"}, "k": {Kind: KnnGraph, K: MaxK + 1}, "threshold": {Kind: NearDuplicates, Threshold: &low}, "min_score": {Kind: KnnGraph, MinScore: &nan}, "collection": {Kind: Map},
	} {
		task.Format = "csv"
		var at *FieldError
		if err := Run(t.Context(), root, task, func(string, int, int) {}); !errors.As(err, &at) || at.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, root, Task{Kind: KnnGraph, Format: "csv"}, func(string, int, int) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, Mine, IndexName), []byte("no snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), root, Task{Kind: KnnGraph, Format: "csv"}, func(string, int, int) {}); !errors.Is(err, ann.ErrSnapshot) {
		t.Errorf("damaged: %v", err)
	}
}
