package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// This file makes the fields of papers of what the forms of others have.

// facts become a paper's metadata.
type facts map[string]any

// put adds a value, where there is one.
func (f facts) put(name string, value any) {
	switch v := value.(type) {
	case string:
		if v = clean(v); v == "" {
			return
		}
		value = v
	case []string:
		list := v[:0:0]
		for _, s := range v {
			if s = clean(s); s != "" {
				list = append(list, s)
			}
		}
		if len(list) == 0 {
			return
		}
		value = list
	case map[string]string:
		if len(v) == 0 {
			return
		}
	case int:
		if v == 0 {
			return
		}
	case bool:
		if !v {
			return
		}
	}
	f[name] = value
}

// finish makes a paper whole, and checks it. Its texts have their white space as single blanks from here on. A paper that has no id gets one: of
// its DOI, its arXiv id, or its title and year. It is given back with an error too, for its id.
func finish(p Paper, f facts) (Paper, error) {
	p.ID, p.Title, p.Abstract, p.Venue = clean(p.ID), clean(p.Title), clean(p.Abstract), clean(p.Venue)
	p.DOI, p.ArxivID, p.URL = clean(p.DOI), clean(p.ArxivID), clean(p.URL)
	var authors []string
	for _, a := range p.Authors {
		if a = clean(a); a != "" {
			authors = append(authors, a)
		}
	}
	p.Authors = authors
	switch {
	case p.ID != "":
	case p.DOI != "":
		p.ID = doiID(p.DOI)
	case p.ArxivID != "":
		p.ID = "ARXIV:" + p.ArxivID
	case p.Title != "":
		p.ID = titleID(p.Title, p.Year)
	}
	if p.Title == "" && p.Abstract == "" && p.Vector == nil {
		return p, at("title", "title and abstract are both missing or blank")
	}
	if p.ID == "" {
		return p, at("id", "there is none, and no DOI, arXiv id or title to make one of")
	}
	if len(f) > 0 {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if err := e.Encode(map[string]any(f)); err != nil {
			return p, at("metadata", "%w", err)
		}
		p.Metadata = bytes.TrimSpace(text.Bytes())
		if bytes.Contains(p.Metadata, []byte(`\u0000`)) {
			return p, at("metadata", "NUL in a string")
		}
	}
	for _, t := range [...]struct{ name, text string }{{"id", p.ID}, {"title", p.Title}, {"abstract", p.Abstract}, {"venue", p.Venue}, {"doi", p.DOI}, {"arxiv_id", p.ArxivID}, {"url", p.URL}} {
		if bad := checkText(t.name, t.text); bad != nil {
			return p, bad
		}
	}
	for i, a := range p.Authors {
		if bad := checkText("authors", a); bad != nil {
			bad.field = fmt.Sprintf("authors[%d]", i)
			return p, bad
		}
	}
	return p, nil
}

func checkText(name, text string) *errorAt {
	switch {
	case !utf8.ValidString(text):
		return at(name, "invalid UTF-8")
	case strings.IndexByte(text, 0) >= 0:
		return at(name, "NUL in a string")
	}
	return nil
}

// clean makes each stretch of white space one blank, and takes those at the ends away.
func clean(s string) string {
	space := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ':
			if space {
				return strings.Join(strings.Fields(s), " ")
			}
			space = true
		case c < ' ' || c == 0x7f || c == 0xc2 || c == 0xe1 || c == 0xe2 || c == 0xe3: // perhaps white space that has several bytes
			if c < ' ' && c != 0 || c == 0xc2 {
				return strings.Join(strings.Fields(s), " ")
			}
			if r, _ := utf8.DecodeRuneInString(s[i:]); unicode.IsSpace(r) {
				return strings.Join(strings.Fields(s), " ")
			}
			space = false
		default:
			space = false
		}
	}
	return strings.TrimRight(s, " ")
}

// bareDOI takes off what stands before a DOI: a scheme, or the address of a resolver.
func bareDOI(s string) string {
	s = clean(s)
	for _, prefix := range []string{"https://doi.org/", "http://doi.org/", "https://dx.doi.org/", "http://dx.doi.org/", "doi:"} {
		if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
			return clean(s[len(prefix):])
		}
	}
	return s
}

var doiForm = regexp.MustCompile(`^10\.[0-9]{4,9}(\.[0-9]+)*/[^\s]+$`)

// isDOI tells whether a text without what stands before it is a DOI.
func isDOI(s string) bool { return strings.HasPrefix(s, "10.") && doiForm.MatchString(s) }

