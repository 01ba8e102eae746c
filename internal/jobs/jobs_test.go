package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"embedd/internal/collections"
	"embedd/internal/retrieval"
	"embedd/internal/similar"
	"embedd/internal/testkit"
)

const dim = 16

// place is a data directory with a collection of vectors of its own.
type place struct {
	dir string
	set *collections.Set
	c   *retrieval.Collection
}

func open(t *testing.T, dir string) *place {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	settings := retrieval.Settings{OwnVectors: true, Dimension: dim}
	c, err := retrieval.Open(t.Context(), dir, nil, &retrieval.Options{Name: collections.Default, Settings: settings, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	set, err := collections.Open(t.Context(), dir, c, collections.About{Settings: collections.Settings{Settings: settings}}, collections.Options{
		Log: quiet, Encoder: func(_ context.Context, s collections.Settings) (retrieval.Encoder, collections.Settings, func() error, error) {
			return nil, s, func() error { return nil }, nil
		},
		Retrieval: func(string, collections.Settings) retrieval.Options { return retrieval.Options{Log: quiet} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return &place{dir, set, c}
}

func (p *place) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(p.set.Close(), p.c.Close()); err != nil {
		t.Error(err)
	}
}

func (p *place) runner(t *testing.T, o Options) *Runner {
	t.Helper()
	o.Set, o.Log = p.set, slog.New(slog.DiscardHandler)
	if o.Compute == nil {
		o.Compute = inside
	}
	r, err := Open(p.dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// inside does a task in this process.
func inside(ctx context.Context, dir string, task similar.Task, progress similar.Progress) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(similar.Run(ctx, root, task, progress), root.Close())
}

// fill stores papers whose vectors lie in heaps, some of them twice.
func fill(t *testing.T, c *retrieval.Collection, n int) {
	t.Helper()
	rng := testkit.Rand(t)
	var papers []retrieval.Paper
	var vectors [][]float32
	for i := range n {
		v := make([]float32, dim)
		v[i%7] = 2
		for j := range v {
			v[j] += float32(rng.NormFloat64()) * 0.4
		}
		title := fmt.Sprintf("paper %d about the topic %d", i, i%7)
		if i%5 == 4 {
			v, title = vectors[i-1], papers[i-1].Title
		}
		vectors = append(vectors, v)
		papers = append(papers, retrieval.Paper{ID: fmt.Sprintf("p%04d", i), Title: title, Abstract: strings.Repeat(title+" ", 9), Year: int32(1990 + i%30), Vector: v})
	}
	for some := range slices.Chunk(papers, 100) {
		if _, _, err := c.Upsert(t.Context(), some); err != nil {
			t.Fatal(err)
		}
	}
}

// await gives a job that has ended.
func await(t *testing.T, r *Runner, id string) (last Job) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.Watch(ctx, id, func(j Job) error { last = j; return nil }); err != nil {
		t.Fatal(err)
	}
	return last
}

// content reads the files of a job.
func content(t *testing.T, r *Runner, job Job) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, file := range job.Files {
		f, _, err := r.OpenFile(job.ID, file.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) != file.Bytes {
			t.Errorf("%s has %d bytes, told %d", file.Name, len(b), file.Bytes)
		}
		all[file.Name] = string(b)
	}
	return all
}

// specs are jobs of all kinds that need no encoder.
func specs() map[string]Spec {
	score := float32(0.8)
	return map[string]Spec{
		"graph":       {Task: similar.Task{Kind: similar.KnnGraph, K: 4}},
		"chosen":      {Task: similar.Task{Kind: similar.KnnGraph, K: 4, Exact: true, Format: "csv"}, Filter: "year >= 2000"},
		"duplicates":  {Task: similar.Task{Kind: similar.NearDuplicates, Threshold: &score, Format: "jsonl"}, DateField: "year"},
		"calibrated":  {Task: similar.Task{Kind: similar.NearDuplicates}},
		"cross":       {Task: similar.Task{Kind: similar.CrossSimilarity, K: 2}, Filter: "year < 2000", Other: "default", OtherFilter: "year >= 2000"},
		"clusters":    {Task: similar.Task{Kind: similar.Clusters}},
		"map":         {Task: similar.Task{Kind: similar.Map}},
		"papers":      {Task: similar.Task{Kind: Export}},
		"vectors":     {Task: similar.Task{Kind: Export, Format: "npy"}, Vectors: true},
		"vectors too": {Task: similar.Task{Kind: Export, Format: "jsonl"}, Vectors: true, Filter: "year < 2000"},
	}
}

// Each kind of job gives the same files, to the byte, wherever it is cut off: at each of its steps once, by an error, and by the end of the process.
func TestCutOff(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	fill(t, p.c, 300)
	p.close(t)
	p = open(t, dir) // its snapshot is saved: each job has the same graph
	defer func() { p.close(t) }()
	for name, spec := range specs() {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var steps []string
			r := p.runner(t, Options{Step: func(s string) error {
				mu.Lock()
				defer mu.Unlock()
				steps = append(steps, s)
				return nil
			}})
			job, err := r.Create(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			if job = await(t, r, job.ID); job.State != Done || len(job.Files) == 0 || job.Report["papers"] == "" {
				t.Fatalf("%+v", job)
			}
			want, report := content(t, r, job), fmt.Sprint(job.Report)
			if _, err := os.Stat(filepath.Join(dir, folder, job.ID, workFolder)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the work stays: %v", err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			for _, at := range steps {
				broken := errors.New("broken at " + at)
				fails := true
				r := p.runner(t, Options{Step: func(s string) error {
					if s == at && fails {
						fails = false
						return broken
					}
					return nil
				}})
				job, err := r.Create(t.Context(), spec)
				if err != nil {
					t.Fatal(err)
				}
				if job = await(t, r, job.ID); job.State != Failed || job.Error != broken.Error() {
					t.Fatalf("%s: %+v", at, job)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				r = p.runner(t, Options{GoOn: true}) // one that has failed waits for Resume
				if job, err = r.Get(job.ID); err != nil || job.State != Failed {
					t.Fatalf("%+v, %v", job, err)
				}
				if _, err := r.Resume(job.ID); err != nil {
					t.Fatal(err)
				}
				if job = await(t, r, job.ID); job.State != Done || fmt.Sprint(job.Report) != report {
					t.Fatalf("resumed at %s: %+v, want %s", at, job, report)
				}
				if got := content(t, r, job); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("resumed at %s: another result", at)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				// The process ends at the step, and the next one goes on.
				reached, on := make(chan struct{}), make(chan struct{})
				r = p.runner(t, Options{Step: func(s string) error {
					if s == at {
						close(reached)
						<-on
						return errors.New("too late")
					}
					return nil
				}})
				if job, err = r.Create(t.Context(), spec); err != nil {
					t.Fatal(err)
				}
				<-reached
				time.AfterFunc(10*time.Millisecond, func() { close(on) })
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				r = p.runner(t, Options{})
				if job, err = r.Get(job.ID); err != nil || job.State != Interrupted {
					t.Fatalf("%+v, %v", job, err)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				r = p.runner(t, Options{GoOn: true})
				if job = await(t, r, job.ID); job.State != Done {
					t.Fatalf("gone on with at %s: %+v", at, job)
				}
				if got := content(t, r, job); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("gone on with at %s: another result", at)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestLife(t *testing.T) {
	p := open(t, t.TempDir())
	defer p.close(t)
	fill(t, p.c, 60)
	on := make(chan struct{})
	r := p.runner(t, Options{Compute: func(ctx context.Context, dir string, task similar.Task, progress similar.Progress) error {
		progress("waiting", 3, 10)
		select {
		case <-on:
			return inside(ctx, dir, task, progress)
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	graph := Spec{Task: similar.Task{Kind: similar.KnnGraph}}
	first, err := r.Create(t.Context(), graph)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Create(t.Context(), graph)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the first runs", func() bool {
		j, err := r.Get(first.ID)
		return err == nil && j.State == Running && j.Progress.Stage == "waiting" && j.Progress.Done == 3
	})
	refused := func(what string, kind retrieval.Kind, err error) {
		t.Helper()
		if retrieval.KindOf(err) != kind {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, _, err = r.OpenFile(first.ID, "")
	refused("a file of one that runs", retrieval.FailedPrecondition, err)
	refused("delete one that runs", retrieval.FailedPrecondition, r.Delete(first.ID))
	_, err = r.Resume(first.ID)
	refused("resume one that runs", retrieval.FailedPrecondition, err)
	for _, id := range []string{"", "x", "../../etc", "knn-graph-00000000"} {
		_, err = r.Get(id)
		refused("one that is not there", retrieval.NotFound, err)
		_, err = r.Cancel(id)
		refused("one that is not there", retrieval.NotFound, err)
		_, _, err = r.OpenFile(id, "")
		refused("one that is not there", retrieval.NotFound, err)
		refused("one that is not there", retrieval.NotFound, r.Delete(id))
		refused("one that is not there", retrieval.NotFound, r.Watch(t.Context(), id, func(Job) error { return nil }))
	}
	if j, err := r.Cancel(second.ID); err != nil || j.State != Cancelled {
		t.Errorf("cancel one that waits: %+v, %v", j, err)
	}
	if j, err := r.Cancel(first.ID); err != nil || j.State != Cancelled {
		t.Errorf("cancel one that runs: %+v, %v", j, err)
	}
	_, err = r.Cancel(first.ID)
	refused("cancel again", retrieval.FailedPrecondition, err)
	close(on)
	testkit.Eventually(t, "it can be resumed", func() bool {
		_, err := r.Resume(first.ID)
		return err == nil
	})
	if j := await(t, r, first.ID); j.State != Done || j.Seconds <= 0 || j.Ended.IsZero() {
		t.Errorf("%+v", j)
	}
	_, err = r.Resume(first.ID)
	refused("resume one that is done", retrieval.FailedPrecondition, err)
	_, _, err = r.OpenFile(first.ID, "../job.json")
	refused("a file that is none", retrieval.NotFound, err)
	if list := r.List(); len(list) != 2 || list[0].ID != second.ID {
		t.Errorf("%+v", list)
	}
	for _, id := range []string{first.ID, second.ID} {
		if err := r.Delete(id); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(p.dir, folder)); err != nil || len(left) > 0 || len(r.List()) > 0 {
		t.Errorf("%v, %v are left", left, err)
	}
}

func TestRefused(t *testing.T) {
	p := open(t, t.TempDir())
	defer p.close(t)
	fill(t, p.c, 20)
	r := p.runner(t, Options{})
	defer r.Close()
	score := float32(2)
	query, judgment := []Query{{"q", "text"}}, []Judgment{{"q", "p0001", 1}}
	for _, test := range []struct {
		field string
		spec  Spec
	}{
		{"kind", Spec{}},
		{"kind", Spec{Task: similar.Task{Kind: "../x"}}},
		{"format", Spec{Task: similar.Task{Kind: similar.Map, Format: "xlsx"}}},
		{"format", Spec{Task: similar.Task{Kind: Export, Format: "npy"}}},
		{"k", Spec{Task: similar.Task{Kind: similar.Map, K: 3}}},
		{"k", Spec{Task: similar.Task{Kind: similar.KnnGraph, K: -1}}},
		{"min_score", Spec{Task: similar.Task{Kind: similar.KnnGraph, MinScore: &score}}},
		{"threshold", Spec{Task: similar.Task{Kind: similar.NearDuplicates, Threshold: &score}}},
		{"date_field", Spec{Task: similar.Task{Kind: similar.KnnGraph}, DateField: "year"}},
		{"other", Spec{Task: similar.Task{Kind: similar.CrossSimilarity}}},
		{"other", Spec{Task: similar.Task{Kind: similar.CrossSimilarity}, Other: "nobody"}},
		{"collection", Spec{Task: similar.Task{Kind: similar.KnnGraph}, Collection: "nobody"}},
		{"filter", Spec{Task: similar.Task{Kind: similar.KnnGraph}, Filter: "yaer > 3"}},
		{"kind", Spec{Task: similar.Task{Kind: Pairs}}}, // there is no cross-encoder
		{"queries", Spec{Task: similar.Task{Kind: Evaluate}, Judgments: judgment}},
		{"judgments", Spec{Task: similar.Task{Kind: Evaluate}, Queries: query}},
		{"judgments[0].query", Spec{Task: similar.Task{Kind: Evaluate}, Queries: query, Judgments: []Judgment{{"other", "p", 1}}}},
		{"queries[1].id", Spec{Task: similar.Task{Kind: Evaluate}, Queries: append(query, query...), Judgments: judgment}},
		{"modes[0]", Spec{Task: similar.Task{Kind: Evaluate}, Queries: query, Judgments: judgment, Modes: []string{"best"}}},
		{"modes[1]", Spec{Task: similar.Task{Kind: Evaluate}, Queries: query, Judgments: judgment, Modes: []string{"dense", "dense"}}}, // its answers would count twice
	} {
		_, err := r.Create(t.Context(), test.spec)
		var e *retrieval.Error
		if !errors.As(err, &e) || e.Field != test.field {
			t.Errorf("%+v: %v, want one about %s", test.spec, err, test.field)
		}
	}
	if len(r.List()) > 0 {
		t.Error("what was refused is there")
	}
	// A field that package similar refuses later is named too.
	job, err := r.Create(t.Context(), Spec{Task: similar.Task{Kind: similar.Map}, Filter: "year = 1990"})
	if err != nil {
		t.Fatal(err)
	}
	if job = await(t, r, job.ID); job.State != Failed || !strings.HasPrefix(job.Error, "collection: has 1 papers") {
		t.Errorf("%+v", job)
	}
}

// A job that is damaged on the disk, or half made, is in nobody's way.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	defer p.close(t)
	fill(t, p.c, 20)
	r := p.runner(t, Options{})
	job, err := r.Create(t.Context(), Spec{Task: similar.Task{Kind: similar.KnnGraph}})
	if err != nil {
		t.Fatal(err)
	}
	await(t, r, job.ID)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	half, odd := filepath.Join(dir, folder, "map-00000001"), filepath.Join(dir, folder, "notes")
	for _, d := range []string{half, odd} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(dir, folder, job.ID, jobName)
	b, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(at, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r = p.runner(t, Options{GoOn: true})
	defer r.Close()
	if len(r.List()) > 0 {
		t.Errorf("%+v", r.List())
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a job: %v", err)
	}
	for _, d := range []string{odd, at} {
		if _, err := os.Stat(d); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// A job that cannot be kept as queued is what it was: it is in no queue.
func TestResumeOfOneThatCannotBeKept(t *testing.T) {
	p := open(t, t.TempDir())
	defer p.close(t)
	fill(t, p.c, 20)
	r := p.runner(t, Options{Step: func(string) error { return errors.New("broken") }})
	defer r.Close()
	job, err := r.Create(t.Context(), Spec{Task: similar.Task{Kind: similar.KnnGraph}})
	if err != nil {
		t.Fatal(err)
	}
	await(t, r, job.ID)
	at, aside := filepath.Join(p.dir, folder, job.ID), filepath.Join(p.dir, "aside")
	if err := os.Rename(at, aside); err != nil { // nothing can be written there now
		t.Fatal(err)
	}
	if _, err := r.Resume(job.ID); retrieval.KindOf(err) != retrieval.Internal {
		t.Errorf("%v", err)
	}
	if j, err := r.Get(job.ID); err != nil || j.State != Failed || j.Error != "broken" || j.Ended.IsZero() {
		t.Errorf("%+v, %v", j, err)
	}
	if err := os.Rename(aside, at); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resume(job.ID); err != nil {
		t.Errorf("resumed again: %v", err)
	}
	await(t, r, job.ID)
}

// Why a job failed is told to who may see it, and where the data directory is to nobody.
func TestErrorsTellNoPath(t *testing.T) {
	p := open(t, t.TempDir())
	defer p.close(t)
	fill(t, p.c, 20)
	r := p.runner(t, Options{Compute: func(_ context.Context, dir string, _ similar.Task, _ similar.Progress) error {
		return fmt.Errorf("write %s: no space left on device", filepath.Join(dir, "pairs.csv.new")) // as a child tells it: in words
	}})
	defer r.Close()
	job, err := r.Create(t.Context(), Spec{Task: similar.Task{Kind: similar.KnnGraph}})
	if err != nil {
		t.Fatal(err)
	}
	want := "write jobs/" + job.ID + "/work/pairs.csv.new: no space left on device"
	if job = await(t, r, job.ID); job.State != Failed || job.Error != want {
		t.Errorf("%q, want %q", job.Error, want)
	}
}

// A collection that has got another model since a job was made is not compared by vectors that have nothing in common.
func TestCrossOfAnotherModel(t *testing.T) {
	p := open(t, t.TempDir())
	defer p.close(t)
	fill(t, p.c, 20)
	settings := func(dimension int) collections.Settings {
		return collections.Settings{Settings: retrieval.Settings{OwnVectors: true, Dimension: dimension}}
	}
	if _, err := p.set.Create(t.Context(), "other", settings(dim)); err != nil {
		t.Fatal(err)
	}
	r := p.runner(t, Options{Step: func(s string) error {
		if s != "freeze theirs" {
			return nil
		}
		if _, err := p.set.Delete(t.Context(), "other"); err != nil {
			return err
		}
		_, err := p.set.Create(t.Context(), "other", settings(dim/2))
		return err
	}})
	defer r.Close()
	job, err := r.Create(t.Context(), Spec{Task: similar.Task{Kind: similar.CrossSimilarity}, Other: "other"})
	if err != nil {
		t.Fatal(err)
	}
	if job = await(t, r, job.ID); job.State != Failed || !strings.HasPrefix(job.Error, "other: its vectors are of the model") {
		t.Errorf("%+v", job)
	}
}
