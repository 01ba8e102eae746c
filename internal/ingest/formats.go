package ingest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Format is a form in which papers are published.
type Format struct {
	// Name is what Options call it.
	Name string
	// What it is, in a few words.
	What string
	// Extensions are the ends of the names that such files have, before .gz and .zst. The formats of JSON and XML share theirs.
	Extensions []string

	// is tells whether a file is of this form by how it begins. What it is not sure of it denies.
	is func(h *beginning) bool
	// open reads such a file. note is what is to be known of how it is read. An *errorAt is about the file.
	open func(s *stream, o *Options) (r records, note string, err error)
}

// ownFormat is the name of the form that is ours.
const ownFormat = "jsonl"

// formats is all that there are; of two that could be meant, the first is.
var formats []*Format

func init() { // the readers ask for formats too
	formats = []*Format{
		{"parquet", "a table in Parquet", []string{".parquet"}, isParquet, openParquet},
		{"pubmed", "PubMed XML", []string{".xml"}, isPubMed, openXML(pubMed)},
		{"oai", "OAI-PMH XML, of arXiv or in Dublin Core", []string{".xml"}, isOAI, openXML(oai)},
		{"acl", "ACL Anthology XML", []string{".xml"}, isACL, openXML(aclAnthology)},
		{"dblp", "dblp XML", []string{".xml"}, isDBLP, openXML(dblp)},
		{"arxiv", "arXiv's metadata in JSON Lines", []string{".jsonl", ".ndjson", ".json"}, isArxiv, openJSON(parseArxiv)},
		{"openalex", "OpenAlex works", []string{".jsonl", ".ndjson", ".json"}, isOpenAlex, openJSON(parseOpenAlex, "results")},
		{"s2", "Semantic Scholar papers", []string{".jsonl", ".ndjson", ".json"}, isS2, openS2},
		{"crossref", "Crossref works", []string{".jsonl", ".ndjson", ".json"}, isCrossref, openJSON(parseCrossref, "message", "items")},
		{ownFormat, "papers in JSON Lines, embedd's form or BEIR's", []string{".jsonl", ".ndjson", ".json"}, isOwn, openOwn},
		{"bibtex", "BibTeX", []string{".bib", ".bibtex"}, isBibTeX, openBibTeX},
		{"ris", "RIS", []string{".ris"}, isRIS, openRIS},
		{"csv", "a table in CSV", []string{".csv"}, isCSV(false), openCSV},
		{"tsv", "a table in TSV", []string{".tsv", ".tab"}, isCSV(true), openCSV},
	}
}

// Formats gives all formats, in the order in which they are tried.
func Formats() []*Format { return slices.Clone(formats) }

func formatNamed(name string) *Format {
	if i := slices.IndexFunc(formats, func(f *Format) bool { return f.Name == name }); i >= 0 {
		return formats[i]
	}
	return nil
}

func formatNames() (names []string) {
	for _, f := range formats {
		names = append(names, f.Name)
	}
	return names
}

// extensions are those of all formats.
func extensions() (all []string) {
	for _, f := range formats {
		for _, e := range f.Extensions {
			if !slices.Contains(all, e) {
				all = append(all, e)
			}
		}
	}
	slices.Sort(all)
	return all
}

// hasExtension tells whether a file's name is that of a file with papers.
func hasExtension(name string) bool {
	_, name = packed(name)
	return slices.ContainsFunc(extensions(), func(e string) bool { return strings.HasSuffix(strings.ToLower(name), e) })
}

// byExtension gives the format that a file must have by its name, nil where the name does not tell it.
func byExtension(name string) (found *Format) {
	_, name = packed(name)
	name = strings.ToLower(name)
	if strings.HasSuffix(name, ".jsonl") || strings.HasSuffix(name, ".ndjson") {
		return formatNamed(ownFormat) // of all that are JSON Lines, the one that says what is wrong with each line
	}
	for _, f := range formats {
		for _, e := range f.Extensions {
			if strings.HasSuffix(name, e) {
				if found != nil {
					return nil
				}
				found = f
			}
		}
	}
	return found
}

// unknownFormat is a file that is of no known form.
type unknownFormat struct{ begins string }

func (u *unknownFormat) Error() string {
	return fmt.Sprintf("of no known form; it begins with %q. The forms are %s; name one where the file is one of them", u.begins, strings.Join(formatNames(), ", "))
}

// beginning is how a file begins.
type beginning struct {
	text    []byte            // without a byte order mark and white space before
	json    map[string]string // the keys of the first object: see firstKeys
	whole   bool
	options *Options
}

// formatOf is the format of a file: the one that is asked for, or the one that the file begins like. As much is looked at as is needed: a pipe
// may be slow.
func (o *Options) formatOf(s *stream, src source) (*Format, error) {
	if o.form != nil {
		return o.form, nil
	}
	if o.Format != "" {
		return formatNamed(o.Format), nil
	}
	for n := 1; ; n = min(2*n, bufferSize) {
		text, whole, err := s.head(n)
		if err != nil {
			return nil, err
		}
		n = max(n, len(text))
		whole = whole || len(text) >= bufferSize
		h := newBeginning(text, whole, o)
		if len(h.text) > 0 {
			for _, f := range formats {
				if f.is(h) {
					return f, nil
				}
			}
		}
		if !whole {
			continue
		}
		if f := byExtension(src.name); f != nil {
			return f, nil
		}
		if len(h.text) == 0 || h.text[0] == '{' { // an empty file, or lines that are bad from the first
			return formatNamed(ownFormat), nil
		}
		return nil, &unknownFormat{shorten(strings.ToValidUTF8(string(h.text[:min(len(h.text), 200)]), "\ufffd"))}
	}
}

func newBeginning(text []byte, whole bool, o *Options) *beginning {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte(byteOrderMark)), blanks)
	h := &beginning{text: text, whole: whole, options: o}
	if len(text) > 0 && (text[0] == '{' || text[0] == '[') && (whole || wholeLine(text)) {
		h.json = firstKeys(text)
	}
	return h
}

func isOwn(h *beginning) bool { return h.json["id"] != "" || h.json["_id"] != "" }

// openOwn reads our own form and BEIR's: lines or, where the form was guessed, what is in an array.
func openOwn(s *stream, o *Options) (records, string, error) {
	text, _, err := s.head(1)
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte(byteOrderMark)), blanks)
	if o.Format == "" && bytes.HasPrefix(text, []byte("[")) {
		return openJSON(parseOwn)(s, o)
	}
	return &lineRecords{lines: s.Reader, parse: parseOwn}, "", err
}