// doiID is the id of a paper by its DOI, which is compared without regard to case.
func doiID(doi string) string {
	return "DOI:" + strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, bareDOI(doi))
}

// arxivOfDOI is the arXiv id that arXiv has made a DOI of, "" where it has not.
func arxivOfDOI(doi string) string {
	const prefix = "10.48550/arxiv."
	if len(doi) > len(prefix) && strings.EqualFold(doi[:len(prefix)], prefix) {
		return doi[len(prefix):]
	}
	return ""
}

// titleID is an id made of a title and a year: the letters and digits of the title in lower case, and the year, hashed.
func titleID(title string, year int32) string {
	plain := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, title)
	if plain == "" {
		plain = title
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", plain, year))
	return "TITLE:" + hex.EncodeToString(sum[:16])
}

// yearOf is the year that a date begins with, 0 where it begins with none.
func yearOf(date string) int32 {
	date = strings.TrimSpace(date)
	if len(date) < 4 || len(date) > 4 && date[4] >= '0' && date[4] <= '9' {
		return 0
	}
	n, err := strconv.ParseUint(date[:4], 10, 16)
	if err != nil {
		return 0
	}
	return int32(n)
}

var months = map[string]int{"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12}

// monthOf reads a month, in digits or in English.
func monthOf(s string) int {
	s = strings.ToLower(clean(s))
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= 12 {
		return n
	}
	if len(s) >= 3 {
		return months[s[:3]]
	}
	return 0
}

// dateOf writes as much of a date as is known: 2024, 2024-05, 2024-05-17. "" without a year.
func dateOf(year, month, day int) string {
	switch {
	case year < 1 || year > 9999:
		return ""
	case month < 1 || month > 12:
		return fmt.Sprintf("%04d", year)
	case day < 1 || day > 31:
		return fmt.Sprintf("%04d-%02d", year, month)
	}
	return fmt.Sprintf("%04d-%02d-%02d", year, month, day)
}

// isoDate is the day of a time in one of the forms that archives write; "" of any other text.
func isoDate(s string) string {
	s = clean(s)
	for _, layout := range []string{"2006-01-02", time.RFC3339, time.RFC1123, "Mon, 2 Jan 2006 15:04:05 MST", "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Format(layout[:0] + [...]string{4: "2006", 7: "2006-01", 10: "2006-01-02"}[min(len(layout), 10)])
		}
	}
	return ""
}

// name writes a name as "Given Family".
func name(given, family, suffix string) string {
	return clean(given + " " + family + " " + suffix)
}

// turned writes "Family, Given", "Family, Given, Jr." and, as BibTeX has it, "Family, Jr., Given" as "Given Family Jr."; any other name stays.
func turned(s string) string {
	parts := strings.Split(s, ",")
	switch {
	case len(parts) == 2:
		return name(parts[1], parts[0], "")
	case len(parts) == 3 && suffix.MatchString(clean(parts[2])):
		return name(parts[1], parts[0], parts[2])
	case len(parts) == 3:
		return name(parts[2], parts[0], parts[1])
	}
	return clean(s)
}

var suffix = regexp.MustCompile(`^(?i:[js]r\.?|ph\.?d\.?|i{1,3}|iv)$`)

// blocks are elements of HTML and JATS behind which words do not run on.
var blocks = map[string]bool{"p": true, "sec": true, "title": true, "label": true, "div": true, "br": true, "li": true, "list": true, "list-item": true,
	"break": true, "h1": true, "h2": true, "h3": true, "h4": true, "abstracttext": true, "tr": true, "td": true}

// withoutTags is the text of HTML or JATS, as Crossref has it in titles and abstracts: with entities as characters. The rules are those of
// HTML, by which every text can be read.
func withoutTags(s string) string {
	if strings.IndexByte(s, '<') < 0 && strings.IndexByte(s, '&') < 0 {
		return s
	}
	var out strings.Builder
	z := html.NewTokenizer(strings.NewReader(s))
	z.SetMaxBuf(0)
	for {
		switch z.Next() {
		case html.ErrorToken:
			return out.String()
		case html.TextToken:
			out.Write(z.Text())
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			tag, _ := z.TagName()
			if i := bytes.IndexByte(tag, ':'); i >= 0 {
				tag = tag[i+1:]
			}
			if blocks[string(tag)] {
				out.WriteByte(' ')
			}
		}
	}
}
