package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"embedd/internal/ingest"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

type compareCmd struct {
	Texts    []string `arg:"" optional:"" help:"Texts to compare."`
	PaperID  []string `name:"paper-id" sep:"none" help:"Stored papers to compare, after the texts; may be given several times." placeholder:"ID" env:"-"`
	Papers   []string `sep:"none" help:"Papers to compare, after those, from a file as embedd index reads it; they need not be stored." placeholder:"FILE" env:"-"`
	ToText   []string `name:"to-text" sep:"none" help:"Compare with this text, instead of each with each; may be given several times." placeholder:"TEXT"`
	ToID     []string `name:"to-paper-id" sep:"none" help:"Compare with this stored paper." placeholder:"ID"`
	ToPapers []string `name:"to-papers" sep:"none" help:"Compare with the papers of a file." placeholder:"FILE"`
	Pairs    bool     `help:"Compare the first with the first of the --to flags, the second with the second, and so on."`
	Role     string   `help:"Role in which texts are encoded, on both sides." enum:"query,document" default:"document"`

	outputFlags
	clientFlags
}

func (compareCmd) Help() string {
	return `Prints cosine similarities: 1 is the same, unrelated papers are near 0.

Example:
  embedd compare "graph neural networks" "message passing" "galaxy rotation curves"
  embedd compare --paper-id ARXIV:1908.10084 --to-text "sentence vectors from BERT"`
}

// compared is a thing and what it is called in a table.
type compared struct {
	input *embeddv1.Input
	label string
}

func (c *compareCmd) Run(e *env) (err error) {
	left, err := things(c.Texts, c.PaperID, "--papers", c.Papers)
	if err != nil {
		return err
	}
	right, err := things(c.ToText, c.ToID, "--to-papers", c.ToPapers)
	if err != nil {
		return err
	}
	switch {
	case len(left) == 0:
		return errors.New("there is nothing to compare: give texts, --paper-id or --papers")
	case len(left) == 1 && len(right) == 0:
		return errors.New("there is one thing, and nothing to compare it with: give a second one, or --to-text, --to-paper-id or --to-papers")
	case c.Pairs && len(left) != len(right):
		return fmt.Errorf("--pairs: there are %d things, and %d to compare them with by --to-text, --to-paper-id and --to-papers; give as many", len(left), len(right))
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.search.Compare(e.ctx, &embeddv1.CompareRequest{Left: inputs(left), Right: inputs(right), Pairs: c.Pairs, Role: roleOf(c.Role)})
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		return printMessage(e.stdout, res)
	case c.Pairs:
		t := newTable(e.stdout, "SCORE", "LEFT", "RIGHT")
		for i, s := range res.GetScores() {
			t.row(fmt.Sprintf("%.4f", s), left[i].label, right[i].label)
		}
		return t.flush()
	case len(right) == 0:
		right = left
	}
	return printMatrix(e.stdout, left, right, res)
}

// things are the texts, ids and papers of a side.
func things(texts, ids []string, flag string, files []string) (all []compared, err error) {
	for _, text := range texts {
		all = append(all, compared{&embeddv1.Input{Kind: &embeddv1.Input_Text{Text: text}}, firstRunes(text, 40)})
	}
	for _, id := range ids {
		all = append(all, compared{&embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: id}}, id})
	}
	for _, file := range files {
		papers, err := papersOf(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		all = append(all, papers...)
	}
	return all, nil
}

// papersOf reads the papers of a file.
func papersOf(file string) (all []compared, err error) {
	r, err := ingest.Open(file)
	if err != nil {
		return nil, err
	}
	defer finish(&err, r.Close)
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(all) == retrieval.MaxTextsPerCall {
			return nil, fmt.Errorf("%s has more than %d papers, the limit of one call", file, retrieval.MaxTextsPerCall)
		}
		wire, err := paperOf(p)
		if err != nil {
			return nil, fmt.Errorf("paper %s: %w", p.ID, err)
		}
		all = append(all, compared{&embeddv1.Input{Kind: &embeddv1.Input_Paper{Paper: wire}}, p.ID})
	}
}

func inputs(all []compared) (out []*embeddv1.Input) {
	for _, c := range all {
		out = append(out, c.input)
	}
	return out
}

// printMatrix writes a row for each thing on the left; the columns are numbered as the things on the right, which are named below.
func printMatrix(w io.Writer, left, right []compared, res *embeddv1.CompareResponse) error {
	head := []string{""}
	for i := range right {
		head = append(head, strconv.Itoa(i+1))
	}
	t := newTable(w, head...)
	for i, l := range left {
		row := []string{l.label}
		for _, s := range res.GetScores()[i*len(right):][:len(right)] {
			row = append(row, fmt.Sprintf("%.4f", s))
		}
		t.row(row...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	t = newTable(w)
	for i, r := range right {
		t.row(strconv.Itoa(i+1), r.label)
	}
	fmt.Fprintln(w)
	return t.flush()
}
