package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"embedd/internal/eval"
	"embedd/internal/ingest"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

type evalCmd struct {
	Dir         string `arg:"" help:"A BEIR folder: corpus.jsonl[.gz], queries.jsonl, qrels.tsv or qrels/test.tsv."`
	Task        string `help:"Use queries-TASK.jsonl and qrels-TASK.tsv of the folder, where it has several." placeholder:"TASK"`
	ExcludeSelf bool   `help:"Leave out the document that has the query's own id: for tasks from paper to paper."`
	Mode        string `help:"What to measure: dense, by vectors, exact and with HNSW; lexical, by words; hybrid, by both; all." enum:"all,dense,lexical,hybrid" default:"all" env:"EMBEDD_EVAL_MODE"`
	Sentences   bool   `help:"Make the collection keep the vectors of sentences, and measure the searches that re-score by them too." env:"EMBEDD_EVAL_SENTENCES"`
	ByTitle     bool   `help:"Known-item search instead: each paper is searched by its own title."`
	Data        string `help:"Keep the indexed papers in this data directory, so that the next run need not encode them; default: a temporary one." placeholder:"DIR" env:"EMBEDD_EVAL_DATA"`

	rerankFlags
	outputFlags
	Engine engineFlags `embed:""`
}

func (evalCmd) Help() string {
	return `Encodes and indexes the folder's papers, runs its queries by vectors, exactly and with HNSW, by words, and by both, and prints nDCG@10,
recall@100, MRR@10 and MAP@100 by trec_eval's definitions.

Example:
  embedd eval path/to/scifact
  embedd eval path/to/scifact --reranker ms-marco-MiniLM-L6-v2 --rerank=50`
}

// evalReport is what eval prints.
type evalReport struct {
	Dataset  string `json:"dataset"`
	Papers   int    `json:"papers"`
	Rejected int    `json:"rejected"`
	Model    string `json:"model"`
	// Metrics by the key of a search.
	Metrics map[string]eval.Metrics `json:"metrics"`
}

// evalSearches are the ways to search that are measured. That of the graph is measured also where a scan would be faster.
var evalSearches = []struct {
	key, name string
	request   *embeddv1.SearchRequest
}{
	{"dense", "dense, exact", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_DENSE, Exact: true, Sentences: new(bool)}},
	{"dense_hnsw", "dense, HNSW", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_DENSE, Plan: embeddv1.Plan_PLAN_GRAPH, Sentences: new(bool)}},
	{"dense_sentences", "dense, sentences", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_DENSE, Exact: true, Sentences: proto.Bool(true)}},
	{"lexical", "lexical", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_LEXICAL}},
	{"hybrid", "hybrid", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_HYBRID, Sentences: new(bool)}},
	{"hybrid_sentences", "hybrid, sentences", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_HYBRID, Sentences: proto.Bool(true)}},
	{"dense_feedback", "dense, feedback", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_DENSE, Exact: true, Feedback: &embeddv1.Feedback{}, Sentences: new(bool)}},
	{"lexical_feedback", "lexical, feedback", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_LEXICAL, Feedback: &embeddv1.Feedback{}, Sentences: new(bool)}},
	{"hybrid_feedback", "hybrid, feedback", &embeddv1.SearchRequest{Mode: embeddv1.Mode_MODE_HYBRID, Feedback: &embeddv1.Feedback{}, Sentences: new(bool)}},
}

// evalDepth is how many hits each query asks for: what recall@100 and MAP@100 need.
const evalDepth = 100

func (c *evalCmd) Run(e *env) (err error) {
	var set *eval.Dataset
	if !c.ByTitle {
		// Before the long work: a folder that is not what was meant fails at once.
		if set, err = eval.ReadDataset(c.Dir, c.Task); err != nil {
			return err
		}
	}
	cl, en, err := openScratch(e, &c.Engine, c.Data, retrieval.Settings{Sentences: c.Sentences})
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	report, err := indexFiles(e, cl, []string{c.Dir}, embeddv1.WriteMode_WRITE_MODE_UPSERT)
	if err != nil {
		return err
	}
	if n := report.RejectedPapers; n > 0 {
		fmt.Fprintf(e.stderr, "embedd: note: %d papers of the corpus were rejected, as shown above, and cannot be found; judgments about them count as missed\n", n)
	}
	// A kept data directory may hold papers of another corpus, which would compete.
	if info, err := en.collection.Info(); err != nil {
		return err
	} else if info.Papers != report.Papers {
		return fmt.Errorf("--data %s holds %d papers, the corpus has %d; use a directory of its own", c.Data, info.Papers, report.Papers)
	}
	if c.ByTitle {
		return c.byTitle(e, cl)
	}
	// What the index has to do after so many new papers would come in between.
	if err := en.collection.Settle(e.ctx); err != nil {
		return err
	}
	out := evalReport{Dataset: set.Name, Papers: report.Papers, Rejected: report.RejectedPapers, Model: en.collection.Model().ID, Metrics: map[string]eval.Metrics{}}
	for _, s := range evalSearches {
		if c.Mode != "all" && !strings.HasPrefix(s.key, c.Mode) || s.request.GetSentences() && !c.Sentences {
			continue
		}
		m, err := c.measure(e, cl, set, s.request)
		if err != nil {
			return err
		}
		out.Metrics[s.key] = m
	}
	if c.JSON {
		return printJSON(e.stdout, out)
	}
	fmt.Fprintf(e.stdout, "%s: %d papers, %d queries, %s\n", set.Name, report.Papers, len(set.Queries), out.Model)
	t := newTable(e.stdout, "SEARCH", "nDCG@10", "recall@100", "MRR@10", "MAP@100")
	for _, s := range evalSearches {
		if m, ok := out.Metrics[s.key]; ok {
			t.row(s.name, fmt.Sprintf("%.4f", m.NDCG10), fmt.Sprintf("%.4f", m.Recall100), fmt.Sprintf("%.4f", m.MRR10), fmt.Sprintf("%.4f", m.MAP100))
		}
	}
	return t.flush()
}

