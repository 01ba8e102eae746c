package eval

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Query is a question to ask. In tasks from paper to paper its text is that of a paper.
type Query struct{ ID, Text string }

// Qrels are judgments of relevance: query, document, relevance. Above 0 is relevant, the more the better.
type Qrels map[string]map[string]int

// Dataset is what a run is made from and measured against. The corpus is not part of it.
type Dataset struct {
	// Name is the folder's name, followed by - and the task's if it has one: "cisi-cocitation".
	Name string
	// Queries are those with a relevant document, in the order of their file.
	Queries []Query
	// Qrels are all judgments, those of other queries included, which Evaluate passes over.
	Qrels Qrels
}

// ReadDataset reads a task of a folder in BEIR form. A folder's main task is "". The others have names, such as "cocitation"
// or "train". What makes a task is its judgments:
//
//	task ""      qrels.tsv          queries.jsonl                          or, as BEIR has it, qrels/test.tsv
//	task "name"  qrels-name.tsv     queries-name.jsonl or queries.jsonl    or, as BEIR has it, qrels/name.tsv
//
// A task without queries of its own thus asks some of those in queries.jsonl; queries without judgments of their own are
// never paired with those of another task. Each file may end in .gz. Where two files could be meant it is an error.
//
// Judgments are lines of query, document and relevance, a whole number, parted by tabs, below an optional header. Queries
// are lines of JSON with "_id" and "text"; other fields are passed over. Every query with a relevant document must be there
// and have a text. Errors name the file and the line.
func ReadDataset(dir, task string) (*Dataset, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	if task != filepath.Base(task) && task != "" || strings.HasPrefix(task, ".") {
		return nil, fmt.Errorf("%q is not a task's name", task)
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	name, suffix, split := filepath.Base(absolute), "", "test"
	if task != "" {
		name, suffix, split = name+"-"+task, "-"+task, task
	}

	path, err := findFile(dir, "qrels"+suffix+".tsv", filepath.Join("qrels", split+".tsv"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; the tasks of this folder: %q", err, tasks(dir))
	}
	if err != nil {
		return nil, err
	}
	qrelsPath := path

	path, err = findFile(dir, "queries"+suffix+".jsonl")
	if errors.Is(err, fs.ErrNotExist) && suffix != "" {
		path, err = findFile(dir, "queries.jsonl")
	}
	if err != nil {
		return nil, err
	}
	return join(name, path, qrelsPath)
}

// ReadFiles reads a task whose queries and judgments are named, in the forms of ReadDataset. It is called as the file of judgments is, without what
// stands behind the first dot.
func ReadFiles(queries, qrels string) (*Dataset, error) {
	name, _, _ := strings.Cut(filepath.Base(qrels), ".")
	return join(name, queries, qrels)
}

// ReadQueries reads queries alone, each of which must have a text.
func ReadQueries(path string) ([]Query, error) {
	all, err := readQueries(path)
	if err != nil {
		return nil, err
	}
	queries := make([]Query, 0, len(all))
	for _, q := range all {
		if strings.TrimSpace(q.Text) == "" {
			return nil, fmt.Errorf("%s:%d: query %q has no text", path, q.line, q.ID)
		}
		queries = append(queries, q.Query)
	}
	return queries, nil
}

// join reads the two files and keeps the queries with a relevant document.
func join(name, path, qrelsPath string) (*Dataset, error) {
	qrels, err := readQrels(qrelsPath)
	if err != nil {
		return nil, err
	}
	queries, err := readQueries(path)
	if err != nil {
		return nil, err
	}

	missing := qrels.relevant
	d := &Dataset{Name: name, Qrels: qrels.judgments}
	for _, q := range queries {
		if missing[q.ID] == 0 {
			continue
		}
		if strings.TrimSpace(q.Text) == "" {
			return nil, fmt.Errorf("%s:%d: query %q has a relevant document, but no text", path, q.line, q.ID)
		}
		delete(missing, q.ID)
		d.Queries = append(d.Queries, q.Query)
	}
	if len(missing) > 0 {
		first := slices.MinFunc(slices.Collect(maps.Keys(missing)), func(a, b string) int {
			return cmp.Compare(missing[a], missing[b])
		})
		return nil, fmt.Errorf("%s:%d: query %q is not in %s (nor are %d others)", qrelsPath, missing[first], first, path,
			len(missing)-1)
	}
	if len(d.Queries) == 0 {
		return nil, fmt.Errorf("%s: no relevant document for any query", qrelsPath)
	}
	return d, nil
}

// findFile returns the one file of those named, plain or .gz, that the folder holds.
func findFile(dir string, names ...string) (string, error) {
	var found []string
	for _, name := range names {
		for _, name := range []string{name, name + ".gz"} {
			path := filepath.Join(dir, name)
			switch info, err := os.Stat(path); {
			case err == nil && !info.IsDir():
				found = append(found, path)
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				return "", err
			}
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s: no %s: %w", dir, strings.Join(names, " or "), fs.ErrNotExist)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s: keep one of them", strings.Join(found, ", "))
}

// tasks lists the tasks of a folder, for an error to name.
func tasks(dir string) []string {
	var tasks []string
	add := func(dir, prefix, main string) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), ".gz"), ".tsv")
			switch {
			case !ok:
			case name == main:
				tasks = append(tasks, "")
			case strings.HasPrefix(name, prefix):
				tasks = append(tasks, name[len(prefix):])
			}
		}
	}
	add(dir, "qrels-", "qrels")
	add(filepath.Join(dir, "qrels"), "", "test")
	slices.Sort(tasks)
	return slices.Compact(tasks)
}

