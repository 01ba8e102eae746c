// Package testmodels makes models for tests out of those that set-up brought.
package testmodels

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// CrossEncoder writes the Hugging Face folder dir of a cross-encoder: the encoder of all-MiniLM-L6-v2 with its pooler, whose
// folder lies in the models folder root, and the classifier w[i] = sin(i) / 4, b = 0.5.
func CrossEncoder(root, dir string) error {
	found, err := filepath.Glob(filepath.Join(root, ".sources", "*", "model.safetensors"))
	if err != nil || len(found) == 0 {
		return errors.Join(err, fmt.Errorf("no model.safetensors below %s; run make setup", root))
	}
	source := filepath.Dir(found[0])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tokenizer, err := os.ReadFile(filepath.Join(source, "tokenizer.json"))
	if err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(source, "config.json"))
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(config, &fields); err != nil {
		return err
	}
	fields["architectures"] = []string{"BertForSequenceClassification"}
	fields["id2label"] = map[string]string{"0": "LABEL_0"}
	if config, err = json.Marshal(fields); err != nil {
		return err
	}
	weights, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	if weights, err = withClassifier(weights); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "tokenizer.json"), tokenizer, 0o644),
		os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644),
		os.WriteFile(filepath.Join(dir, "model.safetensors"), weights, 0o644),
	)
}

// withClassifier adds the two tensors to a safetensors file.
func withClassifier(file []byte) ([]byte, error) {
	const dim = 384
	n := binary.LittleEndian.Uint64(file)
	var header map[string]json.RawMessage
	if err := json.Unmarshal(file[8:8+n], &header); err != nil {
		return nil, err
	}
	data := bytes.Clone(file[8+n:])
	add := func(name, shape string, values []float32) {
		begin := len(data)
		for _, x := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
		header[name] = json.RawMessage(fmt.Sprintf(`{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]}`, shape, begin, len(data)))
	}
	w := make([]float32, dim)
	for i := range w {
		w[i] = float32(math.Sin(float64(i)) / 4)
	}
	add("classifier.weight", "[1,384]", w)
	add("classifier.bias", "[1]", []float32{0.5})
	text, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(out, text...), data...), nil
}
