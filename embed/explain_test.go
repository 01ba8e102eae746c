package embed

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"embedd/models"
)

// explain explains one text, against a query in the role of a document.
func (e *Encoder) explain(t *testing.T, query []float32, queryText *Passage, text Passage) (*Explanation, error) {
	t.Helper()
	all, err := e.Explain(t.Context(), Asked{Vector: query, Text: queryText, Role: Document}, []Passage{text})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		text   string
		breaks []int
		want   []string
	}{
		{"One sentence only", nil, []string{"One sentence only"}},
		{"We train a model. It learns very well! Does it though?", nil, []string{"We train a model.", "It learns very well!", "Does it though?"}},
		{"A title without a stop The abstract begins here.", []int{23}, []string{"A title without a stop", "The abstract begins here."}},
		{"As shown by Smith et al. the loss falls. See Fig. 3 for it.", nil, []string{"As shown by Smith et al. the loss falls.", "See Fig. 3 for it."}},
		{"Methods, e.g. Newton's, are slow. J. Doe found a faster one.", nil, []string{"Methods, e.g. Newton's, are slow.", "J. Doe found a faster one."}},
		{"Background. We propose a model of 3.5 billion weights. Done.", nil, []string{"Background. We propose a model of 3.5 billion weights. Done."}},
		{"We find that it works.\n\n  The second one\tis here too.  ", nil, []string{"We find that it works.", "The second one\tis here too."}},
		{"Это первое предложение здесь. Это второе предложение здесь.", nil, []string{"Это первое предложение здесь.", "Это второе предложение здесь."}},
		{"我们提出了一种新的句子编码方法。实验表明它优于以前的方法。代码已公开。", nil, []string{"我们提出了一种新的句子编码方法。", "实验表明它优于以前的方法。", "代码已公开。"}},
		{"", nil, nil},
		{" \n ", []int{1}, nil},
	} {
		var got []string
		for _, p := range split(c.text, c.breaks) {
			got = append(got, c.text[p[0]:p[1]])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	if n := len(split(strings.Repeat("One more sentence here. ", 200), nil)); n != maxSentences {
		t.Errorf("%d sentences of 200, want %d", n, maxSentences)
	}
}

// However a text is made, splitting takes no longer than its length allows, and every byte that is not space is in a sentence.
func TestSplitOfLargeTexts(t *testing.T) {
	for _, unit := range []string{"A. ", "Fig. ", "字字字字字。", "字", "a", "1. ", ". ", "One more sentence here. ", "a.a", "\n", "?! ", "e.g. "} {
		text := strings.Repeat(unit, 256<<10/len(unit))
		begin := time.Now()
		places := split(text, []int{7})
		if took := time.Since(begin); took > 5*time.Second { // a hundredth of it is usual; the square of the length would take hours
			t.Errorf("%q repeated: %v", unit, took)
		}
		end := 0
		for _, p := range places {
			if strings.TrimSpace(text[end:p[0]]) != "" || p[0] >= p[1] {
				t.Errorf("%q repeated: places %v", unit, places)
			}
			end = p[1]
		}
		if strings.TrimSpace(text[end:]) != "" || len(places) > maxSentences {
			t.Errorf("%q repeated: %d places, the last ends at %d of %d", unit, len(places), end, len(text))
		}
	}
}

// The shares of sentences and of special tokens add up to the score that a search gives, in both directions, also where the
// model does not read the whole text.
func TestSharesAddUpToTheScore(t *testing.T) {
	papers := lines[struct{ Title, Abstract string }](t, filepath.Join("..", "samples", "papers.jsonl"))[:30]
	for _, id := range []string{"all-MiniLM-L6-v2", "all-MiniLM-L6-v2-fp32", "paraphrase-MiniLM-L3-v2"} {
		e := openModel(t, id, 1)
		for i, p := range papers {
			text := p.Title + " " + p.Abstract
			if i%7 == 0 {
				text += strings.Repeat(" A sentence that makes it too long to be read.", 40)
			}
			other := papers[(i+1)%len(papers)]
			otherText := other.Title + " " + other.Abstract
			enc, err := e.Encode(t.Context(), Interactive, Document, []string{text, otherText})
			if err != nil {
				t.Fatal(err)
			}
			var score float64
			for j, x := range enc[0].Vector {
				score += float64(x) * float64(enc[1].Vector[j])
			}
			x, err := e.explain(t, enc[1].Vector, &Passage{otherText, []int{len(other.Title) + 1}}, Passage{text, []int{len(p.Title) + 1}})
			if err != nil {
				t.Fatal(err)
			}
			sum, querySum := x.Rest, x.QueryRest
			for _, s := range x.Sentences {
				sum += s.Share
				if s.Read != (s.Score != 0) || s.Score < -1 || s.Score > 1 {
					t.Errorf("%s, %q: %+v", id, p.Title, s)
				}
			}
			for _, s := range x.Query {
				querySum += s.Share
			}
			if !x.Shares || math.Abs(x.Score-score) > 1e-5 || math.Abs(sum-score) > 1e-5 || math.Abs(querySum-score) > 1e-5 {
				t.Errorf("%s, %q: score %v, search's %v, shares add up to %v and %v", id, p.Title, x.Score, score, sum, querySum)
			}
			if text[x.Sentences[0].Begin:x.Sentences[0].End] != p.Title {
				t.Errorf("the first sentence of %q is %q", p.Title, text[x.Sentences[0].Begin:x.Sentences[0].End])
			}
			if !x.Sentences[len(x.Sentences)-1].Read && !enc[0].Truncated {
				t.Errorf("%s, %q: the last sentence is not read, and the text is not truncated", id, p.Title)
			}
			if x.Best == nil || x.Best.Score < -1 || x.Best.Score > 1+1e-9 {
				t.Errorf("best pair %+v", x.Best)
			}
		}
	}
}

// The sentence about the query's subject comes first, by share and by its own score; with each sentence encoded on its own, too.
func TestTheRightSentenceComesFirst(t *testing.T) {
	text := "A note on several subjects. Graph neural networks pass messages between the atoms of a molecule. " +
		"The rotation of galaxies does not fit their visible mass. Readers of newspapers click on headlines about sport."
	other := "Elections were held in spring. Dark matter holds galaxies together. Nothing else is known."
	for _, pooling := range []models.Pooling{models.PoolingMean, models.PoolingCLS} {
		e := openModel(t, "all-MiniLM-L6-v2-fp32", 1)
		m := *e.manifest
		m.Pooling = pooling // of CLS only the way is of interest: the graph still takes the mean
		e.manifest = &m
		for at, query := range map[int]string{1: "learning on molecular graphs", 2: "galaxy rotation curves", 3: "news recommendation from clicks"} {
			enc, err := e.Encode(t.Context(), Interactive, Query, []string{query})
			if err != nil {
				t.Fatal(err)
			}
			x, err := e.explain(t, enc[0].Vector, nil, Passage{Text: text})
			if err != nil {
				t.Fatal(err)
			}
			if x.Shares != (pooling == models.PoolingMean) || len(x.Sentences) != 4 || x.Best != nil {
				t.Fatalf("%+v", x)
			}
			for i, s := range x.Sentences {
				if i != at && (s.Score >= x.Sentences[at].Score || x.Shares && s.Share >= x.Sentences[at].Share) {
					t.Errorf("%s, %q: %q is before the right one: %+v, %+v", pooling, query, text[s.Begin:s.End], s, x.Sentences[at])
				}
			}
		}
		enc, err := e.Encode(t.Context(), Interactive, Document, []string{other})
		if err != nil {
			t.Fatal(err)
		}
		x, err := e.explain(t, enc[0].Vector, &Passage{Text: other}, Passage{Text: text})
		if err != nil {
			t.Fatal(err)
		}
		if x.Best == nil || x.Best.Query != 1 || x.Best.Text != 2 {
			t.Errorf("%s: best pair %+v", pooling, x.Best)
		}
	}
}

// A sentence of which the tokenizer finds nothing is not read; it is no error where each is encoded on its own.
func TestExplainPassesOverBlankSentences(t *testing.T) {
	e := openModel(t, "all-MiniLM-L6-v2-fp32", 1)
	m := *e.manifest
	m.Pooling = models.PoolingCLS
	e.manifest = &m
	text := "Graph neural networks pass messages. \u200b \u200b \u200b.\n\u200b \u200b \u200b\nGalaxies rotate too fast."
	enc, err := e.Encode(t.Context(), Interactive, Document, []string{text})
	if err != nil {
		t.Fatal(err)
	}
	x, err := e.explain(t, enc[0].Vector, nil, Passage{Text: text, Breaks: []int{strings.Index(text, "\u200b \u200b \u200b\n"), strings.Index(text, "Galaxies")}})
	if err != nil {
		t.Fatal(err)
	}
	blank := 0
	for _, s := range x.Sentences {
		if !s.Read {
			blank++
		}
	}
	if blank == 0 || blank == len(x.Sentences) {
		t.Errorf("%d of %d sentences are not read", blank, len(x.Sentences))
	}
}

// Explaining a text while it is encoded, and the other way round, disturbs neither.
func TestExplainBesideEncode(t *testing.T) {
	e := open(t, 1)
	const text = "Graph neural networks pass messages. Galaxies rotate too fast."
	want, err := e.Encode(t.Context(), Interactive, Document, []string{text})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if i%2 == 0 {
				x, err := e.explain(t, want[0].Vector, nil, Passage{Text: text})
				if err != nil || len(x.Sentences) != 2 || math.Abs(x.Score-1) > 1e-5 {
					t.Errorf("%+v, %v", x, err)
				}
				return
			}
			got, err := e.Encode(t.Context(), Interactive, Document, []string{text})
			if err != nil || !slices.Equal(got[0].Vector, want[0].Vector) {
				t.Errorf("another vector, %v", err)
			}
		})
	}
	all.Wait()
}

func TestExplainRefuses(t *testing.T) {
	e := open(t, 1)
	v := make([]float32, 384)
	v[0] = 1
	if _, err := e.explain(t, v[:3], nil, Passage{Text: "text"}); err == nil {
		t.Error("a vector of 3 values is taken")
	}
	for _, text := range []string{"", " ", "\u200b"} {
		if _, err := e.explain(t, v, nil, Passage{Text: text}); err == nil || !strings.Contains(err.Error(), "blank") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
