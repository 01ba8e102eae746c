package embed

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"embedd/internal/native"
	"embedd/models"
)

// A panic of the Rust library does not end the process: while it encodes, the module's C door catches it (tokenizers_encode
// has a catch_unwind); while it loads, the one that set-up adds (internal/native/tokenizers/load.rs). A failure of this test may
// be the end of the test process.
func TestADamagedTokenizerIsAnError(t *testing.T) {
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(native.Models(home), models.Default, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Four zero bytes: a map whose trie is empty. The library reads its first node without looking.
	emptyMap := map[string]any{"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}
	for _, c := range []struct {
		name   string
		damage func(file map[string]any)
		load   string // what the error of newTokenizer says; "" if only encode fails
	}{
		{"normaliser panics while encoding", func(file map[string]any) { file["normalizer"] = emptyMap }, ""},
		{"normaliser panics while loading", func(file map[string]any) {
			file["normalizer"] = emptyMap
			file["added_tokens"].([]any)[4].(map[string]any)["normalized"] = true
		}, "panic"},
		{"normaliser without a map", func(file map[string]any) {
			file["normalizer"] = map[string]any{"type": "Precompiled", "precompiled_charsmap": ""}
		}, "panic"},
		{"prefix longer than a merge", func(file map[string]any) {
			file["model"] = map[string]any{"type": "BPE", "continuing_subword_prefix": "####", "vocab": map[string]int{"a": 0, "b": 1, "ab": 3}, "merges": []string{"a b"}}
		}, "panic"},
		{"endless added token", func(file map[string]any) {
			file["added_tokens"].([]any)[4].(map[string]any)["content"] = strings.Repeat("a", 100_000)
		}, "added_tokens[4] has 100000 bytes"},
		{"NUL in the library's error", func(file map[string]any) { file["version"] = "\x00" }, "NUL"},
		{"NUL in the model", func(file map[string]any) { file["model"].(map[string]any)["type"] = "\x00" }, "NUL"},
		{"unknown piece is not in the vocabulary", func(file map[string]any) {
			file["model"].(map[string]any)["unk_token"] = "[NONE]"
		}, ""},
		{"no model", func(file map[string]any) { delete(file, "model") }, "tokenizer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var file map[string]any
			if err := json.Unmarshal(good, &file); err != nil {
				t.Fatal(err)
			}
			c.damage(file)
			data, err := json.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			tok, err := newTokenizer(data, 256)
			if c.load != "" {
				if err == nil || !strings.Contains(err.Error(), c.load) {
					t.Errorf("load: %v, want an error with %q", err, c.load)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer tok.close()
			// An emoji is no piece of the vocabulary: it asks for the unknown piece.
			for _, text := range []string{"🧬", strings.Repeat("🧬 ", longText)} {
				if ids, total, err := tok.encode(text); err == nil {
					t.Errorf("encode: %d of %d ids, want an error", len(ids), total)
				}
			}
		})
	}
}

// Random texts have the tokens that the Hugging Face library gives in Python, both in the way of ordinary texts and in that
// of long ones. `make fuzz-tokenizer` writes the file; testdata/golden/fuzz_texts.py says what is in it.
func TestTokensOfRandomTexts(t *testing.T) {
	path := os.Getenv("EMBEDD_TOKEN_TEXTS")
	if path == "" {
		t.Skip("EMBEDD_TOKEN_TEXTS names no file; make fuzz-tokenizer makes one")
	}
	e := open(t, 1)
	long, err := e.tokenizer.long()
	if err != nil || long == nil {
		t.Fatalf("no way for long texts: %v", err)
	}
	all := lines[struct {
		Text        string
		IDs         []uint32
		TokensTotal int `json:"tokens_total"`
	}](t, path)
	differ := 0
	for i, want := range all {
		for way, read := range map[string]func(string) ([]uint32, int, error){
			"plain": e.tokenizer.plain,
			"quick": func(text string) ([]uint32, int, error) {
				if ids, sure := long.read(text); sure {
					return e.tokenizer.cut(ids)
				}
				return e.tokenizer.plain(text)
			},
			"long": func(text string) ([]uint32, int, error) { return e.tokenizer.encodeLong(long, text) },
		} {
			ids, total, err := read(clean(want.Text))
			if err == nil && total == want.TokensTotal && slices.Equal(ids, want.IDs) {
				continue
			}
			if differ++; differ <= 10 {
				t.Errorf("text %d, %s: %.500q\n got %d tokens: %v %v\nwant %d tokens: %v", i, way, want.Text, total, ids, err, want.TokensTotal, want.IDs)
			}
		}
	}
	t.Logf("%d texts, %d differences", len(all), differ)
	if len(all) == 0 {
		t.Error("no texts")
	}
}
