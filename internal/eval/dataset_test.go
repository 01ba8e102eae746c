package eval

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// folder makes a folder of files. A name that ends in .gz is zipped.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "set")
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".gz") {
			content = zip(t, content)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func zip(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const (
	header  = "query-id\tcorpus-id\tscore\n"
	queries = `{"_id":"q1","text":"one"}` + "\n" + `{"_id":"q2","text":"two","metadata":{}}` + "\n" + `{"_id":"q3","text":"three"}` + "\n"
)

func TestReadDataset(t *testing.T) {
	q1, q2, q3 := Query{"q1", "one"}, Query{"q2", "two"}, Query{"q3", "three"}
	for _, test := range []struct {
		name, task string
		files      map[string]string
		want       Dataset
	}{
		{"main", "", map[string]string{"queries.jsonl": queries, "qrels.tsv": header + "q3\td1\t1\nq1\td1\t2\nq1\td2\t0\n"},
			Dataset{"set", []Query{q1, q3}, Qrels{"q1": {"d1": 2, "d2": 0}, "q3": {"d1": 1}}}},
		{"gzip", "", map[string]string{"queries.jsonl.gz": queries, "qrels.tsv.gz": header + "q1\td1\t1\n"},
			Dataset{"set", []Query{q1}, Qrels{"q1": {"d1": 1}}}},
		{"without header", "", map[string]string{"queries.jsonl": queries, "qrels.tsv": "q1\td1\t1\nq2\td1\t1"},
			Dataset{"set", []Query{q1, q2}, Qrels{"q1": {"d1": 1}, "q2": {"d1": 1}}}},
		{"windows, blank lines, byte order marks", "",
			map[string]string{"queries.jsonl": "\ufeff\r\n" + strings.ReplaceAll(queries, "\n", "\r\n"),
				"qrels.tsv": "\ufeffQuery_ID\tdoc\trelevance\r\n\r\nq1\td1\t1\r\n"},
			Dataset{"set", []Query{q1}, Qrels{"q1": {"d1": 1}}}},
		{"only queries with a relevant document", "",
			map[string]string{"queries.jsonl": queries, "qrels.tsv": "q1\td1\t0\nq2\td1\t-1\nq2\td2\t1\nelsewhere\td1\t0\n"},
			Dataset{"set", []Query{q2}, Qrels{"q1": {"d1": 0}, "q2": {"d1": -1, "d2": 1}, "elsewhere": {"d1": 0}}}},
		{"a judgment repeated", "", map[string]string{"queries.jsonl": queries, "qrels.tsv": "q1\td1\t1\nq1\td1\t1\n"},
			Dataset{"set", []Query{q1}, Qrels{"q1": {"d1": 1}}}},
		{"spaces belong to identifiers", "", map[string]string{"queries.jsonl": `{"_id":"q 1","text":"x"}`, "qrels.tsv": "q 1\td 1\t1\n"},
			Dataset{"set", []Query{{"q 1", "x"}}, Qrels{"q 1": {"d 1": 1}}}},
		{"a query that is not asked needs no text", "",
			map[string]string{"queries.jsonl": queries + `{"_id":"q4","text":""}`, "qrels.tsv": "q1\td1\t1\n"},
			Dataset{"set", []Query{q1}, Qrels{"q1": {"d1": 1}}}},
		{"a task", "cocitation", map[string]string{"queries.jsonl": queries, "qrels.tsv": "q1\td1\t1\n",
			"queries-cocitation.jsonl": `{"_id":"q1","text":"another"}`, "qrels-cocitation.tsv": "q1\td2\t3\n"},
			Dataset{"set-cocitation", []Query{{"q1", "another"}}, Qrels{"q1": {"d2": 3}}}},
		{"a task without queries of its own", "train", map[string]string{"queries.jsonl": queries, "qrels.tsv": "q1\td1\t1\n",
			"qrels-train.tsv": header + "q2\td2\t1\n"},
			Dataset{"set-train", []Query{q2}, Qrels{"q2": {"d2": 1}}}},
		{"the main task beside another", "", map[string]string{"queries.jsonl": queries, "qrels.tsv": "q1\td1\t1\n",
			"queries-x.jsonl": "broken", "qrels-x.tsv": "broken"},
			Dataset{"set", []Query{q1}, Qrels{"q1": {"d1": 1}}}},
		{"BEIR", "", map[string]string{"queries.jsonl": queries, "qrels/test.tsv": header + "q1\td1\t1\n", "qrels/train.tsv": "broken"},
			Dataset{"set", []Query{q1}, Qrels{"q1": {"d1": 1}}}},
		{"BEIR, by name", "test", map[string]string{"queries.jsonl": queries, "qrels/test.tsv.gz": header + "q1\td1\t1\n"},
			Dataset{"set-test", []Query{q1}, Qrels{"q1": {"d1": 1}}}},
		{"BEIR, train", "train", map[string]string{"queries.jsonl": queries, "qrels/test.tsv": "broken", "qrels/train.tsv": header + "q2\td1\t1\n"},
			Dataset{"set-train", []Query{q2}, Qrels{"q2": {"d1": 1}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadDataset(folder(t, test.files), test.task)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, test.want) {
				t.Errorf("got  %+v\nwant %+v", *got, test.want)
			}
		})
	}
}

// In the messages, DIR stands for the folder.
func TestReadDatasetErrors(t *testing.T) {
	good := header + "q1\td1\t1\n"
	for _, test := range []struct {
		name, task, queries, qrels, message string
	}{
		{"two fields", "", queries, header + "q1\td1\n", "DIR/qrels.tsv:2: want 3 fields"},
		{"TREC's own form", "", queries, "q1 0 d1 1\n", "DIR/qrels.tsv:1: want 3 fields"},
		{"four fields", "", queries, "q1\t0\td1\t1\n", "DIR/qrels.tsv:1: want 3 fields"},
		{"relevance", "", queries, header + "q1\td1\tx\n", `DIR/qrels.tsv:2: relevance: want a whole number of 32 bits, got "x"`},
		{"relevance on the first line is no header", "", queries, "q1\td1\tx\n", `DIR/qrels.tsv:1: relevance: `},
		{"fraction", "", queries, header + "q1\td1\t0.5\n", `DIR/qrels.tsv:2: relevance: `},
		{"too large", "", queries, header + "q1\td1\t2147483648\n", `DIR/qrels.tsv:2: relevance: `},
		{"second header", "", queries, header + header, `DIR/qrels.tsv:2: relevance: `},
		{"header below", "", queries, "q1\td1\t1\n" + header, `DIR/qrels.tsv:2: relevance: `},
		{"empty query", "", queries, header + "\td1\t1\n", "DIR/qrels.tsv:2: the query or the document is empty"},
		{"empty document", "", queries, header + "q1\t\t1\n", "DIR/qrels.tsv:2: the query or the document is empty"},
		{"contradiction", "", queries, good + "\nq1\td1\t2\n", `DIR/qrels.tsv:4: query "q1", document "d1": relevance is 2 here, but was 1 before`},
		{"invalid UTF-8", "", queries, good + "q1\t\xff\t1\n", "DIR/qrels.tsv:3: invalid UTF-8"},
		{"no judgment", "", queries, header, "DIR/qrels.tsv: no relevant document for any query"},
		{"nothing relevant", "", queries, "q1\td1\t0\n", "DIR/qrels.tsv: no relevant document for any query"},
		{"unknown query", "", queries, good + "q8\td1\t0\nq8\td2\t1\nq9\td1\t1\n", `DIR/qrels.tsv:4: query "q8" is not in DIR/queries.jsonl (nor are 1 others)`},

		{"not JSON", "", queries + "x\n", good, "DIR/queries.jsonl:4: invalid character 'x'"},
		{"text is a number", "", `{"_id":"q1","text":1}`, good, "DIR/queries.jsonl:1: "},
		{"id is a number", "", `{"_id":1,"text":"one"}`, good, "DIR/queries.jsonl:1: "},
		{"no id", "", "\n" + `{"id":"q1","text":"one"}`, good, "DIR/queries.jsonl:2: _id: missing or empty"},
		{"id twice", "", queries + `{"_id":"q2","text":"two"}`, good, `DIR/queries.jsonl:4: _id: "q2" is on line 2 too`},
		{"no text", "", "\n" + `{"_id":"q1"}`, good, `DIR/queries.jsonl:2: query "q1" has a relevant document, but no text`},
		{"invalid UTF-8 in a query", "", "{\"_id\":\"q1\",\"text\":\"\xe9\"}", good, "DIR/queries.jsonl:1: invalid UTF-8"},
		{"long line", "", queries + strings.Repeat("x", maxLine+1), good, "DIR/queries.jsonl:4: line is longer than 16 MiB"},

		{"no such task", "train", queries, good, `DIR: no qrels-train.tsv or qrels/train.tsv: file does not exist; the tasks of this folder: [""]`},
		{"task with a path", "../x", queries, good, `"../x" is not a task's name`},
		{"task that is a path", "..", queries, good, `".." is not a task's name`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := folder(t, map[string]string{"queries.jsonl": test.queries, "qrels.tsv": test.qrels})
			_, err := ReadDataset(dir, test.task)
			if err == nil || !strings.HasPrefix(strings.ReplaceAll(err.Error(), dir, "DIR"), test.message) {
				t.Errorf("got  %v\nwant %s", err, test.message)
			}
		})
	}
}

func TestReadDatasetFiles(t *testing.T) {
	good := header + "q1\td1\t1\n"
	for _, test := range []struct {
		name, task string
		files      map[string]string
		message    string
		notExist   bool
	}{
		{"no judgments", "", map[string]string{"queries.jsonl": queries}, "tasks of this folder: []", true},
		{"no queries", "", map[string]string{"qrels.tsv": good}, "no queries.jsonl", true},
		{"no queries for a task", "x", map[string]string{"qrels-x.tsv": good}, "no queries.jsonl", true},
		{"only other tasks", "", map[string]string{"queries.jsonl": queries, "qrels-b.tsv.gz": good, "qrels-a.tsv": good,
			"qrels/test.tsv.bak": good, "cocitation.tsv": good, "qrelsx.tsv": good}, `tasks of this folder: ["a" "b"]`, true},
		{"BEIR's other tasks", "x", map[string]string{"queries.jsonl": queries, "qrels/test.tsv": good, "qrels/dev.tsv.gz": good},
			`tasks of this folder: ["" "dev"]`, true},
		// Identifiers such as 1, 2, 3 would fit by chance.
		{"queries of their own without judgments", "x", map[string]string{"queries.jsonl": queries, "qrels.tsv": good,
			"queries-x.jsonl": queries}, "no qrels-x.tsv", true},
		{"judgments twice", "", map[string]string{"queries.jsonl": queries, "qrels.tsv": good, "qrels/test.tsv": good}, "keep one", false},
		{"judgments twice, gzip", "", map[string]string{"queries.jsonl": queries, "qrels.tsv": good, "qrels.tsv.gz": good}, "keep one", false},
		{"queries twice", "", map[string]string{"queries.jsonl": queries, "queries.jsonl.gz": queries, "qrels.tsv": good}, "keep one", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := folder(t, test.files)
			_, err := ReadDataset(dir, test.task)
			if err == nil || !strings.Contains(err.Error(), test.message) || !strings.Contains(err.Error(), dir) ||
				errors.Is(err, fs.ErrNotExist) != test.notExist {
				t.Errorf("got %v, want %s", err, test.message)
			}
		})
	}
	dir := folder(t, map[string]string{"queries.jsonl": queries})
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "queries.jsonl")} {
		if _, err := ReadDataset(path, ""); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A gzip stream that is cut off is told as such, wherever it is cut.
func TestReadDatasetCorruptGzip(t *testing.T) {
	dir := folder(t, map[string]string{"queries.jsonl": queries, "qrels.tsv.gz": header + "q1\td1\t1\nq2\td1\t1\nq3\td1\t1\n"})
	path := filepath.Join(dir, "qrels.tsv.gz")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := range whole {
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadDataset(dir, "")
		if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.HasSuffix(err.Error(), "EOF") {
			t.Errorf("%d of %d bytes: %v", size, len(whole), err)
		}
	}
}

// The folder's name is found where it is not in the path.
func TestDatasetName(t *testing.T) {
	dir := folder(t, map[string]string{"queries.jsonl": queries, "qrels.tsv": "q1\td1\t1\n"})
	t.Chdir(dir)
	d, err := ReadDataset(".", "")
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "set" {
		t.Errorf("got %q", d.Name)
	}
}
