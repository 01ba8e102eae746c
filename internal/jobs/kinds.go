package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"embedd/internal/eval"
	"embedd/internal/retrieval"
	"embedd/internal/similar"
	"embedd/internal/table"
)

// pieceSize is how many papers or queries are worked on between two files of what is done: a minute of a cross-encoder's work at most.
const pieceSize = 64

// ScoredPair is a row of pairs: target is the rank-th nearest of source by their vectors, and how alike they are to the cross-encoder, which reads
// source first.
type ScoredPair struct {
	Source string  `parquet:"source" json:"source"`
	Target string  `parquet:"target" json:"target"`
	Rank   int32   `parquet:"rank" json:"rank"`
	Cosine float32 `parquet:"cosine" json:"cosine"`
	// Score is the logistic of Logit, 0 to 1. Read is false where the model cannot read the two together; both are 0 then.
	Score float32 `parquet:"score" json:"score"`
	Logit float32 `parquet:"logit" json:"logit"`
	Read  bool    `parquet:"read" json:"read"`
}

// graphFolder is where the graph of pairs is made.
const graphFolder = "graph"

// pairs finds the neighbours of each paper, and has a cross-encoder score them.
func (d *doing) pairs() ([]string, error) {
	name := "pairs." + d.spec.Format
	if done, err := d.there(similar.ReportName); done || err != nil {
		return []string{name}, err
	}
	if err := d.work.Mkdir(graphFolder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := d.freeze(path.Join(graphFolder, similar.Mine), d.spec.Collection, "filter", d.spec.Filter, true); err != nil {
		return nil, err
	}
	if err := d.o.Step("compute"); err != nil {
		return nil, err
	}
	t := d.spec.Task
	t.Kind, t.Format = similar.KnnGraph, string(table.Parquet)
	if err := d.o.Compute(d.ctx, filepath.Join(d.root.Name(), folder, d.e.ID, workFolder, graphFolder), t, d.told); err != nil {
		return nil, err
	}
	var report similar.Report
	if err := d.read(path.Join(graphFolder, similar.ReportName), &report); err != nil {
		return nil, err
	}
	edges, err := rowsOf[similar.Edge](d, path.Join(graphFolder, similar.Files(&t)[0]))
	if err != nil {
		return nil, err
	}
	papers, err := rowsOf[similar.Paper](d, path.Join(graphFolder, similar.Mine, similar.PapersName))
	if err != nil {
		return nil, err
	}
	texts := make(map[string]string, len(papers))
	for i := range papers {
		texts[papers[i].ID] = retrieval.PaperText(&retrieval.Paper{Title: papers[i].Title, Abstract: papers[i].Abstract})
	}
	c, err := d.o.Set.Get(d.spec.Collection)
	if err != nil {
		return nil, err
	}
	var by [][]similar.Edge // the edges of each source
	for i, e := range edges {
		if i == 0 || e.Source != edges[i-1].Source {
			by = append(by, nil)
		}
		by[len(by)-1] = append(by[len(by)-1], e)
	}
	if len(c.Rerankers()) == 0 {
		return nil, &retrieval.Error{Kind: retrieval.FailedPrecondition, Message: "the server has no cross-encoder any more; start it with --reranker ID, and resume the job"}
	}
	model := cmp.Or(d.spec.Reranker, c.Rerankers()[0]) // Create has named it, but in jobs of earlier versions
	unread := 0
	pieces := make([]string, 0, len(by)/pieceSize+1)
	for from := 0; from < len(by); from += pieceSize {
		piece, some := fmt.Sprintf("scores-%08d", from), by[from:min(from+pieceSize, len(by))]
		pieces = append(pieces, piece)
		d.told("scoring", from, len(by))
		err := piecewise(d, piece, func() (rows []ScoredPair, err error) {
			for i, of := range some {
				scored, err := score(d.ctx, c, model, of, texts)
				if err != nil {
					return nil, err
				}
				rows = append(rows, scored...)
				d.told("scoring", from+i+1, len(by))
			}
			return rows, nil
		})
		if err != nil {
			return nil, err
		}
	}
	err = join(d, name, report, pieces, func(p *ScoredPair) {
		if !p.Read {
			unread++
		}
	})
	if err != nil {
		return nil, err
	}
	report["reranker"], report["pairs"], report["not_read"] = model, strconv.Itoa(len(edges)), strconv.Itoa(unread)
	return []string{name}, d.report(report)
}

// score has the cross-encoder score the neighbours of one paper, in their order.
func score(ctx context.Context, c *retrieval.Collection, model string, of []similar.Edge, texts map[string]string) ([]ScoredPair, error) {
	rows := make([]ScoredPair, len(of))
	request := retrieval.RerankRequest{Query: texts[of[0].Source], Model: model}
	for i, e := range of {
		rows[i] = ScoredPair{Source: e.Source, Target: e.Target, Rank: e.Rank, Cosine: e.Score}
		request.Texts = append(request.Texts, texts[e.Target])
	}
	if request.Query == "" || slices.Contains(request.Texts, "") {
		return nil, fmt.Errorf("a paper of %q and its neighbours has no text, which a cross-encoder could read", of[0].Source)
	}
	if len(request.Query) > retrieval.MaxRerankBytes { // it is not read cut off as if it were whole
		return rows, nil
	}
	scores, _, err := c.RerankTexts(ctx, request)
	if err != nil {
		return nil, err
	}
	for _, s := range scores {
		if s.Read() {
			rows[s.Index].Score, rows[s.Index].Logit, rows[s.Index].Read = s.Score, s.Logit, true
		}
	}
	return rows, nil
}

// rowsOf reads a table of the work.
func rowsOf[T any](d *doing, name string) (all []T, err error) {
	f, err := d.work.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	_, err = table.Read(f, info.Size(), table.Parquet, func(rows []T) error {
		all = append(all, rows...)
		return nil
	})
	return all, err
}

// piecewise makes a file of the work by rows, where it is not there.
func piecewise[T any](d *doing, name string, rows func() ([]T, error)) error {
	if there, err := d.there(name); there || err != nil {
		return err
	}
	if err := d.o.Step(name); err != nil {
		return err
	}
	made, err := rows()
	if err != nil {
		return err
	}
	return d.write(name, func(w io.Writer) error {
		out, err := table.NewWriter[T](w, table.Parquet, nil)
		if err != nil {
			return err
		}
		return errors.Join(out.Write(made), out.Close())
	})
}

// join writes the rows of some pieces, one after the other, as a result file.
func join[T any](d *doing, name string, report similar.Report, pieces []string, see func(*T)) error {
	d.told("writing "+name, 0, len(pieces))
	return d.write(name, func(w io.Writer) error {
		out, err := table.NewWriter[T](w, table.Format(d.spec.Format), report)
		if err != nil {
			return err
		}
		for i, piece := range pieces {
			rows, err := rowsOf[T](d, piece)
			if err != nil {
				return err
			}
			for j := range rows {
				see(&rows[j])
			}
			if err := errors.Join(out.Write(rows), d.ctx.Err()); err != nil {
				return err
			}
			d.told("writing "+name, i+1, len(pieces))
		}
		return out.Close()
	})
}

// Answer is a row of an evaluation: a paper that was found, and how well it is judged to answer; -1 where nobody has judged it.
type Answer struct {
	Mode  string  `parquet:"mode" json:"mode"`
	Query string  `parquet:"query" json:"query"`
	Rank  int32   `parquet:"rank" json:"rank"`
	Paper string  `parquet:"paper" json:"paper"`
	Score float32 `parquet:"score" json:"score"`
	Grade int32   `parquet:"grade" json:"grade"`
}

const (
	// evaluateDepth is how many papers are asked for: as many as the deepest metric looks at.
	evaluateDepth = 100
	// evaluateAtOnce is how many queries are asked at once.
	evaluateAtOnce = 2
)

// evaluate asks the queries in each mode, and measures the answers.
func (d *doing) evaluate() ([]string, error) {
	name := "answers." + d.spec.Format
	if done, err := d.there(similar.ReportName); done || err != nil {
		return []string{name}, err
	}
	c, err := d.o.Set.Get(d.spec.Collection)
	if err != nil {
		return nil, err
	}
	which, err := whichOf("filter", d.spec.Filter)
	if err != nil {
		return nil, err
	}
	qrels := eval.Qrels{}
	for _, j := range d.spec.Judgments {
		if qrels[j.Query] == nil {
			qrels[j.Query] = map[string]int{}
		}
		qrels[j.Query][j.Paper] = j.Grade
	}
	modes := d.spec.Modes
	if len(modes) == 0 {
		modes = evaluateModes
	}
	total := len(modes) * len(d.spec.Queries)
	var pieces []string
	for m, mode := range modes {
		for from := 0; from < len(d.spec.Queries); from += pieceSize {
			some := d.spec.Queries[from:min(from+pieceSize, len(d.spec.Queries))]
			piece := fmt.Sprintf("answers-%s-%08d", mode, from)
			pieces = append(pieces, piece)
			err := piecewise(d, piece, func() ([]Answer, error) { return ask(d.ctx, c, which, mode, some, qrels) })
			if err != nil {
				return nil, err
			}
			d.told("asking", m*len(d.spec.Queries)+from+len(some), total)
		}
	}
	report := similar.Report{"queries": strconv.Itoa(len(d.spec.Queries)), "judgments": strconv.Itoa(len(d.spec.Judgments))}
	runs := map[string]map[string][]eval.Scored{}
	for _, piece := range pieces { // before the file is written, whose metadata is the report
		rows, err := rowsOf[Answer](d, piece)
		if err != nil {
			return nil, err
		}
		for _, a := range rows {
			if runs[a.Mode] == nil {
				runs[a.Mode] = map[string][]eval.Scored{}
			}
			runs[a.Mode][a.Query] = append(runs[a.Mode][a.Query], eval.Scored{ID: a.Paper, Score: a.Score})
		}
	}
	for _, mode := range modes {
		m := eval.Evaluate(qrels, runs[mode])
		for _, f := range []struct {
			name  string
			value float64
		}{{"ndcg@10", m.NDCG10}, {"recall@100", m.Recall100}, {"mrr@10", m.MRR10}, {"map@100", m.MAP100}} {
			report[mode+" "+f.name] = strconv.FormatFloat(f.value, 'f', 4, 64)
		}
		report["judged_queries"] = strconv.Itoa(m.Queries)
	}
	if err := join(d, name, report, pieces, func(*Answer) {}); err != nil {
		return nil, err
	}
	return []string{name}, d.report(report)
}

// ask asks some queries, and gives the answers in their order.
func ask(ctx context.Context, c *retrieval.Collection, which retrieval.Which, mode string, queries []Query, qrels eval.Qrels) ([]Answer, error) {
	answers := make([][]Answer, len(queries))
	errs := make([]error, len(queries))
	turns := make(chan struct{}, evaluateAtOnce)
	var wg sync.WaitGroup
	for i := range queries {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			answers[i], errs[i] = askOne(ctx, c, which, mode, queries[i], qrels[queries[i].ID])
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, cmp.Or(ctx.Err(), errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })])
	}
	return slices.Concat(answers...), nil
}

func askOne(ctx context.Context, c *retrieval.Collection, which retrieval.Which, mode string, q Query, judged map[string]int) ([]Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k := evaluateDepth
	request := retrieval.SearchRequest{Input: retrieval.Input{Text: &q.Text}, Field: "queries", K: &k, Which: which, Basic: true,
		Mode: map[string]retrieval.Mode{"dense": retrieval.Dense, "lexical": retrieval.Lexical, "hybrid": retrieval.Hybrid}[mode]}
	if mode == "dense" {
		request.Exact = true
	}
	res, err := c.Search(ctx, request)
	if err != nil {
		return nil, err
	}
	var answers []Answer
	for rank, hit := range res.Hits {
		grade, known := judged[hit.Paper.ID]
		if !known {
			grade = -1
		}
		answers = append(answers, Answer{mode, q.ID, int32(rank + 1), hit.Paper.ID, hit.Score, int32(grade)})
	}
	return answers, nil
}
