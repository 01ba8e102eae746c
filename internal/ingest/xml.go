package ingest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html/charset"
)

// This file cuts XML into records, and reads a record as a tree.

// xmlForm is a form of XML files.
type xmlForm struct {
	// whole are the elements that are cut out, tags those of which the first tag is. None of whole is in another, but in around.
	whole, tags []string
	around      string
	// without is an element that is not read at all, "" where there is none: the many references of a paper.
	without string
	// read reads such an element. about is what the file's elements before have said, and is read's own.
	read func(e element, about *volume) (Paper, error)
}

// without leaves an element of a record out, and all between several of them. Line ends stay, for the lines of errors.
func without(record []byte, name string) []byte {
	if name == "" {
		return record
	}
	from, to := bytes.Index(record, []byte("<"+name+">")), bytes.LastIndex(record, []byte("</"+name+">"))
	if from < 0 || to < from {
		return record
	}
	out := append(make([]byte, 0, len(record)), record[:from]...)
	out = append(out, bytes.Repeat([]byte("\n"), bytes.Count(record[from:to], []byte("\n")))...)
	return append(out, record[to+len(name)+3:]...)
}

// errNoRecord: an element was read that is no record, but says something about those that come.
var errNoRecord = errors.New("no record")

// openXML opens files of a form.
func openXML(form xmlForm) func(*stream, *Options) (records, string, error) {
	return func(s *stream, _ *Options) (records, string, error) {
		text, err := s.firstLine()
		if err != nil {
			return nil, "", err
		}
		var r io.Reader = s
		if label := encodingOf(text); label != "" {
			// Of what an encoding does not have, U+FFFD is made.
			if r, err = charset.NewReaderLabel(label, s); err != nil {
				return nil, "", at("", "the encoding %q is not known", shorten(label))
			}
		}
		return &xmlRecords{w: newWindow(r), form: form, line: 1}, "", nil
	}
}

var declared = regexp.MustCompile(`^\s*<\?xml[^>]*\sencoding\s*=\s*["']([A-Za-z0-9._:-]+)["']`)

// encodingOf is the encoding that a file of XML says it has, "" where that is UTF-8.
func encodingOf(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")):
		return "utf-16le"
	case bytes.HasPrefix(head, []byte("\xfe\xff")):
		return "utf-16be"
	}
	m := declared.FindSubmatch(bytes.TrimPrefix(head, []byte(byteOrderMark)))
	if m == nil || strings.EqualFold(string(m[1]), "utf-8") || strings.EqualFold(string(m[1]), "us-ascii") {
		return ""
	}
	return string(m[1])
}

// rootOf is the name of the first element, without a prefix; "" where it is not there yet.
func rootOf(text []byte) string {
	for {
		i := bytes.IndexByte(text, '<')
		if i < 0 || i+1 >= len(text) {
			return ""
		}
		text = text[i:]
		switch end := ""; {
		case bytes.HasPrefix(text, []byte("<!--")):
			end = "-->"
			fallthrough
		case text[1] == '?':
			if end == "" {
				end = "?>"
			}
			if i = bytes.Index(text, []byte(end)); i < 0 {
				return ""
			}
			text = text[i+len(end):]
		case text[1] == '!':
			text = text[2:]
		default:
			if n := nameEnd(text[1:]); n > 0 {
				return local(string(text[1 : 1+n]))
			}
			return ""
		}
	}
}

// nameEnd is the length of the name that a tag begins with, 0 where its end is not there.
func nameEnd(text []byte) int {
	return max(bytes.IndexAny(text[:min(len(text), 256)], " \t\r\n/><"), 0)
}

func local(name string) string { return name[strings.IndexByte(name, ':')+1:] }

// xmlRecords are elements of XML. They are cut out at their tags before they are read, so that one which is broken costs itself alone and the
// memory is that of one. An element that has no end reaches to where the next record begins.
type xmlRecords struct {
	w    *window
	form xmlForm

	root    string // the first element of all, where that is no record
	started bool
	balance int // of its tags
	tree    tree
	about   volume
	line    int
	text    []byte
}

