package convert_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	ort "github.com/yalue/onnxruntime_go"

	"embedd/internal/native"
	"embedd/models/convert"
)

var loadRuntime = sync.OnceValue(func() error {
	home, err := native.Home()
	if err != nil {
		return err
	}
	ort.SetSharedLibraryPath(native.RuntimeLibrary(home))
	return ort.InitializeEnvironment()
})

// run gives the sentence embeddings of padded texts, [texts × dimension], in one Run.
func run(t *testing.T, graph []byte, texts [][]int32, tokens, dim int) [][]float32 {
	t.Helper()
	if err := loadRuntime(); err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, []string{convert.InputIDs, convert.AttentionMask}, []string{convert.SentenceEmbedding}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy()
	var ids, mask []int32
	for _, text := range texts {
		pad := make([]int32, tokens-len(text))
		ids = append(append(ids, text...), pad...)
		mask = append(append(mask, slices.Repeat([]int32{1}, len(text))...), pad...)
	}
	shape := ort.NewShape(int64(len(texts)), int64(tokens))
	a, err := ort.NewTensor(shape, ids)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Destroy()
	b, err := ort.NewTensor(shape, mask)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Destroy()
	data := make([]float32, len(texts)*dim)
	out, err := ort.NewTensor(ort.NewShape(int64(len(texts)), int64(dim)), data)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Destroy()
	if err := s.Run([]ort.Value{a, b}, []ort.Value{out}); err != nil {
		t.Fatal(err)
	}
	return slices.Collect(slices.Chunk(data, dim))
}

// runner is a convert.Runner for a calibration.
type runner struct {
	s       *ort.DynamicAdvancedSession
	outputs int
}

func openRunner(graph []byte, outputs []string) (convert.Runner, error) {
	if err := loadRuntime(); err != nil {
		return nil, err
	}
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, []string{convert.InputIDs, convert.AttentionMask}, outputs, nil)
	return &runner{s, len(outputs)}, err
}

func (r *runner) Run(text convert.Text) ([][]float32, error) {
	shape := ort.NewShape(1, int64(len(text)))
	ids, err := ort.NewTensor(shape, text)
	if err != nil {
		return nil, err
	}
	defer ids.Destroy()
	mask, err := ort.NewTensor(shape, slices.Repeat([]int32{1}, len(text)))
	if err != nil {
		return nil, err
	}
	defer mask.Destroy()
	out := make([]ort.Value, r.outputs)
	if err := r.s.Run([]ort.Value{ids, mask}, out); err != nil {
		return nil, err
	}
	var values [][]float32
	for _, v := range out {
		values = append(values, slices.Clone(v.(*ort.Tensor[float32]).GetData()))
		v.Destroy()
	}
	return values, nil
}

func (r *runner) Close() error { return r.s.Destroy() }

// Each kind of network: the float32 graph agrees with the computation from the weights in float64, the int8 graph is near
// it, and a text's vector is the same to the bit alone and padded beside others.
func TestGraphsAgreeWithTheReference(t *testing.T) {
	if testing.Short() {
		t.Skip("needs ONNX Runtime")
	}
	type files = map[string]map[string]any
	pooling := func(mode string) func(files) {
		return func(f files) {
			f["1_Pooling/config.json"] = map[string]any{"pooling_mode_" + mode: true}
		}
	}
	model := func(name string) func(files) {
		return func(f files) { f["config.json"]["model_type"] = name }
	}
	act := func(name string) func(files) {
		return func(f files) { f["config.json"]["hidden_act"] = name }
	}
	for name, change := range map[string]func(files){
		"bert": func(files) {}, "cls": pooling("cls_token"), "last": pooling("lasttoken"), "max": pooling("max_tokens"),
		"roberta": model("roberta"), "xlm-roberta": model("xlm-roberta"), "mpnet": model("mpnet"),
		"gelu_new": act("gelu_new"), "relu": act("relu"),
	} {
		t.Run(name, func(t *testing.T) {
			n, err := convert.Read(folder(t, func(f files, _ map[string][]int) { change(f) }), convert.Options{})
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(3, 3))
			var calibration []convert.Text // other texts than those that are compared
			for length := 3; length <= n.MaxTokens; length++ {
				text := make(convert.Text, length)
				for i := range text {
					text[i] = int32(rng.IntN(50))
				}
				calibration = append(calibration, text)
			}
			var texts [][]int32
			for length := 3; length <= n.MaxTokens; length++ {
				var ids []int32
				for range length {
					ids = append(ids, int32(rng.IntN(50)))
				}
				texts = append(texts, ids)
			}
			fp32, err := n.Graph(nil)
			if err != nil {
				t.Fatal(err)
			}
			c, err := convert.Calibrate(t.Context(), n, calibration, openRunner, nil)
			if err != nil {
				t.Fatal(err)
			}
			int8s, err := n.Graph(c)
			if err != nil {
				t.Fatal(err)
			}
			for kind, graph := range map[string][]byte{"fp32": fp32, "int8": int8s} {
				least := map[string]float64{"fp32": 1 - 1e-6, "int8": 0.99}[kind]
				batch := run(t, graph, texts, n.MaxTokens, n.Dimension)
				for i, text := range texts {
					var cos float64
					for j, want := range convert.Reference(n, text) {
						cos += want * float64(batch[i][j])
					}
					if cos < least || math.IsNaN(cos) {
						t.Errorf("%s, %d tokens: cosine to the reference %v, want at least %v", kind, len(text), cos, least)
					}
					alone := run(t, graph, [][]int32{text}, len(text), n.Dimension)[0]
					if !slices.Equal(alone, batch[i]) {
						t.Errorf("%s, %d tokens: %s", kind, len(text), differ(alone, batch[i]))
					}
				}
			}
		})
	}
}

func differ(a, b []float32) string {
	var most float64
	for i := range a {
		most = max(most, math.Abs(float64(a[i]-b[i])))
	}
	return fmt.Sprintf("alone and padded differ by up to %.2g", most)
}
