package embed

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"embedd/embed/lane"
	"embedd/models"
	"embedd/models/convert"
	"embedd/models/onnx"
)

// environment is ONNX Runtime's one environment in this process. It is never destroyed: its library stays loaded until
// the process ends, and sessions come and go within it.
var environment struct {
	mu      sync.Mutex
	library string
}

// initEnvironment loads the shared library, once. Another library than the loaded one is an error.
func initEnvironment(library string) error {
	environment.mu.Lock()
	defer environment.mu.Unlock()
	if environment.library == library {
		return nil
	}
	if environment.library != "" {
		return fmt.Errorf("ONNX Runtime is already loaded from %s, cannot load %s", environment.library, library)
	}
	if _, err := os.Stat(library); err != nil {
		return fmt.Errorf("ONNX Runtime not found at %s; name its shared library with --library, or bring it with make setup", library)
	}
	ort.SetSharedLibraryPath(library)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return fmt.Errorf("load ONNX Runtime from %s: %w", library, err)
	}
	environment.library = library
	return nil
}

// RuntimeVersion is the version of ONNX Runtime that is loaded; "" before the first model is.
func RuntimeVersion() string {
	environment.mu.Lock()
	defer environment.mu.Unlock()
	if environment.library == "" {
		return ""
	}
	return ort.GetVersion()
}

// session is a loaded graph. run and vectors may be called from many goroutines at once, each with its own buffers.
type session struct {
	s      *ort.DynamicAdvancedSession
	inputs []input
	dim    int
	// pooled: the graph gives a vector for each text; states: it gives token vectors. At least one of them.
	pooled, states bool
	// score: the graph gives a number for each pair of texts, which is a pooled vector of one value.
	score   bool
	pooling models.Pooling
}

// input is an input of the graph: what it is and how wide its integers are.
type input struct {
	name string
	wide bool // int64, else int32
}

// sessionOptions are those of every session. One thread inside each Run: the slots are the parallelism. The arena stays
// on and the memory pattern off, which keeps memory flat over texts of every length.
func sessionOptions(p Provider) (*ort.SessionOptions, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	err = errors.Join(
		o.SetIntraOpNumThreads(1),
		o.SetInterOpNumThreads(1),
		o.SetCpuMemArena(true),
		o.SetMemPattern(false),
		o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		o.SetLogSeverityLevel(ort.LoggingLevelError),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("session options: %w", err), o.Destroy())
	}
	if err := p.add(o); err != nil {
		return nil, errors.Join(err, o.Destroy())
	}
	return o, nil
}

// newSession loads the graph and tries it. Token vectors beside the pooled ones are taken where they have its dimension.
func newSession(graph []byte, m *models.Manifest, p Provider) (*session, error) {
	info, err := onnx.Inspect(graph)
	if err != nil {
		return nil, err
	}
	outputs := []string{m.Output}
	if m.Output == models.Pooled && slices.Contains(info.Outputs, convert.LastHiddenState) {
		outputs = append(outputs, convert.LastHiddenState)
	}
	for {
		s, err := loadSession(graph, info, m, p, outputs)
		if err != nil {
			return nil, err
		}
		mismatch, err := s.checkOutputs(outputs)
		if err == nil {
			return s, nil
		}
		if err := errors.Join(err, s.close()); mismatch != convert.LastHiddenState || len(outputs) == 1 {
			return nil, err
		}
		outputs = outputs[:1]
	}
}

// loadSession loads the graph for these outputs.
func loadSession(graph []byte, info *onnx.Info, m *models.Manifest, p Provider, outputs []string) (*session, error) {
	inputs, err := matchInputs(info, m)
	if err != nil {
		return nil, err
	}
	o, err := sessionOptions(p)
	if err != nil {
		return nil, err
	}
	defer o.Destroy()
	y := &session{inputs: inputs, dim: m.Dimension, pooling: m.Pooling}
	y.score = m.Task == models.TaskScore
	y.pooled = y.score || m.Output == models.Pooled
	y.states = !y.pooled || len(outputs) > 1
	if y.s, err = ort.NewDynamicAdvancedSessionWithONNXData(graph, m.Inputs, outputs, o); err != nil {
		return nil, fmt.Errorf("load graph: %w", err)
	}
	return y, nil
}

