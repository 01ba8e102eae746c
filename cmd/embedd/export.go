package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"embedd/internal/jobs"
	tables "embedd/internal/table"
	embeddv1 "embedd/proto/embedd/v1"
)

type exportCmd struct {
	Papers  exportPapersCmd  `cmd:"" default:"withargs" help:"Write the papers in the order of storing, as JSONL, Parquet or CSV; the usual one."`
	Vectors exportVectorsCmd `cmd:"" help:"Write the papers' vectors, as an array of NumPy, as Parquet or JSONL."`
	Related exportRelatedCmd `cmd:"" help:"Write the related papers of each paper, for sites without a server."`
}

type exportPapersCmd struct {
	Filter  string   `help:"Which papers, as categories:cs.CL AND year >= 2020; see docs/filters.md." placeholder:"FILTER"`
	Vectors bool     `help:"With the papers' vectors."`
	Out     outFlags `embed:""`
	JSON    bool     `name:"json" hidden:"" help:"It is JSON anyway." env:"-"`

	clientFlags
}

func (exportPapersCmd) Help() string {
	return `One paper a line, in the form that embedd index reads; or with --out a table, whose columns have the same names. Metadata are JSON there, in a
column of their own. Papers that are stored, changed or removed meanwhile may be there or not; each is there once. The exit status is 0 where all were
written.

Example:
  embedd export --filter 'year >= 2020' > papers.jsonl
  embedd export papers --out papers.parquet`
}

func (c *exportPapersCmd) Run(e *env) (err error) {
	format, packing, err := c.Out.format(tables.Parquet, tables.CSV, tables.TSV, tables.JSONL)
	if err != nil {
		return err
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	return c.export(e, cl, format, packing)
}

func (c *exportPapersCmd) export(e *env, cl *client, format tables.Format, packing tables.Packing) error {
	out, err := c.Out.open(e, packing)
	if err != nil {
		return err
	}
	write, last, err := paperWriter(out, format, c.Vectors)
	if err != nil {
		return end(e, err, out)
	}
	req := &embeddv1.ExportPapersRequest{Filter: c.Filter, View: embeddv1.PaperView_PAPER_VIEW_FULL, Vectors: c.Vectors}
	n, err := exportAll(e, cl, req, write)
	if err == nil || c.Out.stdout() { // what goes to standard output goes as far as it came
		err = errors.Join(err, last())
	}
	return c.Out.report(e, n, end(e, err, out))
}

// report says how many papers were written, where they were.
func (f *outFlags) report(e *env, n int, err error) error {
	switch {
	case err == nil && f.stdout():
		_, err = fmt.Fprintf(e.stderr, "embedd: %s\n", papersText(n))
	case err == nil:
		_, err = fmt.Fprintf(e.stderr, "embedd: %s in %s\n", papersText(n), f.Out)
	case f.stdout():
		fmt.Fprintf(e.stderr, "embedd: %d papers were written before the end\n", n)
	}
	return err
}

// exportAll has the papers of an export written, up to 100 at a time, and shows how far it is.
func exportAll(e *env, cl *client, req *embeddv1.ExportPapersRequest, write func([]*embeddv1.Paper) error) (n int, err error) {
	bar := newProgress(e, "exporting", "papers")
	defer bar.Done()
	total := 0
	if bar.terminal { // where somebody looks at a bar; a log says how many papers there are so far
		count, err := cl.papers.CountPapers(e.ctx, &embeddv1.CountPapersRequest{Filter: req.GetFilter()})
		if err != nil {
			return 0, err
		}
		total = int(count.GetPapers())
	}
	stream, err := cl.papers.ExportPapers(e.ctx, req)
	if err != nil {
		return 0, err
	}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if err := write(res.GetPapers()); err != nil {
			return n, err
		}
		n += len(res.GetPapers())
		if total > 0 { // papers may come meanwhile
			total = max(n, total)
		}
		bar.Set(n, total)
	}
}

// paperWriter gives what writes papers in a format, and what is to be called at the end.
func paperWriter(w io.Writer, f tables.Format, vectors bool) (write func([]*embeddv1.Paper) error, end func() error, err error) {
	switch {
	case f == tables.JSONL:
		out := bufio.NewWriterSize(w, 64<<10)
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false)
		return func(papers []*embeddv1.Paper) error {
			for _, p := range papers {
				if err := lines.Encode(lineOf(p)); err != nil {
					return err
				}
			}
			return nil
		}, out.Flush, nil
	case vectors:
		return rowWriter(w, f, func(p *embeddv1.Paper) (vectorPaperRow, error) {
			row, err := rowOf(p)
			return vectorPaperRow{row.ID, row.Title, row.Abstract, row.Authors, row.Year, row.Venue, row.DOI, row.ArxivID, row.URL, row.Metadata, row.Expires, p.GetVector().GetValues()}, err
		})
	}
	return rowWriter(w, f, rowOf)
}

// rowWriter is paperWriter for tables of rows of T.
func rowWriter[T any](w io.Writer, f tables.Format, rowOf func(*embeddv1.Paper) (T, error)) (write func([]*embeddv1.Paper) error, end func() error, err error) {
	out, err := tables.NewWriter[T](w, f, nil)
	if err != nil {
		return nil, nil, err
	}
	var rows []T
	return func(papers []*embeddv1.Paper) error {
		rows = rows[:0]
		for _, p := range papers {
			row, err := rowOf(p)
			if err != nil {
				return fmt.Errorf("%q: %w", p.GetId(), err)
			}
			rows = append(rows, row)
		}
		return out.Write(rows)
	}, out.Close, nil
}

// paperRow is a paper in a table.
type paperRow = jobs.ExportedPaper

// vectorPaperRow is a paper in a table, with its vector.
type vectorPaperRow struct {
	ID       string    `parquet:"id" json:"id"`
	Title    string    `parquet:"title,optional" json:"title,omitempty"`
	Abstract string    `parquet:"abstract,optional" json:"abstract,omitempty"`
	Authors  []string  `parquet:"authors,list,optional" json:"authors,omitempty"`
	Year     int32     `parquet:"year,optional" json:"year,omitempty"`
	Venue    string    `parquet:"venue,dict,optional" json:"venue,omitempty"`
	DOI      string    `parquet:"doi,optional" json:"doi,omitempty"`
	ArxivID  string    `parquet:"arxiv_id,optional" json:"arxiv_id,omitempty"`
	URL      string    `parquet:"url,optional" json:"url,omitempty"`
	Metadata string    `parquet:"metadata,optional" json:"metadata,omitempty"`
	Expires  string    `parquet:"expires,optional" json:"expires,omitempty"`
	Vector   []float32 `parquet:"vector,list,optional" json:"vector,omitempty"`
}

func rowOf(p *embeddv1.Paper) (row paperRow, err error) {
	line := lineOf(p)
	row = paperRow{ID: line.ID, Title: line.Title, Abstract: line.Abstract, Authors: line.Authors, Year: line.Year, Venue: line.Venue, DOI: line.DOI, ArxivID: line.ArxivID, URL: line.URL}
	if len(line.Metadata) > 0 {
		var b strings.Builder
		object := json.NewEncoder(&b)
		object.SetEscapeHTML(false)
		if err := object.Encode(line.Metadata); err != nil {
			return row, err
		}
		row.Metadata = strings.TrimSuffix(b.String(), "\n")
	}
	if line.Expires != nil {
		row.Expires = line.Expires.Format(time.RFC3339Nano)
	}
	return row, nil
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
