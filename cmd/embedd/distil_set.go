package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"embedd/embed"
	"embedd/internal/distil"
	"embedd/internal/eval"
	"embedd/internal/retrieval"
	"embedd/models"
	embeddv1 "embedd/proto/embedd/v1"
)

// The limits of what is learned from.
const (
	maxDistilQueries = 100_000
	maxDistilPairs   = 5_000_000
	// teacherBytes of a paper's text are kept for the teacher, which reads fewer.
	teacherBytes = 8 << 10
)

// judgments are what the files say, before the collection is asked.
type judgments struct {
	name    string // for people
	queries []*asked
}

// asked is a query of the files.
type asked struct {
	name   string             // for errors
	text   string             // "": it is the paper
	paper  string             // its id, "" for a text
	either string             // the id of a paper, or a text
	grades map[string]float64 // by id of paper
}

// read reads the files, before anything is opened.
func (c *distilCmd) read() (*judgments, error) {
	j := &judgments{}
	var set *eval.Dataset
	var err error
	switch {
	case c.Pairs != "":
		return readPairs(c.Pairs)
	case c.Dir != "":
		set, err = eval.ReadDataset(c.Dir, c.Task)
	case c.Qrels != "":
		if err = errors.Join(readable(c.Queries), readable(c.Qrels)); err == nil {
			set, err = eval.ReadFiles(c.Queries, c.Qrels)
		}
	case c.Queries != "":
		j.name = c.Teacher + ", " + sourceName(c.Queries)
		set = &eval.Dataset{}
		if err = readable(c.Queries); err == nil {
			set.Queries, err = eval.ReadQueries(c.Queries)
		}
	default:
		j.name = c.Teacher + ", titles"
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	j.name = cmp.Or(j.name, strings.ToValidUTF8(set.Name, "?"))
	if len(set.Queries) > maxDistilQueries {
		return nil, fmt.Errorf("%d queries are too many; the most is %d", len(set.Queries), maxDistilQueries)
	}
	pairs := 0
	for _, q := range set.Queries {
		a := &asked{name: "query " + q.ID, text: q.Text, grades: map[string]float64{}}
		if c.ExcludeSelf {
			a.paper = q.ID
		}
		for id, grade := range set.Qrels[q.ID] {
			if grade > distil.MaxGrade {
				return nil, fmt.Errorf("query %q, document %q: relevance is %d; the most is %d", q.ID, id, grade, distil.MaxGrade)
			}
			if id != a.paper {
				a.grades[id] = float64(max(grade, 0)) // below 0 is not relevant, by however much
			}
		}
		pairs += len(a.grades)
		j.queries = append(j.queries, a)
	}
	if pairs > maxDistilPairs {
		return nil, fmt.Errorf("%d judgments are too many; the most is %d", pairs, maxDistilPairs)
	}
	return j, nil
}

// readPairs makes queries of pairs: those of the same a are one.
func readPairs(path string) (*judgments, error) {
	if err := readable(path); err != nil {
		return nil, err
	}
	pairs, err := eval.ReadPairs(path, maxDistilPairs)
	if err != nil {
		return nil, err
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("%s: has no pairs", path)
	}
	j := &judgments{name: sourceName(path)}
	type key struct {
		a    string
		text bool
	}
	at := map[key]*asked{}
	for _, p := range pairs {
		k := key{p.A, p.Text}
		a := at[k]
		if a == nil {
			a = &asked{name: fmt.Sprintf("%s:%d", path, p.Line), grades: map[string]float64{}}
			if a.either = p.A; p.Text {
				a.either, a.text = "", p.A
			}
			at[k] = a
			j.queries = append(j.queries, a)
		}
		if before, twice := a.grades[p.B]; twice && before != p.Score {
			return nil, fmt.Errorf("%s:%d: the score of this pair is %v here, and was %v before", path, p.Line, p.Score, before)
		}
		a.grades[p.B] = p.Score
	}
	if len(j.queries) > maxDistilQueries {
		return nil, fmt.Errorf("%s: %d different a are too many; the most is %d", path, len(j.queries), maxDistilQueries)
	}
	return j, nil
}

// gatherer asks the collection for vectors.
type gatherer struct {
	e     *env
	cl    *client
	from  *judgments
	most  int    // papers beside those that are judged
	seed  uint64 // of those that are drawn
	texts bool   // of papers are wanted too

	kept    []keptPaper
	row     map[string]int // of kept, by id
	unknown int            // judgments of papers that are not there
	queries []string       // texts of the set's queries, for a teacher
}

// keptPaper is a paper of the collection.
type keptPaper struct {
	id, title, text string
	vector          []float32
}

// gather makes the set: papers by id, the last first, as ties are ranked by trec_eval; queries in the order of their files. Where there are none, titles of papers
// are asked, so many.
func (g *gatherer) gather(dim, titles int) (*distil.Set, error) {
	if err := g.papers(dim); err != nil {
		return nil, err
	}
	s := &distil.Set{Dimension: dim}
	for _, p := range g.kept {
		s.Papers = append(s.Papers, p.vector...)
	}
	all := g.from.queries
	if len(all) == 0 {
		all = g.titles(titles)
	}
	known, first := 0, ""
	var texts []string
	var of []int // the query of each text
	for _, a := range all {
		if a.either != "" {
			if _, there := g.row[a.either]; there {
				a.paper = a.either
			} else if strings.ContainsAny(a.either, " \t\n") {
				a.text = a.either
			} else {
				return nil, fmt.Errorf(`%s: a: the collection has no paper %q; a text of one word is given as {"text": …}`, a.name, a.either)
			}
		}
		q := distil.Query{Paper: -1}
		if a.paper != "" {
			row, there := g.row[a.paper]
			switch {
			case there && a.text == "":
				q.Vector = g.kept[row].vector
			case !there && a.text == "":
				return nil, fmt.Errorf("%s: the collection has no paper %q", a.name, a.paper)
			}
			if there {
				q.Paper = row
			}
		}
		// In a fixed order, for the same chance to give the same.
		for _, id := range slices.Sorted(maps.Keys(a.grades)) {
			row, there := g.row[id]
			if !there {
				g.unknown++
				first = cmp.Or(first, id)
				continue
			}
			if row == q.Paper {
				return nil, fmt.Errorf("%s: the paper %q is judged by itself", a.name, id)
			}
			known++
			q.Judged = append(q.Judged, distil.Judgment{Paper: row, Grade: a.grades[id]})
		}
		if q.Vector == nil {
			texts, of = append(texts, a.text), append(of, len(s.Queries))
		}
		s.Queries = append(s.Queries, q)
		g.queries = append(g.queries, a.text)
	}
	if g.unknown > 0 {
		if known == 0 {
			return nil, fmt.Errorf("the collection has none of the %d papers that are judged; the first is %q", g.unknown, first)
		}
		fmt.Fprintf(g.e.stderr, "embedd: note: %d of %d judgments are of papers that the collection does not have, as %q; they are left out\n", g.unknown, g.unknown+known, first)
	}
	vectors, err := g.encode(texts)
	if err != nil {
		return nil, err
	}
	for i, v := range vectors {
		s.Queries[of[i]].Vector = v
	}
	return s, nil
}

// titles are queries made of the titles of papers, by chance.
func (g *gatherer) titles(n int) []*asked {
	rng := rand.New(rand.NewPCG(g.seed, 8))
	var all []*asked
	for _, row := range rng.Perm(len(g.kept)) {
		if p := g.kept[row]; len(all) < n && strings.TrimSpace(p.title) != "" {
			all = append(all, &asked{name: "title of " + p.id, text: p.title, paper: p.id})
		}
	}
	return all
}

// papers reads the collection once: those that the judgments name are kept, and of the others so many, by chance.
func (g *gatherer) papers(dim int) error {
	named := map[string]bool{}
	for _, a := range g.from.queries {
		named[a.paper], named[a.either] = true, true
		for id := range a.grades {
			named[id] = true
		}
	}
	delete(named, "")
	count, err := g.cl.papers.CountPapers(g.e.ctx, &embeddv1.CountPapersRequest{})
	if err != nil {
		return err
	}
	bar := newProgress(g.e, "reading vectors", "papers")
	defer bar.Done()
	view := embeddv1.PaperView_PAPER_VIEW_ID
	if g.texts {
		view = embeddv1.PaperView_PAPER_VIEW_FULL
	}
	stream, err := g.cl.papers.ExportPapers(g.e.ctx, &embeddv1.ExportPapersRequest{View: view, Vectors: true})
	if err != nil {
		return err
	}
	// A reservoir (Vitter, 1985, algorithm R).
	rng := rand.New(rand.NewPCG(g.seed, 7))
	var drawn []keptPaper
	others, done := 0, 0
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, p := range res.GetPapers() {
			v := p.GetVector().GetValues()
			if len(v) != dim {
				return fmt.Errorf("paper %s has a vector of %d values, the model's dimension is %d", p.GetId(), len(v), dim)
			}
			k := keptPaper{id: p.GetId(), vector: v}
			if g.texts {
				k.title = firstBytes(p.GetTitle(), teacherBytes)
				k.text = firstBytes(retrieval.PaperText(&retrieval.Paper{Title: p.GetTitle(), Abstract: p.GetAbstract()}), teacherBytes)
			}
			if named[k.id] {
				g.kept = append(g.kept, k)
				continue
			}
			others++
			if len(drawn) < g.most {
				drawn = append(drawn, k)
			} else if at := rng.IntN(others); at < g.most {
				drawn[at] = k
			}
		}
		if n := len(g.kept) + len(drawn); n*dim > distil.MaxValues {
			return fmt.Errorf("the vectors of %d papers have more than %d values; give a smaller --papers than %d", n, distil.MaxValues, g.most)
		}
		done += len(res.GetPapers())
		bar.Set(done, max(done, int(count.GetPapers())))
	}
	g.kept = append(g.kept, drawn...)
	slices.SortFunc(g.kept, func(a, b keptPaper) int { return strings.Compare(b.id, a.id) })
	g.row = make(map[string]int, len(g.kept))
	for i, p := range g.kept {
		g.row[p.id] = i
	}
	if len(g.kept) == 0 {
		return errors.New("the collection has no papers")
	}
	return nil
}