func (x *xmlRecords) at() int     { return x.line }
func (x *xmlRecords) raw() []byte { return x.text }

func (x *xmlRecords) next() (Paper, error) {
	for {
		name, err := x.find()
		if err == io.EOF && x.balance > 0 {
			return Paper{}, fmt.Errorf("%w: </%s> is missing", ErrCutOff, x.root)
		}
		if err != nil {
			return Paper{}, err
		}
		alone := slices.Contains(x.form.tags, name)
		if err := x.cut(alone); err != nil {
			return Paper{}, err
		}
		if err := x.tree.read(without(x.text, x.form.without), alone); err != nil {
			if bad, ok := errors.AsType[*xml.SyntaxError](err); ok {
				return Paper{}, &errorAt{err: errors.New(bad.Msg), line: x.line + bad.Line - 1}
			}
			return Paper{}, &errorAt{err: err}
		}
		p, err := x.form.read(x.tree.root(), &x.about)
		if err != errNoRecord {
			return p, err
		}
	}
}

// find goes on to the next tag of the form's elements, and gives its name.
func (x *xmlRecords) find() (string, error) {
	w := x.w
	for {
		i := bytes.IndexByte(w.text(), '<')
		if i < 0 {
			w.skip(len(w.text()))
			if err := x.more(); err != nil {
				return "", err
			}
			continue
		}
		w.skip(i)
		for len(w.text()) < 260 && w.more() { // a name, or the start of a comment
		}
		text := w.text()
		switch {
		case bytes.HasPrefix(text, []byte("<!--")):
			if err := x.over(4, "-->"); err != nil {
				return "", err
			}
		case bytes.HasPrefix(text, []byte("<![CDATA[")):
			if err := x.over(9, "]]>"); err != nil {
				return "", err
			}
		case bytes.HasPrefix(text, []byte("<?")):
			if err := x.over(2, "?>"); err != nil {
				return "", err
			}
		case bytes.HasPrefix(text, []byte("</")):
			if n := nameEnd(text[2:]); n > 0 && string(text[2:2+n]) == x.root && x.balance > 0 {
				x.balance--
			}
			w.skip(2)
		case len(text) < 2 || text[1] == '!' || text[1] <= ' ': // a declaration, or no tag
			w.skip(1)
		default:
			n := nameEnd(text[1:])
			full := string(text[1 : 1+n])
			name := local(full)
			whole := slices.Contains(x.form.whole, name)
			switch {
			case n == 0:
			case !x.started:
				x.started = true
				if !whole {
					x.root, x.balance = full, 1
				}
			case full == x.root:
				x.balance++
			}
			if whole || slices.Contains(x.form.tags, name) {
				return name, nil
			}
			w.skip(1 + n)
		}
	}
}

// more reads on, or gives the error at the end.
func (x *xmlRecords) more() error {
	if x.w.more() {
		return nil
	}
	if err := x.w.fault(); err != nil {
		return err
	}
	return io.EOF
}

// over skips n bytes, and then what is before an end and the end.
func (x *xmlRecords) over(n int, end string) error {
	x.w.skip(n)
	for {
		text := x.w.text()
		if i := bytes.Index(text, []byte(end)); i >= 0 {
			x.w.skip(i + len(end))
			return nil
		}
		x.w.skip(max(0, len(text)-len(end)+1))
		if err := x.more(); err == io.EOF {
			x.line = x.w.line
			return fmt.Errorf("%w: %s is missing", ErrCutOff, end)
		} else if err != nil {
			return err
		}
	}
}

