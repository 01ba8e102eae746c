package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"embedd/internal/ingest"
	embeddv1 "embedd/proto/embedd/v1"
)

// orderFlags change the order of an answer, or end it.
type orderFlags struct {
	Feedback        bool     `help:"Search twice: the second time also with what the first two hits have in common." group:"How they are found:"`
	Diversity       float64  `help:"How much a hit is to differ from those before it, 0 to 1; 0: not at all." default:"0" placeholder:"SHARE" group:"Their order:"`
	GroupBy         string   `help:"A field, of whose values each has --per-group hits at most, as venue." placeholder:"FIELD" group:"Their order:"`
	PerGroup        int32    `help:"Hits for each value of --group-by." default:"1" placeholder:"N" group:"Their order:"`
	HalfLife        *float64 `help:"The age in years at which a paper counts half as much." placeholder:"YEARS" group:"Their order:"`
	DateField       string   `help:"The field with a paper's date, for --half-life, --published-after and --published-before; default: year." placeholder:"FIELD" group:"Which papers:"`
	PublishedAfter  string   `help:"Papers from this date on: YYYY, YYYY-MM or YYYY-MM-DD." placeholder:"DATE" group:"Which papers:"`
	PublishedBefore string   `help:"Papers up to this date." placeholder:"DATE" group:"Which papers:"`
	MinCosine       *float64 `help:"No hits with a lower cosine, -1 to 1." placeholder:"COSINE" group:"Which papers:"`
	MinBand         string   `help:"No hits of a weaker band: related or strong; see docs/search.md." enum:"any,related,strong" default:"any" group:"Which papers:"`
	Autocut         bool     `help:"End the answer before its largest drop in score, where one stands out." group:"Their order:"`
	Facet           []string `help:"Count the values of this field among all papers that meet the filter." placeholder:"FIELD" group:"What is told:"`
	PageToken       string   `help:"next_page_token of the answer before, for the hits after it." placeholder:"TOKEN" env:"-"`
}

// apply sets them in a request.
func (f *orderFlags) apply(r *embeddv1.SearchRequest) error {
	if f.Feedback {
		r.Feedback = &embeddv1.Feedback{}
	}
	if f.Diversity != 0 {
		r.Diversity = &f.Diversity
	}
	if f.GroupBy != "" {
		r.GroupBy = &embeddv1.GroupBy{Field: f.GroupBy, Hits: f.PerGroup}
	} else if f.PerGroup != 1 {
		return errors.New("--per-group: is given without --group-by, whose hits it counts")
	}
	r.HalfLife, r.DateField, r.PublishedAfter, r.PublishedBefore = f.HalfLife, f.DateField, f.PublishedAfter, f.PublishedBefore
	r.MinCosine, r.Autocut, r.PageToken = f.MinCosine, f.Autocut, f.PageToken
	r.Facets = facets(f.Facet)
	r.MinBand = embeddv1.Band(embeddv1.Band_value["BAND_"+strings.ToUpper(f.MinBand)]) // any is none of them, and so unspecified
	return nil
}

// facets asks for the values of fields.
func facets(fields []string) (all []*embeddv1.FacetRequest) {
	for _, field := range fields {
		all = append(all, &embeddv1.FacetRequest{Field: field})
	}
	return all
}

// request is a search by these flags.
func (f *searchFlags) request(in *embeddv1.Input, view embeddv1.PaperView) *embeddv1.SearchRequest {
	return &embeddv1.SearchRequest{
		Query: in, K: f.K, Ef: f.Ef, Recall: f.Recall, Exact: f.Exact, Plan: f.plan(), Filter: f.Filter, View: view,
		Mode: f.mode(), Fusion: f.fusion(), DenseWeight: f.Weight, Exclude: f.Exclude, SameWork: f.SameWork,
	}
}

// readPaper reads a paper that need not be stored: a file with a line as for embedd index, or - for standard input.
func readPaper(e *env, path string) (*embeddv1.Paper, error) {
	text, err := func() ([]byte, error) {
		if path == "-" {
			return io.ReadAll(e.stdin)
		}
		return os.ReadFile(path)
	}()
	if err != nil {
		return nil, fmt.Errorf("--paper: %w", err)
	}
	r := ingest.NewReader(bytes.NewReader(append(bytes.ReplaceAll(bytes.TrimSpace(text), []byte("\n"), []byte(" ")), '\n')), path)
	p, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("--paper: %w", err)
	}
	return paperOf(p)
}

