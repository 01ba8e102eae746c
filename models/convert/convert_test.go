package convert_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"embedd/internal/testmodels"
	"embedd/models/convert"
)

// config is a small BERT's config.json.
func config() map[string]any {
	return map[string]any{
		"model_type": "bert", "architectures": []string{"BertModel"}, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
		"intermediate_size": 64, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 40, "type_vocab_size": 2,
		"vocab_size": 50, "pad_token_id": 1, "relative_attention_num_buckets": 8,
	}
}

// folder writes a Hugging Face folder with random weights. change may alter its JSON files, by name, and shapes its
// tensors.
func folder(t testing.TB, change func(files map[string]map[string]any, shapes map[string][]int)) string {
	t.Helper()
	files := map[string]map[string]any{
		"config.json": config(), "tokenizer.json": {},
		"1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false},
	}
	shapes := map[string][]int{}
	if change != nil {
		change(files, shapes)
	}
	for name, shape := range testmodels.Weights(files["config.json"]) {
		if _, set := shapes[name]; !set {
			shapes[name] = shape
		}
	}
	dir := t.TempDir()
	for name, v := range files {
		if v == nil {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), testmodels.Safetensors(shapes), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadRefusesWithTheName(t *testing.T) {
	type files = map[string]map[string]any
	set := func(file, key string, value any) func(files, map[string][]int) {
		return func(f files, _ map[string][]int) {
			if f[file] == nil {
				f[file] = map[string]any{}
			}
			f[file][key] = value
		}
	}
	c := func(key string, value any) func(files, map[string][]int) { return set("config.json", key, value) }
	for _, x := range []struct {
		want   string
		change func(files, map[string][]int)
	}{
		{`"model_type"`, c("model_type", "llama")},
		{`"architectures"`, c("architectures", []string{"BertForTokenClassification"})},
		{`"relative_attention_num_buckets"`, func(f files, _ map[string][]int) {
			f["config.json"]["model_type"], f["config.json"]["relative_attention_num_buckets"] = "mpnet", 2
		}},
		{`"max_position_embeddings"`, func(f files, _ map[string][]int) {
			f["config.json"]["model_type"], f["config.json"]["max_position_embeddings"] = "mpnet", 8000
			f["config.json"]["num_attention_heads"] = 16
		}},
		{`"max_position_embeddings"`, c("max_position_embeddings", 9000)},
		{`"id2label"`, c("architectures", []string{"BertForSequenceClassification"})},
		{`"type_vocab_size"`, func(f files, _ map[string][]int) {
			crossEncoder(f)
			f["config.json"]["type_vocab_size"] = 1
		}},
		{`"hidden_act"`, c("hidden_act", "silu")},
		{`"hidden_size"`, func(f files, _ map[string][]int) { f["config.json"]["hidden_size"] = 0 }},
		{`"num_attention_heads"`, c("num_attention_heads", 5)},
		{`"layer_norm_eps"`, c("layer_norm_eps", 0)},
		{`"position_embedding_type"`, c("position_embedding_type", "relative_key")},
		{`"is_decoder"`, c("is_decoder", true)},
		{`"add_cross_attention"`, c("add_cross_attention", true)},
		{`"quantization_config"`, c("quantization_config", map[string]any{"bits": 4})},
		{`"adapters"`, c("adapters", map[string]any{"config": 1})},
		{`"pad_token_id"`, func(f files, _ map[string][]int) {
			f["config.json"]["model_type"] = "roberta"
			delete(f["config.json"], "pad_token_id")
		}},
		{`"max_seq_length"`, set("sentence_bert_config.json", "max_seq_length", 512)},
		{`"do_lower_case"`, set("sentence_bert_config.json", "do_lower_case", true)},
		{`"similarity_fn_name"`, set("config_sentence_transformers.json", "similarity_fn_name", "dot")},
		{`"default_prompt_name"`, func(f files, _ map[string][]int) {
			f["config_sentence_transformers.json"] = map[string]any{"default_prompt_name": "query", "prompts": map[string]string{"query": "q: "}}
		}},
		{`"pooling_mode_weightedmean_tokens"`, set("1_Pooling/config.json", "pooling_mode_weightedmean_tokens", true)},
		{`beside another mode`, set("1_Pooling/config.json", "pooling_mode_cls_token", true)},
		{`all other modes are false`, set("1_Pooling/config.json", "pooling_mode_mean_tokens", false)},
		{`"include_prompt"`, set("1_Pooling/config.json", "include_prompt", false)},
		{`"word_embedding_dimension"`, set("1_Pooling/config.json", "word_embedding_dimension", 768)},
		{`--pooling`, func(f files, _ map[string][]int) { f["1_Pooling/config.json"] = nil }},
		{`tensor "encoder.layer.1.output.dense.bias" is missing`, func(_ files, s map[string][]int) { s["encoder.layer.1.output.dense.bias"] = nil }},
		{`tensor "embeddings.LayerNorm.bias" has shape`, func(_ files, s map[string][]int) { s["embeddings.LayerNorm.bias"] = []int{31} }},
		{`tensor "encoder.layer.0.adapter.weight" has no place`, func(_ files, s map[string][]int) { s["encoder.layer.0.adapter.weight"] = []int{2, 2} }},
	} {
		_, err := convert.Read(folder(t, x.change), convert.Options{})
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("error %v, want one with %s", err, x.want)
		}
	}
	// modules.json is a list.
	dir := folder(t, nil)
	if err := os.WriteFile(filepath.Join(dir, "modules.json"), []byte(`[{"type":"sentence_transformers.models.Dense"}]`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := convert.Read(dir, convert.Options{}); err == nil || !strings.Contains(err.Error(), "Dense") {
		t.Errorf("a Dense module: %v", err)
	}
	if _, err := convert.Read(folder(t, nil), convert.Options{Layers: 3}); err == nil || !strings.Contains(err.Error(), "layers") {
		t.Errorf("3 of 2 layers: %v", err)
	}
}

// Tensors that share bytes, or leave some out, are refused: they could be many times as large as their file.
func TestSafetensorsHaveNoOverlap(t *testing.T) {
	file := func(header string) []byte {
		return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), make([]byte, 16)...)
	}
	tensor := func(begin, end int) string {
		return fmt.Sprintf(`{"dtype":"F32","shape":[%d],"data_offsets":[%d,%d]}`, (end-begin)/4, begin, end)
	}
	for header, want := range map[string]string{
		`{"a":` + tensor(0, 8) + `,"b":` + tensor(8, 16) + `}`:                          "",
		`{"a":` + tensor(0, 8) + `,"e":` + tensor(8, 8) + `,"b":` + tensor(8, 16) + `}`: "",
		`{"a":` + tensor(0, 16) + `,"b":` + tensor(0, 16) + `}`:                         `"b" begins at byte 0`,
		`{"a":` + tensor(0, 8) + `,"b":` + tensor(12, 16) + `}`:                         `"b" begins at byte 12`,
		`{"a":` + tensor(0, 8) + `}`:                                                    "end at byte 8 of 16",
	} {
		err := convert.ReadTensors(file(header))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", header, err, want)
		}
	}
}

