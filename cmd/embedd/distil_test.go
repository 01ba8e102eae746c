package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"embedd/models"
)

// letters are so many words of letters, by chance.
func letters(rng *rand.Rand, words int) string {
	var out strings.Builder
	for range words {
		fmt.Fprintf(&out, "%c%c ", 'a'+rng.IntN(26), 'a'+rng.IntN(26))
	}
	return strings.TrimSpace(out.String())
}

// taught is a data directory with papers of a tiny model, and the folder of that model and of a tiny cross-encoder.
func taught(t *testing.T) (data, root, queries string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	dir := t.TempDir()
	data, root, queries = filepath.Join(dir, "lib"), filepath.Join(dir, "models"), filepath.Join(dir, "queries.jsonl")
	tinyModel(t, root, "fp32")
	tinyModel(t, root, "score")
	var papers, asked bytes.Buffer
	for i := range 120 {
		fmt.Fprintf(&papers, `{"id":"p%d","title":"%s","abstract":"%s"}`+"\n", i, letters(rng, 4), letters(rng, 20))
		fmt.Fprintf(&asked, `{"_id":"%d","text":"%s"}`+"\n", i, letters(rng, 5))
	}
	for path, text := range map[string][]byte{filepath.Join(dir, "papers.jsonl"): papers.Bytes(), queries: asked.Bytes()} {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "index", "--data", data, "--models", root, "--model", "fp32", filepath.Join(dir, "papers.jsonl"))
	return data, root, queries
}

// A cross-encoder's scores of the nearest papers are learned from, for titles of the collection and for queries of a file.
func TestDistilFromATeacher(t *testing.T) {
	data, root, queries := taught(t)
	for name, more := range map[string][]string{"titles": {"--titles", "100"}, "asked": {"--queries", queries}} {
		args := append([]string{"distil", "--data", data, "--models", root, "--model", "fp32", "--name", name, "--teacher", "score", "--candidates", "8", "--rate", "0.001", "--anyway", "--json"}, more...)
		var r distilReport
		if err := json.Unmarshal([]byte(must(t, args...)), &r); err != nil {
			t.Fatal(err)
		}
		queries := map[string]int{"titles": 100, "asked": 120}[name]
		if !r.Written || r.Model != "fp32+"+name || r.Trained+r.Validated+r.HeldOut != queries || r.All.Queries != queries/5 {
			t.Errorf("%s: %+v, %+v", name, r, r.Result)
		}
		m, err := models.Open(root, r.Model)
		if err != nil {
			t.Fatal(err)
		}
		base, err := models.Open(root, "fp32")
		if err != nil {
			t.Fatal(err)
		}
		if m.Fingerprint() != r.Fingerprint || !m.Adapts(base.Fingerprint()) || m.Golden == nil {
			t.Errorf("%s: %s, golden %v", name, m.Fingerprint(), m.Golden)
		}
		if r.Rounds > 0 && r.Pairs < 8*queries/2 {
			t.Errorf("%s: %d pairs are learned from", name, r.Pairs)
		}
	}
}

// An interrupt ends with status 130 and leaves nothing behind.
func TestDistilInterrupted(t *testing.T) {
	data, root, queries := taught(t)
	rng := rand.New(rand.NewPCG(2, 2))
	var asked bytes.Buffer
	for i := range 5000 { // 600,000 pairs: a minute or more
		fmt.Fprintf(&asked, `{"_id":"%d","text":"%s"}`+"\n", i, letters(rng, 5))
	}
	if err := os.WriteFile(queries, asked.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd, err := thisProgram("distil", "--data", data, "--models", root, "--model", "fp32", "--name", "never", "--teacher", "score", "--queries", queries, "--candidates", "120")
	if err != nil {
		t.Fatal(err)
	}
	p := begin(t, cmd)
	p.await("the teacher scores", func() bool { return strings.Contains(p.stderr.String(), "scoring: ") })
	p.signal(os.Interrupt)
	if code := p.wait(20 * time.Second); code != 130 {
		t.Errorf("exit status %d", code)
	}
	if said := p.stderr.String(); !strings.Contains(said, "no model was written; run the same command again to begin anew") {
		t.Error(said)
	}
	if there, err := models.Installed(root); err != nil || len(there) != 2 {
		t.Errorf("%d models, %v", len(there), err)
	}
}