// openScratch opens a data directory for a measurement, a temporary one where dir is empty. Closing the client closes
// the engine and removes what was temporary.
func openScratch(e *env, f *engineFlags, dir string, s retrieval.Settings) (*client, *engine, error) {
	remove := func() error { return nil }
	if dir == "" {
		tmp, err := os.MkdirTemp("", "embedd-scratch-")
		if err != nil {
			return nil, nil, err
		}
		dir, remove = tmp, func() error { return os.RemoveAll(tmp) }
	}
	log := e.logger(slog.LevelWarn)
	en, err := openEngine(e.ctx, f, dir, opening{Warm: true, Log: log, Settings: &s})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	cl, err := localClient(en, dir, opening{Log: log})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	closeEngine := cl.close
	cl.close = func() error { return errors.Join(closeEngine(), remove()) }
	return cl, en, nil
}

// measure runs all queries as a request says, and scores the answers.
func (c *evalCmd) measure(e *env, cl *client, set *eval.Dataset, as *embeddv1.SearchRequest) (eval.Metrics, error) {
	bar := newProgress(e, "searching", "queries")
	defer bar.Done()
	var mu sync.Mutex
	run := map[string][]eval.Scored{}
	err := each(e.ctx, set.Queries, func(ctx context.Context, q eval.Query) error {
		k := int32(evalDepth)
		if c.ExcludeSelf {
			k++
		}
		req := proto.CloneOf(as)
		req.Query, req.K, req.View = &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: q.Text}}, &k, embeddv1.PaperView_PAPER_VIEW_ID
		req.Rerank = c.wanted()
		req.SameWork = true // judgments are of documents
		res, err := cl.search.Search(ctx, req)
		if err != nil {
			return fmt.Errorf("query %s: %w", q.ID, err)
		}
		var scored []eval.Scored
		for _, h := range res.GetHits() {
			if c.ExcludeSelf && h.GetPaper().GetId() == q.ID {
				continue
			}
			scored = append(scored, eval.Scored{ID: h.GetPaper().GetId(), Score: h.GetScore()})
		}
		mu.Lock()
		defer mu.Unlock()
		run[q.ID] = scored[:min(len(scored), evalDepth)]
		bar.Set(len(run), len(set.Queries))
		return nil
	})
	if err != nil {
		return eval.Metrics{}, err
	}
	return eval.Evaluate(set.Qrels, run), nil
}

// searchersAtOnce keeps the encoder's workers busy in a measurement.
const searchersAtOnce = 4

// each calls fn for all items, a few at a time, until the first error.
func each[T any](ctx context.Context, items []T, fn func(context.Context, T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(searchersAtOnce)
	for _, item := range items {
		group.Go(func() error { return fn(ctx, item) })
	}
	return group.Wait()
}

// titleReport is the result of a known-item search by title.
type titleReport struct {
	// Papers that have a title.
	Papers   int      `json:"papers"`
	Rejected int      `json:"rejected"`
	First    int      `json:"first"`
	Success  float64  `json:"success@1"`
	Missed   []string `json:"missed"`
}

// byTitle searches each paper by its own title.
func (c *evalCmd) byTitle(e *env, cl *client) error {
	papers, rejected, err := readPapers(c.Dir, 0)
	if err != nil {
		return err
	}
	papers = slices.DeleteFunc(papers, func(p ingest.Paper) bool { return strings.TrimSpace(p.Title) == "" })
	bar := newProgress(e, "searching", "titles")
	report := titleReport{Papers: len(papers), Rejected: rejected, Missed: []string{}}
	var mu sync.Mutex
	done, k := 0, int32(1)
	err = each(e.ctx, papers, func(ctx context.Context, p ingest.Paper) error {
		res, err := cl.search.Search(ctx, &embeddv1.SearchRequest{
			Query: &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: p.Title}}, K: &k, View: embeddv1.PaperView_PAPER_VIEW_ID, SameWork: true,
		})
		if err != nil {
			return fmt.Errorf("title of %s: %w", p.ID, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if hits := res.GetHits(); len(hits) > 0 && hits[0].GetPaper().GetId() == p.ID {
			report.First++
		} else {
			report.Missed = append(report.Missed, p.ID)
		}
		done++
		bar.Set(done, len(papers))
		return nil
	})
	bar.Done()
	if err != nil {
		return err
	}
	report.Success = float64(report.First) / float64(max(1, report.Papers))
	if c.JSON {
		return printJSON(e.stdout, report)
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %d of %d papers come first when searched by their own title (%.2f %%)\n",
		c.Dir, report.First, report.Papers, 100*report.Success)
	return err
}
