package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"embedd/internal/ingest"
	embeddv1 "embedd/proto/embedd/v1"
)

// rejected is a record that was left out, as a line of a reject file.
type rejected struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // that the record begins at; none in a form without lines
	Record int    `json:"record"`         // in the file, from 1
	ID     string `json:"id,omitempty"`
	Reason string `json:"reason"`
	Text   string `json:"text,omitempty"` // the record, at most its first ingest.MaxTextBytes

	where string // for messages
}

// lineRejection is a record that could not be read.
func lineRejection(l *ingest.LineError) rejected {
	r := rejected{File: l.File, Line: l.Line, Record: l.Record, ID: l.ID, Reason: lineReason(l), Text: l.Text}
	r.where = fmt.Sprintf("%s:%d", l.File, l.Line)
	if l.Line == 0 {
		r.where = fmt.Sprintf("%s, record %d", l.File, l.Record)
	}
	return r
}

// rejection is a paper that was refused. Its text is the paper in embedd's own form.
func (s *source) rejection(reason string, paper *embeddv1.Paper) rejected {
	r := rejected{File: s.file, Line: s.line, Record: s.record, ID: paper.GetId(), Reason: reason, where: s.where}
	if text, err := json.Marshal(lineOf(paper)); err == nil { // a paper that came as JSON can be written as JSON
		r.Text = strings.ToValidUTF8(string(text[:min(len(text), ingest.MaxTextBytes)]), "")
	}
	return r
}

// rejectFile is a file of rejected records. Its methods may be called on nil, which writes nothing; not by several goroutines at once.
type rejectFile struct {
	file *os.File
	out  *bufio.Writer
	err  error
}

// openRejects makes a reject file, or goes on with one. It must not be one of the files that are read.
func openRejects(path string, inputs []string, goOn bool) (*rejectFile, error) {
	if there, err := os.Stat(path); err == nil {
		if slices.ContainsFunc(inputs, func(input string) bool {
			fi, err := os.Stat(input)
			return err == nil && os.SameFile(fi, there)
		}) {
			return nil, fmt.Errorf("%s is read too; give another file", path)
		}
	}
	how := os.O_TRUNC
	if goOn {
		how = os.O_APPEND
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|how, 0o644)
	if err != nil {
		return nil, err
	}
	return &rejectFile{file: f, out: bufio.NewWriter(f)}, nil
}

// write adds a record. An error is told by close.
func (f *rejectFile) write(r rejected) {
	if f == nil || f.err != nil {
		return
	}
	e := json.NewEncoder(f.out)
	e.SetEscapeHTML(false)
	f.err = e.Encode(r)
}

func (f *rejectFile) close() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.err, f.out.Flush(), f.file.Close())
}

// loadAbstracts reads abstracts of Semantic Scholar.
func loadAbstracts(e *env, path string, o *indexOptions) (*ingest.Abstracts, error) {
	bar := newProgress(e, "reading abstracts", "KiB")
	defer bar.Done()
	a, err := ingest.LoadAbstracts(e.ctx, path, func(l *ingest.LineError) {
		r := lineRejection(l)
		o.rejects.write(r)
		if o.lines++; o.lines <= maxRejectionLines {
			fmt.Fprintf(e.stderr, "embedd: rejected: %s: %s\n", printable(r.where), printable(r.Reason))
		}
	}, func(read, size int64) { bar.Set(int(read>>10), int(size>>10)) })
	if err == nil {
		fmt.Fprintf(e.stderr, "embedd: %s: %d abstracts\n", printable(path), a.Len())
	}
	return a, err
}

// formatNames are the names of all forms.
func formatNames() string {
	var names []string
	for _, f := range ingest.Formats() {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// sayForms says of which form a file is: of each that is not of the form of the one before.
func sayForms(e *env) func(file string, f *ingest.Format, note string) {
	last := ""
	return func(file string, f *ingest.Format, note string) {
		text := f.What
		if note != "" {
			text += "; " + note
		}
		if text != last {
			last = text
			fmt.Fprintf(e.stderr, "embedd: %s: %s\n", printable(file), printable(text))
		}
	}
}
