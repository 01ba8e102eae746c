package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"embedd/models"
	"embedd/models/onnx"
)

// verify runs models verify on a model in the folder root.
func verify(t *testing.T, root, id string) (code int, r verifyReport, stderr string) {
	t.Helper()
	code, stdout, stderr := command("models", "verify", id, "--models", root, "--json")
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
	}
	if r.OK != (code == 0) {
		t.Errorf("status %d, but ok is %v", code, r.OK)
	}
	return code, r, stderr
}

// states are the names of checks with what came of them.
func states(r verifyReport) string {
	var all []string
	for _, c := range r.Checks {
		all = append(all, c.Name+" "+c.State)
	}
	return strings.Join(all, ", ")
}

// change alters the manifest of a model.
func change(t *testing.T, m *models.Model, f func(m *models.Manifest)) {
	t.Helper()
	f(m.Manifest)
	if err := writeManifest(m); err != nil {
		t.Fatal(err)
	}
}

func TestVerify(t *testing.T) {
	root := t.TempDir()
	fp32, int8s, score := tinyModel(t, root, "fp32"), tinyModel(t, root, "int8"), tinyModel(t, root, "score")

	code, r, stderr := verify(t, root, "int8")
	if code != 0 || states(r) != "files ok, graph ok, runtime ok, golden ok, twin skipped" || r.Golden.Texts != 6 || r.Golden.Worst != 1 {
		t.Errorf("%d: %s\n%s", code, states(r), stderr)
	}
	if len(r.Speed) != 3 || r.Speed[0].Tokens != 16 || r.Speed[2].Tokens != 40 || r.Speed[0].Milliseconds <= 0 {
		t.Errorf("speeds %+v, want those of 16, 32 and 40 tokens", r.Speed)
	}
	if code, r, _ = verify(t, root, "score"); code != 0 || r.Golden.Measure != "difference" || r.Golden.Texts != 5 || len(r.Speed) == 0 {
		t.Errorf("cross-encoder: %d: %s", code, states(r))
	}

	change(t, int8s, func(m *models.Manifest) { m.Twin = "fp32" })
	if code, r, _ = verify(t, root, "int8"); code != 0 || r.Twin.Texts != twinPapers || r.Twin.Worst < 0.99 || r.Twin.Mean < r.Twin.Worst {
		t.Errorf("twin: %d: %s, %+v", code, states(r), r.Twin)
	}
	change(t, int8s, func(m *models.Manifest) { m.Twin = "score" })
	if code, r, stderr = verify(t, root, "int8"); code != 1 || states(r) != "files ok, graph ok, runtime ok, golden ok, twin failed" {
		t.Errorf("a twin that is none: %d: %s\n%s", code, states(r), stderr)
	}
	change(t, int8s, func(m *models.Manifest) { m.Twin, m.Golden = "nowhere", nil })
	code, r, _ = verify(t, root, "int8")
	if code != 0 || states(r) != "files ok, graph ok, runtime ok, golden skipped, twin skipped" ||
		!strings.Contains(r.Checks[4].Detail, "nowhere is not there; bring it with: embedd models import FOLDER --precision fp32 --id nowhere") {
		t.Errorf("nothing to compare with: %d: %+v", code, r.Checks)
	}

	change(t, fp32, func(m *models.Manifest) { m.Golden.Texts[2].Vector[5] += 0.1 })
	code, r, stderr = verify(t, root, "fp32")
	if code != 1 || states(r) != "files ok, graph ok, runtime ok, golden failed, twin skipped" || !strings.Contains(stderr, "model fp32: golden: 6 texts: cosine to the recorded vectors 0.9") {
		t.Errorf("another vector: %d: %s\n%s", code, states(r), stderr)
	}
	change(t, score, func(m *models.Manifest) { m.Golden.Pairs[0].Score += 1 })
	if code, r, stderr = verify(t, root, "score"); code != 1 || !strings.Contains(stderr, "difference to the recorded scores 1.0") {
		t.Errorf("another score: %d: %s\n%s", code, states(r), stderr)
	}

	// A server refuses what does not hold, and keeps what it has tried.
	data := t.TempDir()
	papers := filepath.Join(data, "papers.jsonl")
	if err := os.WriteFile(papers, []byte(`{"id":"a","title":"A paper"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	index := []string{"index", "--models", root, "--data", filepath.Join(data, "lib"), papers, "--model"}
	if code, _, stderr := command(append(index, "fp32")...); code != 1 || !strings.Contains(stderr, "model fp32 does not give its golden vectors; see: embedd models verify fp32") {
		t.Errorf("index with a model that fails: %d\n%s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(data, "lib")); err == nil {
		t.Error("the data directory is made")
	}
	must(t, append(index, "int8")...)
	if s := int8s.Stamp(); s.Fingerprint != int8s.Fingerprint() || len(s.Runtime) != 64 {
		t.Errorf("stamp %+v", s)
	}
}

// What a file may not ask for ends before a child is started, and a graph that does not load ends in one.
func TestVerifyRefusesGraphs(t *testing.T) {
	root := t.TempDir()
	m := tinyModel(t, root, "fp32")
	good, err := m.ReadFile(m.Files.Model)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		states, want string
		change       func(m *onnx.ModelProto)
	}{
		{"files ok, graph failed", "external_data", func(m *onnx.ModelProto) {
			m.Graph.Initializer[0].ExternalData = []*onnx.StringStringEntryProto{{Key: "location", Value: "/etc/passwd"}}
		}},
		{"files ok, graph failed", "custom operator", func(m *onnx.ModelProto) { m.Graph.Node[0].Domain = "evil" }},
		{"files ok, graph ok, runtime failed", "load graph", func(m *onnx.ModelProto) { m.Graph.Node[0].OpType = "NoSuchOperator" }},
		{"files ok, graph ok, runtime failed", `the graph has no output "sentence_embedding"`, func(m *onnx.ModelProto) { m.Graph.Output[0].Name = "other" }},
	} {
		var model onnx.ModelProto
		if err := proto.Unmarshal(good, &model); err != nil {
			t.Fatal(err)
		}
		c.change(&model)
		file, err := proto.Marshal(&model)
		if err != nil {
			t.Fatal(err)
		}
		if err := replaceGraph(m, file); err != nil {
			t.Fatal(err)
		}
		if code, r, stderr := verify(t, root, "fp32"); code != 1 || states(r) != c.states || !strings.Contains(stderr, c.want) {
			t.Errorf("%d: %s, want %s and %s\n%s", code, states(r), c.states, c.want, stderr)
		}
	}
	if code, _, stderr := command("models", "verify", "fp32", "--models", root, "--timeout", "0s"); code != 1 || !strings.Contains(stderr, "--timeout: is 0s; must be above 0") {
		t.Errorf("%d: %s", code, stderr)
	}
}

// replaceGraph puts another graph into a model, with its hash in the manifest.
func replaceGraph(m *models.Model, graph []byte) error {
	sum := sha256.Sum256(graph)
	m.Files.Model.SHA256, m.Files.Model.Bytes = hex.EncodeToString(sum[:]), int64(len(graph))
	return errors.Join(os.WriteFile(filepath.Join(m.Dir, m.Files.Model.Path), graph, 0o644), writeManifest(m))
}

func writeManifest(m *models.Model) error {
	text, err := json.Marshal(m.Manifest)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.Dir, models.ManifestName), text, 0o644)
}
