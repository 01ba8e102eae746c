package metadata

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
)

// Limits of a filter. They hold for what is given to Parse and for its normal form.
const (
	// MaxFilterBytes is the longest text.
	MaxFilterBytes = 8 << 10
	// MaxFilterDepth is how deep parentheses, and ANDs, ORs and NOTs, may lie in one another.
	MaxFilterDepth = 16
	// MaxConditions is the most comparisons.
	MaxConditions = 64
)

// Error says what is wrong with a filter, or with the name of a field.
type Error struct {
	// Text is what was given to Parse.
	Text string
	// Column is the character of Text that the error is about, from 1; 0: none.
	Column int
	// Message says what is wrong, and what was expected.
	Message string
}

func (e *Error) Error() string {
	if e.Column == 0 {
		return e.Message
	}
	return fmt.Sprintf("column %d: %s", e.Column, e.Message)
}

// Parse reads a filter in the language of AIP-160, as the package's documentation tells it. A blank text is the filter that every paper
// meets. The error is an *Error.
func Parse(text string) (*Filter, error) {
	if len(text) > MaxFilterBytes {
		return nil, &Error{text, 0, fmt.Sprintf("the filter has %d bytes; the limit is %d", len(text), MaxFilterBytes)}
	}
	p := parser{text: text}
	f, err := p.parse()
	if err != nil {
		return nil, err // a nil *Error is no nil error
	}
	return f, nil
}

// parser turns what the library reads into a Filter.
type parser struct {
	text       string
	tokens     []filtering.Token
	lead       int              // bytes of white space before the first token, which the library cuts off
	octal      *filtering.Token // the first number that begins with 0
	positions  map[int64]int32  // of expressions, in bytes after lead
	conditions int
}

func (p *parser) parse() (*Filter, *Error) {
	if !utf8.ValidString(p.text) {
		return nil, p.errorf(validBytes(p.text), "the filter is not valid UTF-8")
	}
	trimmed := strings.TrimSpace(p.text)
	if trimmed == "" {
		return &Filter{}, nil
	}
	p.lead = strings.Index(p.text, trimmed)
	if err := p.lex(trimmed); err != nil {
		return nil, err
	}
	var lib filtering.Parser
	lib.Init(trimmed)
	parsed, err := lib.Parse()
	if err != nil {
		return nil, p.hint(p.explain(err))
	}
	if p.octal != nil {
		return nil, p.errorf(p.lead+int(p.octal.Position.Offset), "a number does not begin with 0; put it into quotes if it is a string")
	}
	p.positions = parsed.GetSourceInfo().GetPositions()
	root, bad := p.condition(parsed.GetExpr())
	if bad != nil {
		return nil, bad
	}
	if d := root.depth(); d > MaxFilterDepth {
		return nil, &Error{p.text, 0, fmt.Sprintf("ANDs, ORs and NOTs lie %d deep in one another; the limit is %d", d, MaxFilterDepth)}
	}
	f := &Filter{root}
	if n := len(f.String()); n > MaxFilterBytes {
		return nil, &Error{p.text, 0, fmt.Sprintf("the filter, written out, has %d bytes; the limit is %d", n, MaxFilterBytes)}
	}
	return f, nil
}

func validBytes(s string) int {
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return i
		}
	}
	return len(s)
}

// errorf makes an error about the byte at offset.
func (p *parser) errorf(offset int, format string, args ...any) *Error {
	return &Error{p.text, 1 + utf8.RuneCountInString(p.text[:offset]), fmt.Sprintf(format, args...)}
}

// lex reads the tokens before the library's parser does, which calls itself for each parenthesis.
func (p *parser) lex(trimmed string) *Error {
	var lexer filtering.Lexer
	lexer.Init(trimmed)
	depth := 0
	for {
		t, err := lexer.Lex()
		if err == io.EOF {
			return nil
		}
		if err != nil { // the text is valid UTF-8
			return p.errorf(p.lead+int(lexer.Position().Offset), "the string that begins here has no closing quote")
		}
		switch t.Type {
		case filtering.TokenTypeLeftParen:
			if depth++; depth > MaxFilterDepth {
				return p.errorf(p.lead+int(t.Position.Offset), "the filter is nested more than %d deep", MaxFilterDepth)
			}
		case filtering.TokenTypeRightParen:
			depth--
		case filtering.TokenTypeNumber:
			fraction := len(p.tokens) > 0 && p.tokens[len(p.tokens)-1].Type == filtering.TokenTypeDot
			if len(t.Value) > 1 && t.Value[0] == '0' && !fraction { // the library would read it to the base of 8
				p.octal = cmp.Or(p.octal, &t)
			}
		}
		p.tokens = append(p.tokens, t)
	}
}

