package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	embeddv1 "embedd/proto/embedd/v1"
)

type explainCmd struct {
	ID string `arg:"" help:"Id of the paper."`

	inputFlags
	outputFlags
	clientFlags
}

func (explainCmd) Help() string {
	return `Shows which sentences of a stored paper make it alike to a text, or to another paper, and which words both have, the rarest first. With a
model that takes the mean of its tokens, the default one, the shares of the sentences add up to the score.

Example:
  embedd explain ARXIV:1908.10084 "sentence vectors from BERT"
  embedd explain ARXIV:1908.10084 --paper-id ARXIV:2104.08821`
}

func (c *explainCmd) Run(e *env) (err error) {
	in, err := c.input(e)
	if err != nil {
		return err
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.search.Explain(e.ctx, &embeddv1.ExplainRequest{Query: in, Id: c.ID})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	x := res.GetExplanation()
	fmt.Fprintf(e.stdout, "score %.4f\n", x.GetScore())
	if b := x.GetBest(); b != nil {
		fmt.Fprintf(e.stdout, "\nmost alike, %.4f:\n  %s\n  %s\n", b.GetScore(),
			printable(x.GetQuerySentences()[b.GetQuerySentence()].GetText()), printable(x.GetSentences()[b.GetSentence()].GetText()))
		fmt.Fprintf(e.stdout, "\n%s:\n", printable(cmp.Or(c.PaperID, "the text")))
		if err := printSentences(e.stdout, x.GetQuerySentences(), x.GetShares(), x.GetQueryRest()); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.stdout, "\n%s:\n", printable(c.ID))
	if err := printSentences(e.stdout, x.GetSentences(), x.GetShares(), x.GetRest()); err != nil || len(x.GetTerms()) == 0 {
		return err
	}
	full, err := cl.papers.GetPaper(e.ctx, &embeddv1.GetPaperRequest{Id: c.ID})
	if err != nil {
		return err
	}
	fmt.Fprintln(e.stdout)
	return printTerms(e.stdout, x.GetTerms(), full.GetPaper())
}

// printTerms writes the words that both sides have, with the first place of each in the paper.
func printTerms(w io.Writer, terms []*embeddv1.SharedTerm, p *embeddv1.Paper) error {
	t := newTable(w, "WORD", "WEIGHT", "IN THE PAPER")
	for _, term := range terms {
		where := ""
		if spans := term.GetPaper(); len(spans) > 0 {
			text := p.GetTitle()
			if spans[0].GetField() == "abstract" {
				text = p.GetAbstract()
			}
			where = highlighted(text, spans[0])
		}
		t.row(term.GetTerm(), fmt.Sprintf("%.2f", term.GetWeight()), where)
	}
	return t.flush()
}

// highlightRunes is how much of a text is shown before and behind a place.
const highlightRunes = 40

// highlighted is a place in a text, in brackets, with what is around it. A paper that has changed since may not have the place any more.
func highlighted(text string, s *embeddv1.Span) string {
	begin, end := int(s.GetBegin()), int(s.GetEnd())
	if begin < 0 || begin > end || end > len(text) {
		return ""
	}
	before, behind := []rune(text[:begin]), []rune(text[end:])
	cut := ""
	if n := len(before) - highlightRunes; n > 0 {
		before, cut = before[n:], "…"
	}
	return cut + string(before) + "[" + text[begin:end] + "]" + firstRunes(string(behind), highlightRunes)
}

// printExplained writes hits with the pair of sentences, and the words, that say most of why each is there.
func printExplained(w io.Writer, hits []*embeddv1.Hit) error {
	for _, h := range hits {
		fmt.Fprintf(w, "%d  %.4f  %s  %s\n", h.GetRank(), h.GetScore(), printable(h.GetPaper().GetId()), printable(citation(h.GetPaper())))
		x := h.GetExplanation()
		best := -1
		for i, s := range x.GetSentences() {
			if s.GetRead() && (best < 0 || s.GetScore() > x.GetSentences()[best].GetScore()) {
				best = i
			}
		}
		if best >= 0 {
			fmt.Fprintf(w, "   %.4f  %s\n", x.GetSentences()[best].GetScore(), printable(firstRunes(x.GetSentences()[best].GetText(), 150)))
		}
		var words []string
		for _, t := range x.GetTerms() {
			words = append(words, fmt.Sprintf("%s %.1f", t.GetTerm(), t.GetWeight()))
		}
		if len(words) > 0 {
			fmt.Fprintf(w, "   words: %s\n", printable(strings.Join(words[:min(len(words), 8)], ", ")))
		}
	}
	return nil
}

// printSentences writes sentences as a table.
func printSentences(w io.Writer, all []*embeddv1.Sentence, shares bool, rest float64) error {
	t := newTable(w, "SHARE", "SCORE", "SENTENCE")
	for _, s := range all {
		share, score := "", "not read"
		if s.GetRead() {
			score = fmt.Sprintf("%.4f", s.GetScore())
			if shares {
				share = fmt.Sprintf("%.4f", s.GetShare())
			}
		}
		t.row(share, score, firstRunes(s.GetText(), 100))
	}
	if shares {
		t.row(fmt.Sprintf("%.4f", rest), "", "(special tokens and prompt)")
	}
	return t.flush()
}
