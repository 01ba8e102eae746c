package main

import (
	"fmt"
	"slices"

	"embedd/embed"
)

type modelsCompareCmd struct {
	One    string `arg:"" help:"Id of a model."`
	Other  string `arg:"" help:"Id of the model that it is compared with."`
	Corpus string `arg:"" help:"JSONL file or BEIR folder with texts."`
	Papers int    `short:"n" help:"Use the first N papers; 0: all." default:"1000" placeholder:"N" env:"-"`

	Library string `help:"ONNX Runtime's shared library; default: lib in the .embedd folder." placeholder:"FILE"`
	outputFlags
	modelsFlags
}

func (modelsCompareCmd) Help() string {
	return `Encodes papers with two models and prints how alike their vectors are: for the same network in two precisions.

Example:
  embedd models compare all-MiniLM-L6-v2 all-MiniLM-L6-v2-fp32 path/to/scifact`
}

// compareReport is what models compare prints.
type compareReport struct {
	One   string `json:"one"`
	Other string `json:"other"`
	Texts int    `json:"texts"`
	// Mean and Worst are cosines between the two vectors of a text.
	Mean  float64 `json:"mean_cosine"`
	Worst float64 `json:"worst_cosine"`
	// Overlap is the mean share of a text's ten nearest others that are the same under both.
	Overlap float64 `json:"top10_overlap"`
}

func (c *modelsCompareCmd) Run(e *env) error {
	papers, err := corpusPapers(e, c.Corpus, c.Papers)
	if err != nil {
		return err
	}
	var texts []string
	for _, p := range papers {
		if text := textOf(p); text != "" {
			texts = append(texts, text)
		}
	}
	var sides [2][][]float32
	for i, id := range []string{c.One, c.Other} {
		if sides[i], err = c.encode(e, id, texts); err != nil {
			return err
		}
	}
	report := compareReport{One: c.One, Other: c.Other, Texts: len(texts), Worst: 1}
	if report.Overlap, err = overlap(e.ctx, sides[0], sides[1]); err != nil {
		return err
	}
	if a, b := len(sides[0][0]), len(sides[1][0]); a != b {
		return fmt.Errorf("%s has %d dimensions, %s has %d: their vectors cannot be compared", c.One, a, c.Other, b)
	}
	for i, v := range sides[0] {
		c := cosine(v, sides[1][i])
		report.Mean += c / float64(len(texts))
		report.Worst = min(report.Worst, c)
	}
	if c.JSON {
		return printJSON(e.stdout, report)
	}
	_, err = fmt.Fprintf(e.stdout, "%s and %s, %d texts: cosine %.5f on average, %.5f at worst; %.3f of the ten nearest are the same\n",
		c.One, c.Other, report.Texts, report.Mean, report.Worst, report.Overlap)
	return err
}

func (c *modelsCompareCmd) encode(e *env, id string, texts []string) (_ [][]float32, err error) {
	f := engineFlags{Model: id, Models: c.Models, Library: c.Library}
	if err := f.resolve(); err != nil {
		return nil, err
	}
	encoder, err := openEncoder(&f)
	if err != nil {
		return nil, err
	}
	defer finish(&err, encoder.Close)
	bar := newProgress(e, "encoding with "+id, "texts")
	defer bar.Done()
	var all [][]float32
	for part := range slices.Chunk(texts, 64) {
		bar.Set(len(all), len(texts))
		encodings, err := encoder.Encode(e.ctx, embed.Bulk, embed.Document, part)
		if err != nil {
			return nil, err
		}
		for _, enc := range encodings {
			all = append(all, enc.Vector)
		}
	}
	return all, nil
}
