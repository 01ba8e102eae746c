package embed

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"embedd/models"
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
		return fmt.Errorf("ONNX Runtime not found at %s; run make setup", library)
	}
	ort.SetSharedLibraryPath(library)
	if err := ort.InitializeEnvironment(ort.WithLogLevelError()); err != nil {
		return fmt.Errorf("load ONNX Runtime from %s: %w", library, err)
	}
	environment.library = library
	return nil
}

// session is a loaded graph. vector may be called from many goroutines at once, each with its own buffers.
type session struct {
	s       *ort.DynamicAdvancedSession
	inputs  []input
	dim     int
	pooling models.Pooling // of token vectors; "" where the graph pools
}

// input is an input of the graph: what it is and how wide its integers are.
type input struct {
	name string
	wide bool // int64, else int32
}

// sessionOptions are those of every session. One thread inside each Run: the workers are the parallelism. The arena stays
// on and the memory pattern off, which keeps memory flat over texts of every length.
func sessionOptions() (*ort.SessionOptions, error) {
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
	return o, nil
}

// newSession loads the graph.
func newSession(graph []byte, m *models.Manifest) (_ *session, err error) {
	inputs, err := matchInputs(graph, m)
	if err != nil {
		return nil, err
	}
	o, err := sessionOptions()
	if err != nil {
		return nil, err
	}
	defer o.Destroy()
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, m.Inputs, []string{m.Output}, o)
	if err != nil {
		return nil, fmt.Errorf("load graph: %w", err)
	}
	y := &session{s: s, inputs: inputs, dim: m.Dimension}
	if m.Output != models.Pooled {
		y.pooling = m.Pooling
	}
	return y, nil
}

// matchInputs inspects the file and compares its inputs and outputs with the manifest's.
func matchInputs(graph []byte, m *models.Manifest) ([]input, error) {
	info, err := onnx.Inspect(graph)
	if err != nil {
		return nil, err
	}
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

// outputShape is the shape of the output for one text of so many tokens.
func (s *session) outputShape(tokens int) ort.Shape {
	if s.pooling == "" {
		return ort.NewShape(1, int64(s.dim))
	}
	return ort.NewShape(1, int64(tokens), int64(s.dim))
}

// checkOutput runs two tokens and compares the output's shape with the manifest.
func (s *session) checkOutput(b *buffers) error {
	in, err := s.tensors(b, []uint32{0, 0})
	if err != nil {
		return err
	}
	defer destroy(in)
	out := []ort.Value{nil}
	if err := s.s.Run(in, out); err != nil {
		return fmt.Errorf("run graph: %w", err)
	}
	defer destroy(out)
	if _, ok := out[0].(*ort.Tensor[float32]); !ok {
		return fmt.Errorf("the graph's output is %T, expected float32", out[0])
	}
	if shape := out[0].GetShape(); !shape.Equals(s.outputShape(2)) {
		return fmt.Errorf("the graph's output for 2 tokens has shape %v, the manifest's dimension %d asks for %v", shape, s.dim, s.outputShape(2))
	}
	return nil
}

// buffers are one worker's memory, reused from Run to Run: the inputs in both widths, of which a graph reads one, and the
// output.
type buffers struct {
	ids, mask, types       []int64
	ids32, mask32, types32 []int32
	out                    []float32
}

func (s *session) newBuffers(maxTokens int) *buffers {
	b := &buffers{
		ids: make([]int64, maxTokens), mask: make([]int64, maxTokens), types: make([]int64, maxTokens),
		ids32: make([]int32, maxTokens), mask32: make([]int32, maxTokens), types32: make([]int32, maxTokens),
		out: make([]float32, s.outputShape(maxTokens).FlattenedSize()),
	}
	for i := range b.mask {
		b.mask[i], b.mask32[i] = 1, 1
	}
	return b
}

// tensors wraps b's memory, filled with ids, as the graph's inputs of shape [1, len(ids)].
func (s *session) tensors(b *buffers, ids []uint32) ([]ort.Value, error) {
	for i, id := range ids {
		b.ids[i], b.ids32[i] = int64(id), int32(id)
	}
	shape := ort.NewShape(1, int64(len(ids)))
	in := make([]ort.Value, 0, len(s.inputs))
	for _, x := range s.inputs {
		wide, narrow := b.ids, b.ids32
		switch x.name {
		case "attention_mask":
			wide, narrow = b.mask, b.mask32
		case "token_type_ids":
			wide, narrow = b.types, b.types32
		}
		var t ort.Value
		var err error
		if x.wide {
			t, err = ort.NewTensor(shape, wide[:len(ids)])
		} else {
			t, err = ort.NewTensor(shape, narrow[:len(ids)])
		}
		if err != nil {
			destroy(in)
			return nil, fmt.Errorf("tensor %s: %w", x.name, err)
		}
		in = append(in, t)
	}
	return in, nil
}

// run computes the output for one text: its vector where the graph pools, else its token vectors, [len(ids) × dim]. The
// result is b's memory until the next run.
func (s *session) run(b *buffers, ids []uint32) ([]float32, error) {
	in, err := s.tensors(b, ids)
	if err != nil {
		return nil, err
	}
	defer destroy(in)
	shape := s.outputShape(len(ids))
	values := b.out[:shape.FlattenedSize()]
	out, err := ort.NewTensor(shape, values)
	if err != nil {
		return nil, fmt.Errorf("tensor output: %w", err)
	}
	defer out.Destroy()
	if err := s.s.Run(in, []ort.Value{out}); err != nil {
		return nil, fmt.Errorf("run graph: %w", err)
	}
	runtime.KeepAlive(b) // the tensors hold bare pointers into it
	return values, nil
}

// vector computes the unit vector of one text.
func (s *session) vector(b *buffers, ids []uint32) ([]float32, error) {
	values, err := s.run(b, ids)
	if err != nil {
		return nil, err
	}
	v := make([]float32, s.dim)
	if s.pooling == "" {
		copy(v, values)
		return v, checkUnit(v)
	}
	pool(v, values, s.pooling)
	return v, normalize(v)
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
