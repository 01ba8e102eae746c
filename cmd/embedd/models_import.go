package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"embedd/embed"
	"embedd/internal/ingest"
	"embedd/models"
	"embedd/models/convert"
	"embedd/samples"
)

type modelsImportCmd struct {
	Folder    string  `arg:"" help:"Hugging Face folder: config.json, model.safetensors, tokenizer.json."`
	ID        string  `help:"Id of the new model; default: the folder's name." placeholder:"ID"`
	Precision string  `help:"Arithmetic of the graph: int8 (about twice as fast) or fp32." enum:"int8,fp32" default:"int8"`
	Pooling   string  `help:"How token vectors become one, where the folder does not say: mean, cls, last or max." placeholder:"POOLING"`
	Layers    int     `help:"Keep the first N layers; 0: all." default:"0" placeholder:"N"`
	Dims      []int   `name:"dimensions" help:"Lengths that the model was trained to have its vectors cut to (Matryoshka)." placeholder:"N,..."`
	Cosine    bool    `help:"Accept a model that was trained for another similarity than the cosine."`
	Query     *string `name:"query-prompt" help:"Put before each query; default: the folder's prompt named query." placeholder:"TEXT"`
	Document  *string `name:"document-prompt" help:"Put before each paper; default: the folder's prompt named document or passage." placeholder:"TEXT"`
	Texts     string  `help:"Papers that int8 is calibrated with, as for embedd index, the first 2,000 of them; default: the sample papers." placeholder:"FILE"`
	Twin      string  `help:"Id of the float32 model of the same network, which embedd models verify compares an int8 model with." placeholder:"ID"`
	License   string  `help:"SPDX identifier of the weights' licence." placeholder:"ID"`
	Force     bool    `help:"Replace a model of the same id." env:"-"`
	Library   string  `help:"ONNX Runtime's shared library; default: lib in the .embedd folder." placeholder:"FILE"`
	outputFlags
	modelsFlags
}

func (modelsImportCmd) Help() string {
	return `Reads the weights and writes an ONNX graph itself, without Python. What it cannot express exactly is refused with the
name of the field. int8 is calibrated by running texts through the float32 graph; take texts like those you will index.

Example:
  embedd models import ~/models/bge-small-en-v1.5 --query-prompt 'Represent this sentence for searching relevant passages: '
  embedd serve --model bge-small-en-v1.5`
}

func (c *modelsImportCmd) Run(e *env) error {
	root, err := c.dir()
	if err != nil {
		return err
	}
	id := c.ID
	if id == "" {
		abs, err := filepath.Abs(c.Folder)
		if err != nil {
			return err
		}
		id = filepath.Base(abs)
	}
	options := convert.Options{Pooling: convert.Pooling(c.Pooling), Layers: c.Layers, Cosine: c.Cosine}
	network, err := convert.Read(c.Folder, options)
	if err != nil {
		return err
	}
	if network.CrossEncoder() && c.Layers != 0 {
		return errors.New("--layers: is for encoders; this is a cross-encoder")
	}
	if c.Twin != "" && c.Precision == "fp32" {
		return errors.New("--twin: is for int8; this model is float32 itself")
	}
	tokenizer, err := os.ReadFile(filepath.Join(c.Folder, "tokenizer.json"))
	if err != nil {
		return err
	}
	o := &models.ImportOptions{ID: id, License: c.License, Twin: c.Twin, Replace: c.Force, Dimensions: c.Dims, Query: c.Query, Document: c.Document}
	if err := models.Importable(root, network, o); err != nil {
		return err
	}
	f := engineFlags{Models: root, Library: c.Library}
	if err := f.resolve(); err != nil {
		return err
	}
	if c.Precision == "int8" || c.Layers != 0 {
		if err := c.run(e, f.Library, network, tokenizer, options, o); err != nil {
			return err
		}
	}
	m, err := models.Import(root, network, tokenizer, o)
	if err != nil {
		return err
	}
	if err := recordGolden(e, filepath.Join(m.Dir, models.ManifestName), &f); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.stdout, map[string]any{"id": m.ID, "folder": m.Dir, "precision": m.Precision, "fingerprint": m.Fingerprint(), "layers": m.Layers})
	}
	if network.CrossEncoder() {
		_, err = fmt.Fprintf(e.stdout, "%s (%s, a cross-encoder, %d tokens) is in %s; use it with embedd score --model %s\n", m.ID, m.Precision, m.MaxTokens, m.Dir, m.ID)
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%s (%s, %s pooling, %d dimensions, %d tokens) is in %s; use it with --model %s\n", m.ID, m.Precision, m.Pooling, m.Dimension, m.MaxTokens, m.Dir, m.ID)
	return err
}

// run does what needs the runtime: the calibration of int8, and what leaving layers out costs.
func (c *modelsImportCmd) run(e *env, library string, n *convert.Network, tokenizer []byte, options convert.Options, o *models.ImportOptions) error {
	texts, pairs, err := c.texts(e)
	if err != nil {
		return err
	}
	converter, err := embed.NewConverter(library, n, tokenizer, texts, pairs)
	if err != nil {
		return err
	}
	if c.Layers != 0 && n.Layers < n.OfLayers {
		options.Layers = 0
		whole, err := convert.Read(c.Folder, options)
		if err != nil {
			return err
		}
		var sides [2][][]float32
		for i, network := range []*convert.Network{n, whole} {
			graph, err := network.Graph(nil)
			if err != nil {
				return err
			}
			if sides[i], err = converter.Vectors(e.ctx, graph); err != nil {
				return err
			}
		}
		o.Layers = &models.Layers{Kept: n.Layers, Of: n.OfLayers, Texts: len(sides[0])}
		if o.Layers.Overlap, err = overlap(e.ctx, sides[0], sides[1]); err != nil {
			return err
		}
		fmt.Fprintf(e.stderr, "%d of %d layers: of a text's ten nearest, %.0f %% are those of the whole network (%d texts, float32)\n", n.Layers, n.OfLayers, 100*o.Layers.Overlap, o.Layers.Texts)
	}
	if c.Precision == "int8" {
		p := newProgress(e, "calibrating", "steps")
		o.Calibration, err = converter.Calibrate(e.ctx, p.Set)
		p.Done()
	}
	return err
}

// calibrationPapers is how many papers a calibration runs at most.
const calibrationPapers = 2000

// texts gives each paper as it is encoded, and its title alone, which is as long as a query; and title and abstract as a pair.
func (c *modelsImportCmd) texts(e *env) (texts []string, pairs []embed.Pair, err error) {
	r := ingest.NewReader(bytes.NewReader(samples.Papers), "sample papers")
	if c.Texts != "" {
		if r, err = ingest.Open(c.Texts); err != nil {
			return nil, nil, err
		}
	}
	papers, rejected, err := takePapers(r, calibrationPapers)
	noteRejected(e, rejected)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range papers {
		texts = append(texts, textOf(p), p.Title)
		pairs = append(pairs, embed.Pair{Query: p.Title, Text: p.Abstract})
	}
	return texts, pairs, nil
}