// explain says what was expected where the library's parser stopped.
func (p *parser) explain(err error) *Error {
	offset := 0
	for ; err != nil; err = errors.Unwrap(err) { // the message of err itself repeats the filter for each level
		if at, ok := err.(interface{ Position() filtering.Position }); ok {
			offset = max(offset, int(at.Position().Offset))
		}
	}
	i := slices.IndexFunc(p.tokens, func(t filtering.Token) bool {
		return int(t.Position.Offset) >= offset && t.Type != filtering.TokenTypeWhitespace
	})
	found, at := "the end", len(p.text)
	if i >= 0 {
		found, at = fmt.Sprintf("%q", shorten(p.tokens[i].Value)), p.lead+int(p.tokens[i].Position.Offset)
	} else {
		i = len(p.tokens)
	}
	if i+1 < len(p.tokens) && p.tokens[i].Type.IsKeyword() && p.tokens[i+1].Type == filtering.TokenTypeLeftParen {
		return p.errorf(at, "expected a space between %s and the parenthesis", p.tokens[i].Value)
	}
	want, glued, depth := "a condition", false, 0
	for j, t := range p.tokens[:i] {
		glued = true
		switch {
		case t.Type == filtering.TokenTypeWhitespace:
			glued = false
			continue
		case t.Type.IsComparator():
			want = "a value"
		case t.Type == filtering.TokenTypeDot:
			want = "a name after the point"
		case t.Type.IsKeyword(), t.Type == filtering.TokenTypeMinus:
			want = "a condition"
		case t.Type == filtering.TokenTypeLeftParen:
			depth++
			want = "a condition or a value"
		default:
			if t.Type == filtering.TokenTypeRightParen {
				depth--
			}
			want = "AND, OR or the end"
			if depth > 0 {
				want = "AND, OR or a closing parenthesis"
			}
			if before := p.before(j); before == nil || !before.Type.IsComparator() && t.Type != filtering.TokenTypeRightParen {
				want = "an operator, " + want
			}
		}
	}
	if glued && i < len(p.tokens) && strings.HasPrefix(want, "AND") && p.tokens[i].Type != filtering.TokenTypeRightParen {
		want += " (a value with such characters is put into quotes)"
	}
	return p.errorf(at, "expected %s, found %s", want, found)
}

// before is the token before the i-th, white space aside; nil: none.
func (p *parser) before(i int) *filtering.Token {
	for i--; i >= 0; i-- {
		if p.tokens[i].Type != filtering.TokenTypeWhitespace {
			return &p.tokens[i]
		}
	}
	return nil
}

// at is where an expression stands in the text, in bytes.
func (p *parser) at(e *expr.Expr) int { return p.lead + int(p.positions[e.GetId()]) }

// quoted tells whether an expression is a string in quotes.
func (p *parser) quoted(e *expr.Expr) bool {
	c := p.text[p.at(e)]
	return c == '"' || c == '\''
}

var comparisons = map[string]op{
	filtering.FunctionHas: equal, filtering.FunctionEquals: equal, filtering.FunctionNotEquals: unequal,
	filtering.FunctionLessThan: less, filtering.FunctionLessEquals: lessEqual,
	filtering.FunctionGreaterThan: greater, filtering.FunctionGreaterEquals: greaterEqual,
}

// condition turns an expression into a node. It calls itself for parentheses only, not along a chain.
func (p *parser) condition(e *expr.Expr) (*node, *Error) {
	call := e.GetCallExpr()
	if op, ok := comparisons[call.GetFunction()]; ok && len(call.GetArgs()) == 2 {
		return p.comparison(op, call)
	}
	return p.logic(e, p.condition, func() *Error {
		if call != nil {
			return p.errorf(p.at(e), "there is no function %s; a condition is a field, an operator and a value", shorten(call.GetFunction()))
		}
		return p.hint(p.errorf(p.at(e), "expected an operator and a value after the name of a field; a filter does not search in texts"))
	})
}

