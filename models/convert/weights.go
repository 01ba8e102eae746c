package convert

import (
	"fmt"
	"math"
	"strings"
)

// load takes the weights that the graph needs and refuses a file with others: a tensor that nothing uses may belong to
// something that would be left out.
func (n *Network) load(t *tensors, c *config) error {
	prefix := ""
	for _, p := range []string{"bert.", "roberta.", "mpnet."} {
		if t.has(p + "embeddings.word_embeddings.weight") {
			prefix = p
		}
	}
	l := &loader{t: t, prefix: prefix}
	dim := n.Dimension
	n.words = l.floats("embeddings.word_embeddings.weight", n.vocabulary, dim)
	positions := l.floats("embeddings.position_embeddings.weight", c.MaxPositionEmbeddings, dim)
	if n.Architecture != "mpnet" {
		n.types = l.floats("embeddings.token_type_embeddings.weight", max(c.TypeVocabSize, 1), dim)
	}
	n.norm = l.norm("embeddings.LayerNorm", dim)
	for i := range n.OfLayers {
		n.layers = append(n.layers, l.layer(n, fmt.Sprintf("encoder.layer.%d.", i), c.IntermediateSize))
	}
	if n.Architecture == "mpnet" {
		buckets := l.floats("encoder.relative_attention_bias.weight", c.RelativeBuckets, n.Heads)
		if l.err == nil {
			n.relative = relativeBias(buckets, c.RelativeBuckets, n.Heads, n.MaxTokens)
		}
	}
	if n.CrossEncoder() {
		*n.pooler = l.linear("pooler.dense", dim, dim)
		l.prefix = ""
		*n.classifier = l.linear("classifier", dim, 1)
	}
	if l.err != nil {
		return l.err
	}
	n.layers = n.layers[:n.Layers]
	offset, err := c.offset()
	if err != nil {
		return err
	}
	n.positions = positions[offset*dim:]
	for _, name := range t.unused() {
		rest := strings.TrimPrefix(name, prefix)
		switch {
		case rest == "embeddings.position_ids" || rest == "embeddings.token_type_ids": // 0, 1, 2, … and zeros
		case strings.HasPrefix(rest, "pooler.") && !n.CrossEncoder(): // of next-sentence prediction
		case strings.HasPrefix(name, "cls.") || strings.HasPrefix(name, "lm_head."): // of masked-word prediction
		default:
			return fmt.Errorf("model.safetensors: tensor %q has no place in the network that config.json describes", name)
		}
	}
	return nil
}

// loader reads tensors by name and keeps the first error.
type loader struct {
	t      *tensors
	prefix string
	err    error
}

func (l *loader) floats(name string, shape ...int) []float32 {
	if l.err != nil {
		return nil
	}
	var v []float32
	v, l.err = l.t.floats(l.prefix+name, shape...)
	return v
}

// norm reads a layer normalisation; the oldest files name its weights gamma and beta.
func (l *loader) norm(name string, dim int) layerNorm {
	weight, bias := ".weight", ".bias"
	if l.t.has(l.prefix + name + ".gamma") {
		weight, bias = ".gamma", ".beta"
	}
	return layerNorm{l.floats(name+weight, dim), l.floats(name+bias, dim)}
}

// linear reads a dense layer, whose weights PyTorch keeps as [out × in].
func (l *loader) linear(name string, in, out int) linear {
	w := l.floats(name+".weight", out, in)
	b := l.floats(name+".bias", out)
	if l.err != nil {
		return linear{}
	}
	return linear{in, out, transpose(w, out, in), b}
}

func (l *loader) layer(n *Network, prefix string, intermediate int) layer {
	dim := n.Dimension
	names := []string{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "attention.output.LayerNorm"}
	if n.Architecture == "mpnet" {
		names = []string{"attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o", "attention.LayerNorm"}
	}
	q, k, v := l.linear(prefix+names[0], dim, dim), l.linear(prefix+names[1], dim, dim), l.linear(prefix+names[2], dim, dim)
	y := layer{
		o:     l.linear(prefix+names[3], dim, dim),
		norm1: l.norm(prefix+names[4], dim),
		i:     l.linear(prefix+"intermediate.dense", dim, intermediate),
		d:     l.linear(prefix+"output.dense", intermediate, dim),
		norm2: l.norm(prefix+"output.LayerNorm", dim),
	}
	if l.err != nil {
		return layer{}
	}
	y.qkv = linear{in: dim, out: 3 * dim, w: make([]float32, 0, 3*dim*dim)}
	for r := range dim {
		for _, part := range []linear{q, k, v} {
			y.qkv.w = append(y.qkv.w, part.w[r*dim:(r+1)*dim]...)
		}
	}
	for _, part := range []linear{q, k, v} {
		y.qkv.b = append(y.qkv.b, part.b...)
	}
	return y
}

func transpose(m []float32, rows, cols int) []float32 {
	t := make([]float32, len(m))
	for r := range rows {
		for c := range cols {
			t[c*rows+r] = m[r*cols+c]
		}
	}
	return t
}

// relativeBias spreads MPNet's table of buckets to a bias for each head and each pair of positions: half of the buckets
// for keys after the query, half for those before it; near distances have their own, far ones share them on a
// logarithmic scale that ends at 128 (Raffel et al., T5, 2020; Song et al., MPNet, 2020).
func relativeBias(table []float32, buckets, heads, positions int) []float32 {
	const farthest = 128
	half := buckets / 2
	exact := half / 2
	bucket := func(distance int) int { // of query position minus key position
		n, base := distance, 0
		if n < 0 {
			n, base = -n, half
		}
		if n < exact {
			return base + n
		}
		// In float32 and in this order, as PyTorch computes it: the border between two buckets depends on it.
		far := float32(math.Log(float64(float32(n)/float32(exact)))) / float32(math.Log(float64(farthest)/float64(exact))) * float32(half-exact)
		return base + min(exact+int(far), half-1)
	}
	out := make([]float32, heads*positions*positions)
	for q := range positions {
		for k := range positions {
			b := bucket(q - k)
			for h := range heads {
				out[(h*positions+q)*positions+k] = table[b*heads+h]
			}
		}
	}
	return out
}
