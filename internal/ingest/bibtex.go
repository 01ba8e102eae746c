package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var bibEntry = regexp.MustCompile(`(?m)^[ \t]*@[ \t]*([A-Za-z]+)[ \t\r\n]*[{(]`)

func isBibTeX(h *beginning) bool {
	m := bibEntry.FindIndex(h.text)
	if m == nil {
		return false
	}
	// What is outside of entries is a comment, of which a file may begin with some; but one of JSON or XML does not.
	return m[0] == 0 || h.text[0] == '%' || h.text[0] != '<' && h.text[0] != '{' && h.text[0] != '['
}

func openBibTeX(s *stream, _ *Options) (records, string, error) {
	return &bibRecords{w: newWindow(s), line: 1, macros: map[string]string{}}, "", nil
}

const (
	// maxMacros and maxMacroBytes are how many @strings are kept, and how long they may be together.
	maxMacros     = 10_000
	maxMacroBytes = 1 << 20
	// maxValueBytes is the longest value of a field, its strings put in.
	maxValueBytes = 1 << 20
)

// bibRecords are the entries of a BibTeX file. An entry ends with the bracket that it began with; one that has no end reaches to where the next
// one begins on a line of its own.
type bibRecords struct {
	w      *window
	macros map[string]string // by their names in lower case
	bytes  int               // of macros
	line   int
	text   []byte
}

func (b *bibRecords) at() int     { return b.line }
func (b *bibRecords) raw() []byte { return b.text }

func (b *bibRecords) next() (Paper, error) {
	for {
		i := bytes.IndexByte(b.w.text(), '@')
		if i < 0 {
			b.w.skip(len(b.w.text()))
			if !b.w.more() {
				if err := b.w.fault(); err != nil {
					return Paper{}, err
				}
				return Paper{}, io.EOF
			}
			continue
		}
		b.w.skip(i)
		for len(b.w.text()) < 256 && b.w.more() {
		}
		kind, n := entryStart(b.w.text())
		if n == 0 { // an address of mail or the like
			b.w.skip(1)
			continue
		}
		if err := b.cut(n); err != nil {
			return Paper{}, err
		}
		return b.read(kind, b.text[n:len(b.text)-1])
	}
}

// entryStart reads "@article {", and gives the kind in lower case and the length, 0 where it is no beginning of an entry.
func entryStart(text []byte) (kind string, n int) {
	i := 1 + blankBytes(text[1:])
	from := i
	for i < len(text) && i < 200 && (text[i]|0x20 >= 'a' && text[i]|0x20 <= 'z') {
		i++
	}
	kind = strings.ToLower(string(text[from:i]))
	i += blankBytes(text[i:])
	if kind == "" || i >= len(text) || text[i] != '{' && text[i] != '(' {
		return "", 0
	}
	return kind, i + 1
}

func blankBytes(text []byte) int { return len(text) - len(bytes.TrimLeft(text, blanks)) }

// cut cuts off the entry that text begins with; n is the length of what it begins with.
func (b *bibRecords) cut(n int) error {
	b.line = b.w.line
	round := b.w.text()[n-1] == '('
	depth := 0
	reject := func(n int, err error) error {
		b.text = b.w.text()[:min(n, MaxRecordBytes)]
		b.w.skip(n)
		return &errorAt{err: err}
	}
	for i, all := n, false; ; {
		text := b.w.text()
		for ; i < len(text); i++ {
			switch c := text[i]; {
			case c == '{':
				depth++
				continue
			case c == '}' && (depth > 0 || round):
				depth = max(0, depth-1)
				continue
			case c == '}', c == ')' && round && depth == 0:
			case c == '\n':
				if !all && len(text)-i < 256 {
					goto more
				}
				rest := text[i+1:]
				at := blankBytes(rest)
				if at < len(rest) && rest[at] == '@' {
					if _, n := entryStart(rest[at:min(len(rest), at+256)]); n > 0 {
						return reject(i+1, errors.New("the entry has no end: a bracket is missing"))
					}
				}
				continue
			default:
				continue
			}
			b.text = text[:i+1]
			b.w.skip(i + 1)
			return nil
		}
	more:
		if i > MaxRecordBytes {
			return reject(i, ErrRecordTooLong)
		}
		if all {
			return reject(len(text), errors.New("the entry has no end: the file is cut off, or a bracket is missing"))
		}
		if !b.w.more() {
			if err := b.w.fault(); err != nil {
				return err
			}
			all = true
		}
	}
}

