package main

import (
	"fmt"
	"io"

	embeddv1 "embedd/proto/embedd/v1"
)

type explainCmd struct {
	ID string `arg:"" help:"Id of the paper."`

	inputFlags
	outputFlags
	clientFlags
}

func (explainCmd) Help() string {
	return `Shows which sentences of a stored paper make it alike to a text, or to another paper. With a model that takes the mean of its
tokens, the default one, the shares of the sentences add up to the score.

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
		fmt.Fprintf(e.stdout, "\n%s:\n", printable(c.PaperID))
		if err := printSentences(e.stdout, x.GetQuerySentences(), x.GetShares(), x.GetQueryRest()); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.stdout, "\n%s:\n", printable(c.ID))
	return printSentences(e.stdout, x.GetSentences(), x.GetShares(), x.GetRest())
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
