package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"embedd/internal/evalsets"
	"embedd/internal/ingest"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// migratedPapers is how many papers TestMigrationUnderQueries migrates: those of samples, or as many of arXiv as this variable says.
const migratedPapers = "EMBEDD_TEST_MIGRATION_PAPERS"

// load is queries without end, from a few clients, each of which waits for its answer and then for a moment.
type load struct {
	t       *testing.T
	ids     []string
	titles  []string
	clients int
	every   time.Duration

	mu     sync.Mutex
	took   []time.Duration
	failed atomic.Int64
	across atomic.Int64
}

// run asks until ctx ends.
func (l *load) run(ctx context.Context, conn *grpc.ClientConn, rng *rand.Rand) *sync.WaitGroup {
	var clients sync.WaitGroup
	search := embeddv1.NewSearchServiceClient(conn)
	for range l.clients {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 0))
		clients.Go(func() {
			for ctx.Err() == nil {
				begin := time.Now()
				var err error
				if rng.IntN(2) == 0 {
					_, err = search.Related(context.Background(), &embeddv1.RelatedRequest{Id: l.ids[rng.IntN(len(l.ids))]})
				} else {
					var res *embeddv1.SearchResponse
					// No text comes twice: it is not one whose vector is kept.
					text := fmt.Sprintf("%s %d", l.titles[rng.IntN(len(l.titles))], rng.Uint32())
					res, err = search.Search(context.Background(), &embeddv1.SearchRequest{Query: &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: text}}})
					if res.GetEffective().GetAcross() != nil {
						l.across.Add(1)
					}
				}
				took := time.Since(begin)
				if err != nil {
					l.failed.Add(1)
					l.t.Errorf("a query failed: %v", err)
				}
				l.mu.Lock()
				l.took = append(l.took, took)
				l.mu.Unlock()
				time.Sleep(l.every)
			}
		})
	}
	return &clients
}

// since gives how many queries there were since it was asked last, and their times at the middle and at 99 of 100.
func (l *load) since() (n int, p50, p99 time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.took)
	if n = len(l.took); n > 0 {
		p50, p99 = l.took[n/2], l.took[n*99/100]
	}
	l.took = nil
	return n, p50, p99
}

