package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzReader: whatever comes in, reading ends; a paper has an identifier and something to encode, is valid UTF-8 without
// NUL, holds what encoding/json finds in the line, and is the same when written in the own form and read again.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		line("a"),
		`{"id":"a","title":"T","abstract":"A","authors":["X","Y"],"year":2024,"venue":"V","doi":"D","arxiv_id":"1","url":"U","metadata":{"a":[{}]}}`,
		`{"_id":"b","title":"","text":"\ud83d\ude00\\u0000\n","metadata":{"k":"é"},"x":[1,"]"]}` + "\r\n\n" + line("c"),
		"\ufeff {\"id\": \"a\" , \"title\":\"\xff\"}\n",
		`{"id":"a","expires":"2030-01-01T00:00:00.5+01:00","vector":[1,-0.25,1e-30]}`, `{"id":"a","title":"T","vector":[1e39]}`, `{"id":"a","title":"T","expires":"9999-12-31T23:59:59Z","vector":[]}`,
		`{"id":"a","title":"\ud800"}`, `{"id":"a","_id":"a"}`, `{"id":1e9}`, "{\"id\":\"\x00\"}", `[{}]`, `{}`, "null", "\"",
	} {
		f.Add([]byte(s))
		f.Add(zip(f, s))
	}
	f.Add(zip(f, line("a"))[:20])
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data), "fuzz")
		gzip := bytes.HasPrefix(data, []byte("\x1f\x8b"))
		var lines [][]byte
		if !gzip {
			lines = bytes.Split(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\n"))
		}
		results := 0
		for {
			p, err := r.Next()
			if _, ok := errors.AsType[*LineError](err); ok {
				results++
				continue
			}
			if err != nil {
				if err != io.EOF && !(gzip && errors.Is(err, ErrGzip)) {
					t.Fatal(err)
				}
				break
			}
			results++
			check(t, p)
			if !gzip {
				_, line, _ := r.Position()
				compare(t, p, lines[line-1])
			}
		}
		if !gzip && results > len(lines) {
			t.Fatalf("%d results of %d lines", results, len(lines))
		}
	})
}

// check checks the promises about a paper.
func check(t testing.TB, p Paper) {
	t.Helper()
	texts := append([]string{p.ID, p.Title, p.Abstract, p.Venue, p.DOI, p.ArxivID, p.URL, string(p.Metadata)}, p.Authors...)
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			t.Fatalf("invalid text %q", s)
		}
	}
	if blank(p.ID) || p.Vector == nil && blank(p.Title) && blank(p.Abstract) {
		t.Fatalf("blank: %+v", p)
	}
	object := map[string]any{"id": p.ID, "title": p.Title, "abstract": p.Abstract, "authors": p.Authors, "year": p.Year,
		"venue": p.Venue, "doi": p.DOI, "arxiv_id": p.ArxivID, "url": p.URL, "vector": p.Vector}
	if !p.Expires.IsZero() {
		object["expires"] = p.Expires
	}
	// Marshal compacts and escapes the metadata, so that is put in as it is.
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if p.Metadata != nil {
		text = append(append(append(text[:len(text)-1], `,"metadata":`...), p.Metadata...), '}')
	}
	again, err := NewReader(bytes.NewReader(text), "again").Next()
	if err != nil {
		t.Fatalf("written and read again: %v\n%s", err, text)
	}
	if !reflect.DeepEqual(p, again) {
		t.Fatalf("written and read again:\n%#v\n%#v", p, again)
	}
}

// compare compares a paper with what encoding/json finds in its line.
func compare(t *testing.T, p Paper, line []byte) {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(line, &object); err != nil {
		t.Fatalf("encoding/json: %v\n%q", err, line)
	}
	text := func(v any) string { s, _ := v.(string); return s }
	id, abstract := object["id"], object["abstract"]
	if id == nil {
		id, abstract = object["_id"], object["text"]
	}
	if p.ID != text(id) || p.Title != text(object["title"]) || p.Abstract != text(abstract) {
		t.Fatalf("%+v of %q", p, line)
	}
	if object["_id"] != nil {
		return
	}
	year, _ := object["year"].(float64)
	if p.Year != int32(year) || p.Venue != text(object["venue"]) || p.DOI != text(object["doi"]) ||
		p.ArxivID != text(object["arxiv_id"]) || p.URL != text(object["url"]) {
		t.Fatalf("%+v of %q", p, line)
	}
	authors, _ := object["authors"].([]any)
	if len(authors) != len(p.Authors) {
		t.Fatalf("authors %q of %q", p.Authors, line)
	}
	for i, a := range authors {
		if p.Authors[i] != text(a) {
			t.Fatalf("authors %q of %q", p.Authors, line)
		}
	}
	var metadata any
	if p.Metadata != nil {
		if err := json.Unmarshal(p.Metadata, &metadata); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(metadata, object["metadata"]) {
		t.Fatalf("metadata %s of %q", p.Metadata, line)
	}
}