// read reads the inside of an entry.
func (b *bibRecords) read(kind string, inside []byte) (Paper, error) {
	if i := invalidUTF8(inside); i >= 0 {
		return Paper{}, at("", "invalid UTF-8; convert the file first, as with iconv -f latin1 -t utf-8")
	}
	p := bibParser{text: string(inside), macros: b.macros}
	switch kind {
	case "comment", "preamble":
		return Paper{}, passedOver("BibTeX's @" + kind)
	case "string":
		name, value, err := p.field()
		if err != nil {
			return Paper{}, b.wrong(&p, err)
		}
		if len(b.macros) >= maxMacros || b.bytes+len(value) > maxMacroBytes {
			return Paper{}, at("", "more than %d @strings, or more than %d MiB of them", maxMacros, maxMacroBytes>>20)
		}
		b.bytes += len(value)
		b.macros[name] = value
		return Paper{}, passedOver("BibTeX's @string")
	}
	key, fields, err := p.entry()
	if err != nil {
		return Paper{ID: key}, b.wrong(&p, err)
	}
	return bibPaper(kind, key, fields)
}

func (b *bibRecords) wrong(p *bibParser, err error) error {
	return &errorAt{err: err, line: b.line + strings.Count(p.text[:min(p.i, len(p.text))], "\n")}
}

// bibParser reads the inside of an entry.
type bibParser struct {
	text   string
	i      int
	macros map[string]string
}

func (p *bibParser) blanks() {
	for p.i < len(p.text) && strings.IndexByte(blanks, p.text[p.i]) >= 0 {
		p.i++
	}
}

// entry reads a key and fields. Of two fields with one name the first counts, as for BibTeX.
func (p *bibParser) entry() (key string, fields map[string]string, err error) {
	key, _, found := strings.Cut(p.text, ",")
	key = clean(key)
	if strings.ContainsAny(key, "={}\"") {
		return "", nil, errors.New("want a key and a comma at the beginning of the entry")
	}
	fields = map[string]string{}
	if !found {
		return key, fields, nil
	}
	p.i = strings.IndexByte(p.text, ',') + 1
	for {
		p.blanks()
		if p.i == len(p.text) {
			return key, fields, nil
		}
		if p.text[p.i] == ',' {
			p.i++
			continue
		}
		name, value, err := p.field()
		if err != nil {
			return key, nil, err
		}
		if _, twice := fields[name]; !twice {
			fields[name] = value
		}
		p.blanks()
		if p.i < len(p.text) && p.text[p.i] != ',' {
			return key, nil, fmt.Errorf("want a comma after the field %s, got %q", shorten(name), shorten(p.text[p.i:]))
		}
	}
}

// field reads name = value. The name is in lower case.
func (p *bibParser) field() (name, value string, err error) {
	p.blanks()
	from := p.i
	for p.i < len(p.text) && strings.IndexByte(blanks+"=,{}\"#%'()", p.text[p.i]) < 0 {
		p.i++
	}
	name = strings.ToLower(p.text[from:p.i])
	p.blanks()
	if name == "" || p.i == len(p.text) || p.text[p.i] != '=' {
		return "", "", fmt.Errorf("want a field, name = value, got %q", shorten(p.text[from:]))
	}
	p.i++
	var out strings.Builder
	for {
		part, err := p.part()
		if err != nil {
			return "", "", fmt.Errorf("field %s: %w", shorten(name), err)
		}
		if out.Len()+len(part) > maxValueBytes {
			return "", "", fmt.Errorf("field %s: longer than %d MiB", shorten(name), maxValueBytes>>20)
		}
		out.WriteString(part)
		p.blanks()
		if p.i == len(p.text) || p.text[p.i] != '#' {
			return name, out.String(), nil
		}
		p.i++
	}
}

// part reads {…}, "…", a number or the name of a string. One that is not defined, as the journals of a style are, stands for its name.
func (p *bibParser) part() (string, error) {
	p.blanks()
	if p.i == len(p.text) {
		return "", errors.New("the value is missing")
	}
	from := p.i
	if c := p.text[p.i]; c == '{' || c == '"' {
		depth := 0
		for p.i++; p.i < len(p.text); p.i++ {
			switch d := p.text[p.i]; {
			case d == '{':
				depth++
			case d == '}' && depth > 0:
				depth--
			case d == '}' && c == '{', d == '"' && c == '"' && depth == 0:
				p.i++
				return p.text[from+1 : p.i-1], nil
			}
		}
		p.i = from
		return "", fmt.Errorf("%c has no end", c)
	}
	for p.i < len(p.text) && strings.IndexByte(blanks+"=,{}\"#%'()", p.text[p.i]) < 0 {
		p.i++
	}
	word := p.text[from:p.i]
	if word == "" {
		return "", fmt.Errorf("want {…}, \"…\", a number or a name, got %q", shorten(p.text[from:]))
	}
	if text, ok := p.macros[strings.ToLower(word)]; ok {
		return text, nil
	}
	return word, nil
}

