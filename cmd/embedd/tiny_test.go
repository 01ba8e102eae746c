package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"embedd/models"
)

// command runs the program's main in this process and gives its exit status and what it wrote.
func command(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command that is to end well.
func must(t testing.TB, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := command(args...)
	if code != 0 {
		t.Fatalf("embedd %s: status %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// tinyModel imports a BERT of two layers with random weights into the folder root, under its kind: fp32, int8 or score, a
// cross-encoder in float32. It reads 40 tokens, which are letters.
func tinyModel(t testing.TB, root, kind string) *models.Model {
	t.Helper()
	precision := kind
	if kind == "score" {
		precision = "fp32"
	}
	folder := tinyFolder(t, kind == "score")
	must(t, "models", "import", folder, "--id", kind, "--models", root, "--precision", precision, "--texts", filepath.Join(folder, "papers.jsonl"))
	m, err := models.Open(root, kind)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tinyFolder(t testing.TB, crossEncoder bool) string {
	t.Helper()
	const dim, wide, layers, tokens = 32, 64, 2, 40
	vocabulary := map[string]int{}
	for _, word := range []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]"} {
		vocabulary[word] = len(vocabulary)
	}
	for letter := 'a'; letter <= 'z'; letter++ {
		vocabulary[string(letter)] = len(vocabulary)
		vocabulary["##"+string(letter)] = len(vocabulary)
	}
	for len(vocabulary) < 100 { // the ids that warm-up makes up
		vocabulary[fmt.Sprintf("[unused%d]", len(vocabulary))] = len(vocabulary)
	}
	config := map[string]any{
		"model_type": "bert", "architectures": []string{"BertModel"}, "hidden_size": dim, "num_hidden_layers": layers,
		"num_attention_heads": 4, "intermediate_size": wide, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
		"max_position_embeddings": tokens, "type_vocab_size": 2, "vocab_size": len(vocabulary), "pad_token_id": 0,
	}
	shapes := map[string][]int{
		"embeddings.word_embeddings.weight": {len(vocabulary), dim}, "embeddings.position_embeddings.weight": {tokens, dim},
		"embeddings.token_type_embeddings.weight": {2, dim}, "embeddings.LayerNorm.weight": {dim}, "embeddings.LayerNorm.bias": {dim},
	}
	dense := func(name string, in, out int) {
		shapes[name+".weight"], shapes[name+".bias"] = []int{out, in}, []int{out}
	}
	for i := range layers {
		p := fmt.Sprintf("encoder.layer.%d.", i)
		for _, name := range []string{"self.query", "self.key", "self.value", "output.dense"} {
			dense(p+"attention."+name, dim, dim)
		}
		dense(p+"intermediate.dense", dim, wide)
		dense(p+"output.dense", wide, dim)
		for _, name := range []string{"attention.output.LayerNorm", "output.LayerNorm"} {
			shapes[p+name+".weight"], shapes[p+name+".bias"] = []int{dim}, []int{dim}
		}
	}
	if crossEncoder {
		config["architectures"], config["id2label"] = []string{"BertForSequenceClassification"}, map[string]string{"0": "LABEL_0"}
		dense("pooler.dense", dim, dim)
		dense("classifier", dim, 1)
	}
	special := func(name string) map[string]any {
		return map[string]any{"SpecialToken": map[string]any{"id": name, "type_id": 0}}
	}
	named := func(name string) map[string]any {
		return map[string]any{"id": name, "ids": []int{vocabulary[name]}, "tokens": []string{name}}
	}
	a := map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}
	b := map[string]any{"Sequence": map[string]any{"id": "B", "type_id": 1}}
	tokenizer := map[string]any{
		"version": "1.0", "added_tokens": []any{}, "decoder": nil,
		"normalizer":    map[string]any{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil, "lowercase": true},
		"pre_tokenizer": map[string]any{"type": "BertPreTokenizer"},
		"post_processor": map[string]any{
			"type": "TemplateProcessing", "single": []any{special("[CLS]"), a, special("[SEP]")},
			"pair":           []any{special("[CLS]"), a, special("[SEP]"), b, special("[SEP]")},
			"special_tokens": map[string]any{"[CLS]": named("[CLS]"), "[SEP]": named("[SEP]")},
		},
		"model": map[string]any{
			"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary,
		},
	}
	var papers bytes.Buffer
	for i := range 12 {
		fmt.Fprintf(&papers, `{"id":"%d","title":"paper %c","abstract":"about %c and %c, in short"}`+"\n", i, 'a'+i, 'b'+i, 'c'+i)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "1_Pooling"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"config.json": config, "tokenizer.json": tokenizer, "papers.jsonl": papers.Bytes(), "model.safetensors": safetensors(shapes),
		"1_Pooling/config.json": map[string]any{"word_embedding_dimension": dim, "pooling_mode_mean_tokens": true},
	} {
		if crossEncoder && strings.HasPrefix(name, "1_Pooling") {
			continue
		}
		data, raw := v.([]byte)
		if !raw {
			var err error
			if data, err = json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// safetensors writes random float32 tensors, the same each time.
func safetensors(shapes map[string][]int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	header, data := map[string]any{}, []byte{}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		begin, count := len(data), 1
		for _, d := range shapes[name] {
			count *= d
		}
		for range count {
			x := float32(rng.NormFloat64() * 0.3)
			if strings.HasSuffix(name, "LayerNorm.weight") {
				x = 1 + x/3
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": shapes[name], "data_offsets": []int{begin, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data...)
}