// judged is what a file of judgments says.
type judged struct {
	judgments Qrels
	// relevant has, of each query with a relevant document, the line of the first.
	relevant map[string]int
}

// readQrels reads a file of judgments.
func readQrels(path string) (judged, error) {
	j := judged{make(Qrels), make(map[string]int)}
	first := true
	err := readLines(path, func(n int, line []byte) error {
		fields := strings.Split(string(line), "\t")
		if len(fields) != 3 {
			return fmt.Errorf("want 3 fields, query, document and relevance, parted by tabs; got %d", len(fields))
		}
		query, document := fields[0], fields[1]
		relevance, err := strconv.ParseInt(fields[2], 10, 32)
		if err != nil {
			if first && isHeader(query) {
				first = false
				return nil
			}
			return fmt.Errorf("relevance: want a whole number of 32 bits, got %q", fields[2])
		}
		first = false
		if query == "" || document == "" {
			return errors.New("the query or the document is empty")
		}
		if j.judgments[query] == nil {
			j.judgments[query] = make(map[string]int)
		}
		if r, ok := j.judgments[query][document]; ok && r != int(relevance) {
			return fmt.Errorf("query %q, document %q: relevance is %d here, but was %d before", query, document, relevance, r)
		}
		j.judgments[query][document] = int(relevance)
		if relevance > 0 && j.relevant[query] == 0 {
			j.relevant[query] = n
		}
		return nil
	})
	return j, err
}

// isHeader tells a header by the name of its first column, which is query-id in BEIR, query_id or qid elsewhere.
func isHeader(column string) bool {
	column = strings.ToLower(column)
	return strings.HasPrefix(column, "query") || column == "qid"
}

// queryAt is a query and its line.
type queryAt struct {
	Query
	line int
}

// readQueries reads a file of queries, those that no judgment is about too.
func readQueries(path string) ([]queryAt, error) {
	var queries []queryAt
	before := make(map[string]int)
	err := readLines(path, func(n int, line []byte) error {
		var q struct {
			ID   string `json:"_id"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(line, &q); err != nil {
			return err
		}
		if q.ID == "" {
			return errors.New("_id: missing or empty")
		}
		if m := before[q.ID]; m != 0 {
			return fmt.Errorf("_id: %q is on line %d too", q.ID, m)
		}
		before[q.ID] = n
		queries = append(queries, queryAt{Query{q.ID, q.Text}, n})
		return nil
	})
	return queries, err
}

// maxLine is the length of the longest line that is read, in bytes.
const maxLine = 16 << 20

// readLines calls f with each line that is not blank. It adds the file and the line to errors.
func readLines(path string, f func(n int, line []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	n := 1
	fail := func(err error) error { return fmt.Errorf("%s:%d: %w", path, n, err) }
	var in io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(file); err != nil {
			return fail(err)
		}
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for ; lines.Scan(); n++ {
		if lines.Err() != nil {
			break // this line was cut off by the error
		}
		line := bytes.TrimSuffix(lines.Bytes(), []byte("\r"))
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			return fail(errors.New("invalid UTF-8"))
		}
		if err := f(n, line); err != nil {
			return fail(err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fail(fmt.Errorf("line is longer than %d MiB", maxLine>>20))
	case err != nil:
		return fail(err)
	}
	return nil
}
