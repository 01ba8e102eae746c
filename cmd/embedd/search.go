package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	embeddv1 "embedd/proto/embedd/v1"
)

// searchFlags tune a search; nil means the server's default.
type searchFlags struct {
	K        *int32   `short:"k" help:"Hits at most; default 10." placeholder:"N"`
	Filter   string   `help:"Which papers may be in the answer, as categories:cs.CL AND year >= 2020; see docs/filters.md." placeholder:"FILTER" group:"Which papers:"`
	Exclude  []string `help:"Papers that shall not be in the answer, by any of their ids, and neither other versions of the same work." placeholder:"ID,..." group:"Which papers:"`
	SameWork bool     `help:"Let other versions of the same work be in the answer." group:"Which papers:"`
	Recall   *float64 `help:"Share of the exact answer that is wanted on average, 0.5 to 0.9999; default 0.99 of a hundred hits." placeholder:"SHARE" group:"How they are found:"`
	Ef       *int32   `help:"HNSW: candidates looked at, instead of --recall; more is slower and nearer to exact." placeholder:"N" group:"How they are found:"`
	Exact    bool     `help:"Compare with every paper by its vector." group:"How they are found:"`
	Mode     string   `help:"By what papers are found: dense, by the encoder's vectors; lexical, by words; hybrid, by both; auto is hybrid for a text, dense otherwise." enum:"auto,dense,lexical,hybrid" default:"auto" group:"How they are found:"`
	Fusion   string   `help:"How a hybrid search joins the two: convex, a weighted sum of the scores; rrf, of the inverse ranks." enum:"auto,convex,rrf" default:"auto" group:"How they are found:"`
	Weight   *float64 `name:"dense-weight" help:"The weight of the vectors in a hybrid search, 0 to 1; default 0.4." placeholder:"W" group:"How they are found:"`
	Plan     string   `help:"Force a way to search, for measurements: graph or scan; auto takes the faster." enum:"auto,graph,scan" default:"auto" group:"How they are found:"`
}

// plan is the flag in the words of the wire.
func (f *searchFlags) plan() embeddv1.Plan {
	return map[string]embeddv1.Plan{"graph": embeddv1.Plan_PLAN_GRAPH, "scan": embeddv1.Plan_PLAN_SCAN}[f.Plan]
}

// mode and fusion are the flags in the words of the wire.
func (f *searchFlags) mode() embeddv1.Mode {
	return embeddv1.Mode(embeddv1.Mode_value["MODE_"+strings.ToUpper(f.Mode)]) // auto is none of them, and so unspecified
}

func (f *searchFlags) fusion() embeddv1.Fusion {
	return embeddv1.Fusion(embeddv1.Fusion_value["FUSION_"+strings.ToUpper(f.Fusion)])
}

// inputFlags are a thing to compare with.
type inputFlags struct {
	Text    []string `arg:"" optional:"" help:"The text to compare with."`
	PaperID string   `name:"paper-id" help:"Compare with a stored paper instead." placeholder:"ID" group:"What is asked with:"`
	Vector  string   `help:"Compare with a vector instead: a file with a JSON array, or - for standard input." placeholder:"FILE" group:"What is asked with:"`
	Paper   string   `help:"Compare with a paper that need not be stored instead: a file with a line as for embedd index, or - for standard input." placeholder:"FILE" group:"What is asked with:"`
}

type searchCmd struct {
	inputFlags
	Store bool `help:"Store the paper of --paper, where it is not known." env:"-" group:"What is asked with:"`
	searchFlags
	orderFlags
	rerankFlags
	Sentences *bool `help:"Re-score the best hundred by their sentences, where the collection keeps them; default: where it does." negatable:"" group:"How they are found:"`
	Explain   bool  `help:"Show why: for each of the first 10 hits the sentences that are most alike, and the rarest words that both have." group:"What is told:"`
	outputFlags
	clientFlags
}

func (searchCmd) Help() string {
	return `Example:
  embedd search "efficient attention for long documents" -k 5
  embedd search "efficient attention for long documents" --filter 'year >= 2021 AND venue:*' --facet venue --facet year
  embedd search "efficient attention for long documents" --rerank=50
  embedd search "efficient attention for long documents" --explain`
}

func (c *inputFlags) input(e *env) (*embeddv1.Input, error) {
	given := 0
	for _, set := range []bool{len(c.Text) > 0, c.PaperID != "", c.Vector != "", c.Paper != ""} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, errors.New("give one of: a text, --paper-id, --vector, --paper")
	case c.Paper != "":
		p, err := readPaper(e, c.Paper)
		return &embeddv1.Input{Kind: &embeddv1.Input_Paper{Paper: p}}, err
	case c.PaperID != "":
		return &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: c.PaperID}}, nil
	case c.Vector != "":
		var in io.Reader = e.stdin
		if c.Vector != "-" {
			f, err := os.Open(c.Vector)
			if err != nil {
				return nil, fmt.Errorf("--vector: %w", err)
			}
			defer f.Close()
			in = f
		}
		var values []float32
		if err := json.NewDecoder(in).Decode(&values); err != nil {
			return nil, fmt.Errorf("--vector: %s is not a JSON array of numbers: %w", c.Vector, err)
		}
		return &embeddv1.Input{Kind: &embeddv1.Input_Vector{Vector: &embeddv1.Vector{Values: values}}}, nil
	}
	return &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: strings.Join(c.Text, " ")}}, nil
}

func (c *searchCmd) Run(e *env) error {
	in, err := c.input(e)
	if err != nil {
		return err
	}
	req := c.request(in, c.view())
	req.Store, req.Rerank, req.Sentences, req.Explain = c.Store, c.wanted(), c.Sentences, c.Explain
	if err := c.apply(req); err != nil {
		return err
	}
	return c.ask(e, req, c.JSON, "search", c.Text)
}

type relatedCmd struct {
	ID string `arg:"" help:"Any of the paper's ids."`

	searchFlags
	outputFlags
	clientFlags
}

func (relatedCmd) Help() string {
	return `Example:
  embedd related ARXIV:1908.10084 -k 5 --json`
}

func (c *relatedCmd) Run(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.search.Related(e.ctx, &embeddv1.RelatedRequest{Id: c.ID, K: c.K, Ef: c.Ef, Recall: c.Recall, Exact: c.Exact, Plan: c.plan(), Filter: c.Filter, View: c.view(),
		Mode: c.mode(), Fusion: c.fusion(), DenseWeight: c.Weight, Exclude: c.Exclude, SameWork: c.SameWork})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	if len(res.GetHits()) == 0 {
		return noPapers(e, c.Filter)
	}
	return printHits(e.stdout, res.GetHits())
}
