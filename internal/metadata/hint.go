package metadata

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.einride.tech/aip/filtering"
)

// otherOperators are words that other languages have between a field and a value.
var otherOperators = []string{"like", "contains", "is", "between", "matches", "eq", "ne", "lt", "le", "gt", "ge"}

// hint adds to an error what was most likely meant, where a filter that cannot be read is written as in other languages. The place of the
// error is where reading stopped, which may be behind the mistake.
func (p *parser) hint(e *Error) *Error {
	if h := cmp.Or(p.foreign(), p.commas(), p.unquoted()); h != "" && !strings.Contains(e.Message, "quotes") {
		e.Message += "; " + h
	}
	return e
}

// foreign says how a word or a sign of another language is written here; "": there is none.
func (p *parser) foreign() string {
	tokens := slices.DeleteFunc(slices.Clone(p.tokens), func(t filtering.Token) bool { return t.Type == filtering.TokenTypeWhitespace })
	for i, t := range tokens {
		var before, after filtering.Token
		if i > 0 {
			before = tokens[i-1]
		}
		if i+1 < len(tokens) {
			after = tokens[i+1]
		}
		word := strings.ToLower(t.Value)
		switch {
		case t.Type == filtering.TokenTypeString && strings.Contains(strings.ReplaceAll(t.Value, `\\`, ""), `\*`):
			return `a backslash in quotes is written twice, so that a star is \\*`
		case before.Type == filtering.TokenTypeLessThan && t.Type == filtering.TokenTypeGreaterThan:
			return "unequal is !="
		case before.Type.IsComparator() && t.Type == filtering.TokenTypeEquals:
			return "equal is one ="
		case t.Type == filtering.TokenTypeExclaim:
			return "not is NOT"
		case t.Type != filtering.TokenTypeText || before.Type.IsComparator(): // of which a value may be anything
		case strings.HasPrefix(word, "&"):
			return "and is AND"
		case strings.HasPrefix(word, "|"):
			return "or is OR"
		case after.Type.IsComparator(): // the name of a field
		case word == "and" || word == "or" || word == "not" && (i == 0 || !before.Type.IsField()):
			return fmt.Sprintf("write %s in capitals", strings.ToUpper(word))
		case i == 0 || before.Type == filtering.TokenTypeRightParen:
		case word == "in":
			return `one of several values is asked for by venue:("ACL" OR "EMNLP")`
		case word == "not" || slices.Contains(otherOperators, word):
			return "the operators are = != < <= > >= and :, and NOT before a condition"
		}
	}
	return ""
}

// commas says how several values are written, where there are commas between them.
func (p *parser) commas() string {
	for i, t := range p.tokens {
		if before := p.before(i); t.Type != filtering.TokenTypeLeftParen || before == nil || !before.Type.IsComparator() {
			continue
		}
		for _, inside := range p.tokens[i:] {
			if inside.Type == filtering.TokenTypeRightParen {
				break
			}
			if inside.Type == filtering.TokenTypeComma {
				return `one of several values is asked for by ("ACL" OR "EMNLP")`
			}
		}
	}
	return ""
}

// unquoted shows the first value of more than a word in the quotes that it lacks.
func (p *parser) unquoted() string {
	for i, t := range p.tokens {
		before := p.before(i)
		if before == nil || !before.Type.IsComparator() || t.Type != filtering.TokenTypeText && t.Type != filtering.TokenTypeNumber {
			continue
		}
		if last := p.lastOf(i); last > i {
			end := p.tokens[last]
			begin := p.lead + int(t.Position.Offset)
			return fmt.Sprintf(`write "%s" in quotes`, shorten(p.text[begin:p.lead+int(end.Position.Offset)+len(end.Value)]))
		}
	}
	return ""
}

// lastOf is the last token of a value that begins with the i-th; i where something else than words and signs is in it.
func (p *parser) lastOf(i int) int {
	last, one := i, true // one word
	for j := i; j < len(p.tokens); j++ {
		switch t := p.tokens[j].Type; {
		case t.IsKeyword(), t == filtering.TokenTypeRightParen:
			return last
		case t == filtering.TokenTypeWhitespace:
			one = false
			continue
		case t == filtering.TokenTypeLeftParen, t == filtering.TokenTypeString, t.IsComparator() && (t != filtering.TokenTypeHas || !one):
			return i
		}
		last = j
	}
	return last
}
