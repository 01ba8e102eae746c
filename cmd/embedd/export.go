package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	embeddv1 "embedd/proto/embedd/v1"
)

type exportCmd struct {
	Papers  exportPapersCmd  `cmd:"" default:"withargs" help:"Write the papers as JSONL, in the order of storing; the usual one."`
	Related exportRelatedCmd `cmd:"" help:"Write the related papers of each paper, for sites without a server."`
}

type exportPapersCmd struct {
	Filter  string `help:"Which papers, as categories:cs.CL AND year >= 2020; see docs/filters.md." placeholder:"FILTER"`
	Vectors bool   `help:"With the papers' vectors."`
	JSON    bool   `name:"json" hidden:"" help:"It is JSON anyway." env:"-"`

	clientFlags
}

func (exportPapersCmd) Help() string {
	return `One paper a line, in the form that embedd index reads. Papers that are stored, changed or removed meanwhile may be there or not; each is there
once. The exit status is 0 where all were written.

Example:
  embedd export --filter 'year >= 2020' > papers.jsonl`
}

func (c *exportPapersCmd) Run(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	bar := newProgress(e, "exporting", "papers")
	defer bar.Done()
	total := 0
	if bar.terminal { // where somebody looks at a bar; a log says how many papers there are so far
		count, err := cl.papers.CountPapers(e.ctx, &embeddv1.CountPapersRequest{Filter: c.Filter})
		if err != nil {
			return err
		}
		total = int(count.GetPapers())
	}
	stream, err := cl.papers.ExportPapers(e.ctx, &embeddv1.ExportPapersRequest{Filter: c.Filter, View: embeddv1.PaperView_PAPER_VIEW_FULL, Vectors: c.Vectors})
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(e.stdout, 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for n := 0; ; {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			bar.Done()
			if err := out.Flush(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.stderr, "embedd: %s\n", papersText(n))
			return err
		}
		if err != nil {
			fmt.Fprintf(e.stderr, "embedd: %d papers were written before the end\n", n)
			return errors.Join(err, out.Flush())
		}
		for _, p := range res.GetPapers() {
			if err := lines.Encode(lineOf(p)); err != nil {
				return err
			}
		}
		n += len(res.GetPapers())
		if total > 0 { // papers may come meanwhile
			total = max(n, total)
		}
		bar.Set(n, total)
	}
}

// paperLine is a paper in our own form of JSONL, which package ingest reads.
type paperLine struct {
	ID       string         `json:"id"`
	Title    string         `json:"title,omitempty"`
	Abstract string         `json:"abstract,omitempty"`
	Authors  []string       `json:"authors,omitempty"`
	Year     int32          `json:"year,omitempty"`
	Venue    string         `json:"venue,omitempty"`
	DOI      string         `json:"doi,omitempty"`
	ArxivID  string         `json:"arxiv_id,omitempty"`
	URL      string         `json:"url,omitempty"`
	Metadata map[string]any `json:"metadata,omitempty"`
	Expires  *time.Time     `json:"expires,omitempty"`
	Vector   []float32      `json:"vector,omitempty"`
}

func lineOf(p *embeddv1.Paper) paperLine {
	line := paperLine{
		ID: p.GetId(), Title: p.GetTitle(), Abstract: p.GetAbstract(), Authors: p.GetAuthors(), Year: p.GetYear(), Venue: p.GetVenue(),
		DOI: p.GetDoi(), ArxivID: p.GetArxivId(), URL: p.GetUrl(), Metadata: p.GetMetadata().AsMap(), Vector: p.GetVector().GetValues(),
	}
	if p.GetExpires() != nil {
		at := p.GetExpires().AsTime()
		line.Expires = &at
	}
	return line
}