// A file of weights from outside is read or refused, whatever its bytes are.
func FuzzSafetensors(f *testing.F) {
	good := testmodels.Safetensors(map[string][]int{"a": {2, 3}, "b": {1}})
	f.Add(good)
	f.Add(good[:20])
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff{}"))
	f.Add(append(binary.LittleEndian.AppendUint64(nil, 67), `{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`...))
	f.Fuzz(func(t *testing.T, file []byte) { _ = convert.ReadTensors(file, 2, 3) })
}

// The same folder and calibration give the same bytes, and a calibration survives its JSON.
func TestGraphsAreTheSameEachTime(t *testing.T) {
	dir := folder(t, nil)
	var graphs [2][2][]byte
	for i := range graphs {
		n, err := convert.Read(dir, convert.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if graphs[i][0], err = n.Graph(nil); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(convert.PlainCalibration(n))
		if err != nil {
			t.Fatal(err)
		}
		c, err := convert.ReadCalibration(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if graphs[i][1], err = n.Graph(c); err != nil {
			t.Fatal(err)
		}
	}
	for k, name := range []string{"fp32", "int8"} {
		if !bytes.Equal(graphs[0][k], graphs[1][k]) {
			t.Errorf("two %s graphs of the same folder differ", name)
		}
	}
}
