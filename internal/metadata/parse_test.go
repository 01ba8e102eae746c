package metadata

import (
	"errors"
	"strings"
	"testing"
)

// What a filter means shows in its normal form, which is read as the same filter again.
func TestParse(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{``, ``},
		{" \n\u00a0", ``},
		{`year=2020`, `year = 2020`},
		{`year = -5`, `year = -5`},
		{`year = 0x10`, `year = 16`},
		{`weight<.5`, `metadata.weight < 0.5`},
		{`weight < -0.0`, `metadata.weight < 0`},
		{`weight < 9007199254740992`, `metadata.weight < 9007199254740992`},
		{`weight < 20000000000000000000.5`, `metadata.weight < 20000000000000000000.0`},
		{`categories:cs.CL`, `metadata.categories = "cs.CL"`},
		{`metadata.categories = 'cs.CL'`, `metadata.categories = "cs.CL"`},
		{`categories:cs.*`, `metadata.categories = "cs.*"`},
		{`categories = "*"`, `metadata.categories = "*"`},
		{`categories:*`, `metadata.categories:*`},
		{`-categories:*`, `NOT (metadata.categories:*)`},
		{`metadata:categories`, `metadata.categories:*`},
		{`metadata:a.b`, `metadata.a.b:*`},
		{`metadata.year = 5`, `metadata.year = 5`},
		{`metadata.metadata.x = 5`, `metadata.metadata.x = 5`},
		{`year.x = 5`, `metadata.year.x = 5`},
		{`metadata.title = a`, `metadata.title = "a"`},
		{`metadata."date of birth" > "2021"`, `metadata."date of birth" > "2021"`},
		{`metadata."" = 1`, `metadata."" = 1`},
		{`metadata."a.b".AND.7 = 1`, `metadata.a.b."AND"."7" = 1`},
		{`open = true AND closed:false`, `metadata.open = true AND metadata.closed = false`},
		{`open = "true"`, `metadata.open = "true"`},
		{`venue = "A\\*"`, `venue = "A\\*"`},
		{`venue = "A\\**"`, `venue = "A\\**"`},
		{`venue < "A*"`, `venue < "A*"`},
		{`venue = "\u263a\"\\\n\r\t\001"`, "venue = \"☺\\\"\\\\\\n\\r\\t\001\""},
		{`a = 1 AND b = 2 OR c = 3`, `metadata.a = 1 AND (metadata.b = 2 OR metadata.c = 3)`},
		{`(a = 1 AND b = 2) OR c = 3`, `(metadata.a = 1 AND metadata.b = 2) OR metadata.c = 3`},
		{`a = 1 b = 2 c = 3`, `metadata.a = 1 AND metadata.b = 2 AND metadata.c = 3`},
		{`((a = 1 AND (b = 2 AND c = 3)))`, `metadata.a = 1 AND metadata.b = 2 AND metadata.c = 3`},
		{`NOT (NOT (a = 1))`, `metadata.a = 1`},
		{`NOT a = 1 AND -b = 2`, `NOT (metadata.a = 1) AND NOT (metadata.b = 2)`},
		{`categories:("cs.CL" OR cs.AI)`, `metadata.categories = "cs.CL" OR metadata.categories = "cs.AI"`},
		{`year != (2020 OR 2021)`, `year != 2020 OR year != 2021`},
		{`year > (2020 -2030)`, `year > 2020 AND year > -2030`},
		{`categories:(a -b)`, `metadata.categories = "a" AND NOT (metadata.categories = "b")`},
	} {
		f, err := Parse(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if got := f.String(); got != test.want {
			t.Errorf("%s is\n%s, want\n%s", test.text, got, test.want)
		}
		again, err := Parse(f.String())
		if err != nil || !same(f.root, again.root) {
			t.Errorf("%s: read again: %v, %v", test.text, again, err)
		}
	}
}

