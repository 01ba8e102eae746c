package convert

import (
	"fmt"

	"embedd/models/onnx"
)

// Names of the graphs' inputs and outputs. Inputs are int32 of shape [batch, tokens]; TokenTypeIDs is there for a
// cross-encoder only.
const (
	InputIDs      = "input_ids"
	AttentionMask = "attention_mask"
	TokenTypeIDs  = "token_type_ids"

	// SentenceEmbedding is float32 [batch, dimension] of L2 norm 1.
	SentenceEmbedding = "sentence_embedding"
	// LastHiddenState is float32 [batch, tokens, dimension].
	LastHiddenState = "last_hidden_state"
	// Score is float32 [batch, 1], of a cross-encoder: what its classifier gives, without an activation. More is nearer.
	Score = "score"
)

const (
	f32 = onnx.TensorProto_DATA_TYPE_FLOAT
	i32 = onnx.TensorProto_DATA_TYPE_INT32
)

// site is one of the four matrix products of a layer.
type site int

const (
	siteQKV site = iota // query, key and value of the attention
	siteO               // output of the attention
	siteI               // intermediate, before the activation
	siteD               // output, after the activation
	sites
)

func (s site) String() string { return [...]string{"qkv", "o", "i", "d"}[s] }

func (l *layer) at(s site) *linear { return [...]*linear{&l.qkv, &l.o, &l.i, &l.d}[s] }

// Graph writes the network: in static int8 by a calibration, which must be of this network, or in float32 without one.
func (n *Network) Graph(c *Calibration) ([]byte, error) {
	g := n.begin()
	if c != nil {
		if err := c.fits(n); err != nil {
			return nil, err
		}
		g.quantized = n.quantize(c)
	}
	return g.finish(n, g.body(n))
}

// probes writes the float32 graph with the input of each product as a further output, named by probeName.
func (n *Network) probes() ([]byte, error) {
	g := n.begin()
	g.probe = true
	return g.finish(n, g.body(n))
}

func probeName(layer int, s site) string { return fmt.Sprintf("layer.%d.%v", layer, s) }

// graph is a network on its way into a file.
type graph struct {
	*onnx.Builder
	ids, mask string
	types     string // of a cross-encoder
	probe     bool
	// int8 arithmetic, where it is set.
	quantized *quantized
}

func (n *Network) begin() *graph {
	g := &graph{Builder: onnx.NewBuilder("embedd")}
	g.ids = g.Input(InputIDs, i32, "batch", "tokens")
	g.mask = g.Input(AttentionMask, i32, "batch", "tokens")
	if n.classifier != nil {
		g.types = g.Input(TokenTypeIDs, i32, "batch", "tokens")
	}
	return g
}

// body adds the network from the ids to the last hidden state.
func (g *graph) body(n *Network) string {
	x := g.embeddings(n)
	bias := ""
	if n.relative != nil {
		// [1, heads, tokens, tokens], cut from the table.
		table := g.Floats("relative_bias", n.relative, 1, n.Heads, n.MaxTokens, n.MaxTokens)
		tokens := g.tokens()
		ends := g.Node("Concat", []string{tokens, tokens}, onnx.Attr{Name: "axis", Value: 0})
		bias = g.Node("Slice", []string{table, g.Int64s("zeros", []int64{0, 0}, 2), ends, g.Int64s("axes", []int64{2, 3}, 2)})
	}
	for i := range n.layers {
		x = g.layer(n, i, x, bias)
	}
	return x
}

// tokens is the length of the padded texts, [1].
func (g *graph) tokens() string {
	return g.Node("Shape", []string{g.ids}, onnx.Attr{Name: "start", Value: 1}, onnx.Attr{Name: "end", Value: 2})
}

