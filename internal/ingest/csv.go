package ingest

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// isCSV tells whether the first line names columns, of which one is a title or an abstract, or those that are asked for. comma is what stands
// between columns; without a rune any does.
func isCSV(tab bool) func(h *beginning) bool {
	return func(h *beginning) bool {
		if len(h.text) == 0 || strings.IndexByte("{[<@", h.text[0]) >= 0 || !h.whole && bytes.IndexByte(h.text, '\n') < 0 {
			return false
		}
		comma, header := headerOf(h.text)
		if len(header) < 2 || tab != (comma == '\t') {
			return false
		}
		_, _, err := mapColumns(header, h.options.Columns)
		return err == nil
	}
}

// delimiters are what may stand between columns.
const delimiters = "\t;,|"

// headerOf reads the first line, with the delimiter that it has most often.
func headerOf(text []byte) (comma rune, header []string) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if len(line) > bufferSize {
		return 0, nil
	}
	most := 0
	for _, c := range delimiters {
		if n := bytes.Count(line, []byte(string(c))); n > most {
			comma, most = c, n
		}
	}
	if most == 0 {
		return ',', []string{strings.TrimSpace(string(line))}
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.LazyQuotes = comma, true
	header, err := r.Read()
	if err != nil {
		return comma, nil
	}
	return comma, header
}

// openCSV opens tables whose columns stand between commas, semicolons, bars or tabs.
func openCSV(s *stream, o *Options) (records, string, error) {
	text, err := s.firstLine()
	if err != nil {
		return nil, "", err
	}
	if bytes.HasPrefix(text, []byte(byteOrderMark)) {
		if _, err := s.Discard(len(byteOrderMark)); err != nil {
			return nil, "", err
		}
		text = text[len(byteOrderMark):]
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, "", at("", "an empty table: there is no line that names the columns")
	}
	comma, _ := headerOf(bytes.TrimLeft(text, "\r\n"))
	c := &csvRecords{comma: comma, line: 1}
	c.r = csv.NewReader(&tape{r: s, of: c})
	c.r.Comma, c.r.ReuseRecord, c.r.FieldsPerRecord = comma, true, -1
	c.r.LazyQuotes = comma == '\t' // in TSV most often a quote is a quote
	header, err := c.r.Read()
	if err != nil {
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			return nil, "", at("", "the names of the columns: %w", parse)
		}
		return nil, "", err
	}
	c.width = len(header)
	var bad *errorAt
	var note string
	if c.mapping, note, bad = mapColumns(slices.Clone(header), o.Columns); bad != nil {
		return nil, "", bad
	}
	names := map[rune]string{'\t': "tab", ';': "semicolon", ',': "comma", '|': "bar"}
	return c, fmt.Sprintf("between columns: %s; %s", names[comma], note), nil
}

// csvRecords are the rows of a table.
type csvRecords struct {
	r       *csv.Reader
	comma   rune
	mapping mapping
	width   int

	from int64  // where the row begins that is read
	kept []byte // what csv.Reader was given, from about there
	base int64  // where kept begins
	line int
	text []byte
}

// tape keeps what a csv.Reader has read of the row that it is at, for a row that is rejected, and ends one that is too long, as where a quote has
// no end: csv.Reader itself would read all of the file then.
type tape struct {
	r  io.Reader
	of *csvRecords
}

func (t *tape) Read(b []byte) (int, error) {
	c := t.of
	if done := int(c.from - c.base); done > 0 && done <= len(c.kept) {
		c.kept = c.kept[:copy(c.kept, c.kept[done:])]
		c.base += int64(done)
	}
	if len(c.kept) > MaxRecordBytes {
		return 0, fmt.Errorf("%w: a row of more than %d MiB, most likely a quote without an end", errLost, MaxRecordBytes>>20)
	}
	n, err := t.r.Read(b)
	c.kept = append(c.kept, b[:n]...)
	return n, err
}

func (c *csvRecords) at() int     { return c.line }
func (c *csvRecords) raw() []byte { return c.text }

func (c *csvRecords) next() (Paper, error) {
	c.from = c.r.InputOffset()
	row, err := c.r.Read()
	if i, j := int(c.from-c.base), int(c.r.InputOffset()-c.base); i >= 0 && i <= j && j <= len(c.kept) {
		c.text = bytes.TrimLeft(c.kept[i:j], "\r\n")
	} else {
		c.text = nil
	}
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		c.line = parse.StartLine
		if parse.Line > parse.StartLine {
			return Paper{}, at("", "%w; the row reaches to line %d", parse.Err, parse.Line)
		}
		return Paper{}, &errorAt{err: parse.Err}
	}
	if err != nil {
		return Paper{}, err
	}
	c.line, _ = c.r.FieldPos(0)
	if len(row) != c.width {
		return Paper{}, at("", "the row has %d fields, the first line %d", len(row), c.width)
	}
	return c.mapping.row(func(i int) any { return row[i] })
}
