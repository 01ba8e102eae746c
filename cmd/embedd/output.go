package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	embeddv1 "embedd/proto/embedd/v1"
)

// outputFlags choose between tables for people and JSON for programs.
type outputFlags struct {
	JSON bool `name:"json" help:"Print JSON for programs."`
}

// view is how much of each paper is asked for: all for programs, since an answer has every field, and one that was not asked for would
// look as if the paper had none.
func (f outputFlags) view() embeddv1.PaperView {
	if f.JSON {
		return embeddv1.PaperView_PAPER_VIEW_FULL
	}
	return embeddv1.PaperView_PAPER_VIEW_UNSPECIFIED
}

// printMessage writes an answer as indented JSON, every field present.
func printMessage(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil { // protojson varies its white space on purpose
		return err
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

// printJSON writes a value as indented JSON.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table is text in columns.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, columns ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(columns) > 0 {
		t.row(columns...)
	}
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() error { return t.w.Flush() }

// printable replaces what could steer a terminal, or break a line, in a text that came from outside.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
}

// firstRunes is the beginning of a text that is longer than n characters, with a sign that there is more.
func firstRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i] + "…"
		}
	}
	return s
}

// citation is a paper in a line: title, year and venue.
func citation(p *embeddv1.Paper) string {
	s := p.GetTitle()
	var about []string
	if p.GetYear() != 0 {
		about = append(about, fmt.Sprint(p.GetYear()))
	}
	if p.GetVenue() != "" {
		about = append(about, p.GetVenue())
	}
	if len(about) > 0 {
		s += " (" + strings.Join(about, ", ") + ")"
	}
	return s
}

// noPapers says that an answer is empty and, where a filter was asked with, what it may have been about.
func noPapers(e *env, filter string) error {
	if filter != "" {
		fmt.Fprintln(e.stderr, "embedd: note: a filter compares values whole, upper and lower case apart: venue = \"ACL\" is another than \"acl\" and \"ACL 2021\", and \"ACL*\" is all that begins so; embedd info lists the fields")
	}
	_, err := fmt.Fprintln(e.stdout, "no papers")
	return err
}

// printHits writes hits as a table.
func printHits(w io.Writer, hits []*embeddv1.Hit) error {
	banded := false
	for _, h := range hits {
		banded = banded || h.GetBand() != embeddv1.Band_BAND_UNSPECIFIED
	}
	columns := []string{"RANK", "SCORE", "ID", "PAPER"}
	if banded {
		columns = []string{"RANK", "SCORE", "BAND", "ID", "PAPER"}
	}
	t := newTable(w, columns...)
	for _, h := range hits {
		cells := []string{fmt.Sprint(h.GetRank()), fmt.Sprintf("%.4f", h.GetScore())}
		if banded {
			cells = append(cells, strings.ToLower(strings.TrimPrefix(h.GetBand().String(), "BAND_")))
		}
		paper := citation(h.GetPaper())
		if same := h.GetSameWork(); len(same) > 0 {
			paper += " [also " + strings.Join(same, ", ") + "]"
		}
		t.row(append(cells, h.GetPaper().GetId(), paper)...)
	}
	return t.flush()
}

// papersText is a number of papers in words.
func papersText[N int | int32 | int64 | uint64](n N) string {
	if n == 1 {
		return "1 paper"
	}
	return fmt.Sprintf("%d papers", n)
}

// shortPath is a path as seen from the working directory, where it lies below it.
func shortPath(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// warnTruncated tells a person that the model did not read all of a text.
func warnTruncated(w io.Writer, what string, u *embeddv1.TextUse) {
	if u.GetTruncated() {
		fmt.Fprintf(w, "embedd: note: %s has %d tokens, more than the model reads; the rest is not in the vector\n", what, u.GetTokenCount())
	}
}
