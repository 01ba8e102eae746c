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

// inputs are the names of a network's inputs.
func inputs(n *convert.Network) []string {
	if n.CrossEncoder() {
		return []string{convert.InputIDs, convert.AttentionMask, convert.TokenTypeIDs}
	}
	return []string{convert.InputIDs, convert.AttentionMask}
}

// run gives the sentence embeddings, or scores, of padded texts in one Run.
func run(t *testing.T, n *convert.Network, graph []byte, texts []convert.Text, tokens int) [][]float32 {
	t.Helper()
	if err := loadRuntime(); err != nil {
		t.Fatal(err)
	}
	output, dim := convert.SentenceEmbedding, n.Dimension
	if n.CrossEncoder() {
		output, dim = convert.Score, 1
	}
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, inputs(n), []string{output}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy()
	var data3 [3][]int32
	for _, text := range texts {
		pad := make([]int32, tokens-len(text.IDs))
		for i, values := range columns(text) {
			data3[i] = append(append(data3[i], values...), pad...)
		}
	}
	shape := ort.NewShape(int64(len(texts)), int64(tokens))
	var in []ort.Value
	for i := range inputs(n) {
		v, err := ort.NewTensor(shape, data3[i])
		if err != nil {
			t.Fatal(err)
		}
		defer v.Destroy()
		in = append(in, v)
	}
	data := make([]float32, len(texts)*dim)
	out, err := ort.NewTensor(ort.NewShape(int64(len(texts)), int64(dim)), data)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Destroy()
	if err := s.Run(in, []ort.Value{out}); err != nil {
		t.Fatal(err)
	}
	return slices.Collect(slices.Chunk(data, dim))
}

// columns are a text's ids, mask and types.
func columns(t convert.Text) [3][]int32 {
	types := make([]int32, len(t.IDs))
	if t.Second > 0 {
		for i := t.Second; i < len(types); i++ {
			types[i] = 1
		}
	}
	return [3][]int32{t.IDs, slices.Repeat([]int32{1}, len(t.IDs)), types}
}

// runner is a convert.Runner for a calibration.
type runner struct {
	s               *ort.DynamicAdvancedSession
	inputs, outputs int
}

func openRunner(n *convert.Network) convert.Runtime {
	return func(graph []byte, outputs []string) (convert.Runner, error) {
		if err := loadRuntime(); err != nil {
			return nil, err
		}
		s, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, inputs(n), outputs, nil)
		return &runner{s, len(inputs(n)), len(outputs)}, err
	}
}

func (r *runner) Run(text convert.Text) ([][]float32, error) {
	shape := ort.NewShape(1, int64(len(text.IDs)))
	var in []ort.Value
	for _, values := range columns(text) {
		v, err := ort.NewTensor(shape, values)
		if err != nil {
			return nil, err
		}
		defer v.Destroy()
		in = append(in, v)
	}
	out := make([]ort.Value, r.outputs)
	if err := r.s.Run(in[:r.inputs], out); err != nil {
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
		"gelu_new": act("gelu_new"), "relu": act("relu"), "cross-encoder": crossEncoder,
	} {
		t.Run(name, func(t *testing.T) {
			n, err := convert.Read(folder(t, func(f files, _ map[string][]int) { change(f) }), convert.Options{})
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(3, 3))
			random := func() (all []convert.Text) {
				for length := 3; length <= n.MaxTokens; length++ {
					text := convert.Text{IDs: make([]int32, length)}
					if n.CrossEncoder() {
						text.Second = 1 + rng.IntN(length-1)
					}
					for i := range text.IDs {
						text.IDs[i] = int32(rng.IntN(50))
					}
					all = append(all, text)
				}
				return all
			}
			calibration, texts := random(), random() // other texts than those that are compared
			fp32, err := n.Graph(nil)
			if err != nil {
				t.Fatal(err)
			}
			c, err := convert.Calibrate(t.Context(), n, calibration, openRunner(n), nil)
			if err != nil {
				t.Fatal(err)
			}
			int8s, err := n.Graph(c)
			if err != nil {
				t.Fatal(err)
			}
			for kind, graph := range map[string][]byte{"fp32": fp32, "int8": int8s} {
				batch := run(t, n, graph, texts, n.MaxTokens)
				for i, text := range texts {
					if err := agree(convert.Reference(n, text), batch[i], kind == "int8"); err != nil {
						t.Errorf("%s, %d tokens: %v", kind, len(text.IDs), err)
					}
					alone := run(t, n, graph, []convert.Text{text}, len(text.IDs))[0]
					if !slices.Equal(alone, batch[i]) {
						t.Errorf("%s, %d tokens: %s", kind, len(text.IDs), differ(alone, batch[i]))
					}
				}
			}
		})
	}
}

// crossEncoder makes a cross-encoder of a folder.
func crossEncoder(f map[string]map[string]any) {
	f["config.json"]["architectures"] = []string{"BertForSequenceClassification"}
	f["config.json"]["id2label"] = map[string]string{"0": "LABEL_0"}
	delete(f, "1_Pooling/config.json")
}

// agree compares a unit vector, or a score, with the reference.
func agree(want []float64, got []float32, rounded bool) error {
	if len(got) == 1 {
		most := 1e-5
		if rounded {
			most = 0.1
		}
		if d := math.Abs(want[0] - float64(got[0])); !(d <= most) {
			return fmt.Errorf("score %v, the reference's is %v", got[0], want[0])
		}
		return nil
	}
	least := 1 - 1e-6
	if rounded {
		least = 0.99
	}
	var cos float64
	for j, x := range want {
		cos += x * float64(got[j])
	}
	if !(cos >= least) {
		return fmt.Errorf("cosine to the reference %v, want at least %v", cos, least)
	}
	return nil
}

func differ(a, b []float32) string {
	var most float64
	for i := range a {
		most = max(most, math.Abs(float64(a[i]-b[i])))
	}
	return fmt.Sprintf("alone and padded differ by up to %.2g", most)
}
