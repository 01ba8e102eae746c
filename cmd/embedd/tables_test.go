package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// difficult are papers whose texts some reader or other has stumbled over. Line ends are those that CSV has trouble with.
func difficult() []paperLine {
	texts := []string{
		`a "quoted" title`, `"`, `""`, `'`, "a,b", "a;b", "tab\there", "two\nlines", "two\r\nlines", "old\rlines", "ends in a return\r", "ends in a line\n", "\n", `back\slash`, `\n`, `\.`,
		"=1+1", "+1", "-1", "@SUM(A1)", "# no comment", "NULL", "null", "NaN", "None", "nan", "N/A", "true", "0", "007", "1e9", "2401.00001", "1970-01-01", "12:00",
		"<b>&amp;</b>", "a\u2028b", "\ufeffmark", "a\u0085b", "x\x01\x1f\x7f", "ünïcödé", "漢字", "😀", "👩‍👩‍👧", "a\u0301", "\U0010ffff", "שלום", "a\u202eb", strings.Repeat(`long, "quoted" `, 10000),
	}
	ids := []string{
		`a"b`, `"quoted"`, "a,b", "a;b", "a'b", "😀", "漢字/1", "=1+1", "007", "1e9", "2401.00001", "1970-01-01", "null", "NaN", "true", "#1", `a\b`, "a b", "<i>", "a|b", "ARXIV:2401.1", strings.Repeat("x", 500),
	}
	var papers []paperLine
	for i, text := range texts {
		p := paperLine{ID: fmt.Sprintf("paper %d", i), Title: text, Abstract: "An abstract of " + text, Year: int32(1990 + i)}
		if i < len(ids) {
			p.ID = ids[i]
		}
		switch i % 4 {
		case 0:
			p.Abstract, p.Year = "", 0
			p.Authors = []string{text, "Ada " + text, ""}
		case 1:
			p.Authors, p.Venue = []string{"A, B"}, text
			p.Metadata = map[string]any{"text": text, "list": []any{text, 1.5, true, nil}, "deep": map[string]any{text: 1.0}}
		case 2:
			p.Title, p.URL, p.DOI = "", "https://example.org/?a=1&b="+fmt.Sprint(i), fmt.Sprintf("10.1/%d", i)
		}
		if strings.TrimSpace(p.Title+p.Abstract) == "" {
			p.Abstract = "There must be something to encode."
		}
		papers = append(papers, p)
	}
	return papers
}

// All forms of tables of a difficult collection are read by pandas, polars, DuckDB and NumPy as embedd has it, and the programs of
// docs/export.md run. EMBEDD_TEST_TABLES names a Python that has them: make test-tables sets one up.
func TestTablesInPython(t *testing.T) {
	python := os.Getenv("EMBEDD_TEST_TABLES")
	if python == "" {
		t.Skip("needs a Python with pandas, polars, DuckDB and NumPy in EMBEDD_TEST_TABLES; make test-tables sets one up")
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	f, err := os.Create(in("papers.in.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := json.NewEncoder(f)
	for _, p := range difficult() {
		if err := lines.Encode(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out := must(t, "index", in("papers.in.jsonl"), "--data", in("lib"))
	if want := papersText(len(difficult())); !strings.HasPrefix(out, want) {
		t.Fatalf("indexed %s; want %s", out, want)
	}
	truth := must(t, "export", "--vectors", "--data", in("lib"))
	if err := os.WriteFile(in("truth.jsonl"), []byte(truth), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"papers.parquet", "papers.csv", "papers.tsv", "papers.csv.gz", "papers.tsv.zst", "papers.jsonl", "papers.jsonl.gz", "papers.jsonl.zst"} {
		must(t, "export", "papers", "--out", in(name), "--data", in("lib"))
	}
	must(t, "export", "papers", "--vectors", "--out", in("both.parquet"), "--data", in("lib"))
	for _, name := range []string{"vectors.npy", "vectors.parquet", "vectors.jsonl"} {
		must(t, "export", "vectors", "--out", in(name), "--data", in("lib"))
	}
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), python, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%.200s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	check, err := filepath.Abs(filepath.Join("testdata", "tables", "check.py"))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(run(check))
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "export.md"))
	if err != nil {
		t.Fatal(err)
	}
	programs := regexp.MustCompile("(?s)\n```python\n(.*?)```\n").FindAllSubmatch(text, -1)
	if len(programs) != 4 {
		t.Fatalf("docs/export.md shows %d programs, want 4", len(programs))
	}
	for _, p := range programs {
		if out := run("-c", string(p[1])); strings.TrimSpace(out) == "" {
			t.Errorf("prints nothing:\n%s", p[1])
		}
	}
}