// matchInputs compares the graph's inputs and outputs with the manifest's.
func matchInputs(info *onnx.Info, m *models.Manifest) ([]input, error) {
	if !slices.Contains(info.Outputs, m.Output) {
		return nil, fmt.Errorf("the graph has no output %q; it has %q", m.Output, info.Outputs)
	}
	var inputs []input
	for _, name := range m.Inputs {
		switch t, ok := info.Inputs[name]; {
		case !ok:
			return nil, fmt.Errorf("the graph has no input %q", name)
		case t == onnx.TensorProto_DATA_TYPE_INT64:
			inputs = append(inputs, input{name, true})
		case t == onnx.TensorProto_DATA_TYPE_INT32:
			inputs = append(inputs, input{name, false})
		default:
			return nil, fmt.Errorf("the graph's input %q is of type %v; supported are int32 and int64", name, t)
		}
	}
	for name := range info.Inputs {
		if !slices.Contains(m.Inputs, name) {
			return nil, fmt.Errorf("the graph has an input %q that the manifest does not name", name)
		}
	}
	return inputs, nil
}

// shapes are those of the outputs for so many texts, padded to so many tokens, in the order of the session's outputs.
func (s *session) shapes(rows, tokens int) []ort.Shape {
	var all []ort.Shape
	if s.pooled {
		all = append(all, ort.NewShape(int64(rows), int64(s.dim)))
	}
	if s.states {
		all = append(all, ort.NewShape(int64(rows), int64(tokens), int64(s.dim)))
	}
	return all
}

// checkOutputs runs two texts of three tokens and compares the outputs' shapes with the manifest. mismatch is the name of an
// output that is not as it should be.
func (s *session) checkOutputs(names []string) (mismatch string, err error) {
	text := lane.Text{IDs: []uint32{0, 0, 0}}
	in, err := s.fill(&buffers{}, []lane.Text{text, text}, 3)
	if err != nil {
		return "", err
	}
	defer destroy(in)
	want := s.shapes(2, 3)
	out := make([]ort.Value, len(want))
	if err := s.s.Run(in, out); err != nil {
		return "", fmt.Errorf("run graph: %w", err)
	}
	defer destroy(out)
	for i, shape := range want {
		if _, ok := out[i].(*ort.Tensor[float32]); !ok {
			return names[i], fmt.Errorf("the graph's output %q is %T, expected float32", names[i], out[i])
		}
		if got := out[i].GetShape(); !got.Equals(shape) {
			return names[i], fmt.Errorf("the graph's output %q for 2 texts of 3 tokens has shape %v, the manifest's dimension %d asks for %v", names[i], got, s.dim, shape)
		}
	}
	return "", nil
}

// buffers are one slot's memory, reused from Run to Run: the inputs in both widths, of which a graph reads one, and the
// outputs.
type buffers struct {
	ids, mask, types       []int64
	ids32, mask32, types32 []int32
	pooled, states         []float32
}

// reserve makes room for a batch of so many texts and n tokens, padding included.
func (s *session) reserve(b *buffers, rows, n int) {
	if len(b.ids) < n {
		b.ids, b.mask, b.types = make([]int64, n), make([]int64, n), make([]int64, n)
		b.ids32, b.mask32, b.types32 = make([]int32, n), make([]int32, n), make([]int32, n)
	}
	if s.pooled && len(b.pooled) < rows*s.dim {
		b.pooled = make([]float32, rows*s.dim)
	}
	if s.states && len(b.states) < n*s.dim {
		b.states = make([]float32, n*s.dim)
	}
}

