package models

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"embedd/internal/testkit"
	"embedd/models/onnx"
)

// tokenGraph is a graph of token vectors of dimension 4.
func tokenGraph(t testing.TB) string {
	t.Helper()
	b := onnx.NewBuilder("tiny")
	ids := b.Input("input_ids", onnx.TensorProto_DATA_TYPE_INT64, "batch", "tokens")
	b.Input("attention_mask", onnx.TensorProto_DATA_TYPE_INT64, "batch", "tokens")
	rows := b.Node("Gather", []string{b.Floats("words", make([]float32, 40), 10, 4), ids})
	b.Output(rows, "last_hidden_state", onnx.TensorProto_DATA_TYPE_FLOAT, "batch", "tokens", 4)
	file, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

// tinyBase is a model in a folder of its own.
func tinyBase(t testing.TB, change func(manifest map[string]any)) (root string, base *Model) {
	t.Helper()
	graph := tokenGraph(t)
	manifest := example(graph, "tokenizer")
	change(manifest)
	root = write(t.(*testing.T), manifest, map[string]string{"model.onnx": graph, "tokenizer.json": "tokenizer"})
	base, err := Open(root, "tiny")
	if err != nil {
		t.Fatal(err)
	}
	return root, base
}

var unitMatrix = []float32{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}

func TestAdaptWritesAModel(t *testing.T) {
	root, base := tinyBase(t, func(map[string]any) {})
	o := &AdaptOptions{Name: "clicks", Matrix: []float32{1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 3}, Learned: Learned{From: "clicks.tsv", Queries: 80, Pairs: 100, HeldOut: 20, Before: 0.5, After: 0.6, Low: 0.01, High: 0.2}}
	if _, err := Adapt(root, base, o); err != nil {
		t.Fatal(err)
	}
	m, err := Open(root, "tiny+clicks")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(); err != nil {
		t.Error(err)
	}
	if !m.Adapts(base.Fingerprint()) || m.Adapts(m.Fingerprint()) || m.Fingerprint() == base.Fingerprint() || m.Adapter.BaseID != "tiny" || m.Adapter.Learned != o.Learned {
		t.Errorf("%+v", m.Adapter)
	}
	if got, err := m.Matrix(); err != nil || !slices.Equal(got, o.Matrix) {
		t.Errorf("the matrix is %v, %v", got, err)
	}
	if _, err := base.Matrix(); !errors.Is(err, ErrNoAdapter) {
		t.Errorf("the base's matrix: %v", err)
	}
	// It is there: another takes its place only where that is asked for.
	if _, err := Adapt(root, base, o); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("again: %v", err)
	}
	o.Replace, o.Matrix = true, unitMatrix
	if again, err := Adapt(root, base, o); err != nil || again.Fingerprint() == m.Fingerprint() {
		t.Errorf("another matrix has the fingerprint %s, as the first; %v", again.Fingerprint(), err)
	}
	// Damage is found.
	path := filepath.Join(root, "tiny+clicks", "adapter.f32")
	if err := os.WriteFile(path, make([]byte, 64), 0o644); err != nil {
		t.Fatal(err)
	}
	if m, err = Open(root, "tiny+clicks"); err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(); !errors.Is(err, ErrWrongFile) || !strings.Contains(err.Error(), "embedd distil") {
		t.Errorf("a damaged matrix: %v", err)
	}
	if _, err := m.Matrix(); !errors.Is(err, ErrWrongFile) {
		t.Errorf("a damaged matrix is read: %v", err)
	}
}

