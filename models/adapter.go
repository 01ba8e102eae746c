package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"embedd/models/onnx"
)

// Adapter says that a model is another one with a matrix behind it: its vector of a text is W·v at norm 1, where v is the other's. So what is stored of the other
// can be turned without being encoded: see Matrix and Turn. The graph has the matrix in it, and with the graph the fingerprint.
type Adapter struct {
	// Base is the fingerprint of the model that is adapted, BaseID what it was called.
	Base   string `json:"base"`
	BaseID string `json:"base_id"`
	// Matrix is the file of W: float32, little-endian, row by row, dimension times dimension values.
	Matrix File `json:"matrix"`
	// Learned says what the matrix was learned from, and what it gained.
	Learned Learned `json:"learned"`
}

// Learned is what an adapter was learned from. It is for people, and no instruction.
type Learned struct {
	// From is one line for people: a name, no path.
	From string `json:"from"`
	// Queries and Pairs that it was learned from, and HeldOut, the queries that measured it.
	Queries int `json:"queries"`
	Pairs   int `json:"pairs"`
	HeldOut int `json:"held_out"`
	// Before and After are nDCG@10 of the queries that were held out, by the base's vectors and the adapter's; in 95 of 100 cases the gain is Low to High.
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// ErrNoAdapter: the model is no adapter of another.
var ErrNoAdapter = errors.New("model is no adapter")

// maxAdapted bounds the dimension of a model that is adapted, as distil does.
const maxAdapted = 4096

func (a *Adapter) validate(m *Manifest) error {
	switch {
	case m.Task != TaskEncode:
		return bad("adapter", "is there for the task %q; only an encoder has vectors to turn", m.Task)
	case m.Dimension > maxAdapted:
		return bad("adapter", "is there for a dimension of %d; must be at most %d", m.Dimension, maxAdapted)
	case m.Dimensions != nil:
		return bad("dimensions", "is there for an adapter, whose vectors cannot be cut")
	case !sha256Form.MatchString(a.Base):
		return bad("adapter.base", "%q is not a fingerprint, 64 lower-case hexadecimal digits", a.Base)
	case !modelForm.MatchString(a.BaseID) || a.BaseID == m.ID:
		return bad("adapter.base_id", "is %q, must be the id of another model", a.BaseID)
	case a.Matrix.Bytes != 4*int64(m.Dimension)*int64(m.Dimension):
		return bad("adapter.matrix.bytes", "is %d; a matrix for the dimension %d has %d", a.Matrix.Bytes, m.Dimension, 4*m.Dimension*m.Dimension)
	case a.Matrix.Path == m.Files.Model.Path || a.Matrix.Path == m.Files.Tokenizer.Path:
		return bad("adapter.matrix.path", "%q is that of another file", a.Matrix.Path)
	}
	return nil
}

// Adapts tells whether the model's vectors are those of the model with this fingerprint, turned.
func (m *Manifest) Adapts(fingerprint string) bool {
	return m.Adapter != nil && m.Adapter.Base == fingerprint
}

// Matrix is W of an adapter, row by row, for Turn. A model that is none is ErrNoAdapter; else the errors are those of ReadFile, and ErrWrongFile for values that
// are not finite.
func (m *Model) Matrix() ([]float32, error) {
	if m.Adapter == nil {
		return nil, fmt.Errorf("%s: %w", m.ID, ErrNoAdapter)
	}
	raw, err := m.ReadFile(m.Adapter.Matrix)
	if err != nil {
		return nil, err
	}
	matrix := make([]float32, len(raw)/4)
	for i := range matrix {
		matrix[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	if err := finite(matrix); err != nil {
		return nil, fmt.Errorf("%s: %s: %w: %w", m.ID, m.Adapter.Matrix.Path, ErrWrongFile, err)
	}
	return matrix, nil
}

// Turn writes matrix·v at norm 1 into out, which is not v. All three are of one dimension. A vector that the matrix takes to 0 is an error. Many may run at
// the same time.
func Turn(out, matrix, v []float32) error {
	d := len(v)
	if len(out) != d || len(matrix) != d*d {
		return fmt.Errorf("a vector of %d values is turned by a matrix of %d into %d", d, len(matrix), len(out))
	}
	var square float64
	for i := range out {
		row := matrix[i*d : (i+1)*d]
		// Four sums, which a CPU adds up beside each other.
		var a, b, c, e float32
		k := 0
		for ; k+4 <= d; k += 4 {
			a += row[k] * v[k]
			b += row[k+1] * v[k+1]
			c += row[k+2] * v[k+2]
			e += row[k+3] * v[k+3]
		}
		for ; k < d; k++ {
			a += row[k] * v[k]
		}
		x := (a + b) + (c + e)
		out[i] = x
		square += float64(x) * float64(x)
	}
	if !(square > 1e-20) || math.IsInf(square, 0) {
		return fmt.Errorf("the turned vector's norm is %v", math.Sqrt(square))
	}
	scale := float32(1 / math.Sqrt(square))
	for i := range out {
		out[i] *= scale
	}
	return nil
}

// AdaptOptions say what Adapt makes.
type AdaptOptions struct {
	// Name of the adapter, letters, digits, '.', '_' and '-'. The model's id is the base's, + and the name.
	Name string
	// Matrix is W, row by row.
	Matrix []float32
	// Learned goes into the manifest.
	Learned Learned
	// Replace takes the place of a model of the same id; else that is an error.
	Replace bool
}

// Adapt writes an adapter of a model into the models folder root, as a model: the base's graph with the matrix behind it, its tokenizer, and the matrix beside them.
// The manifest is written last. It has no golden vectors and no twin.
func Adapt(root string, base *Model, o *AdaptOptions) (*Model, error) {
	if err := Adaptable(root, base, o); err != nil {
		return nil, err
	}
	d := base.Dimension
	if len(o.Matrix) != d*d {
		return nil, fmt.Errorf("the matrix has %d values, the dimension is %d", len(o.Matrix), d)
	}
	if err := finite(o.Matrix); err != nil {
		return nil, err
	}
	graph, err := base.ReadFile(base.Files.Model)
	if err != nil {
		return nil, err
	}
	tokenizer, err := base.ReadFile(base.Files.Tokenizer)
	if err != nil {
		return nil, err
	}
	// Token vectors, of which Explain and vectors of sentences are made, are turned with the pooled ones; where these are not their mean, they would be others.
	pooled, tokens := base.Output, ""
	if base.Output != Pooled {
		pooled, tokens = "", base.Output
	} else if info, err := onnx.Inspect(graph); err != nil {
		return nil, err
	} else if base.Pooling != PoolingMax && info.Widths[tokenVectors] == int64(d) {
		tokens = tokenVectors
	}
	if graph, err = onnx.Turn(graph, pooled, tokens, o.Matrix, d); err != nil {
		return nil, fmt.Errorf("model %s: %w", base.ID, err)
	}
	raw := make([]byte, 0, 4*len(o.Matrix))
	for _, x := range o.Matrix {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	m := *base.Manifest
	m.ID, m.Twin, m.Golden, m.Dimensions = adapted(base, o), "", nil, nil
	m.Description = fmt.Sprintf("%s, its vectors turned by an adapter learned from %s", base.ID, o.Learned.From)
	m.Files = Files{Model: describe("model.onnx", graph), Tokenizer: describe("tokenizer.json", tokenizer)}
	m.Adapter = &Adapter{Base: base.Fingerprint(), BaseID: base.ID, Matrix: describe("adapter.f32", raw), Learned: o.Learned}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	dir := filepath.Join(root, m.ID)
	if err := writeModel(dir, &m, graph, tokenizer, raw); err != nil {
		return nil, fmt.Errorf("write %s: %w", m.ID, err)
	}
	return &Model{Manifest: &m, Dir: dir}, nil
}

// tokenVectors is the output of token vectors beside pooled ones.
const tokenVectors = "last_hidden_state"

func adapted(base *Model, o *AdaptOptions) string { return base.ID + "+" + o.Name }

// Adaptable returns the error that Adapt would return for the base and the name, before anything is learned.
func Adaptable(root string, base *Model, o *AdaptOptions) error {
	id := adapted(base, o)
	switch {
	case base.Task != TaskEncode:
		return fmt.Errorf("model %s is a cross-encoder; only an encoder has vectors to turn", base.ID)
	case base.Output != Pooled && base.Pooling == PoolingMax:
		return fmt.Errorf("model %s pools by the largest values behind its graph; no matrix in the graph can turn what comes of that", base.ID)
	case base.Dimension > maxAdapted:
		return fmt.Errorf("model %s has the dimension %d; an adapter can be of at most %d", base.ID, base.Dimension, maxAdapted)
	case !idForm.MatchString(o.Name):
		return fmt.Errorf("the adapter's name %q is not letters, digits, '.', '_' or '-', beginning with a letter or digit", o.Name)
	case !modelForm.MatchString(id):
		return fmt.Errorf("the model's id would be %q, which is longer than 100 characters; choose a shorter name", id)
	case strings.TrimSpace(o.Learned.From) == "":
		return errors.New("what the adapter was learned from is not said")
	}
	dir := filepath.Join(root, id)
	if _, err := os.Stat(filepath.Join(dir, ManifestName)); !errors.Is(err, fs.ErrNotExist) && !o.Replace {
		return fmt.Errorf("model %s is in %s already; choose another --name, or replace it with --force", id, dir)
	}
	return nil
}

// finite refuses values that are no numbers.
func finite(values []float32) error {
	for i, x := range values {
		if x-x != 0 {
			return fmt.Errorf("value %d is %v", i, x)
		}
	}
	return nil
}

// inOrder are the model's files in the order in which they are written.
func (m *Manifest) inOrder() []File {
	files := []File{m.Files.Model, m.Files.Tokenizer}
	if m.Adapter != nil {
		files = append(files, m.Adapter.Matrix)
	}
	return files
}