func (g *graph) embeddings(n *Network) string {
	dim := n.Dimension
	var words string
	if q := g.quantized; q != nil {
		codes := g.Int8s("words", q.words, n.vocabulary, dim)
		scales := g.Floats("words_scale", q.wordScales, n.vocabulary, 1)
		rows := g.Node("Cast", []string{g.Node("Gather", []string{codes, g.ids})}, onnx.Attr{Name: "to", Value: int(f32)})
		words = g.Node("Mul", []string{rows, g.Node("Gather", []string{scales, g.ids})})
	} else {
		words = g.Node("Gather", []string{g.Floats("words", n.words, n.vocabulary, dim), g.ids})
	}
	positions := append([]float32(nil), n.positions[:n.MaxTokens*dim]...)
	if n.types != nil && g.types == "" {
		// Every token of an encoder is of type 0: its row goes into the positions. PyTorch adds words and types first;
		// the order of the sum costs at most a last bit.
		for i := range positions {
			positions[i] += n.types[i%dim]
		}
	}
	table := g.Floats("positions", positions, 1, n.MaxTokens, dim)
	rows := g.Node("Slice", []string{table, g.Int64s("zero", []int64{0}, 1), g.tokens(), g.Int64s("axis", []int64{1}, 1)})
	x := g.Node("Add", []string{words, rows})
	if g.types != "" {
		x = g.Node("Add", []string{x, g.Node("Gather", []string{g.Floats("types", n.types, len(n.types)/dim, dim), g.types})})
	}
	return g.Node("LayerNormalization", []string{x, g.Floats("norm", n.norm.weight, dim), g.Floats("norm_bias", n.norm.bias, dim)},
		onnx.Attr{Name: "axis", Value: -1}, onnx.Attr{Name: "epsilon", Value: n.epsilon})
}

// layer adds one layer over x, [batch, tokens, dimension].
func (g *graph) layer(n *Network, i int, x, bias string) string {
	l := &n.layers[i]
	attended := g.attention(n, i, x, bias)
	y := g.product(n, i, siteO, attended)
	x = g.skip(n, y, x, l.norm1)
	h := g.activation(n, g.product(n, i, siteI, x))
	y = g.product(n, i, siteD, h)
	return g.skip(n, y, x, l.norm2)
}

// observe makes the input of a product an output of the graph.
func (g *graph) observe(i int, s site, x string, dim int) string {
	if !g.probe {
		return x
	}
	name := probeName(i, s)
	g.Output(g.Node("Identity", []string{x}), name, f32, "batch", "tokens", dim)
	return x
}

func (g *graph) attention(n *Network, i int, x, bias string) string {
	l := &n.layers[i]
	heads := onnx.Attr{Name: "num_heads", Value: n.Heads}
	if g.quantized != nil {
		return g.attentionInt8(n, i, x, bias, heads)
	}
	g.observe(i, siteQKV, x, n.Dimension)
	w := g.Floats("qkv", l.qkv.w, l.qkv.in, l.qkv.out)
	b := g.Floats("qkv_bias", l.qkv.b, l.qkv.out)
	in := []string{x, w, b, g.mask}
	if bias != "" {
		in = append(in, "", bias)
	}
	return g.Fused("Attention", in, heads)
}

// product adds x·w + b of a site.
func (g *graph) product(n *Network, i int, s site, x string) string {
	l := n.layers[i].at(s)
	if g.quantized != nil {
		return g.productInt8(i, s, x)
	}
	g.observe(i, s, x, l.in)
	y := g.Node("MatMul", []string{x, g.Floats(s.String(), l.w, l.in, l.out)})
	return g.Node("Add", []string{y, g.Floats(s.String()+"_bias", l.b, l.out)})
}

// skip adds LayerNorm(y + x).
func (g *graph) skip(n *Network, y, x string, norm layerNorm) string {
	return g.Fused("SkipLayerNormalization", []string{y, x, g.Floats("norm", norm.weight, n.Dimension), g.Floats("norm_bias", norm.bias, n.Dimension)},
		onnx.Attr{Name: "epsilon", Value: n.epsilon})
}

func (g *graph) activation(n *Network, x string) string {
	switch n.activation {
	case "relu":
		return g.Node("Relu", []string{x})
	case "gelu":
		if g.quantized == nil {
			return g.Fused("Gelu", []string{x})
		}
		// Within the rounding of int8 activations the approximation by tanh cannot be told from the exact one, and it is
		// a tenth of a Run faster.
	}
	return g.Fused("FastGelu", []string{x})
}

