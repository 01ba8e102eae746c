package store

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// recordReader reads a value of p/ as encodeRecord writes it, in a fraction of the time that encoding/json takes. What it does not know is bad, and
// left to encoding/json, with which it agrees on all else.
type recordReader struct {
	text []byte // what is left
	bad  bool
}

// readRecord gives false for what is not as encodeRecord writes it.
func readRecord(body []byte) (rec Record, ok bool) {
	r := &recordReader{text: body}
	r.next('{')
	ok = r.record(&rec, true)
	return rec, ok
}

// record reads the fields of a record to its end, and gives false for others; paper: that of the paper is among them.
func (r *recordReader) record(rec *Record, paper bool) (ok bool) {
	content := false
	r.fields(func(name []byte) {
		switch string(name) {
		case "paper":
			if !paper {
				r.bad = true
				return
			}
			r.paper(&rec.Paper)
		case "content":
			text := r.word()
			size := base64.StdEncoding.DecodedLen(len(text))
			if size > len(rec.Content)+2 {
				r.bad = true
				return
			}
			var hash [len(rec.Content) + 2]byte
			n, err := base64.StdEncoding.Decode(hash[:], text)
			r.bad = r.bad || err != nil || n != len(rec.Content)
			copy(rec.Content[:], hash[:])
			content = true
		case "tokens":
			rec.Tokens = int(r.number(strconv.IntSize))
		case "truncated":
			rec.Truncated = r.yes()
		default:
			r.bad = true
		}
	})
	return content && !r.bad && len(r.text) == 0
}

func (r *recordReader) paper(p *Paper) {
	r.object(func(name []byte) {
		switch string(name) {
		case "id":
			p.ID = r.str()
		case "title":
			p.Title = r.str()
		case "abstract":
			p.Abstract = r.str()
		case "authors":
			p.Authors = r.list()
		case "year":
			p.Year = int32(r.number(32))
		case "venue":
			p.Venue = r.str()
		case "doi":
			p.DOI = r.str()
		case "arxiv_id":
			p.ArxivID = r.str()
		case "url":
			p.URL = r.str()
		case "expires":
			begin := r.text
			if text := r.word(); !r.bad { // with its quotes
				r.bad = p.Expires.UnmarshalJSON(begin[:len(text)+2]) != nil
			}
		case "metadata":
			p.Metadata = r.raw()
		default:
			r.bad = true
		}
	})
}

// next takes a byte, which must be there.
func (r *recordReader) next(want byte) {
	if len(r.text) == 0 || r.text[0] != want {
		r.bad, r.text = true, nil
		return
	}
	r.text = r.text[1:]
}

// is takes a byte where it is there.
func (r *recordReader) is(b byte) bool {
	if len(r.text) == 0 || r.text[0] != b {
		return false
	}
	r.text = r.text[1:]
	return true
}

// object reads an object by its fields.
func (r *recordReader) object(field func(name []byte)) {
	r.next('{')
	r.fields(field)
}

// fields calls field with the name of each field up to the end of an object, to read its value. One that comes twice is bad.
func (r *recordReader) fields(field func(name []byte)) {
	var names [16][]byte
	for n := 0; ; n++ {
		name := r.word()
		r.next(':')
		if n == len(names) {
			r.bad = true
		}
		for i := 0; i < n && !r.bad; i++ {
			r.bad = bytes.Equal(names[i], name)
		}
		if r.bad {
			return
		}
		names[n] = name
		if field(name); r.bad {
			return
		}
		if !r.is(',') {
			r.next('}')
			return
		}
	}
}

// word gives the bytes of a string, which must have no escapes and be ASCII.
func (r *recordReader) word() []byte {
	text, plain := r.quoted()
	r.bad = r.bad || !plain
	return text
}

// quoted gives what stands between two quotes, and whether that is ASCII without escapes.
func (r *recordReader) quoted() (text []byte, plain bool) {
	r.next('"')
	end := bytes.IndexByte(r.text, '"')
	for end > 0 && r.text[end-1] == '\\' { // it may be an escaped one
		escapes := 1
		for end-escapes > 0 && r.text[end-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			break
		}
		next := bytes.IndexByte(r.text[end+1:], '"')
		if next < 0 {
			end = next
			break
		}
		end += 1 + next
	}
	if end < 0 {
		r.bad, r.text = true, nil
		return nil, false
	}
	text, r.text = r.text[:end], r.text[end+1:]
	control, ascii := kinds(text)
	r.bad = r.bad || control
	return text, ascii && bytes.IndexByte(text, '\\') < 0
}

// kinds tells whether there is a control character, and whether all is ASCII. Eight bytes at a time: less than 32 is what 32 can be taken from by
// borrowing alone.
func kinds(text []byte) (control, ascii bool) {
	const high = 0x8080808080808080
	var low, all uint64
	for ; len(text) >= 8; text = text[8:] {
		w := binary.LittleEndian.Uint64(text)
		low |= (w - high/4) & ^w & high
		all |= w & high
	}
	control, ascii = low != 0, all == 0
	for _, c := range text {
		control, ascii = control || c < ' ', ascii && c < utf8.RuneSelf
	}
	return control, ascii
}

func (r *recordReader) str() string {
	begin := r.text
	text, plain := r.quoted()
	switch {
	case plain || r.bad:
		return string(text)
	case bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text):
		return string(text)
	}
	if s, ok := unescape(text); ok {
		return s
	}
	var s string
	r.bad = json.Unmarshal(begin[:len(text)+2], &s) != nil
	return s
}

// unescape gives a string, but for escapes of four digits, and what is not UTF-8.
func unescape(text []byte) (string, bool) {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			i++ // a quote that ends the string is no escaped one
			switch c = text[i]; c {
			case '"', '\\', '/':
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			default:
				return "", false
			}
		}
		out = append(out, c)
	}
	return string(out), utf8.Valid(out)
}

// list reads a list of one string or more.
func (r *recordReader) list() (all []string) {
	for r.next('['); !r.bad; r.next(',') {
		all = append(all, r.str())
		if r.is(']') {
			return all
		}
	}
	return nil
}

// number reads a whole number of so many bits.
func (r *recordReader) number(bits int) int64 {
	end := 0
	for end < len(r.text) && (r.text[end] == '-' || '0' <= r.text[end] && r.text[end] <= '9') {
		end++
	}
	digits := string(r.text[:end])
	n, err := strconv.ParseInt(digits, 10, bits)
	if err != nil || strconv.FormatInt(n, 10) != digits { // JSON has no 01
		r.bad = true
	}
	r.text = r.text[end:]
	return n
}

// yes reads true: false is left out.
func (r *recordReader) yes() bool {
	rest, ok := bytes.CutPrefix(r.text, []byte("true"))
	r.text, r.bad = rest, r.bad || !ok
	return true
}

// raw gives an object as it stands.
func (r *recordReader) raw() json.RawMessage {
	deep := 0
	for i := 0; i < len(r.text); i++ {
		switch r.text[i] {
		case '"':
			for i++; i < len(r.text) && r.text[i] != '"'; i++ {
				if r.text[i] == '\\' {
					i++
				}
			}
		case '{':
			deep++
		case '}':
			if deep--; deep == 0 {
				text := bytes.Clone(r.text[:i+1])
				r.text, r.bad = r.text[i+1:], r.bad || text[0] != '{' || !json.Valid(text)
				return text
			}
		}
		if deep == 0 {
			break
		}
	}
	r.bad = true
	return nil
}
