package testmodels

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// Weights lists the tensors of a network, with their shapes, by its config.json.
func Weights(c map[string]any) map[string][]int {
	n := func(name string) int { return c[name].(int) }
	dim, wide := n("hidden_size"), n("intermediate_size")
	w := map[string][]int{
		"embeddings.word_embeddings.weight": {n("vocab_size"), dim}, "embeddings.position_embeddings.weight": {n("max_position_embeddings"), dim},
		"embeddings.LayerNorm.weight": {dim}, "embeddings.LayerNorm.bias": {dim},
	}
	dense := func(name string, in, out int) { w[name+".weight"], w[name+".bias"] = []int{out, in}, []int{out} }
	q, k, v, o, norm := "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "attention.output.LayerNorm"
	if c["model_type"] == "mpnet" {
		q, k, v, o, norm = "attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o", "attention.LayerNorm"
		w["encoder.relative_attention_bias.weight"] = []int{n("relative_attention_num_buckets"), n("num_attention_heads")}
	} else {
		w["embeddings.token_type_embeddings.weight"] = []int{n("type_vocab_size"), dim}
	}
	for i := range n("num_hidden_layers") {
		p := fmt.Sprintf("encoder.layer.%d.", i)
		for _, name := range []string{q, k, v, o} {
			dense(p+name, dim, dim)
		}
		dense(p+"intermediate.dense", dim, wide)
		dense(p+"output.dense", wide, dim)
		for _, name := range []string{norm, "output.LayerNorm"} {
			w[p+name+".weight"], w[p+name+".bias"] = []int{dim}, []int{dim}
		}
	}
	if c["id2label"] != nil {
		dense("pooler.dense", dim, dim)
		dense("classifier", dim, 1)
	}
	return w
}

// Safetensors writes random float32 tensors, the same each time. A nil shape leaves a tensor out.
func Safetensors(shapes map[string][]int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	header, data := map[string]any{}, []byte{}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		if shapes[name] == nil {
			continue
		}
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