// logic turns an AND, an OR or a NOT into a node, with leaf for what is in it, and anything else into what other says.
func (p *parser) logic(e *expr.Expr, leaf func(*expr.Expr) (*node, *Error), other func() *Error) (*node, *Error) {
	call := e.GetCallExpr()
	o := and
	switch call.GetFunction() {
	case filtering.FunctionAnd, filtering.FunctionFuzzyAnd: // of exact conditions, a sequence is an AND
	case filtering.FunctionOr:
		o = or
	case filtering.FunctionNot:
		o = not
	default:
		return nil, other()
	}
	args := call.GetArgs()
	if o == not {
		if len(args) != 1 {
			return nil, other()
		}
		n, err := leaf(args[0])
		if err != nil {
			return nil, err
		}
		return negate(n), nil
	}
	if len(args) != 2 {
		return nil, other()
	}
	chain := []*expr.Expr{args[1]} // a chain leans to the left
	first := args[0]
	for {
		c := first.GetCallExpr()
		if c == nil || c.GetFunction() != call.GetFunction() || len(c.GetArgs()) != 2 {
			break
		}
		chain, first = append(chain, c.GetArgs()[1]), c.GetArgs()[0]
	}
	chain = append(chain, first)
	parts := make([]*node, 0, len(chain))
	for _, c := range slices.Backward(chain) {
		n, err := leaf(c)
		if err != nil {
			return nil, err
		}
		parts = append(parts, n)
	}
	return join(o, parts...), nil
}

// comparison turns a field, an operator and a value into a node.
func (p *parser) comparison(op op, call *expr.Expr_Call) (*node, *Error) {
	left, right := call.GetArgs()[0], call.GetArgs()[1]
	isHas := call.GetFunction() == filtering.FunctionHas
	path, plain := p.path(left)
	if !plain {
		return nil, p.errorf(p.at(left), "expected the name of a field before %s", call.GetFunction())
	}
	if slices.Equal(path, []string{"metadata"}) { // the object itself: asked for a key that it has
		key, quoted := p.path(right)
		if s := right.GetConstExpr(); s != nil {
			key, quoted = strings.Split(s.GetStringValue(), "."), s.GetStringValue() != ""
		}
		if !isHas || !quoted || slices.Equal(key, []string{"*"}) {
			return nil, p.errorf(p.at(left), "metadata is not a field; name one of its fields, as in metadata.categories")
		}
		path, right = append(path, key...), nil
	}
	name, err := p.resolve(left, path)
	if err != nil {
		return nil, err
	}
	if right == nil {
		return p.count(left, &node{op: has, field: name, text: p.text, at: p.column(left)})
	}
	var leaf func(e *expr.Expr) (*node, *Error)
	leaf = func(e *expr.Expr) (*node, *Error) {
		if e.GetCallExpr() != nil {
			return p.logic(e, leaf, func() *Error {
				return p.errorf(p.at(e), "expected a value; there are no functions, and no conditions in the place of a value")
			})
		}
		n := &node{op: op, field: name, text: p.text, at: p.column(left), valueAt: p.column(e)}
		if isHas && (e.GetConstExpr().GetStringValue() == "*" || e.GetIdentExpr().GetName() == "*") {
			n.op, n.valueAt = has, 0
			return p.count(left, n)
		}
		var err *Error
		if n.value, err = p.literal(n, e); err != nil {
			return nil, err
		}
		if err := n.check(own[name]); err != nil {
			return nil, err
		}
		return p.count(left, n)
	}
	return leaf(right)
}

func (p *parser) column(e *expr.Expr) int { return 1 + utf8.RuneCountInString(p.text[:p.at(e)]) }

// count refuses a comparison that is one too many.
func (p *parser) count(e *expr.Expr, n *node) (*node, *Error) {
	if p.conditions++; p.conditions > MaxConditions {
		return nil, p.errorf(p.at(e), "the filter has more than %d conditions", MaxConditions)
	}
	return n, nil
}

// path are the words of a name with points in it, or of an unquoted value.
func (p *parser) path(e *expr.Expr) ([]string, bool) {
	var words []string
	for e.GetSelectExpr() != nil {
		words = append(words, e.GetSelectExpr().GetField())
		e = e.GetSelectExpr().GetOperand()
	}
	if e.GetIdentExpr() == nil {
		return nil, false
	}
	words = append(words, e.GetIdentExpr().GetName())
	slices.Reverse(words)
	return words, true
}

