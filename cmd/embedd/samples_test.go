package main

import (
	"path/filepath"
	"strings"
	"testing"

	"embedd/internal/evalsets"
	"embedd/internal/ingest"
)

// The sample papers are what they promise: at least 300, each once, with abstracts of 60 to 120 words, and among them
// every paper of the founding listing, in other words than its published abstract.
func TestSamplePapers(t *testing.T) {
	papers, rejected, err := readPapers(filepath.Join("..", "..", "samples", "papers.jsonl"), 0)
	if err != nil || rejected != 0 {
		t.Fatalf("%d lines are rejected, %v", rejected, err)
	}
	if len(papers) < 300 {
		t.Errorf("%d sample papers, want at least 300", len(papers))
	}
	byTitle, ids := map[string]ingest.Paper{}, map[string]bool{}
	for _, p := range papers {
		if ids[p.ID] {
			t.Errorf("the id %s is there twice", p.ID)
		}
		ids[p.ID] = true
		if n := len(strings.Fields(p.Abstract)); n < 60 || n > 120 {
			t.Errorf("%s: the abstract has %d words, want 60 to 120", p.ID, n)
		}
		title := strings.ToLower(p.Title)
		if _, twice := byTitle[title]; twice {
			t.Errorf("the title %q is there twice", p.Title)
		}
		byTitle[title] = p
	}
	if first := papers[0].ID; first != "ARXIV:1908.10084" {
		t.Errorf("the first paper, which `make run` shows, is %s; the README shows ARXIV:1908.10084", first)
	}
	listing, _, err := readPapers(evalsets.Dir(t, "listing51"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, published := range listing {
		p, ok := byTitle[strings.ToLower(published.Title)]
		if !ok {
			t.Errorf("%q of the listing is not among the samples", published.Title)
			continue
		}
		for _, run := range runs(published.Abstract, 8) {
			if strings.Contains(" "+strings.Join(words(p.Abstract), " ")+" ", " "+run+" ") {
				t.Errorf("%s repeats the published abstract: %q", p.ID, run)
			}
		}
	}
}

// words are a text's words in lower case, without punctuation.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// runs are all runs of n words of a text.
func runs(text string, n int) []string {
	w := words(text)
	var out []string
	for i := range len(w) - n + 1 {
		out = append(out, strings.Join(w[i:i+n], " "))
	}
	return out
}