// same compares trees, but for where they were read from.
func same(a, b *node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.op != b.op || a.field != b.field || a.value != b.value || len(a.parts) != len(b.parts) {
		return false
	}
	for i := range a.parts {
		if !same(a.parts[i], b.parts[i]) {
			return false
		}
	}
	return true
}

// Errors say where, and what was expected.
func TestParseErrors(t *testing.T) {
	for _, test := range []struct {
		text   string
		column int
		want   string
	}{
		{`year`, 1, "expected an operator and a value"},
		{`deep learning`, 1, "does not search in texts"},
		{` year =`, 8, "expected a value, found the end"},
		{`year = AND`, 8, `expected a value, found "AND"`},
		{`é: AND`, 4, `expected a value, found "AND"`},
		{`year ~ 2020`, 1, "expected an operator"},
		{`year = 2020 AND`, 13, `expected AND, OR or the end, found "AND"`},
		{`year = 2020 AND )`, 17, `expected a condition, found ")"`},
		{`(year = 2020`, 13, "expected AND, OR or a closing parenthesis, found the end"},
		{`year = 2020)`, 12, `expected AND, OR or the end, found ")"`},
		{`year = 2020-01`, 12, `put into quotes`},
		{`submitted > 2020-01-01`, 17, `expected AND, OR or the end (a value with such characters is put into quotes), found "-"`},
		{`NOT(year = 2020)`, 1, "expected a space between NOT and the parenthesis"},
		{`year = 1 AND(year = 2)`, 10, "expected a space between AND and the parenthesis"},
		{`venue = "ACL`, 9, "no closing quote"},
		{`venue = "\q"`, 9, ""},
		{"venue = \xff", 9, "not valid UTF-8"},
		{`5 < year`, 1, "expected the name of a field before <"},
		{`"my field" = 5`, 1, "expected the name of a field before ="},
		{`cohort(year) = 5`, 1, "expected the name of a field"},
		{`cohort(year)`, 1, "there is no function cohort"},
		{`year = cohort(5)`, 8, "expected a value; there are no functions"},
		{`year = (a = 5)`, 9, "no conditions in the place of a value"},
		{`year = 010`, 8, "does not begin with 0"},
		{`n = 9007199254740993`, 5, "exact up to 9007199254740992"},
		{`n = 99999999999999999999`, 5, ""},
		{`title = a`, 1, "title is a text"},
		{`metadata = a`, 1, "metadata is not a field"},
		{`metadata:*`, 1, "metadata is not a field"},
		{`year = "2020"`, 8, `year is a number, and cannot be compared with the string "2020"`},
		{`year = true`, 8, "year is a number"},
		{`year:(2020 OR "*")`, 0, ""},
		{`year = "20*"`, 8, "year is a number"},
		{`arxiv_id = 2401.00001`, 12, "arxiv_id is a string; put 2401.00001 into quotes"},
		{`open < true`, 8, "no order"},
		{`venue = "a*b"`, 9, "a * stands at the end"},
		// Written as in other languages: the error says how it is written here.
		{`year == 2021`, 7, `expected a value, found "="; equal is one =`},
		{`year <> 2021`, 7, "unequal is !="},
		{`!year = 2021`, 1, "not is NOT"},
		{`year > 2020 and venue = "ACL"`, 13, "write AND in capitals"},
		{`year > 2020 Or venue = "ACL"`, 13, "write OR in capitals"},
		{`not venue = "ACL"`, 1, "write NOT in capitals"},
		{`year > 2020 && venue = "ACL"`, 13, "and is AND"},
		{`year > 2020 || venue = "ACL"`, 13, "or is OR"},
		{`venue in ("ACL", "EMNLP")`, 16, `asked for by venue:("ACL" OR "EMNLP")`},
		{`year IN (2020)`, 1, `asked for by venue:("ACL" OR "EMNLP")`},
		{`venue:("ACL", "EMNLP")`, 13, `one of several values is asked for by ("ACL" OR "EMNLP")`},
		{`venue like "A*"`, 1, "the operators are ="},
		{`year between 2010 AND 2020`, 1, "the operators are ="},
		{`venue = Nature Communications`, 16, `write "Nature Communications" in quotes`},
		{` venue = Nature Communications AND year = 2`, 17, `write "Nature Communications" in quotes`},
		{`doi = 10.18653/v1/D19-1410`, 15, `write "10.18653/v1/D19-1410" in quotes`},
		{`venue = "a\*"`, 9, `so that a star is \\*`},
		{`venue = "a\\*"`, 0, ""},
		{`not = 1 AND and = 2 AND in = like`, 0, ""}, // names and values may be such words
		{strings.Repeat("(", 17) + "a = 1" + strings.Repeat(")", 17), 17, "nested more than 16 deep"},
		{nested(17), 0, "lie 17 deep"},
		{strings.Repeat("a = 1 OR ", 64) + "a = 1", 577, "more than 64 conditions"},
		{`a = "` + strings.Repeat("x", MaxFilterBytes) + `"`, 0, "the limit is 8192"},
		{`a = "` + strings.Repeat("\t", 5000) + `"`, 0, "written out, has 10015 bytes"},
		{`metadata.` + strings.Repeat("x", 257) + ` = 1`, 1, "has 257 bytes; the limit is 256"},
	} {
		f, err := Parse(test.text)
		if test.want == "" && test.column == 0 {
			if err != nil {
				t.Errorf("%s: %v", test.text, err)
			}
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Column != test.column || !strings.Contains(e.Message, test.want) || e.Text != test.text {
			t.Errorf("%s:\n%v, %v, want column %d: %s", shorten(test.text), f, err, test.column, test.want)
		}
	}
}

// nested is a filter that is so deep, with few parentheses in its text.
func nested(depth int) string {
	text := "a = 1"
	for i := range depth {
		text = []string{"b = 2 OR (" + text + ")", "b = 2 AND " + text}[i%2]
	}
	return text
}

// At the limits a filter is read, and its normal form too.
func TestParseLimits(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("(", 16) + "a = 1" + strings.Repeat(")", 16),
		nested(16),
		strings.Repeat("a = 1 OR ", 63) + "a = 1",
		`a = "` + strings.Repeat("x", MaxFilterBytes-len(`metadata.a = ""`)) + `"`,
	} {
		f, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", shorten(text), err)
		}
		if again, err := Parse(f.String()); err != nil || !same(f.root, again.root) {
			t.Errorf("%s: read again: %v", shorten(text), err)
		}
	}
}