// tag gives the length of the tag that text begins with, and sets line.
func (x *xmlRecords) tag() (int, error) {
	x.line = x.w.line
	for from := 1; ; {
		text := x.w.text()
		if i := bytes.IndexAny(text[from:], "<>"); i >= 0 {
			if text[from+i] == '<' {
				return 0, x.giveUp(from+i, errors.New("a tag that has no end"))
			}
			return from + i + 1, nil
		}
		from = len(text)
		if from > bufferSize {
			return 0, x.giveUp(from, errors.New("a tag that has no end"))
		}
		if err := x.more(); err == io.EOF {
			return 0, x.giveUp(from, errors.New("a tag that has no end"))
		} else if err != nil {
			return 0, err
		}
	}
}

// giveUp takes n bytes off as a record that is rejected.
func (x *xmlRecords) giveUp(n int, err error) error {
	x.text = x.w.text()[:n]
	x.w.skip(n)
	return &errorAt{err: err}
}

// cut cuts off the element, or the tag alone, that text begins with.
func (x *xmlRecords) cut(tagAlone bool) error {
	from, err := x.tag()
	if err != nil {
		return err
	}
	take := func(n int) {
		x.text = x.w.text()[:n]
		x.w.skip(n)
	}
	if tagAlone || x.w.text()[from-2] == '/' {
		take(from)
		return nil
	}
	full := string(x.w.text()[1 : 1+nameEnd(x.w.text()[1:])])
	prefix := full[:len(full)-len(local(full))]
	longest := len(x.root)
	for _, name := range x.form.whole {
		longest = max(longest, len(prefix)+len(name))
	}
	isName := func(text []byte, name string) bool {
		return len(text) > len(name) && string(text[:len(name)]) == name && strings.IndexByte(" \t\r\n/>", text[len(name)]) >= 0
	}
	for all := false; ; {
		text := x.w.text()
	tags:
		for {
			i := bytes.IndexByte(text[from:], '<')
			if i < 0 {
				from = len(text)
				break
			}
			from += i
			if !all && len(text)-from < longest+8 { // the name may not be all there
				break
			}
			switch rest := text[from+1:]; {
			case len(rest) > 0 && rest[0] == '/' && isName(rest[1:], full):
				end := bytes.IndexByte(rest, '>')
				if end >= 0 {
					take(from + 1 + end + 1)
					return nil
				}
				if !all && len(rest) < bufferSize {
					break tags
				}
			case isName(rest, full), local(full) != x.form.around && bytes.HasPrefix(rest, []byte(prefix)) && slices.ContainsFunc(x.form.whole, func(name string) bool { return isName(rest[len(prefix):], name) }),
				x.root != "" && len(rest) > 0 && rest[0] == '/' && isName(rest[1:], x.root):
				return x.giveUp(from, fmt.Errorf("<%s> has no end", full))
			}
			from++
		}
		switch {
		case len(text) > MaxRecordBytes:
			return x.tooLong(full)
		case all:
			return x.giveUp(len(text), fmt.Errorf("<%s> has no end", full))
		}
		switch err := x.more(); {
		case err == io.EOF:
			all = true
		case err != nil:
			return err
		}
	}
}

// tooLong goes over the rest of an element that is too long, without keeping it.
func (x *xmlRecords) tooLong(name string) error {
	text := slices.Clone(x.w.text()[:MaxTextBytes])
	err := x.over(0, "</"+name)
	x.text = text
	if err != nil && !errors.Is(err, ErrCutOff) {
		return err
	}
	return &errorAt{err: ErrRecordTooLong}
}

const (
	// maxNodes is how many elements and pieces of text a record may have: a paper with 5,000 authors and their affiliations has a third of it.
	maxNodes = 250_000
	// maxDepth is how deep elements may lie in each other.
	maxDepth = 100
)

// tree is a record of XML. Its nodes are used again for the next record.
type tree struct {
	nodes []node
	open  []int32
}

// node is an element or, without a name, a piece of text.
type node struct {
	name              string // without a prefix
	attr              []xml.Attr
	text              string
	first, last, next int32 // children, and the next sibling; 0 is none, as the first node is nobody's
}

// element is an element of a tree. There may be none: that has no text and no children.
type element struct {
	t *tree
	i int32
}

