package models

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// withGolden is the manifest of example with golden vectors.
func withGolden(change func(golden, text map[string]any)) map[string]any {
	m := example("graph", "tokenizer")
	text := map[string]any{"role": "query", "text": "ένα κείμενο", "vector": "AACAPwAAAAAAAAAAAAAAAA=="}
	golden := map[string]any{"cosine": 0.9999, "texts": []any{text}}
	change(golden, text)
	m["golden"] = golden
	return m
}

func TestGoldenVectorsAreReadAndWritten(t *testing.T) {
	m, err := parse(t, withGolden(func(_, text map[string]any) { text["repeat"] = 3 }))
	if err != nil {
		t.Fatal(err)
	}
	text := m.Golden.Texts[0]
	if !slices.Equal(text.Vector, GoldenVector{1, 0, 0, 0}) || text.Whole() != "ένα κείμενο ένα κείμενο ένα κείμενο" {
		t.Errorf("%v of %q", text.Vector, text.Whole())
	}
	path := filepath.Join(write(t, withGolden(func(_, _ map[string]any) {}), map[string]string{}), "tiny", ManifestName)
	text.Vector = GoldenVector{0, -0.5, 1e-20, 3}
	if err := RecordGolden(path, &Golden{Cosine: 0.5, Texts: []GoldenText{text}}); err != nil {
		t.Fatal(err)
	}
	again, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if g := again.Golden; g.Cosine != 0.5 || !slices.Equal(g.Texts[0].Vector, text.Vector) || again.Fingerprint() != m.Fingerprint() {
		t.Errorf("%+v", g)
	}
	if err := RecordGolden(path, &Golden{}); err == nil || content(t, path) == "" {
		t.Errorf("golden vectors that cannot be read again are recorded: %v", err)
	}
}

func TestGoldenVectorsAreRefusedWithTheFieldsName(t *testing.T) {
	pair := map[string]any{"query": "q", "text": "t", "score": 1.5}
	for _, c := range []struct {
		want   string
		change func(golden, text map[string]any)
	}{
		{`"golden.cosine"`, func(g, _ map[string]any) { g["cosine"] = 0 }},
		{`"golden.cosine"`, func(g, _ map[string]any) { g["cosine"] = 1.1 }},
		{`"golden"`, func(g, _ map[string]any) { g["texts"] = []any{} }},
		{`"golden"`, func(g, _ map[string]any) { g["pairs"] = []any{pair} }},
		{`unknown field "vectors"`, func(g, _ map[string]any) { g["vectors"] = 1 }},
		{`"golden.texts[0].role"`, func(_, t map[string]any) { t["role"] = "passage" }},
		{`"golden.texts[0].text"`, func(_, t map[string]any) { t["text"] = " " }},
		{`"golden.texts[0].repeat"`, func(_, t map[string]any) { t["repeat"] = -1 }},
		{`"golden.texts[0]"`, func(_, t map[string]any) { t["repeat"] = 1 << 20 }},
		{`"golden.texts[0].vector"`, func(_, t map[string]any) { t["vector"] = "AACAPw==" }},
		{`"golden.texts[0].vector"`, func(_, t map[string]any) { t["vector"] = "AADAfwAAAAAAAAAAAAAAAA==" }},
		{`3 bytes are no vector`, func(_, t map[string]any) { t["vector"] = "AACA" }},
		{`base64`, func(_, t map[string]any) { t["vector"] = "?" }},
	} {
		if _, err := parse(t, withGolden(c.change)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %s", err, c.want)
		}
	}
	score := func(change func(g map[string]any)) map[string]any {
		m := example("graph", "tokenizer")
		for k, v := range map[string]any{"task": "score", "dimension": 1, "pooling": "", "normalize": false, "output": "score",
			"prompts": map[string]any{}, "inputs": []string{"input_ids", "attention_mask", "token_type_ids"}} {
			m[k] = v
		}
		g := map[string]any{"difference": 0.01, "pairs": []any{pair}}
		change(g)
		m["golden"] = g
		return m
	}
	if m, err := parse(t, score(func(map[string]any) {})); err != nil || m.Golden.Pairs[0].Score != 1.5 {
		t.Errorf("golden scores: %v", err)
	}
	for want, change := range map[string]func(g map[string]any){
		`"golden.difference"`:    func(g map[string]any) { g["difference"] = 0 },
		`"golden"`:               func(g map[string]any) { g["cosine"] = 1 },
		`"golden.pairs[0].text"`: func(g map[string]any) { g["pairs"] = []any{map[string]any{"query": "q"}} },
	} {
		if _, err := parse(t, score(change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
	for _, twin := range []string{"tiny", "../up"} {
		m := example("graph", "tokenizer")
		m["twin"] = twin
		if _, err := parse(t, m); err == nil || !strings.Contains(err.Error(), `"twin"`) {
			t.Errorf("twin %q: %v", twin, err)
		}
	}
}

// Every model that comes with the program has golden vectors, in several scripts, and of a text that it does not read whole.
func TestBuiltinModelsHaveGoldenVectors(t *testing.T) {
	for _, m := range Builtin() {
		if m.Golden == nil {
			t.Errorf("%s has none; run make goldens", m.ID)
			continue
		}
		var all strings.Builder
		for _, text := range m.Golden.Texts {
			all.WriteString(text.Whole() + "\n")
		}
		if !strings.Contains(all.String(), "συναφών") || !strings.Contains(all.String(), "量子") || len(strings.Fields(all.String())) < m.MaxTokens {
			t.Errorf("%s: a Greek, a Chinese or a long text is missing", m.ID)
		}
		if m.Twin != "" {
			if twin, err := Find(m.Twin); err != nil || twin.Precision != PrecisionFP32 {
				t.Errorf("%s: twin %s: %v", m.ID, m.Twin, err)
			}
		}
	}
}

func TestStamp(t *testing.T) {
	m, err := Open(write(t, example("graph", "tokenizer"), map[string]string{}), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	want := Stamp{Fingerprint: "f", Runtime: "r"}
	if got := m.Stamp(); got != (Stamp{}) {
		t.Errorf("%v before it is set", got)
	}
	if err := m.SetStamp(want); err != nil || m.Stamp() != want {
		t.Errorf("%v, %v, want %v", m.Stamp(), err, want)
	}
	if err := os.WriteFile(filepath.Join(m.Dir, stampName), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := m.Stamp(); got != (Stamp{}) {
		t.Errorf("%v of a damaged file", got)
	}
}
