package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	embeddv1 "embedd/proto/embedd/v1"
)

type getCmd struct {
	ID string `arg:"" help:"Any of the paper's ids."`

	outputFlags
	clientFlags
}

func (getCmd) Help() string {
	return `Example:
  embedd get ARXIV:1908.10084`
}

func (c *getCmd) Run(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.papers.GetPaper(e.ctx, &embeddv1.GetPaperRequest{Id: c.ID})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	p := res.GetPaper()
	t := newTable(e.stdout)
	for _, row := range [][2]string{
		{"id", p.GetId()}, {"paper", citation(p)}, {"authors", strings.Join(p.GetAuthors(), ", ")}, {"doi", p.GetDoi()},
		{"arxiv", p.GetArxivId()}, {"url", p.GetUrl()}, {"expires", expiryText(p)}, {"abstract", p.GetAbstract()},
	} {
		if row[1] != "" {
			t.row(row[0], row[1])
		}
	}
	if p.GetMetadata() != nil {
		text, err := p.GetMetadata().MarshalJSON()
		if err != nil {
			return err
		}
		t.row("metadata", string(text))
	}
	for _, row := range [][2]string{{"aliases", strings.Join(res.GetAliases(), ", ")}, {"same work", strings.Join(res.GetSameWork(), ", ")}} {
		if row[1] != "" {
			t.row(row[0], row[1])
		}
	}
	if res.GetSameWorkPending() {
		fmt.Fprintln(e.stderr, "embedd: note: which papers are the same work is still being read, and may be missing here")
	}
	warnTruncated(e.stderr, "the paper", res.GetTextUse())
	return t.flush()
}

// expiryText is when a paper expires, "" for never.
func expiryText(p *embeddv1.Paper) string {
	if p.GetExpires() == nil {
		return ""
	}
	return p.GetExpires().AsTime().Format(time.RFC3339Nano)
}

type listCmd struct {
	Filter    string `help:"Which papers, as categories:cs.CL AND year >= 2020; see docs/filters.md." placeholder:"FILTER"`
	PageSize  *int32 `help:"Papers at most; default 100." placeholder:"N"`
	PageToken string `help:"Go on after the page that gave this token." placeholder:"TOKEN" env:"-"`

	outputFlags
	clientFlags
}

func (listCmd) Help() string {
	return `Example:
  embedd list --page-size 20`
}

func (c *listCmd) Run(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.papers.ListPapers(e.ctx, &embeddv1.ListPapersRequest{PageSize: c.PageSize, PageToken: c.PageToken, Filter: c.Filter, View: c.view()})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	if len(res.GetPapers()) == 0 {
		return noPapers(e, c.Filter)
	}
	t := newTable(e.stdout, "ID", "PAPER")
	for _, p := range res.GetPapers() {
		t.row(p.GetId(), citation(p))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if token := res.GetNextPageToken(); token != "" {
		fmt.Fprintf(e.stderr, "There are more: %s list%s --page-token=%s\n", program(), e.again("page-token"), token) // a token may begin with -
	}
	return nil
}

type countCmd struct {
	Filter string   `help:"Which papers, as categories:cs.CL AND year >= 2020; see docs/filters.md." placeholder:"FILTER"`
	Facet  []string `help:"Count the values of this field among all papers that meet the filter." placeholder:"FIELD"`

	outputFlags
	clientFlags
}

func (countCmd) Help() string {
	return `Example:
  embedd count --filter 'year >= 2020' --facet venue --facet year`
}

func (c *countCmd) Run(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.papers.CountPapers(e.ctx, &embeddv1.CountPapersRequest{Filter: c.Filter, Facets: facets(c.Facet)})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	if res.GetPapers() == 0 {
		return noPapers(e, c.Filter)
	}
	if _, err := fmt.Fprintln(e.stdout, papersText(res.GetPapers())); err != nil {
		return err
	}
	return printFacets(e.stdout, res.GetFacets())
}

type deleteCmd struct {
	IDs    []string `arg:"" optional:"" name:"id" help:"Ids that the papers are stored with."`
	Filter string   `help:"Instead of ids: all papers that meet this, as year < 1990; see docs/filters.md." placeholder:"FILTER" env:"-"`
	DryRun bool     `help:"Count what would be removed, and remove nothing."`

	outputFlags
	clientFlags
}

func (deleteCmd) Help() string {
	return `Papers that meet a filter go a thousand at a time. Where that takes longer than the server gives a call, the same command again goes on.

Example:
  embedd delete ARXIV:1908.10084
  embedd delete --filter 'year < 1990' --dry-run`
}

func (c *deleteCmd) Run(e *env) (err error) {
	switch {
	case len(c.IDs) == 0 && c.Filter == "":
		return errors.New("nothing says which papers; give ids or --filter")
	case len(c.IDs) > 0 && c.Filter != "":
		return errors.New("ids and --filter are given; give one of them")
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.papers.DeletePapers(e.ctx, &embeddv1.DeletePapersRequest{Ids: c.IDs, Filter: c.Filter, DryRun: c.DryRun})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	what := "deleted"
	if c.DryRun {
		what = "would delete"
	}
	fmt.Fprintf(e.stdout, "%s %d\n", what, res.GetDeleted())
	for i, id := range res.GetNotFound() {
		if i < maxLookedUp { // papers are removed by the id that they were stored with, and by no other
			if got, err := cl.papers.GetPaper(e.ctx, &embeddv1.GetPaperRequest{Id: id}); err == nil {
				fmt.Fprintf(e.stderr, "embedd: note: %q is another id of the paper %q, which stays; give the id that it is stored with, as embedd get shows it\n", id, got.GetPaper().GetId())
				continue
			}
		}
		fmt.Fprintf(e.stderr, "embedd: note: no paper has the id %q\n", id)
	}
	return nil
}

// maxLookedUp is of how many ids that no paper is stored with it is looked up whether they are other ids of one.
const maxLookedUp = 20