// A collection moves from one model to another while it is asked and written to, is swapped, rolled back, swapped again and finished: no query fails, and no
// write is lost. How long queries take meanwhile is in the test's output.
func TestMigrationUnderQueries(t *testing.T) {
	rng := testkit.Rand(t)
	file, most := filepath.Join("..", "..", "samples", "papers.jsonl"), 0
	if n := os.Getenv(migratedPapers); n != "" {
		var err error
		if most, err = strconv.Atoi(n); err != nil {
			t.Fatalf("%s: %v", migratedPapers, err)
		}
		file = filepath.Join(evalsets.Dir(t, "arxiv"), "corpus-0.jsonl.gz")
	}
	l := &load{t: t, clients: 2, every: 20 * time.Millisecond}
	r, err := ingest.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "papers.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := bufio.NewWriter(out)
	for most == 0 || len(l.ids) < most {
		p, err := r.Next()
		if err != nil {
			break
		}
		if p.Title == "" {
			continue
		}
		l.ids, l.titles = append(l.ids, p.ID), append(l.titles, p.Title)
		line, err := json.Marshal(map[string]string{"id": p.ID, "title": p.Title, "abstract": p.Abstract})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "%s\n", line)
	}
	if err := w.Flush(); err != nil || len(l.ids) < 100 {
		t.Fatal(len(l.ids), err)
	}
	data := filepath.Join(dir, "data")
	addr := freeAddress(t)
	index, err := thisProgram("index", "--data", data, "--model", "paraphrase-MiniLM-L3-v2", out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if text, err := index.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	serveProcess(t, addr, "127.0.0.1:0", "--data", data, "--model", "paraphrase-MiniLM-L3-v2", "--http=")
	conn, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	migrations, papers, info := embeddv1.NewMigrationServiceClient(conn), embeddv1.NewPaperServiceClient(conn), embeddv1.NewInfoServiceClient(conn)
	ctx, stop := context.WithCancel(t.Context())
	clients := l.run(ctx, conn, rng)
	idle := 5 * time.Second
	if most == 0 {
		idle = 2 * time.Second
	}
	time.Sleep(idle)
	tell := func(what string) {
		n, p50, p99 := l.since()
		t.Logf("%-34s %5d queries, p50 %v, p99 %v", what, n, p50.Round(10*time.Microsecond), p99.Round(10*time.Microsecond))
	}
	tell("before")
	var writer sync.WaitGroup
	written := 0
	writer.Go(func() { // a write at a time, as a feed of new papers would
		for ; ctx.Err() == nil; written++ {
			_, err := papers.UpsertPapers(context.Background(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: fmt.Sprintf("new-%d", written%100), Title: fmt.Sprintf("A new paper about number %d", written)}}})
			if err != nil {
				t.Errorf("a write failed: %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	time.Sleep(idle)
	tell("with a write each 0.1 s")
	begin := time.Now()
	if _, err := migrations.StartMigration(t.Context(), &embeddv1.StartMigrationRequest{Name: "default", Model: "all-MiniLM-L6-v2", Across: true}); err != nil {
		t.Fatal(err)
	}
	tell("while the other model is loaded")
	var m *embeddv1.Migration
	for m.GetStage() < embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING {
		res, err := migrations.GetMigration(t.Context(), &embeddv1.GetMigrationRequest{Name: "default"})
		if err != nil {
			t.Fatal(err)
		}
		if m = res.GetMigration(); m.GetFailed() != "" {
			t.Fatalf("the migration fails: %s", m.GetFailed())
		}
		time.Sleep(100 * time.Millisecond)
	}
	took := time.Since(begin)
	tell("while papers are encoded")
	t.Logf("%d papers in %v, %.0f/s; the map: %v", m.GetPapers(), took.Round(time.Millisecond), float64(m.GetPapers())/took.Seconds(), m.GetBridge())
	if l.across.Load() == 0 {
		t.Error("no search went across both models")
	}
	report, err := migrations.ReportMigration(t.Context(), &embeddv1.ReportMigrationRequest{Name: "default"})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("of %d papers the top-10 overlap is %.3f, Kendall's tau-b %.3f", report.GetPapers(), report.GetOverlap(), report.GetKendall())
	tell("while the report is made")
	model := func() string {
		res, err := info.GetInfo(t.Context(), &embeddv1.GetInfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetModel().GetId()
	}
	for i, turn := range []struct {
		what string
		do   func() (*embeddv1.Migration, error)
		to   string
	}{
		{"swap", func() (*embeddv1.Migration, error) {
			res, err := migrations.SwapMigration(t.Context(), &embeddv1.SwapMigrationRequest{Name: "default"})
			return res.GetMigration(), err
		}, "all-MiniLM-L6-v2"},
		{"roll back", func() (*embeddv1.Migration, error) {
			res, err := migrations.RollBackMigration(t.Context(), &embeddv1.RollBackMigrationRequest{Name: "default"})
			return res.GetMigration(), err
		}, "paraphrase-MiniLM-L3-v2"},
		{"swap", func() (*embeddv1.Migration, error) {
			res, err := migrations.SwapMigration(t.Context(), &embeddv1.SwapMigrationRequest{Name: "default"})
			return res.GetMigration(), err
		}, "all-MiniLM-L6-v2"},
	} {
		m, err := turn.do()
		if err != nil || model() != turn.to {
			t.Fatalf("%s %d: served by %s, %v", turn.what, i, model(), err)
		}
		time.Sleep(idle / 2)
		tell(fmt.Sprintf("after %s, writes waited %v", turn.what, m.GetHeld().AsDuration().Round(10*time.Microsecond)))
	}
	if _, err := migrations.FinishMigration(t.Context(), &embeddv1.FinishMigrationRequest{Name: "default"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(idle)
	tell("after the end, by the new model")
	stop()
	clients.Wait()
	writer.Wait()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d queries failed", n)
	}
	// Everything that was written is there.
	count, err := papers.CountPapers(t.Context(), &embeddv1.CountPapersRequest{})
	if err != nil || int(count.GetPapers()) != len(l.ids)+min(written, 100) {
		t.Errorf("%d papers, want %d and %d, %v", count.GetPapers(), len(l.ids), min(written, 100), err)
	}
	for i := max(0, written-100); i < written; i++ {
		res, err := papers.GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: fmt.Sprintf("new-%d", i%100)})
		if want := fmt.Sprintf("number %d", i); err != nil || !strings.HasSuffix(res.GetPaper().GetTitle(), want) {
			t.Errorf("new-%d is %q, want %s, %v", i%100, res.GetPaper().GetTitle(), want, err)
		}
	}
}