// bibPaper makes a paper of an entry.
func bibPaper(kind, key string, fields map[string]string) (Paper, error) {
	first := func(names ...string) string {
		for _, name := range names {
			if text := clean(fromLaTeX(fields[name])); text != "" {
				return text
			}
		}
		return ""
	}
	p := Paper{Title: first("title"), Abstract: first("abstract"), DOI: bareDOI(strings.ReplaceAll(clean(fields["doi"]), `\_`, "_")), URL: strings.ReplaceAll(clean(fields["url"]), `\_`, "_"),
		Venue: first("journal", "journaltitle", "booktitle", "school", "institution", "publisher", "howpublished")}
	if subtitle := first("subtitle"); subtitle != "" && p.Title != "" {
		p.Title += ": " + subtitle
	}
	if prefix := first("archiveprefix", "eprinttype"); strings.EqualFold(prefix, "arxiv") || prefix == "" && arxivForm.MatchString(clean(fields["eprint"])) {
		p.ArxivID = strings.TrimPrefix(clean(fields["eprint"]), "arXiv:")
	}
	if p.ArxivID == "" {
		p.ArxivID = arxivOfDOI(p.DOI)
	}
	if p.DOI == "" && p.ArxivID == "" {
		p.ID = key
	}
	names := fields["author"]
	if blank(names) {
		names = fields["editor"]
	}
	p.Authors = bibNames(names)
	date := first("date")
	p.Year = yearOf(first("year"))
	if p.Year == 0 {
		p.Year = yearOf(date)
	}
	f := facts{}
	switch {
	case isoDate(date) != "":
		f.put("published", isoDate(date))
	case p.Year > 0:
		f.put("published", dateOf(int(p.Year), monthOf(first("month")), 0))
	default:
		f.put("published", first("year", "date")) // as "in press"
	}
	f.put("type", kind)
	f.put("key", key)
	f.put("keywords", splitList(first("keywords", "keyword"), ",;"))
	f.put("language", first("language", "langid"))
	ids := map[string]string{}
	for _, name := range []string{"pmid", "pmcid"} {
		if id := first(name); id != "" {
			ids[name] = id
		}
	}
	f.put("ids", ids)
	return finish(p, f)
}

var arxivForm = regexp.MustCompile(`^(arXiv:)?([0-9]{4}\.[0-9]{4,5}|[a-z-]+(\.[A-Z]{2})?/[0-9]{7})(v[0-9]+)?$`)

func splitList(s, at string) (list []string) {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(at, r) })
}

// bibNames reads names that are joined by "and", each "Given Family", "Family, Given" or "Family, Jr, Given"; what is in braces stays together.
func bibNames(s string) (names []string) {
	for _, one := range splitOutside(s, func(rest string) int {
		if len(rest) > 4 && unicode.IsSpace(rune(rest[0])) && strings.EqualFold(rest[1:4], "and") && unicode.IsSpace(rune(rest[4])) {
			return 5
		}
		return 0
	}) {
		parts := splitOutside(one, func(rest string) int {
			if rest[0] == ',' {
				return 1
			}
			return 0
		})
		for i := range parts {
			parts[i] = clean(fromLaTeX(parts[i]))
		}
		switch {
		case strings.EqualFold(clean(one), "others"):
		case len(parts) == 2:
			names = append(names, name(parts[1], parts[0], ""))
		case len(parts) == 3:
			names = append(names, name(parts[2], parts[0], parts[1]))
		default:
			names = append(names, strings.Join(parts, ", "))
		}
	}
	return names
}

// splitOutside splits a text outside of braces, where at gives the length of what stands between two parts.
func splitOutside(s string, at func(rest string) int) (parts []string) {
	depth, from := 0, 0
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, s)
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth == 0 {
			if n := at(s[i:]); n > 0 {
				parts = append(parts, s[from:i])
				i += n - 1
				from = i + 1
			}
		}
	}
	return append(parts, s[min(from, len(s)):])
}

// firstRune is the first character of a text and its length.
func firstRune(s string) (string, int) {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n], n
}
