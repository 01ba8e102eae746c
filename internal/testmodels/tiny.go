package testmodels

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Tiny writes the Hugging Face folder dir, which is there, of a BERT of two layers with random weights, the same each time: a sentence
// encoder, or a cross-encoder. It reads 40 tokens, which are letters. papers.jsonl has texts to calibrate it by.
func Tiny(dir string, crossEncoder bool) error {
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
	if crossEncoder {
		config["architectures"], config["id2label"] = []string{"BertForSequenceClassification"}, map[string]string{"0": "LABEL_0"}
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
	if err := os.Mkdir(filepath.Join(dir, "1_Pooling"), 0o755); err != nil {
		return err
	}
	for name, v := range map[string]any{
		"config.json": config, "tokenizer.json": tokenizer, "papers.jsonl": papers.Bytes(), "model.safetensors": Safetensors(Weights(config)),
		"1_Pooling/config.json": map[string]any{"word_embedding_dimension": dim, "pooling_mode_mean_tokens": true},
	} {
		if crossEncoder && strings.HasPrefix(name, "1_Pooling") {
			continue
		}
		data, raw := v.([]byte)
		if !raw {
			var err error
			if data, err = json.Marshal(v); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
