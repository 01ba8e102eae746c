package ingest

import (
	"io"
	"strconv"
	"strings"
)

// risTag reads a line of RIS: a tag of two characters, two blanks, a line and a blank, of which some programs leave blanks out.
func risTag(line string) (tag, value string, ok bool) {
	if len(line) < 4 || line[0] < 'A' || line[0] > 'Z' || !(line[1] >= 'A' && line[1] <= 'Z' || line[1] >= '0' && line[1] <= '9') {
		return "", "", false
	}
	rest := line[2:]
	blanks := len(rest) - len(strings.TrimLeft(rest, " \t"))
	rest, ok = strings.CutPrefix(rest[blanks:], "-")
	if !ok || blanks < 1 || blanks > 2 || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", "", false
	}
	return line[:2], strings.TrimLeft(rest, " \t"), true
}

func isRIS(h *beginning) bool {
	line, _, _ := strings.Cut(string(h.text[:min(len(h.text), 200)]), "\n")
	tag, _, ok := risTag(strings.TrimRight(line, "\r"))
	return ok && tag == "TY"
}

func openRIS(s *stream, _ *Options) (records, string, error) {
	return &risRecords{lines: lineRecords{lines: s.Reader}}, "", nil
}

// risRecords are the references of a RIS file: from TY to ER, or to the next TY where there is no ER. A line without a tag goes on with the one
// before.
type risRecords struct {
	lines lineRecords
	kept  string // the TY that ended the record before, "" where none did
	line  int
	text  []byte
	first int // of kept
}

func (r *risRecords) at() int     { return r.line }
func (r *risRecords) raw() []byte { return r.text }

func (r *risRecords) next() (Paper, error) {
	r.text = r.text[:0]
	var fields []risField
	var more []byte // of the last field, which goes on over lines
	take := func(line string) {
		r.text = append(append(r.text, line...), '\n')
		tag, value, ok := risTag(line)
		switch {
		case ok:
			fields = append(fields, risField{tag, value})
		case len(fields) > 0:
			more = append(more, ' ')
			more = append(more, line...)
			return
		}
		if ok && len(more) > 0 {
			fields[len(fields)-2].value += string(more)
			more = more[:0]
		}
	}
	var bad error
	if r.kept != "" {
		r.line = r.first
		take(r.kept)
		r.kept = ""
	}
	for {
		line, err := r.lines.take()
		switch _, rejected := err.(*errorAt); {
		case rejected: // a line that is too long
			bad = err
			continue
		case err == io.EOF && len(fields) > 0:
			return Paper{}, at("", "the reference has no ER: the file is cut off, or the line is missing")
		case err != nil:
			return Paper{}, err
		}
		text := strings.TrimRight(string(line), "\r ")
		tag, _, ok := risTag(text)
		if len(fields) == 0 {
			r.line = r.lines.line
			if !ok || tag != "TY" {
				r.text = append(r.text, text...)
				return Paper{}, at("", "want a reference, which begins with TY, got %q", shorten(strings.ToValidUTF8(text, "\ufffd")))
			}
		} else if ok && tag == "TY" {
			r.kept, r.first = text, r.lines.line
			break
		}
		if len(r.text)+len(text) > MaxRecordBytes {
			bad = &errorAt{err: ErrRecordTooLong}
		} else {
			take(text)
		}
		if ok && tag == "ER" {
			break
		}
	}
	if bad != nil {
		return Paper{}, bad
	}
	if len(more) > 0 {
		fields[len(fields)-1].value += string(more)
	}
	if invalidUTF8(r.text) >= 0 {
		return Paper{}, at("", "invalid UTF-8; convert the file first, as with iconv -f latin1 -t utf-8")
	}
	return risPaper(fields)
}

type risField struct{ tag, value string }

// risPaper makes a paper of a reference.
func risPaper(fields []risField) (Paper, error) {
	all := func(tags ...string) (values []string) {
		for _, tag := range tags {
			for _, f := range fields {
				if f.tag == tag && !blank(f.value) {
					values = append(values, clean(f.value))
				}
			}
		}
		return values
	}
	first := func(tags ...string) string {
		if values := all(tags...); len(values) > 0 {
			return values[0]
		}
		return ""
	}
	p := Paper{Title: first("TI", "T1", "CT"), Abstract: first("AB", "N2"), Venue: first("T2", "JF", "JO", "BT", "JA", "J2", "PB"), DOI: bareDOI(first("DO")), URL: first("UR", "L2", "LK")}
	for _, text := range all("AU", "A1") {
		p.Authors = append(p.Authors, turned(text))
	}
	if p.DOI == "" {
		for _, text := range all("UR", "L3", "M3", "N1") {
			if doi := bareDOI(text); isDOI(doi) {
				p.DOI = doi
				break
			}
		}
	}
	p.ArxivID = arxivOfDOI(p.DOI)
	if id := first("ID"); p.DOI == "" && strings.ContainsFunc(id, func(r rune) bool { return r < '0' || r > '9' }) { // a number counts the references of a file
		p.ID = id
	}
	f := facts{}
	published := ""
	for _, text := range all("DA", "PY", "Y1") { // 2008/05/12/a word
		parts := append(strings.Split(strings.ReplaceAll(text, "-", "/"), "/"), "", "", "")
		year := yearOf(parts[0])
		if year == 0 {
			continue
		}
		day, _ := strconv.Atoi(clean(parts[2])) // none is 0
		if date := dateOf(int(year), monthOf(parts[1]), day); len(date) > len(published) {
			published = date
		}
	}
	p.Year = yearOf(published)
	if year := yearOf(first("PY", "Y1")); year != 0 {
		p.Year = year
	}
	f.put("published", published)
	f.put("type", first("TY"))
	f.put("keywords", all("KW"))
	f.put("language", first("LA"))
	f.put("publisher", first("PB"))
	f.put("issn", all("SN"))
	f.put("accession", first("AN"))
	return finish(p, f)
}
