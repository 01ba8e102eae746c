package models

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"embedd/models/convert"
)

// fromFolder is the manifest of example whose graph comes from a folder's file.
func fromFolder(graph, path string) map[string]any {
	m := example(graph, "tokenizer")
	files := m["files"].(map[string]any)
	files["model"].(map[string]any)["source"] = map[string]any{"folder": map[string]any{"path": path}}
	files["tokenizer"].(map[string]any)["source"] = map[string]any{"folder": map[string]any{"path": "tokenizer.json"}}
	return m
}

// loaded writes a manifest and the files beside it into a folder and loads it.
func loaded(t *testing.T, manifest any, files map[string]string) (*Manifest, string) {
	t.Helper()
	dir := filepath.Join(write(t, manifest, files), "tiny")
	m, err := Load(filepath.Join(dir, ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	return m, dir
}

// content is what is in a file.
func content(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// leftovers are the names in a folder, without the lock.
func leftovers(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	return strings.Join(names, " ")
}

func TestPullFromAFolder(t *testing.T) {
	for _, c := range []struct {
		name, path string
		lay        func(dir string) error // besides graph.onnx
		want       string                 // of the error
	}{
		{name: "relative", path: "graph.onnx"},
		{name: "below", path: "sub/../graph.onnx"},
		{name: "link", path: "link", lay: func(dir string) error { return os.Symlink("graph.onnx", filepath.Join(dir, "link")) }},
		{name: "missing", path: "nowhere", want: `model.onnx: manifest field "source.folder.path": stat `},
		{name: "folder", path: ".", want: "is not a regular file"},
		{name: "pipe", path: "pipe", want: "pipe is not a regular file",
			lay: func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600) }},
		{name: "device", path: "/dev/zero", want: "/dev/zero is not a regular file"},
		{name: "wrong", path: "tokenizer.json", want: "tokenizer.json: " + ErrWrongFile.Error() + ": longer than its 5 bytes; correct source"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, dir := loaded(t, fromFolder("graph", c.path), map[string]string{"graph.onnx": "graph", "tokenizer.json": "tokenizer"})
			if c.lay != nil {
				if err := c.lay(dir); err != nil {
					t.Fatal(err)
				}
			}
			root := t.TempDir()
			model, err := Pull(t.Context(), root, m, nil)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want an error with %q", err, c.want)
				}
				if left := leftovers(t, filepath.Join(root, "tiny")); left != "" {
					t.Errorf("left behind: %s", left)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := model.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A model that was pulled by a manifest is pulled anew by the one in its folder, wherever that lies.
func TestPulledManifestKeepsItsSources(t *testing.T) {
	m, _ := loaded(t, fromFolder("graph", "graph.onnx"), map[string]string{"graph.onnx": "graph", "tokenizer.json": "tokenizer"})
	root := t.TempDir()
	if _, err := Pull(t.Context(), root, m, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "tiny", "model.onnx")
	if err := os.WriteFile(path, []byte("grapH"), 0o644); err != nil {
		t.Fatal(err)
	}
	model, err := Open(root, "tiny")
	if err != nil {
		t.Fatal(err)
	}
	if err := model.Verify(); err == nil || !strings.Contains(err.Error(), "embedd models pull --force tiny") {
		t.Errorf("%v, want the command that pulls it anew", err)
	}
	if _, err := Pull(t.Context(), root, model.Manifest, nil); err != nil {
		t.Fatal(err)
	}
	if err := model.Verify(); err != nil {
		t.Error(err)
	}
}

func TestLoadRefusesTheIDOfABuiltin(t *testing.T) {
	manifest := example("graph", "tokenizer")
	manifest["id"] = Default
	path := filepath.Join(write(t, manifest, map[string]string{}), "tiny", ManifestName)
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path+`: manifest field "id"`) {
		t.Errorf("%v, want an error with the file and the field", err)
	}
}

// Where all is right nothing is written, so that a folder may be read-only.
func TestPullOfWhatIsThereWritesNothing(t *testing.T) {
	m, _ := loaded(t, fromFolder("graph", "graph.onnx"), map[string]string{"graph.onnx": "graph", "tokenizer.json": "tokenizer"})
	root := t.TempDir()
	if _, err := Pull(t.Context(), root, m, nil); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(root, "tiny", ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Pull(t.Context(), root, m, nil); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(root, "tiny", ManifestName))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the manifest was replaced, %v", err)
	}
}

func TestLockFolder(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockFolder(t.Context(), dir, func() { t.Error("the first waits") })
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan struct{})
	var second sync.WaitGroup
	second.Go(func() {
		unlock, err := lockFolder(t.Context(), dir, func() { close(waits) })
		if err != nil {
			t.Error(err)
			return
		}
		unlock()
	})
	<-waits
	unlock()
	second.Wait()
}

// tinyBERT writes a Hugging Face folder of a network of one layer.
func tinyBERT(t *testing.T) map[string]string {
	t.Helper()
	const config = `{"model_type":"bert","architectures":["BertModel"],"hidden_size":4,"num_hidden_layers":1,"num_attention_heads":1,
		"intermediate_size":4,"hidden_act":"gelu","layer_norm_eps":1e-12,"max_position_embeddings":8,"type_vocab_size":1,"vocab_size":3,"pad_token_id":0}`
	header, size := map[string]any{}, 0
	add := func(name string, shape ...int) {
		n := 4
		for _, d := range shape {
			n *= d
		}
		header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{size, size + n}}
		size += n
	}
	linear := func(name string) { add(name+".weight", 4, 4); add(name+".bias", 4) }
	norm := func(name string) { add(name+".LayerNorm.weight", 4); add(name+".LayerNorm.bias", 4) }
	add("embeddings.word_embeddings.weight", 3, 4)
	add("embeddings.position_embeddings.weight", 8, 4)
	add("embeddings.token_type_embeddings.weight", 1, 4)
	norm("embeddings")
	for _, name := range []string{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense"} {
		linear("encoder.layer.0." + name)
	}
	norm("encoder.layer.0.attention.output")
	norm("encoder.layer.0.output")
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	length := make([]byte, 8)
	length[0], length[1] = byte(len(text)), byte(len(text)>>8)
	return map[string]string{
		"config.json":           config,
		"1_Pooling/config.json": `{"word_embedding_dimension":4,"pooling_mode_mean_tokens":true}`,
		"model.safetensors":     string(length) + string(text) + strings.Repeat("\x00", size),
		"tokenizer.json":        `{"version":"1.0"}`,
	}
}