// fill wraps b's memory, filled with a batch that is padded to so many tokens, as the graph's inputs. Padding is id 0, which
// every vocabulary has, and the mask hides it.
func (s *session) fill(b *buffers, batch []lane.Text, tokens int) ([]ort.Value, error) {
	n := len(batch) * tokens
	s.reserve(b, len(batch), n)
	for row, t := range batch {
		for i := range tokens {
			var id uint32
			var mask, kind int32
			if i < len(t.IDs) {
				id, mask = t.IDs[i], 1
				if t.Second > 0 && i >= t.Second {
					kind = 1
				}
			}
			at := row*tokens + i
			b.ids[at], b.ids32[at] = int64(id), int32(id)
			b.mask[at], b.mask32[at] = int64(mask), mask
			b.types[at], b.types32[at] = int64(kind), kind
		}
	}
	shape := ort.NewShape(int64(len(batch)), int64(tokens))
	in := make([]ort.Value, 0, len(s.inputs))
	for _, x := range s.inputs {
		wide, narrow := b.ids, b.ids32
		switch x.name {
		case convert.AttentionMask:
			wide, narrow = b.mask, b.mask32
		case convert.TokenTypeIDs:
			wide, narrow = b.types, b.types32
		}
		var t ort.Value
		var err error
		if x.wide {
			t, err = ort.NewTensor(shape, wide[:n])
		} else {
			t, err = ort.NewTensor(shape, narrow[:n])
		}
		if err != nil {
			destroy(in)
			return nil, fmt.Errorf("tensor %s: %w", x.name, err)
		}
		in = append(in, t)
	}
	return in, nil
}

// run computes the outputs for a batch, each text padded to so many tokens, into b.pooled and b.states.
func (s *session) run(b *buffers, batch []lane.Text, tokens int) error {
	in, err := s.fill(b, batch, tokens)
	if err != nil {
		return err
	}
	defer destroy(in)
	memory := [][]float32{b.pooled, b.states}
	if !s.pooled {
		memory = memory[1:]
	}
	var out []ort.Value
	defer func() { destroy(out) }()
	for i, shape := range s.shapes(len(batch), tokens) {
		t, err := ort.NewTensor(shape, memory[i][:shape.FlattenedSize()])
		if err != nil {
			return fmt.Errorf("tensor output: %w", err)
		}
		out = append(out, t)
	}
	if err := s.s.Run(in, out); err != nil {
		return fmt.Errorf("run graph: %w", err)
	}
	runtime.KeepAlive(b) // the tensors hold bare pointers into it
	return nil
}

// longest is the number of tokens of the longest text of a batch.
func longest(batch []lane.Text) int {
	n := 0
	for _, t := range batch {
		n = max(n, len(t.IDs))
	}
	return n
}

// results computes what the model makes of each text of a batch: its unit vector, or a pair's score. A text whose result is no
// direction, or no number, is an error of its own.
func (s *session) results(b *buffers, batch []lane.Text, out []lane.Result) error {
	tokens := longest(batch)
	if err := s.run(b, batch, tokens); err != nil {
		return err
	}
	for row, t := range batch {
		v := make([]float32, s.dim)
		var states []float32
		if s.states {
			states = b.states[row*tokens*s.dim:][:len(t.IDs)*s.dim]
		}
		var err error
		switch {
		case s.score:
			if v[0] = b.pooled[row]; v[0]-v[0] != 0 {
				err = fmt.Errorf("the model gave a score of %v", v[0])
			}
		case s.pooled:
			copy(v, b.pooled[row*s.dim:])
			err = checkUnit(v)
		default:
			pool(v, states, s.pooling)
			err = normalize(v)
		}
		if err != nil {
			out[row] = lane.Result{Err: err}
			continue
		}
		out[row] = lane.Result{Vector: v}
		if t.Whole {
			out[row].Tokens = slices.Clone(states)
		}
	}
	return nil
}

// destroy frees the C side of values. It can only fail for a value destroyed twice.
func destroy(values []ort.Value) {
	for _, v := range values {
		if v != nil {
			if err := v.Destroy(); err != nil {
				panic("embed: " + err.Error())
			}
		}
	}
}

func (s *session) close() error { return s.s.Destroy() }