// finish adds what follows the last hidden state and gives the file's bytes.
func (g *graph) finish(n *Network, x string) ([]byte, error) {
	if n.classifier != nil {
		g.Output(g.score(n, x), Score, f32, "batch", 1)
		return g.Bytes()
	}
	pooled, err := g.pool(n, x)
	if err != nil {
		return nil, err
	}
	norm := g.Node("LpNormalization", []string{pooled}, onnx.Attr{Name: "axis", Value: -1}, onnx.Attr{Name: "p", Value: 2})
	g.Output(norm, SentenceEmbedding, f32, "batch", n.Dimension)
	g.Output(x, LastHiddenState, f32, "batch", "tokens", n.Dimension)
	return g.Bytes()
}

// pool makes [batch, dimension] of the token vectors, up to a factor, which the norm takes out.
func (g *graph) pool(n *Network, x string) (string, error) {
	axis := func(v int64) string { return g.Int64s("axis", []int64{v}, 1) }
	first := func(x string) string {
		return g.Node("Gather", []string{x, g.Int64s("first", []int64{0})}, onnx.Attr{Name: "axis", Value: 1})
	}
	switch n.Pooling {
	case Mean:
		// The sum over the mask, as a product. With one row, ONNX Runtime would take the product of a vector and a matrix,
		// which adds four tokens at a time and those left over in another order, so that padding changed the last bit. With
		// the same row twice it takes that of two matrices, which adds token by token.
		mask := g.Node("Unsqueeze", []string{g.Node("Cast", []string{g.mask}, onnx.Attr{Name: "to", Value: int(f32)}), axis(1)})
		twice := g.Node("Concat", []string{mask, mask}, onnx.Attr{Name: "axis", Value: 1})
		return first(g.Node("MatMul", []string{twice, x})), nil
	case CLS:
		return first(x), nil
	case Last: // texts are padded at their end: the last token stands at the mask's sum - 1
		count := g.Node("ReduceSum", []string{g.Node("Cast", []string{g.mask}, onnx.Attr{Name: "to", Value: int(onnx.TensorProto_DATA_TYPE_INT64)}), axis(1)}, onnx.Attr{Name: "keepdims", Value: 1})
		return g.Node("GatherND", []string{x, g.Node("Sub", []string{count, g.Int64s("one", []int64{1}, 1)})}, onnx.Attr{Name: "batch_dims", Value: 1}), nil
	case Max: // padded tokens are moved far below every value
		mask := g.Node("Unsqueeze", []string{g.Node("Cast", []string{g.mask}, onnx.Attr{Name: "to", Value: int(f32)}), axis(-1)})
		low := g.Node("Mul", []string{g.Node("Sub", []string{mask, g.Floats("one", []float32{1}, 1)}), g.Floats("far", []float32{1e30}, 1)})
		return g.Node("ReduceMax", []string{g.Node("Add", []string{x, low})}, onnx.Attr{Name: "axes", Value: []int{1}}, onnx.Attr{Name: "keepdims", Value: 0}), nil
	}
	return "", fmt.Errorf("pooling: %q cannot be expressed", n.Pooling)
}

// score makes [batch, 1] of the token vectors: the first token's through the pooler and the classifier. The row is there twice,
// as in pool, so that a batch of one is no product of a vector.
func (g *graph) score(n *Network, x string) string {
	p, c := n.pooler, n.classifier
	twice := g.Node("Gather", []string{x, g.Int64s("twice", []int64{0, 0}, 2)}, onnx.Attr{Name: "axis", Value: 1})
	y := g.Node("Add", []string{g.Node("MatMul", []string{twice, g.Floats("pooler", p.w, p.in, p.out)}), g.Floats("pooler_bias", p.b, p.out)})
	y = g.Node("Gather", []string{g.Node("Tanh", []string{y}), g.Int64s("first", []int64{0})}, onnx.Attr{Name: "axis", Value: 1})
	y = g.Node("Mul", []string{y, g.Floats("classifier", c.w, c.in)})
	y = g.Node("ReduceSum", []string{y, g.Int64s("axis", []int64{-1}, 1)}, onnx.Attr{Name: "keepdims", Value: 1})
	return g.Node("Add", []string{y, g.Floats("classifier_bias", c.b, 1)})
}
