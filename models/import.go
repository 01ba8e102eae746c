package models

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"embedd/models/convert"
)

// ImportOptions say what a folder does not.
type ImportOptions struct {
	// ID of the model that is made.
	ID string
	// Description is one line for people; License an SPDX identifier. Both have defaults that say that nothing is known.
	Description, License string
	// Calibration makes the graph static int8; nil makes it float32.
	Calibration *convert.Calibration
	// Query and Document, where they are set, are the prompts, instead of those that the folder has under these names;
	// "passage" is document too.
	Query, Document *string
	// Dimensions are those that vectors may be cut to: see Manifest.Dimensions. No file of a folder says it.
	Dimensions []int
	// Layers, where layers were left out.
	Layers *Layers
	// Twin is the id of the float32 model of the same network; "" for none.
	Twin string
	// Replace takes the place of a model of the same id; else that is an error.
	Replace bool
}

// Import writes a network as a model into the folder root/ID: graph, tokenizer and manifest. The manifest is written
// last.
func Import(root string, n *convert.Network, tokenizer []byte, o *ImportOptions) (*Model, error) {
	if err := Importable(root, n, o); err != nil {
		return nil, err
	}
	dir := filepath.Join(root, o.ID)
	m := &Manifest{
		Format: FormatVersion, ID: o.ID, Description: o.Description, License: o.License,
		Architecture: n.Architecture, Precision: PrecisionFP32, Dimension: n.Dimension, MaxTokens: n.MaxTokens,
		Pooling: Pooling(n.Pooling), Normalize: true,
		Inputs: []string{convert.InputIDs, convert.AttentionMask}, Output: convert.SentenceEmbedding,
		Dimensions: o.Dimensions, Layers: o.Layers, Twin: o.Twin,
	}
	if n.CrossEncoder() {
		m.Task, m.Dimension, m.Pooling, m.Normalize = TaskScore, 1, "", false
		m.Inputs, m.Output = append(m.Inputs, convert.TokenTypeIDs), ScoreOutput
	} else {
		m.Prompts = o.prompts(n)
	}
	if m.License == "" {
		m.License = "NOASSERTION"
	}
	if m.Description == "" {
		m.Description = "imported from a Hugging Face folder"
	}
	if o.Calibration != nil {
		m.Precision = PrecisionInt8
	}
	graph, err := n.Graph(o.Calibration)
	if err != nil {
		return nil, err
	}
	m.Files = Files{Model: describe("model.onnx", graph), Tokenizer: describe("tokenizer.json", tokenizer)}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if err := writeModel(dir, m, graph, tokenizer); err != nil {
		return nil, fmt.Errorf("import %s: %w", o.ID, err)
	}
	return &Model{Manifest: m, Dir: dir}, nil
}

// writeModel puts a model's files into the folder dir, in the order of inOrder, and the manifest last.
func writeModel(dir string, m *Manifest, files ...[]byte) error {
	text, err := m.text()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unlock, err := lockFolder(context.Background(), dir, func() {})
	if err != nil {
		return err
	}
	defer unlock()
	if err := removeNew(dir); err != nil {
		return err
	}
	for i, f := range m.inOrder() {
		if err := replaceFile(filepath.Join(dir, f.Path), bytes.NewReader(files[i])); err != nil {
			return err
		}
	}
	return replaceFile(filepath.Join(dir, ManifestName), bytes.NewReader(text))
}

// Importable returns the error that Import would return for the network and the id, before anything is calibrated.
func Importable(root string, n *convert.Network, o *ImportOptions) error {
	if n.CrossEncoder() && (o.Query != nil || o.Document != nil) {
		return errors.New("prompts: a cross-encoder has none; leave out --query-prompt and --document-prompt")
	}
	for name, text := range n.Prompts {
		switch name {
		case "query", "document", "passage":
		default:
			if text != "" && (o.Query == nil || o.Document == nil) {
				return fmt.Errorf(`config_sentence_transformers.json: field "prompts": has %q, which has no place here; say which prompts to use with --query-prompt and --document-prompt, "" for none`, name)
			}
		}
	}
	if !modelForm.MatchString(o.ID) {
		return fmt.Errorf("model id %q is not 1 to 100 letters, digits, '.', '_', '-' or '+'", o.ID)
	}
	if o.Twin != "" && (!modelForm.MatchString(o.Twin) || o.Twin == o.ID) {
		return fmt.Errorf("twin %q must be the id of another model", o.Twin)
	}
	if _, err := Find(o.ID); err == nil {
		return fmt.Errorf("model id %q is that of a model that comes with embedd; choose another with --id", o.ID)
	}
	dir := filepath.Join(root, o.ID)
	if _, err := os.Stat(filepath.Join(dir, ManifestName)); !errors.Is(err, fs.ErrNotExist) && !o.Replace {
		return fmt.Errorf("model %s is in %s already; replace it with --force", o.ID, dir)
	}
	return nil
}

// prompts are the options', else the folder's.
func (o *ImportOptions) prompts(n *convert.Network) Prompts {
	document := n.Prompts["document"]
	if document == "" {
		document = n.Prompts["passage"]
	}
	p := Prompts{Query: n.Prompts["query"], Document: document}
	if o.Query != nil {
		p.Query = *o.Query
	}
	if o.Document != nil {
		p.Document = *o.Document
	}
	return p
}

// describe is the manifest's entry of a file.
func describe(name string, data []byte) File {
	sum := sha256.Sum256(data)
	return File{Path: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}
}