func TestAdaptRefuses(t *testing.T) {
	nan := slices.Clone(unitMatrix)
	nan[5] = float32(math.NaN())
	from := Learned{From: "x"}
	for _, c := range []struct {
		name   string
		base   func(manifest map[string]any)
		change func(o *AdaptOptions)
		want   string
	}{
		{"no name", func(map[string]any) {}, func(o *AdaptOptions) { o.Name = "" }, `the adapter's name "" is not`},
		{"a path", func(map[string]any) {}, func(o *AdaptOptions) { o.Name = "../../x" }, "is not letters, digits"},
		{"a plus", func(map[string]any) {}, func(o *AdaptOptions) { o.Name = "a+b" }, "is not letters, digits"},
		{"too long", func(map[string]any) {}, func(o *AdaptOptions) { o.Name = strings.Repeat("a", 97) }, "longer than 100 characters"},
		{"NaN", func(map[string]any) {}, func(o *AdaptOptions) { o.Matrix = nan }, "value 5 is NaN"},
		{"another dimension", func(map[string]any) {}, func(o *AdaptOptions) { o.Matrix = unitMatrix[:9] }, "the matrix has 9 values, the dimension is 4"},
		{"from nothing", func(map[string]any) {}, func(o *AdaptOptions) { o.Learned = Learned{} }, "learned from is not said"},
		{"largest values", func(m map[string]any) { m["pooling"] = "max" }, func(*AdaptOptions) {}, "pools by the largest values"},
		{"an output that is not there", func(m map[string]any) { m["output"] = "nobody" }, func(*AdaptOptions) {}, `the graph has no output "nobody"`},
	} {
		root, base := tinyBase(t, c.base)
		o := &AdaptOptions{Name: "ok", Matrix: unitMatrix, Learned: from}
		c.change(o)
		if _, err := Adapt(root, base, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if folders, err := os.ReadDir(root); err != nil || len(folders) != 1 {
			t.Errorf("%s: it leaves %v, %v", c.name, folders, err)
		}
	}
}

func TestAdapterInAManifest(t *testing.T) {
	good := func() map[string]any {
		m := example("graph", "tokenizer")
		m["id"] = "tiny+x"
		m["adapter"] = map[string]any{
			"base": strings.Repeat("a", 64), "base_id": "tiny",
			"matrix":  map[string]any{"path": "adapter.f32", "sha256": strings.Repeat("b", 64), "bytes": 64},
			"learned": map[string]any{"from": "x"},
		}
		return m
	}
	if _, err := parse(t, good()); err != nil {
		t.Fatal(err)
	}
	adapter := func(m map[string]any) map[string]any { return m["adapter"].(map[string]any) }
	matrix := func(m map[string]any) map[string]any { return adapter(m)["matrix"].(map[string]any) }
	for _, c := range []struct {
		field  string
		change func(m map[string]any)
	}{
		{"adapter.base", func(m map[string]any) { adapter(m)["base"] = "x" }},
		{"adapter.base_id", func(m map[string]any) { adapter(m)["base_id"] = "tiny+x" }},
		{"adapter.base_id", func(m map[string]any) { adapter(m)["base_id"] = "../tiny" }},
		{"adapter.matrix.bytes", func(m map[string]any) { matrix(m)["bytes"] = 60 }},
		{"adapter.matrix.path", func(m map[string]any) { matrix(m)["path"] = "model.onnx" }},
		{"adapter.matrix.path", func(m map[string]any) { matrix(m)["path"] = "../x" }},
		{"adapter.matrix.sha256", func(m map[string]any) { matrix(m)["sha256"] = "" }},
		{"dimensions", func(m map[string]any) { m["dimensions"] = []int{2} }},
		{"unknown", func(m map[string]any) { adapter(m)["unknown"] = 1 }},
	} {
		m := good()
		c.change(m)
		if _, err := parse(t, m); err == nil || !strings.Contains(err.Error(), `"`+c.field+`"`) {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

// Turn is the matrix times the vector at norm 1, as the formula says in float64.
func TestTurnAgainstTheFormula(t *testing.T) {
	rng := testkit.Rand(t)
	for _, d := range []int{1, 2, 7, 32, 385} {
		matrix, v, out := make([]float32, d*d), make([]float32, d), make([]float32, d)
		for i := range matrix {
			matrix[i] = float32(rng.NormFloat64())
		}
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		if err := Turn(out, matrix, v); err != nil {
			t.Fatal(err)
		}
		want, norm := make([]float64, d), 0.0
		for i := range d {
			for j := range d {
				want[i] += float64(matrix[i*d+j]) * float64(v[j])
			}
			norm += want[i] * want[i]
		}
		for i := range d {
			if math.Abs(want[i]/math.Sqrt(norm)-float64(out[i])) > 1e-5 {
				t.Errorf("dimension %d, value %d: %v, want %v", d, i, out[i], want[i]/math.Sqrt(norm))
			}
		}
	}
	for name, err := range map[string]error{
		"to 0":      Turn(make([]float32, 4), make([]float32, 16), []float32{1, 0, 0, 0}),
		"too short": Turn(make([]float32, 3), unitMatrix, []float32{1, 0, 0, 0}),
		"NaN":       Turn(make([]float32, 4), unitMatrix, []float32{float32(math.NaN()), 0, 0, 0}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A matrix file with a value that is no number is refused even where its hash is the manifest's.
func TestMatrixIsFinite(t *testing.T) {
	raw := make([]byte, 64)
	binary.LittleEndian.PutUint32(raw[8:], math.Float32bits(float32(math.Inf(1))))
	m := &Model{Manifest: &Manifest{ID: "x", Adapter: &Adapter{Matrix: describe("adapter.f32", raw)}}, Dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(m.Dir, "adapter.f32"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Matrix(); !errors.Is(err, ErrWrongFile) || !strings.Contains(err.Error(), "value 2 is +Inf") {
		t.Errorf("%v", err)
	}
}
