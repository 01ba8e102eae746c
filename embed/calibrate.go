package embed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	ort "github.com/yalue/onnxruntime_go"

	"embedd/models/convert"
	"embedd/models/onnx"
)

// Converter runs the graphs of a network that is being imported, in the runtime that will serve it.
type Converter struct {
	network *convert.Network
	texts   []convert.Text
}

// NewConverter loads ONNX Runtime from library and tokenises texts with a tokenizer.json. Blank texts are left out.
func NewConverter(library string, n *convert.Network, tokenizerJSON []byte, texts []string) (_ *Converter, err error) {
	if err := initEnvironment(library); err != nil {
		return nil, err
	}
	t, err := newTokenizer(tokenizerJSON, n.MaxTokens)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	c := &Converter{network: n}
	for i, text := range texts {
		if errors.Is(checkText(text), ErrBlank) {
			continue
		}
		ids, _, err := t.encode(text)
		if err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		var x convert.Text
		for _, id := range ids {
			x.IDs = append(x.IDs, int32(id))
		}
		c.texts = append(c.texts, x)
	}
	if len(c.texts) == 0 {
		return nil, errors.New("there is no text to run")
	}
	return c, nil
}

// Calibrate finds the ranges of the network's activations: see convert.Calibrate.
func (c *Converter) Calibrate(ctx context.Context, progress func(done, total int)) (*convert.Calibration, error) {
	return convert.Calibrate(ctx, c.network, c.texts, openGraph, progress)
}

// neighbours is how many nearest texts Overlap compares.
const neighbours = 10

// Overlap tells how well a graph keeps the neighbourhoods of another: the mean share of a text's ten nearest texts that
// are the same under both, from 0 to 1, and over how many texts.
func (c *Converter) Overlap(ctx context.Context, one, other []byte) (share float64, texts int, err error) {
	if len(c.texts) <= neighbours {
		return 0, 0, fmt.Errorf("%d texts are too few to compare the %d nearest of each", len(c.texts), neighbours)
	}
	a, err := c.nearest(ctx, one)
	if err != nil {
		return 0, 0, err
	}
	b, err := c.nearest(ctx, other)
	if err != nil {
		return 0, 0, err
	}
	same := 0
	for i := range a {
		for _, x := range a[i] {
			if slices.Contains(b[i], x) {
				same++
			}
		}
	}
	return float64(same) / float64(neighbours*len(a)), len(a), nil
}

// nearest gives the nearest other texts of each.
func (c *Converter) nearest(ctx context.Context, graph []byte) (_ [][]int, err error) {
	runner, err := openGraph(graph, []string{convert.SentenceEmbedding})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	vectors := make([][]float32, len(c.texts))
	for i, t := range c.texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out, err := runner.Run(t)
		if err != nil {
			return nil, err
		}
		vectors[i] = slices.Clone(out[0])
	}
	lists := make([][]int, len(vectors))
	for i, v := range vectors {
		scores := make([]float64, len(vectors))
		var others []int
		for j, w := range vectors {
			if j == i {
				continue
			}
			for k := range v {
				scores[j] += float64(v[k]) * float64(w[k])
			}
			others = append(others, j)
		}
		slices.SortStableFunc(others, func(x, y int) int { return cmp.Compare(scores[y], scores[x]) })
		lists[i] = others[:neighbours]
	}
	return lists, nil
}

// graphRunner is a convert.Runner: a graph with the inputs that package convert writes.
type graphRunner struct {
	s       *ort.DynamicAdvancedSession
	pair    bool
	outputs int
}

// openGraph is a convert.Runtime.
func openGraph(graph []byte, outputs []string) (_ convert.Runner, err error) {
	info, err := onnx.Inspect(graph)
	if err != nil {
		return nil, err
	}
	o, err := sessionOptions()
	if err != nil {
		return nil, err
	}
	defer o.Destroy()
	r := &graphRunner{outputs: len(outputs)}
	inputs := []string{convert.InputIDs, convert.AttentionMask}
	if _, r.pair = info.Inputs[convert.TokenTypeIDs]; r.pair {
		inputs = append(inputs, convert.TokenTypeIDs)
	}
	if r.s, err = ort.NewDynamicAdvancedSessionWithONNXData(graph, inputs, outputs, o); err != nil {
		return nil, fmt.Errorf("load graph: %w", err)
	}
	return r, nil
}

// Run runs one text. The outputs are copies.
func (r *graphRunner) Run(t convert.Text) ([][]float32, error) {
	mask := slices.Repeat([]int32{1}, len(t.IDs))
	data := [][]int32{t.IDs, mask}
	if r.pair {
		types := t.Types
		if types == nil {
			types = make([]int32, len(t.IDs))
		}
		data = append(data, types)
	}
	var in []ort.Value
	defer func() { destroy(in) }()
	for _, d := range data {
		v, err := ort.NewTensor(ort.NewShape(1, int64(len(t.IDs))), d)
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
		t, ok := v.(*ort.Tensor[float32])
		if !ok {
			return nil, fmt.Errorf("the graph's output %d is %T, expected float32", i, v)
		}
		values[i] = slices.Clone(t.GetData())
	}
	return values, nil
}

func (r *graphRunner) Close() error { return r.s.Destroy() }
