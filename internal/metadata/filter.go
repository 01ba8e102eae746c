package metadata

import (
	"fmt"
	"slices"
	"strings"
)

// Filter is a condition on papers. It does not change, and may be used by many goroutines at once. A nil Filter and the zero value are met by
// every paper.
type Filter struct {
	root *node // nil: every paper
}

// node is one part of a filter, in the normal form: an and or an or has two parts or more, none of which is of its own kind, and a not has
// one, which is no not.
type node struct {
	op    op
	parts []*node
	// What follows is of a comparison.
	field   string // "year", or "metadata." and what the user calls it
	value   literal
	text    string // that it was read from
	at      int    // column of the field in text, from 1
	valueAt int
}

type op uint8

const (
	and op = iota
	or
	not
	has // the field has a value
	equal
	unequal
	less
	lessEqual
	greater
	greaterEqual
	published // some value may be of a time between two moments; it is not in the language
)

var opText = [...]string{and: "AND", or: "OR", not: "NOT", has: ":", equal: "=", unequal: "!=", less: "<", lessEqual: "<=", greater: ">", greaterEqual: ">="}

// ordered tells whether an operator asks for an order.
func (o op) ordered() bool { return o >= less && o <= greaterEqual }

// literal is what a field is compared with.
type literal struct {
	Value
	prefix bool // any string that begins with Text
	dated  bool // names a period, and is compared with dates as that
	period period
}

// Own fields, and their types. What is not among them is the user's.
var own = map[string]Type{
	"id": StringType, "authors": StringType, "year": NumberType, "venue": StringType, "doi": StringType, "arxiv_id": StringType, "url": StringType,
}

// IsOwn tells whether a field, named as FieldName gives it, is one of the papers' own, and not of their metadata.
func IsOwn(field string) bool { return own[field] != 0 }

const userPrefix = "metadata."

func (f *Filter) empty() bool { return f == nil || f.root == nil }

// And is the filter that a paper meets which meets all of some.
func And(filters ...*Filter) *Filter {
	var parts []*node
	for _, f := range filters {
		if !f.empty() {
			parts = append(parts, f.root)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return &Filter{join(and, parts...)}
}

// join makes an and or an or of parts, in the normal form.
func join(op op, parts ...*node) *node {
	n := &node{op: op}
	for _, p := range parts {
		if p.op == op {
			n.parts = append(n.parts, p.parts...)
		} else {
			n.parts = append(n.parts, p)
		}
	}
	if len(n.parts) == 1 {
		return n.parts[0]
	}
	return n
}

// negate makes a not, in the normal form.
func negate(n *node) *node {
	if n.op == not {
		return n.parts[0]
	}
	return &node{op: not, parts: []*node{n}}
}

// depth is how many ands, ors and nots lie in one another.
func (n *node) depth() int {
	deepest := 0
	for _, p := range n.parts {
		deepest = max(deepest, p.depth())
	}
	if len(n.parts) > 0 {
		deepest++
	}
	return deepest
}

// String is the filter in a normal form, which Parse reads as an equal filter, but for that of Published: fields of the user by their full names, values in quotes,
// parentheses wherever ANDs, ORs and NOTs lie in one another. The filter that every paper meets is "".
func (f *Filter) String() string {
	if f.empty() {
		return ""
	}
	var b strings.Builder
	f.root.write(&b)
	return b.String()
}

func (n *node) write(b *strings.Builder) {
	inner := func(p *node) {
		if len(p.parts) > 1 || n.op == not {
			b.WriteByte('(')
			p.write(b)
			b.WriteByte(')')
		} else {
			p.write(b)
		}
	}
	switch n.op {
	case and, or:
		for i, p := range n.parts {
			if i > 0 {
				b.WriteString(" " + opText[n.op] + " ")
			}
			inner(p)
		}
	case not:
		b.WriteString("NOT ")
		inner(n.parts[0])
	case has:
		b.WriteString(quoteName(n.field) + ":*")
	case published:
		fmt.Fprintf(b, "published(%s, %s)", quoteName(n.field), n.text)
	default:
		b.WriteString(quoteName(n.field) + " " + opText[n.op] + " ")
		if n.value.Kind != String {
			b.WriteString(n.value.String())
			return
		}
		text := n.value.Text
		if !n.op.ordered() {
			text = strings.ReplaceAll(text, "*", `\*`)
		}
		if n.value.prefix {
			text += "*"
		}
		b.WriteString(quote(text))
	}
}

// quoteName writes a field's name so that it is read as that: parts that are no plain words in quotes.
func quoteName(name string) string {
	inner, user := strings.CutPrefix(name, userPrefix)
	if !user {
		return name
	}
	var b strings.Builder
	b.WriteString(userPrefix[:len(userPrefix)-1])
	for part := range strings.SplitSeq(inner, ".") {
		b.WriteByte('.')
		if plain(part) {
			b.WriteString(part)
		} else {
			b.WriteString(quote(part))
		}
	}
	return b.String()
}

// plain tells whether a name's part is one word to the library, and no keyword.
func plain(part string) bool {
	if part == "" || part == "AND" || part == "OR" || part == "NOT" || part[0] >= '0' && part[0] <= '9' {
		return false
	}
	return !strings.ContainsFunc(part, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	})
}

// escapes are of what does not stand for itself between quotes: the library makes a line feed of a carriage return.
var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", `\r`, "\n", `\n`, "\t", `\t`)

func quote(s string) string { return `"` + escapes.Replace(s) + `"` }

// Matches tells whether a paper meets the filter. It looks at nothing but the paper: it is what Index.Select must agree with, and never fails,
// where Select refuses a filter that no paper could meet.
func (f *Filter) Matches(p Fields) bool { return f.empty() || f.root.matches(p) }

func (n *node) matches(p Fields) bool {
	switch n.op {
	case and:
		return !slices.ContainsFunc(n.parts, func(part *node) bool { return !part.matches(p) })
	case or:
		return slices.ContainsFunc(n.parts, func(part *node) bool { return part.matches(p) })
	case not:
		return !n.parts[0].matches(p)
	}
	values := p.of(n.field)
	any := slices.ContainsFunc(values, func(e entry) bool { return n.meets(e.value) })
	if n.op == unequal {
		return len(values) > 0 && !any
	}
	return any
}

// meets tells whether one value meets a comparison; of unequal, whether it is equal.
func (n *node) meets(v Value) bool {
	switch n.op {
	case has:
		return true
	case published:
		p, ok := v.date(n.field)
		return ok && p.meets(n.value.period)
	}
	l := &n.value
	if l.dated && v.Kind == String {
		if p, ok := parseDate(v.Text); ok {
			return n.op.meetsPeriod(p.from, l.period)
		}
	}
	switch {
	case v.Kind != l.Kind:
		return false
	case l.prefix:
		return strings.HasPrefix(v.Text, l.Text)
	}
	return n.op.meets(compareValues(v, l.Value))
}

// meets tells whether a value meets a comparison with another, which it is before, as, or after: c is negative, 0, or positive.
func (o op) meets(c int) bool {
	switch o {
	case equal, unequal:
		return c == 0
	case less:
		return c < 0
	case lessEqual:
		return c <= 0
	case greater:
		return c > 0
	case greaterEqual:
		return c >= 0
	}
	panic(fmt.Sprintf("no comparison: %d", o))
}

// meetsPeriod is meets for a time and a period.
func (o op) meetsPeriod(t float64, p period) bool {
	switch {
	case t < p.from:
		return o.meets(-1)
	case t >= p.to:
		return o.meets(1)
	}
	return o.meets(0)
}
