package embed

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	ort "github.com/yalue/onnxruntime_go"

	"embedd/models/convert"
)

// Converter runs the graphs of a network that is being imported, in the runtime that will serve it.
type Converter struct {
	network *convert.Network
	texts   []convert.Text
}

// NewConverter loads ONNX Runtime from library and tokenises texts with a tokenizer.json: for an encoder the texts, for a
// cross-encoder the pairs. What is blank is left out.
func NewConverter(library string, n *convert.Network, tokenizerJSON []byte, texts []string, pairs []Pair) (_ *Converter, err error) {
	if err := initEnvironment(library); err != nil {
		return nil, err
	}
	t, err := newTokenizer(tokenizerJSON, n.MaxTokens)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	c := &Converter{network: n}
	add := func(ids []uint32, second int) {
		x := convert.Text{Second: second}
		for _, id := range ids {
			x.IDs = append(x.IDs, int32(id))
		}
		c.texts = append(c.texts, x)
	}
	if n.CrossEncoder() {
		texts = nil
	} else {
		pairs = nil
	}
	for i, text := range texts {
		if checkText(text) != nil {
			continue
		}
		ids, _, err := t.encode(text)
		if err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		add(ids, 0)
	}
	for i, p := range pairs {
		if checkText(p.Query) != nil || checkText(p.Text) != nil {
			continue
		}
		ids, second, _, err := t.encodePair(p)
		if err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		add(ids, second)
	}
	if len(c.texts) == 0 {
		return nil, errors.New("there is no text to run")
	}
	return c, nil
}

// Calibrate finds the ranges of the network's activations: see convert.Calibrate.
func (c *Converter) Calibrate(ctx context.Context, progress func(done, total int)) (*convert.Calibration, error) {
	return convert.Calibrate(ctx, c.network, c.texts, c.open, progress)
}

// Vectors gives each text's vector under a graph of the network.
func (c *Converter) Vectors(ctx context.Context, graph []byte) (_ [][]float32, err error) {
	runner, err := c.open(graph, []string{convert.SentenceEmbedding})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	var vectors [][]float32
	for _, t := range c.texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out, err := runner.Run(t)
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, out[0])
	}
	return vectors, nil
}

// graphRunner is a convert.Runner: a graph with the inputs that package convert writes.
type graphRunner struct {
	s       *ort.DynamicAdvancedSession
	inputs  int
	outputs int
}

// open is a convert.Runtime for graphs of the network.
func (c *Converter) open(graph []byte, outputs []string) (convert.Runner, error) {
	o, err := sessionOptions(CPU)
	if err != nil {
		return nil, err
	}
	defer o.Destroy()
	inputs := []string{convert.InputIDs, convert.AttentionMask}
	if c.network.CrossEncoder() {
		inputs = append(inputs, convert.TokenTypeIDs)
	}
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, inputs, outputs, o)
	if err != nil {
		return nil, fmt.Errorf("load graph: %w", err)
	}
	return &graphRunner{s, len(inputs), len(outputs)}, nil
}

// Run runs one text. The outputs are copies.
func (r *graphRunner) Run(t convert.Text) ([][]float32, error) {
	n := len(t.IDs)
	types := make([]int32, n)
	for i := range types {
		if t.Second > 0 && i >= t.Second {
			types[i] = 1
		}
	}
	data := [][]int32{t.IDs, slices.Repeat([]int32{1}, n), types}[:r.inputs]
	var in []ort.Value
	defer func() { destroy(in) }()
	for _, values := range data {
		v, err := ort.NewTensor(ort.NewShape(1, int64(n)), values)
		if err != nil {
			return nil, err
		}
		in = append(in, v)
	}
	out := make([]ort.Value, r.outputs)
	if err := r.s.Run(in, out); err != nil {
		return nil, fmt.Errorf("run graph: %w", err)
	}
	runtime.KeepAlive(data) // the tensors hold bare pointers into it
	defer destroy(out)
	values := make([][]float32, len(out))
	for i, v := range out {
		tensor, ok := v.(*ort.Tensor[float32])
		if !ok {
			return nil, fmt.Errorf("the graph's output %d is %T, expected float32", i, v)
		}
		values[i] = slices.Clone(tensor.GetData())
	}
	return values, nil
}

func (r *graphRunner) Close() error { return r.s.Destroy() }