// Whatever the text, reading it makes work in proportion to its length, and its errors are short: the library's name the filter once for each
// level. The work is counted in allocations, of which each step of the library's parser makes some.
func TestParseHostile(t *testing.T) {
	for _, unit := range []string{"(", ")", "((a", "f(", "f((", "a=(", "a.", "a:b ", "a=1 AND ", "a=1 OR ", "NOT ", "-", "NOT (", "-(", "'", "\\", "a\n", " ", "1", "f(a,", "f(-(", "a=b.c=", "((((((((a)", "f(x)=("} {
		for _, end := range []string{"", "a = 1)"} {
			work := func(bytes int) float64 {
				text := strings.Repeat(unit, (bytes-len(end))/len(unit)) + end
				return testing.AllocsPerRun(1, func() {
					if _, err := Parse(text); err != nil && len(err.Error()) > 400 {
						t.Errorf("%q repeated, then %q: the error has %d bytes", unit, end, len(err.Error()))
					}
				})
			}
			if part, whole := work(MaxFilterBytes/8), work(MaxFilterBytes); whole > 9*part+100 {
				t.Errorf("%q repeated, then %q: %v allocations for %d bytes, %v for %d", unit, end, part, MaxFilterBytes/8, whole, MaxFilterBytes)
			}
		}
	}
}
