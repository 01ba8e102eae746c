package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

type tokenizeCmd struct {
	Texts []string `arg:"" optional:"" help:"The texts; none: one a line from standard input."`
	Role  string   `help:"Side of a comparison that the texts stand on; its prompt is read too." enum:"query,document" default:"document"`

	outputFlags
	clientFlags
}

func (tokenizeCmd) Help() string {
	return `Shows the tokens that the model reads of texts, special tokens included, as its vocabulary has them. Nothing is encoded.

Example:
  embedd tokenize "sparse autoencoders for interpretability"`
}

func (c *tokenizeCmd) Run(e *env) (err error) {
	texts := c.Texts
	if len(texts) == 0 {
		if texts, err = textLines(e); err != nil {
			return err
		}
	}
	if len(texts) == 0 {
		return errors.New("there is no text: give texts, or one a line on standard input")
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res := &embeddv1.TokenizeResponse{}
	for part := range slices.Chunk(texts, retrieval.MaxTextsPerCall) {
		answer, err := cl.encode.Tokenize(e.ctx, &embeddv1.TokenizeRequest{Texts: part, Role: roleOf(c.Role)})
		if err != nil {
			return err
		}
		res.Texts = append(res.Texts, answer.GetTexts()...)
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	t := newTable(e.stdout, "TEXT", "TOKENS", "READ")
	for i, text := range res.GetTexts() {
		t.row(fmt.Sprint(i+1), fmt.Sprint(text.GetTextUse().GetTokenCount()), strings.Join(text.GetTokens(), " "))
		warnTruncated(e.stderr, fmt.Sprintf("text %d", i+1), text.GetTextUse())
	}
	return t.flush()
}