// resolve finds the field that a path names.
func (p *parser) resolve(e *expr.Expr, path []string) (string, *Error) {
	name := canonical(path)
	if name == "" {
		return "", p.errorf(p.at(e), "%s is a text, which a filter does not look into; search for it instead", path[0])
	}
	if n := len(name) - len(userPrefix); n > MaxNameBytes {
		return "", p.errorf(p.at(e), "the field's name has %d bytes; the limit is %d", n, MaxNameBytes)
	}
	return name, nil
}

// canonical is the full name of a field: its own, or with "metadata." before it. It is "" for a text of the paper.
func canonical(path []string) string {
	name := strings.Join(path, ".")
	switch _, ok := own[name]; {
	case ok && len(path) == 1:
		return name
	case name == "title" || name == "abstract":
		return ""
	case path[0] == "metadata" && len(path) > 1:
		return name
	}
	return userPrefix + name
}

// literal reads the value of a comparison.
func (p *parser) literal(n *node, e *expr.Expr) (literal, *Error) {
	isOwn := own[n.field] != 0
	number := func(f float64) (literal, *Error) {
		l := literal{Value: Value{Kind: Number, Number: f + 0}}
		if !isOwn {
			l.period, l.dated = yearOf(f)
		}
		return l, nil
	}
	var text string
	if c := e.GetConstExpr(); c != nil {
		switch k := c.GetConstantKind().(type) {
		case *expr.Constant_Int64Value:
			if k.Int64Value > maxExact || k.Int64Value < -maxExact {
				return literal{}, p.errorf(p.at(e), "whole numbers are exact up to %d; write %d.0 for about that many, or put it into quotes if it is a string", maxExact, k.Int64Value)
			}
			return number(float64(k.Int64Value))
		case *expr.Constant_DoubleValue:
			return number(k.DoubleValue)
		case *expr.Constant_StringValue:
			text = k.StringValue
		default:
			return literal{}, p.errorf(p.at(e), "expected a string, a number, true or false")
		}
	} else if words, ok := p.path(e); ok {
		text = strings.Join(words, ".")
	} else {
		return literal{}, p.errorf(p.at(e), "expected a string, a number, true or false")
	}
	if !p.quoted(e) && (text == "true" || text == "false") {
		l := literal{Value: Value{Kind: Bool}}
		if text == "true" {
			l.Number = 1
		}
		return l, nil
	}
	l := literal{Value: Value{Kind: String, Text: text}}
	if !n.op.ordered() {
		var ok bool
		if l.Text, l.prefix, ok = wildcard(text); !ok {
			return l, p.errorf(p.at(e), `a * stands at the end, for all that begins so; \\* in quotes is a star`)
		}
	}
	if !isOwn && !l.prefix {
		l.period, l.dated = parseDate(l.Text)
	}
	return l, nil
}

// wildcard reads a text in which a star at the end stands for anything, and \* for a star.
func wildcard(text string) (literal string, prefix, ok bool) {
	if !strings.Contains(text, "*") {
		return text, false, true
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], `\*`):
			i++
			b.WriteByte('*')
		case text[i] == '*' && i < len(text)-1:
			return "", false, false
		case text[i] == '*':
			prefix = true
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String(), prefix, true
}

// check refuses a comparison that no value of a field of type t could meet. t is 0 where that is not known.
func (n *node) check(t Type) *Error {
	l := &n.value
	bad := func(format string, args ...any) *Error {
		return &Error{n.text, n.valueAt, fmt.Sprintf(format, args...)}
	}
	name := quoteName(n.field)
	switch {
	case n.op == has:
	case l.Kind == Bool && n.op.ordered():
		return bad("true and false have no order; use = or !=")
	case t == 0 || t == MixedType:
	case t == StringType && l.Kind != String:
		return bad("%s is a string; put %s into quotes", name, l)
	case t == NumberType && l.Kind == String:
		return bad("%s is a number, and cannot be compared with the string %s", name, shorten(l.String()))
	case t == NumberType && l.Kind == Bool:
		return bad("%s is a number, and cannot be compared with %s", name, l)
	case t == BoolType && l.Kind != Bool:
		return bad("%s is true or false, and cannot be compared with %s", name, shorten(l.String()))
	case t == DateType && !l.dated && !l.prefix:
		return bad(`%s is a date, and cannot be compared with %s; write a year, or "YYYY", "YYYY-MM", "YYYY-MM-DD" or a time as in RFC 3339`, name, shorten(l.String()))
	}
	return nil
}
