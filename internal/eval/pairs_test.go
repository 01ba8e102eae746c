package eval

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadPairs(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []Pair
		err        string
	}{
		{"tabs", "a\tb\tscore\none\ttwo\t2\nsome text\ttwo\t0.5\n", []Pair{{"one", false, "two", 2, 2}, {"some text", false, "two", 0.5, 3}}, ""},
		{"without a score", "one\ttwo\n", []Pair{{"one", false, "two", 1, 1}}, ""},
		{"JSON", `{"a":"one","b":"two","score":-1}` + "\n" + `{"text":"graphene","b":"two"}` + "\n", []Pair{{"one", false, "two", -1, 1}, {"graphene", true, "two", 1, 2}}, ""},
		{"empty", "", nil, ""},
		{"too many", "a\tb\na\tc\na\td\n", nil, ":3: more than 2 pairs; give fewer"},
		{"one field", "one\n", nil, ":1: want a, b and score"},
		{"a second header", "a\tb\tscore\na\tb\tscore\n", nil, `:2: score: want a number, got "score"`},
		{"NaN", "one\ttwo\tNaN\n", nil, "score: is NaN"},
		{"infinity", "one\ttwo\tInf\n", nil, "score: is +Inf"},
		{"both", `{"a":"one","text":"two","b":"three"}`, nil, "got none or both"},
		{"neither", `{"b":"three"}`, nil, "got none or both"},
		{"an unknown field", `{"a":"one","b":"two","grade":1}`, nil, `"grade"`},
		{"no b", `{"a":"one"}`, nil, "b: missing or empty"},
		{"a blank a", " \ttwo\t1\n", nil, "a: is blank"},
		{"UTF-8", "one\t\xff\t1\n", nil, "invalid UTF-8"},
	} {
		path := filepath.Join(t.TempDir(), "pairs")
		if err := os.WriteFile(path, []byte(c.file), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := ReadPairs(path, 2)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// Queries and judgments in files of any name are read as those of a folder.
func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	queries, qrels := filepath.Join(dir, "asked.jsonl"), filepath.Join(dir, "experts.2026.tsv")
	for path, text := range map[string]string{
		queries: `{"_id":"1","text":"first"}` + "\n" + `{"_id":"2","text":" "}` + "\n",
		qrels:   "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := ReadFiles(queries, qrels)
	if err != nil || d.Name != "experts" || !slices.Equal(d.Queries, []Query{{"1", "first"}}) || d.Qrels["1"]["a"] != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := ReadQueries(queries); err == nil || !strings.Contains(err.Error(), `:2: query "2" has no text`) {
		t.Errorf("%v", err)
	}
}
