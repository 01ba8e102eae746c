package embed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"embedd/models"
)

// A sentence's vector is that of the sentence alone, encoded as a document; one in which nothing can be read is left out.
func TestSentences(t *testing.T) {
	papers := lines[struct{ Title, Abstract string }](t, filepath.Join("..", "samples", "papers.jsonl"))[:12]
	e := open(t, 2)
	var texts []Passage
	for _, p := range papers {
		texts = append(texts, Passage{p.Title + " " + p.Abstract, []int{len(p.Title) + 1}})
	}
	texts = append(texts, Passage{Text: "\u200b \u200b \u200b\n\nGalaxies rotate too fast.", Breaks: []int{len("\u200b \u200b \u200b\n\n")}})
	all, err := e.Sentences(t.Context(), Bulk, texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, parts := range all {
		var alone []string
		for _, p := range parts {
			alone = append(alone, texts[i].Text[p.Begin:p.End])
		}
		places := split(texts[i].Text, texts[i].Breaks)
		if i == len(texts)-1 {
			places = places[1:]
		}
		if len(parts) != len(places) {
			t.Fatalf("text %d has %d sentences, want %d", i, len(parts), len(places))
		}
		enc, err := e.Encode(t.Context(), Bulk, Document, alone)
		if err != nil {
			t.Fatal(err)
		}
		for j, p := range parts {
			var cosine float64
			for k, v := range p.Vector {
				cosine += float64(v) * float64(enc[j].Vector[k])
			}
			if math.Abs(cosine-1) > 1e-4 { // batches are padded in other ways
				t.Errorf("%q: cosine %v with the sentence alone", alone[j], cosine)
			}
		}
	}
	for _, c := range []struct {
		texts []Passage
		index int
		want  error
	}{
		{[]Passage{{Text: "Fine."}, {Text: " "}}, 1, ErrBlank},
		{[]Passage{{Text: "Fine."}, {Text: "Fine."}, {Text: strings.Repeat("a", MaxTextBytes+1)}}, 2, ErrTooLong},
	} {
		_, err := e.Sentences(t.Context(), Bulk, c.texts)
		var about *TextError
		if !errors.As(err, &about) || about.Index != c.index || !errors.Is(err, c.want) {
			t.Errorf("%v, want text %d, %v", err, c.index, c.want)
		}
	}
	if none, err := e.Sentences(t.Context(), Bulk, nil); err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
}

// Several texts are explained against one query as each is alone, and the shares of the query's sentences add up to the score too: a query's
// sentences are read in its role.
func TestExplainSeveral(t *testing.T) {
	papers := lines[struct{ Title, Abstract string }](t, filepath.Join("..", "samples", "papers.jsonl"))
	papers = papers[:min(len(papers), 60)]
	e := openModel(t, "all-MiniLM-L6-v2", 2)
	m := *e.manifest
	m.Prompts = models.Prompts{Query: "Represent this for searching: "} // so that the two roles differ
	e.manifest = &m
	query := "How are messages passed in a graph? Does attention help with long documents?"
	enc, err := e.Encode(t.Context(), Interactive, Query, []string{query})
	if err != nil {
		t.Fatal(err)
	}
	asked := Asked{Vector: enc[0].Vector, Text: &Passage{Text: query}, Role: Query}
	for some := range slices.Chunk(papers, 10) {
		var texts []Passage
		var plain []string
		for _, p := range some {
			plain = append(plain, p.Title+" "+p.Abstract)
			texts = append(texts, Passage{p.Title + " " + p.Abstract, []int{len(p.Title) + 1}})
		}
		vectors, err := e.Encode(t.Context(), Bulk, Document, plain)
		if err != nil {
			t.Fatal(err)
		}
		all, err := e.Explain(t.Context(), asked, texts)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range all {
			var score float64
			for j, v := range vectors[i].Vector {
				score += float64(v) * float64(enc[0].Vector[j])
			}
			sum, querySum := x.Rest, x.QueryRest
			for _, s := range x.Sentences {
				sum += s.Share
			}
			for _, s := range x.Query {
				querySum += s.Share
			}
			if !x.Shares || len(x.Query) != 2 || x.Best == nil || math.Abs(x.Score-score) > 1e-4 || math.Abs(sum-score) > 1e-4 || math.Abs(querySum-score) > 1e-4 {
				t.Errorf("%q: score %v, the vectors' %v, shares add up to %v and %v, %d sentences of the query", some[i].Title, x.Score, score, sum, querySum, len(x.Query))
			}
		}
	}
}

// A call that ends has the explanations that were there by then, and no others.
func TestExplainEnds(t *testing.T) {
	e := open(t, 1)
	enc, err := e.Encode(t.Context(), Interactive, Query, []string{"graphs"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	all, err := e.Explain(ctx, Asked{Vector: enc[0].Vector}, []Passage{{Text: "Graphs."}, {Text: "Trees."}})
	if !errors.Is(err, context.Canceled) || len(all) != 2 || all[0] != nil || all[1] != nil {
		t.Errorf("%v, %v", all, err)
	}
}

// A text that is longer than the model reads is cut at ends of sentences into parts that it reads whole, which overlap a little and leave nothing
// out, as far as there may be so many.
func TestPassages(t *testing.T) {
	e := open(t, 1)
	var b strings.Builder
	for i := range 120 {
		fmt.Fprintf(&b, "Sentence %d speaks of graphs, galaxies and newspapers in one breath. ", i)
	}
	text := strings.TrimSpace(b.String())
	texts := []Passage{{Text: "Too short to be cut."}, {Text: text}, {Text: strings.Repeat("word ", 2000)}, {Text: strings.Repeat("字", 3000)}}
	all, err := e.Passages(t.Context(), Bulk, texts, 16)
	if err != nil {
		t.Fatal(err)
	}
	if len(all[0]) != 0 {
		t.Errorf("a short text has %d passages", len(all[0]))
	}
	for i, parts := range all[1:] {
		p := texts[i+1]
		if len(parts) < 2 || len(parts) > 16 || parts[0].Begin != 0 {
			t.Fatalf("text %d has %d passages", i+1, len(parts))
		}
		if last := parts[len(parts)-1]; len(parts) < 16 && last.End < len(strings.TrimSpace(p.Text)) {
			t.Errorf("text %d ends at %d, its passages at %d", i+1, len(p.Text), last.End)
		}
		for j, x := range parts {
			_, total, err := e.tokenizer.encode(p.Text[x.Begin:x.End])
			if err != nil || total > e.manifest.MaxTokens {
				t.Errorf("passage %d of text %d has %d tokens, of which the model reads %d, %v", j, i+1, total, e.manifest.MaxTokens, err)
			}
			if j > 0 && strings.TrimSpace(p.Text[min(x.Begin, parts[j-1].End):x.Begin]) != "" {
				t.Errorf("there is something between passages %d and %d of text %d", j-1, j, i+1)
			}
			if i == 0 && (p.Text[x.End-1] != '.' || j > 0 && x.Begin >= parts[j-1].End) {
				t.Errorf("passage %d is from %d to %d, the one before ends at %d", j, x.Begin, x.End, parts[max(j, 1)-1].End)
			}
		}
	}
	if few, err := e.Passages(t.Context(), Bulk, texts[1:2], 3); err != nil || len(few[0]) != 3 {
		t.Errorf("%d passages of at most 3, %v", len(few[0]), err)
	}
}