type recommendCmd struct {
	IDs        []string `arg:"" name:"id" optional:"" help:"Papers that are liked, by any of their ids, in the order of reading."`
	Not        []string `help:"Ids of papers that are not." placeholder:"ID"`
	Text       string   `help:"What is looked for, beside the papers." placeholder:"TEXT"`
	TextWeight *float64 `help:"The weight of the text, the papers together having 1; default 1." placeholder:"W"`
	Strategy   string   `help:"How the papers are joined: average; best-score, the one that is nearest counts; sum-scores; sequence, late ones count more, and those that have much in common with a paper." enum:"average,best-score,sum-scores,sequence" default:"average"`

	searchFlags
	orderFlags
	outputFlags
	clientFlags
}

func (recommendCmd) Help() string {
	return `Finds papers for a reading list. Those of the list are not in the answer.

Example:
  embedd recommend ARXIV:1908.10084 ARXIV:2104.08821 --text "without labelled pairs" -k 5`
}

func (c *recommendCmd) Run(e *env) error {
	examples := func(ids []string) (all []*embeddv1.Example) {
		for _, id := range ids {
			all = append(all, &embeddv1.Example{Input: &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: id}}})
		}
		return all
	}
	req := c.request(&embeddv1.Input{Kind: &embeddv1.Input_Examples{Examples: &embeddv1.Examples{
		Positive: examples(c.IDs), Negative: examples(c.Not), Text: c.Text, TextWeight: c.TextWeight,
		Strategy: embeddv1.Strategy(embeddv1.Strategy_value["STRATEGY_"+strings.ToUpper(strings.ReplaceAll(c.Strategy, "-", "_"))]),
	}}}, c.view())
	if err := c.apply(req); err != nil {
		return err
	}
	return c.ask(e, req, c.JSON, "recommend", c.IDs)
}

// ask sends a search, and prints its answer; command and args are what it was asked with beside flags. One that stores its paper may make a data directory.
func (f *clientFlags) ask(e *env, req *embeddv1.SearchRequest, asJSON bool, command string, args []string) (err error) {
	cl, err := f.open(e, req.GetStore())
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.search.Search(e.ctx, req)
	if err != nil {
		return err
	}
	if asJSON {
		return printMessage(e.stdout, res)
	}
	warnTruncated(e.stderr, "the text", res.GetTextUse())
	if err := printAnswer(e, res, req.GetFilter()); err != nil || res.GetNextPageToken() == "" {
		return err
	}
	words := ""
	if slices.ContainsFunc(args, func(s string) bool { return strings.HasPrefix(s, "-") }) {
		words = " --"
	}
	for _, arg := range args {
		words += " " + shellWord(arg)
	}
	fmt.Fprintf(e.stderr, "There are more: %s %s%s --page-token=%s%s\n", program(), command, e.again("page-token"), res.GetNextPageToken(), words)
	return nil
}

// printAnswer writes the answer to a search with a filter, if it had one, for people: its hits and facets as tables.
func printAnswer(e *env, res *embeddv1.SearchResponse, filter string) error {
	print := printHits
	if len(res.GetHits()) == 0 {
		print = func(io.Writer, []*embeddv1.Hit) error { return noPapers(e, filter) }
	}
	if slices.ContainsFunc(res.GetHits(), func(h *embeddv1.Hit) bool { return h.GetExplanation() != nil }) {
		print = printExplained
	}
	if err := print(e.stdout, res.GetHits()); err != nil {
		return err
	}
	if err := printFacets(e.stdout, res.GetFacets()); err != nil {
		return err
	}
	for _, stage := range res.GetLeftOut() {
		fmt.Fprintf(e.stderr, "embedd: note: there was no time for %s\n", stage)
	}
	return nil
}

// printFacets writes a table for each field: the values that most papers have, and how many papers have none.
func printFacets(w io.Writer, facets []*embeddv1.Facet) error {
	for _, f := range facets {
		fmt.Fprintln(w)
		t := newTable(w, f.GetField(), "PAPERS")
		for _, v := range f.GetValues() {
			t.row(v.GetValue(), fmt.Sprint(v.GetPapers()))
		}
		if more := f.GetValuesTotal() - int64(len(f.GetValues())); more > 0 {
			t.row(fmt.Sprintf("(%d other values)", more), "")
		}
		if n := f.GetPapersWithout(); n > 0 {
			t.row("(no value)", fmt.Sprint(n))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}
