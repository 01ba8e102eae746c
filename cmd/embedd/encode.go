package main

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

type encodeCmd struct {
	Texts []string `arg:"" optional:"" help:"The texts; none: one a line from standard input."`
	Role  string   `help:"Side of a comparison that the texts stand on." enum:"query,document" default:"document"`

	outputFlags
	clientFlags
}

func (encodeCmd) Help() string {
	return `Example:
  embedd encode --json "sparse autoencoders for interpretability"`
}

// maxLine is the longest line read from standard input: the server's limit for a text, and the newline.
const maxLine = retrieval.MaxTextBytes + 1

func (c *encodeCmd) Run(e *env) (err error) {
	texts := c.Texts
	if len(texts) == 0 {
		if texts, err = textLines(e); err != nil {
			return err
		}
	}
	if len(texts) == 0 {
		return errors.New("there is no text: give texts, or one a line on standard input")
	}
	role := embeddv1.Role_ROLE_DOCUMENT
	if c.Role == "query" {
		role = embeddv1.Role_ROLE_QUERY
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res := &embeddv1.EncodeResponse{}
	for part := range slices.Chunk(texts, retrieval.MaxTextsPerCall) {
		answer, err := cl.encode.Encode(e.ctx, &embeddv1.EncodeRequest{Texts: part, Role: role})
		if err != nil {
			return err
		}
		res.Encodings = append(res.Encodings, answer.GetEncodings()...)
		res.Model, res.Fingerprint = answer.GetModel(), answer.GetFingerprint()
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	t := newTable(e.stdout, "TEXT", "TOKENS", "VECTOR")
	for i, enc := range res.GetEncodings() {
		v := enc.GetVector().GetValues()
		var head []string
		for _, x := range v[:min(4, len(v))] {
			head = append(head, fmt.Sprintf("%.5f", x))
		}
		t.row(fmt.Sprint(i+1), fmt.Sprint(enc.GetTextUse().GetTokenCount()), fmt.Sprintf("[%s … %d values]", strings.Join(head, " "), len(v)))
		warnTruncated(e.stderr, fmt.Sprintf("text %d", i+1), enc.GetTextUse())
	}
	return t.flush()
}

// textLines reads texts from standard input, one a line.
func textLines(e *env) ([]string, error) {
	var texts []string
	s := bufio.NewScanner(e.stdin)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		texts = append(texts, s.Text())
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("standard input: line %d is longer than %d bytes", len(texts)+1, maxLine-1)
	}
	if s.Err() != nil {
		return nil, fmt.Errorf("standard input: %w", s.Err())
	}
	return texts, nil
}