// firstBytes is the beginning of a text, of whole characters.
func firstBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// encode gives the vectors of queries.
func (g *gatherer) encode(texts []string) (vectors [][]float32, err error) {
	bar := newProgress(g.e, "encoding", "queries")
	defer bar.Done()
	for part := range slices.Chunk(texts, retrieval.MaxTextsPerCall) {
		res, err := g.cl.encode.Encode(g.e.ctx, &embeddv1.EncodeRequest{Texts: part, Role: embeddv1.Role_ROLE_QUERY, Lane: embeddv1.Lane_LANE_BULK})
		if err != nil {
			return nil, err
		}
		for _, enc := range res.GetEncodings() {
			vectors = append(vectors, enc.GetVector().GetValues())
		}
		bar.Set(len(vectors), len(texts))
	}
	if len(vectors) != len(texts) {
		return nil, fmt.Errorf("%d texts were encoded into %d vectors", len(texts), len(vectors))
	}
	return vectors, nil
}

// teach has the teacher score the nearest papers of each query.
func (c *distilCmd) teach(e *env, g *gatherer, s *distil.Set, f *engineFlags) (err error) {
	m, err := models.Open(f.Models, c.Teacher)
	if err != nil {
		return fmt.Errorf("--teacher: %w", err)
	}
	scorer, err := embed.OpenScorer(m, &embed.Options{Library: f.Library, Workers: f.Workers})
	if err != nil {
		return fmt.Errorf("--teacher: %w", err)
	}
	defer finish(&err, scorer.Close)
	near, err := distil.Nearest(e.ctx, s, c.Candidates)
	if err != nil {
		return err
	}
	s.Teacher = true
	bar := newProgress(e, "scoring", "queries")
	defer bar.Done()
	for i := range s.Queries {
		scores, err := c.score(e.ctx, scorer, g, i, near[i])
		if err != nil {
			return err
		}
		for k, row := range near[i] {
			s.Queries[i].Judged = append(s.Queries[i].Judged, distil.Judgment{Paper: row, Grade: float64(scores[k].Score)})
		}
		bar.Set(i+1, len(s.Queries))
	}
	return nil
}

// score scores papers for a query.
func (c *distilCmd) score(ctx context.Context, scorer *embed.Scorer, g *gatherer, query int, rows []int) ([]embed.Scored, error) {
	pairs := make([]embed.Pair, len(rows))
	for k, row := range rows {
		pairs[k] = embed.Pair{Query: g.queries[query], Text: g.kept[row].text}
	}
	scores, err := scorer.Score(ctx, embed.Bulk, pairs)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", firstRunes(g.queries[query], 60), err)
	}
	return scores, nil
}
