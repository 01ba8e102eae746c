package main

import (
	"fmt"

	"embedd/embed"
	"embedd/models"
)

type scoreCmd struct {
	Query string   `arg:"" help:"Text that the others are compared with."`
	Texts []string `arg:"" optional:"" help:"The texts; none: one a line from standard input."`

	Model   string `help:"Id of a cross-encoder; see embedd models import." required:"" placeholder:"ID" env:"EMBEDD_SCORE_MODEL"`
	Workers int    `help:"Runs of a model at once; 0: one for each core." default:"0" placeholder:"N"`
	Library string `help:"ONNX Runtime's shared library; default: lib in the .embedd folder." placeholder:"FILE"`
	outputFlags
	modelsFlags
}

func (scoreCmd) Help() string {
	return `Reads the query together with each text, which is finer than comparing two vectors and takes a Run of the model for each. More
is nearer; only scores of one model can be compared.

Example:
  embedd models import ~/models/ms-marco-MiniLM-L6-v2
  embedd score --model ms-marco-MiniLM-L6-v2 "graph neural networks" "Message passing on molecules" "Galaxy rotation curves"`
}

// scored is one line of score's answer.
type scored struct {
	Score     float32 `json:"score"`
	Tokens    int     `json:"tokens"`
	Truncated bool    `json:"truncated"`
	Text      string  `json:"text"`
}

func (c *scoreCmd) Run(e *env) (err error) {
	texts := c.Texts
	if len(texts) == 0 {
		if texts, err = textLines(e); err != nil {
			return err
		}
	}
	f := engineFlags{Model: c.Model, Models: c.Models, Library: c.Library, Workers: c.Workers}
	if err := f.resolve(); err != nil {
		return err
	}
	m, err := models.Open(f.Models, f.Model)
	if err != nil {
		return err
	}
	scorer, err := embed.OpenScorer(m, &embed.Options{Library: f.Library, Workers: f.Workers})
	if err != nil {
		return err
	}
	defer finish(&err, scorer.Close)
	pairs := make([]embed.Pair, len(texts))
	for i, text := range texts {
		pairs[i] = embed.Pair{Query: c.Query, Text: text}
	}
	scores, err := scorer.Score(e.ctx, embed.Bulk, pairs)
	if err != nil {
		return err
	}
	answers := make([]scored, len(scores))
	for i, s := range scores {
		answers[i] = scored{s.Score, s.Tokens, s.Truncated, texts[i]}
	}
	if c.JSON {
		return printJSON(e.stdout, answers)
	}
	t := newTable(e.stdout, "SCORE", "TOKENS", "TEXT")
	for i, a := range answers {
		t.row(fmt.Sprintf("%.4f", a.Score), fmt.Sprint(a.Tokens), firstRunes(a.Text, 80))
		if a.Truncated {
			fmt.Fprintf(e.stderr, "embedd: text %d and the query have %d tokens, the model read %d\n", i+1, a.Tokens, m.MaxTokens)
		}
	}
	return t.flush()
}