func (t *tree) root() element { return element{t, 1} }

// read reads an element, or a first tag alone.
func (t *tree) read(text []byte, tag bool) error {
	t.nodes = append(t.nodes[:0], node{})
	t.open = append(t.open[:0], 0)
	d := xml.NewDecoder(bytes.NewReader(text))
	d.Entity = xml.HTMLEntity
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if len(t.open) > maxDepth {
				return fmt.Errorf("elements lie more than %d deep in each other", maxDepth)
			}
			t.add(node{name: token.Name.Local, attr: token.Attr})
			t.open = append(t.open, int32(len(t.nodes)-1))
		case xml.EndElement:
			if len(t.open) == 1 || t.nodes[t.open[len(t.open)-1]].name != token.Name.Local {
				return &xml.SyntaxError{Msg: fmt.Sprintf("</%s> closes nothing", shorten(token.Name.Local)), Line: lineOf(d)}
			}
			t.open = t.open[:len(t.open)-1]
		case xml.CharData:
			if len(t.open) > 1 {
				t.add(node{text: string(token)})
			}
		}
		if len(t.nodes) > maxNodes {
			return fmt.Errorf("more than %d elements and texts", maxNodes)
		}
	}
	if len(t.nodes) == 1 || t.nodes[1].name == "" {
		return errors.New("no element")
	}
	if !tag && len(t.open) > 1 {
		return fmt.Errorf("<%s> has no end", t.nodes[t.open[len(t.open)-1]].name)
	}
	return nil
}

func lineOf(d *xml.Decoder) int {
	line, _ := d.InputPos()
	return line
}

func (t *tree) add(n node) {
	i := int32(len(t.nodes))
	t.nodes = append(t.nodes, n)
	parent := &t.nodes[t.open[len(t.open)-1]]
	if parent.last == 0 {
		parent.first = i
	} else {
		t.nodes[parent.last].next = i
	}
	parent.last = i
}

func (e element) name() string { return e.t.nodes[e.i].name }

// each calls a function for the children of that name, or for all elements where the name is "".
func (e element) each(name string, do func(element)) {
	if e.i == 0 {
		return
	}
	for i := e.t.nodes[e.i].first; i != 0; i = e.t.nodes[i].next {
		if n := e.t.nodes[i].name; n == name || name == "" && n != "" {
			do(element{e.t, i})
		}
	}
}

// child goes down by the first children of these names.
func (e element) child(path ...string) element {
	for _, name := range path {
		var found int32
		if e.i != 0 {
			for i := e.t.nodes[e.i].first; i != 0; i = e.t.nodes[i].next {
				if e.t.nodes[i].name == name {
					found = i
					break
				}
			}
		}
		e.i = found
	}
	return e
}

func (e element) exists() bool { return e.i != 0 }

func (e element) attr(name string) string {
	for _, a := range e.t.nodes[e.i].attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// text is all text in the element, without what marks it up, its white space as single blanks.
func (e element) text() string {
	if e.i == 0 {
		return ""
	}
	n := e.t.nodes[e.i]
	if n.first == 0 {
		return ""
	}
	if n.first == n.last && e.t.nodes[n.first].name == "" {
		return clean(e.t.nodes[n.first].text)
	}
	var out strings.Builder
	e.write(&out)
	return clean(out.String())
}

func (e element) write(out *strings.Builder) {
	for i := e.t.nodes[e.i].first; i != 0; i = e.t.nodes[i].next {
		n := e.t.nodes[i]
		if n.name == "" {
			out.WriteString(n.text)
			continue
		}
		block := blocks[strings.ToLower(n.name)]
		if block {
			out.WriteByte(' ')
		}
		element{e.t, i}.write(out)
		if block {
			out.WriteByte(' ')
		}
	}
}

// texts are those of all children of that name.
func (e element) texts(name string) (all []string) {
	e.each(name, func(c element) { all = append(all, c.text()) })
	return all
}