// A graph is written from a folder whose files come from the Hub.
func TestPullWritesAGraphFromTheHub(t *testing.T) {
	files := tinyBERT(t)
	dir := t.TempDir()
	var folder []any
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		d := describe(name, []byte(text))
		folder = append(folder, map[string]any{"path": name, "sha256": d.SHA256, "bytes": d.Bytes, "source": map[string]any{
			"huggingface": map[string]any{"repository": "org/name", "revision": revision, "path": name}}})
	}
	network, err := convert.Read(dir, convert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	graph, err := network.Graph(nil)
	if err != nil {
		t.Fatal(err)
	}
	manifest := example(string(graph), files["tokenizer.json"])
	of := manifest["files"].(map[string]any)
	of["model"].(map[string]any)["source"] = map[string]any{"import": map[string]any{"folder": folder, "precision": "fp32"}}
	of["tokenizer"].(map[string]any)["source"] = map[string]any{
		"huggingface": map[string]any{"repository": "org/name", "revision": revision, "path": "tokenizer.json"}}
	m, err := parse(t, manifest)
	if err != nil {
		t.Fatal(err)
	}
	h := startHub(t, files)
	model, err := h.puller(t).pull(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := model.Verify(); err != nil {
		t.Error(err)
	}
	if got := len(h.requests()); got != len(files) {
		t.Errorf("%d requests for %d files", got, len(files))
	}
}
