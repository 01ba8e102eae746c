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

// session is a loaded graph. run may be called from many goroutines at once, each with its own buffers.
type session struct {
	s      *ort.DynamicAdvancedSession
	inputs []string
	dim    int
}

// newSession loads the graph. One thread inside each Run: the workers are the parallelism. The arena stays on and the
// memory pattern off, which keeps memory flat over texts of every length.
func newSession(graph []byte, m *models.Manifest) (_ *session, err error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	defer o.Destroy()
	err = errors.Join(
		o.SetIntraOpNumThreads(1),
		o.SetInterOpNumThreads(1),
		o.SetCpuMemArena(true),
		o.SetMemPattern(false),
		o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		o.SetLogSeverityLevel(ort.LoggingLevelError),
	)
	if err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, m.Inputs, []string{m.Output}, o)
	if err != nil {
		return nil, fmt.Errorf("load graph: %w", err)
	}
	return &session{s: s, inputs: slices.Clone(m.Inputs), dim: m.Dimension}, nil
}

// checkOutput runs two tokens and compares the output's shape with the manifest: [1, 2, dimension].
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
	if shape := out[0].GetShape(); !shape.Equals(ort.NewShape(1, 2, int64(s.dim))) {
		return fmt.Errorf("the graph's output for 2 tokens has shape %v, the manifest's dimension %d asks for [1 2 %d]", shape, s.dim, s.dim)
	}
	return nil
}

// buffers are one worker's memory, reused from Run to Run.
type buffers struct {
	ids, mask, types []int64
	hidden           []float32
}

func newBuffers(maxTokens, dim int) *buffers {
	b := &buffers{
		ids:    make([]int64, maxTokens),
		mask:   make([]int64, maxTokens),
		types:  make([]int64, maxTokens),
		hidden: make([]float32, maxTokens*dim),
	}
	for i := range b.mask {
		b.mask[i] = 1
	}
	return b
}

// tensors wraps b's memory, filled with ids, as the graph's inputs of shape [1, len(ids)].
func (s *session) tensors(b *buffers, ids []uint32) ([]ort.Value, error) {
	for i, id := range ids {
		b.ids[i] = int64(id)
	}
	shape := ort.NewShape(1, int64(len(ids)))
	in := make([]ort.Value, 0, len(s.inputs))
	for _, name := range s.inputs {
		data := b.ids
		switch name {
		case "attention_mask":
			data = b.mask
		case "token_type_ids":
			data = b.types
		}
		t, err := ort.NewTensor(shape, data[:len(ids)])
		if err != nil {
			destroy(in)
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		in = append(in, t)
	}
	return in, nil
}

// run computes the token vectors of one text. The result, [len(ids) × dim], is b's memory until the next run.
func (s *session) run(b *buffers, ids []uint32) ([]float32, error) {
	in, err := s.tensors(b, ids)
	if err != nil {
		return nil, err
	}
	defer destroy(in)
	hidden := b.hidden[:len(ids)*s.dim]
	out, err := ort.NewTensor(ort.NewShape(1, int64(len(ids)), int64(s.dim)), hidden)
	if err != nil {
		return nil, fmt.Errorf("tensor output: %w", err)
	}
	defer out.Destroy()
	if err := s.s.Run(in, []ort.Value{out}); err != nil {
		return nil, fmt.Errorf("run graph: %w", err)
	}
	runtime.KeepAlive(b) // the tensors hold bare pointers into it
	return hidden, nil
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
