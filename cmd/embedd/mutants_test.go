package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"embedd/internal/native"
	"embedd/models"
	"embedd/models/onnx"
)

var (
	mutants    = flag.Int("mutants", 30, "mutated model files that TestMutatedModels makes")
	mutantSeed = flag.Uint64("mutant-seed", 0, "seed of TestMutatedModels; 0: a random one")
)

// A model file that is damaged, or made to do harm, may end the process that loads it, never this one: each of many mutants
// ends as a model that works, is refused, gives an error, or ends its process, within the time limit. What Inspect refuses
// has not reached the runtime. make fuzz-models makes a thousand.
func TestMutatedModels(t *testing.T) {
	seed := *mutantSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	bases := []*models.Model{tinyModel(t, root, "fp32"), tinyModel(t, root, "int8")}
	var graphs [][]byte
	for _, m := range bases {
		graph, err := m.ReadFile(m.Files.Model)
		if err != nil {
			t.Fatal(err)
		}
		graphs = append(graphs, graph)
	}
	const limit = 4 * time.Second
	var mu sync.Mutex
	ends := map[string]map[string]int{} // by mutation, by end
	deaths := map[string]int{}
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(2, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := range next {
				// Each mutant has a generator of its own, so that it is the same whoever makes it.
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				kind := mutations[i%len(mutations)]
				if kind.name == "endless" && i >= 10*len(mutations) { // each takes the time limit
					kind = mutations[0]
				}
				base := rng.IntN(len(bases))
				graph := kind.mutate(rng, graphs[base], graphs)
				id := fmt.Sprintf("mutant-%d", i)
				begin := time.Now()
				end, why, err := tryMutant(t, root, id, native.RuntimeLibrary(home), bases[base], graph, limit)
				if took := time.Since(begin); err == nil && took > limit+10*time.Second {
					err = fmt.Errorf("took %v", took)
				}
				if err != nil {
					t.Errorf("%s, %s: %v", id, kind.name, err)
				}
				mu.Lock()
				if ends[kind.name] == nil {
					ends[kind.name] = map[string]int{}
				}
				ends[kind.name][end]++
				switch {
				case end == "died":
					deaths[kind.name+": "+why]++
				case testing.Verbose() && *mutants <= 100:
					t.Logf("%s, %s: %s %.200s", id, kind.name, end, why)
				}
				mu.Unlock()
			}
		})
	}
	for i := range *mutants {
		next <- i
	}
	close(next)
	workers.Wait()
	all := map[string]int{}
	for _, kind := range mutations {
		t.Logf("%-16s %v", kind.name, ends[kind.name])
		for end, n := range ends[kind.name] {
			all[end] += n
		}
	}
	t.Logf("%-16s %v", "all", all)
	for why, n := range deaths {
		t.Logf("died %d times: %s", n, why)
	}
	for _, kind := range mutations[:min(*mutants, len(mutations))] {
		if kind.want != "" && ends[kind.name][kind.want] == 0 {
			t.Errorf("no mutant of the kind %s was %s", kind.name, kind.want)
		}
	}
}

// tryMutant makes a model of a graph and tries it in a child. end is ok, other vectors, refused, error or died.
func tryMutant(t *testing.T, root, id, library string, like *models.Model, graph []byte, limit time.Duration) (end, why string, err error) {
	manifest := *like.Manifest
	m := &models.Model{Manifest: &manifest, Dir: filepath.Join(root, id)}
	m.ID = id
	if err := errors.Join(os.Mkdir(m.Dir, 0o755), os.Link(filepath.Join(like.Dir, m.Files.Tokenizer.Path), filepath.Join(m.Dir, m.Files.Tokenizer.Path))); err != nil {
		return "", "", err
	}
	defer os.RemoveAll(m.Dir)
	if err := replaceGraph(m, graph); err != nil {
		return "", "", err
	}
	_, refusal := onnx.Inspect(graph)
	r, err := (&trial{Models: root, Library: library, ID: id}).inChild(t.Context(), limit)
	var died *childError
	switch {
	case errors.As(err, &died):
		end = "died"
		why, _, _ = strings.Cut(died.Error(), "\nPC=") // an address is another each time
	case err == nil && !r.Golden.OK:
		end = "other vectors"
	case err == nil:
		end = "ok"
	case r == nil:
		return "", "", err
	case r.Refused:
		end = "refused"
	default:
		end, why = "error", err.Error()
	}
	if (refusal != nil) != (end == "refused") {
		return end, why, fmt.Errorf("is %s in the child (%v); Inspect says %v", end, err, refusal)
	}
	return end, why, nil
}

// mutation is a way to make another file of a model file. want, where it is set, is an end that some mutants must come to.
type mutation struct {
	name   string
	want   string
	mutate func(rng *rand.Rand, graph []byte, all [][]byte) []byte
}

var mutations = []mutation{
	{"bytes", "", onBytes(func(rng *rand.Rand, file []byte) []byte {
		for range 1 + rng.IntN(8) {
			file[rng.IntN(len(file))] = byte(rng.Uint32())
		}
		return file
	})},
	{"bit", "", onBytes(func(rng *rand.Rand, file []byte) []byte {
		file[rng.IntN(len(file))] ^= 1 << rng.IntN(8)
		return file
	})},
	{"structure bytes", "", func(rng *rand.Rand, file []byte, _ [][]byte) []byte {
		// Among the nodes, whose bytes come first and are few beside the weights.
		file = slices.Clone(file)
		for range 1 + rng.IntN(4) {
			file[rng.IntN(min(len(file), 4096))] = byte(rng.Uint32())
		}
		return file
	}},
	{"truncated", "refused", onBytes(func(rng *rand.Rand, file []byte) []byte { return file[:rng.IntN(len(file))] })},
	{"cut out", "", onBytes(func(rng *rand.Rand, file []byte) []byte {
		from := rng.IntN(len(file))
		return slices.Delete(file, from, from+rng.IntN(min(64, len(file)-from)+1))
	})},
	{"spliced", "", func(rng *rand.Rand, file []byte, all [][]byte) []byte {
		other := all[rng.IntN(len(all))]
		from := rng.IntN(len(other))
		return slices.Insert(slices.Clone(file), rng.IntN(len(file)), other[from:from+rng.IntN(min(4096, len(other)-from)+1)]...)
	}},
	{"field appended", "", onBytes(func(rng *rand.Rand, file []byte) []byte {
		// A field of any number, whose length says more than there is, or little.
		file = binary.AppendUvarint(file, uint64(1+rng.IntN(30))<<3|2)
		return append(binary.AppendUvarint(file, rng.Uint64()>>rng.IntN(64)), make([]byte, rng.IntN(200))...)
	})},
	{"dimension", "", onTensor(func(rng *rand.Rand, t *onnx.TensorProto) {
		t.Dims = append(t.Dims, 1)
		t.Dims[rng.IntN(len(t.Dims))] = pick(rng, -1, 0, 1<<31, 1<<40, 1<<62, math.MaxInt64, math.MinInt64)
	})},
	{"dimensions wrap", "", onTensor(func(rng *rand.Rand, t *onnx.TensorProto) { // a product of 2^64
		t.Dims = []int64{1 << 32, 1 << 32}
		if rng.IntN(2) == 0 {
			t.RawData = nil
		}
	})},
	{"tensor type", "", onTensor(func(rng *rand.Rand, t *onnx.TensorProto) { t.DataType = int32(rng.IntN(30)) })},
	{"tensor data", "", onTensor(func(rng *rand.Rand, t *onnx.TensorProto) {
		t.RawData = t.RawData[:rng.IntN(len(t.RawData)+1)]
	})},
	{"tensors swapped", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		all := m.Graph.Initializer
		a, b := all[rng.IntN(len(all))], all[rng.IntN(len(all))]
		a.Name, b.Name = b.Name, a.Name
	})},
	{"external data", "refused", onTensor(func(rng *rand.Rand, t *onnx.TensorProto) {
		t.RawData, t.DataLocation = nil, onnx.TensorProto_EXTERNAL
		t.ExternalData = []*onnx.StringStringEntryProto{{Key: "location", Value: pickString(rng, "/etc/passwd", "../../secret", "*/_ORT_MEM_ADDR_/*")}}
	})},
	{"external attribute", "refused", onNode(func(_ *rand.Rand, n *onnx.NodeProto) {
		n.OpType, n.Input = "Constant", nil
		n.Attribute = []*onnx.AttributeProto{{Name: "value", Type: onnx.AttributeProto_TENSOR, T: &onnx.TensorProto{
			DataType: 1, Dims: []int64{1}, DataLocation: onnx.TensorProto_EXTERNAL,
			ExternalData: []*onnx.StringStringEntryProto{{Key: "location", Value: "/dev/zero"}},
		}}}
	})},
	{"custom operator", "refused", onNode(func(rng *rand.Rand, n *onnx.NodeProto) {
		n.Domain = pickString(rng, "evil", "ai.onnx.contrib", "com.microsoft.experimental")
	})},
	{"operator", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		a, b := anyOf(rng, m.Graph.Node), anyOf(rng, m.Graph.Node)
		a.OpType, b.OpType, a.Domain, b.Domain = b.OpType, a.OpType, b.Domain, a.Domain
	})},
	{"inputs", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		a, b := anyOf(rng, m.Graph.Node), anyOf(rng, m.Graph.Node)
		a.Input[rng.IntN(len(a.Input))] = b.Input[rng.IntN(len(b.Input))]
	})},
	{"fewer inputs", "", onNode(func(rng *rand.Rand, n *onnx.NodeProto) { n.Input = n.Input[:rng.IntN(len(n.Input))] })},
	{"cycle", "error", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		at := rng.IntN(len(m.Graph.Node) - 1)
		late := m.Graph.Node[at+rng.IntN(len(m.Graph.Node)-at)]
		m.Graph.Node[at].Input[0] = late.Output[0]
	})},
	{"attribute", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		var all []*onnx.AttributeProto
		for _, n := range m.Graph.Node {
			all = append(all, n.Attribute...)
		}
		a := anyOf(rng, all)
		a.I = pick(rng, -1, 0, 1<<31, 1<<40, math.MaxInt64, math.MinInt64)
		for i := range a.Ints {
			a.Ints[i] = pick(rng, -1, 0, 1<<31, 1<<62)
		}
	})},
	{"constant", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) { // shapes and indices are constants of integers
		var all []*onnx.TensorProto
		for _, t := range m.Graph.Initializer {
			if t.DataType == int32(onnx.TensorProto_DATA_TYPE_INT64) && len(t.RawData) >= 8 {
				all = append(all, t)
			}
		}
		t := anyOf(rng, all)
		binary.LittleEndian.PutUint64(t.RawData[8*rng.IntN(len(t.RawData)/8):], uint64(pick(rng, -7, 1<<20, 1<<31, 1<<40, math.MaxInt64, math.MinInt64)))
	})},
	{"shared names", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		anyOf(rng, m.Graph.Node).Output[0] = anyOf(rng, m.Graph.Node).Output[0]
	})},
	{"version", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		m.OpsetImport[rng.IntN(len(m.OpsetImport))].Version = pick(rng, -1, 0, 1, 7, 1<<40)
		m.IrVersion = pick(rng, 0, 3, 8, 1<<40)
	})},
	{"declared input", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		t := m.Graph.Input[rng.IntN(len(m.Graph.Input))].GetType().GetTensorType()
		t.ElemType = int32(rng.IntN(20))
		t.Shape.Dim = append(t.Shape.Dim, &onnx.TensorShapeProto_Dimension{Value: &onnx.TensorShapeProto_Dimension_DimValue{DimValue: -5}})
	})},
	{"deep", "", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		inner := &onnx.GraphProto{Name: "g", Node: []*onnx.NodeProto{{OpType: "Identity", Input: []string{m.Graph.Output[0].Name}, Output: []string{"x"}}}}
		for range rng.IntN(30) {
			a := &onnx.AttributeProto{Name: "then_branch", Type: onnx.AttributeProto_GRAPH, G: inner}
			inner = &onnx.GraphProto{Name: "g", Node: []*onnx.NodeProto{{OpType: "If", Input: []string{"c"}, Output: []string{"x"}, Attribute: []*onnx.AttributeProto{a}}}}
		}
		m.Graph.Node = append(m.Graph.Node, inner.Node...)
	})},
	{"memory", "error", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		// An output as large as a constant says, far more than there is, or a little.
		size := int64(1) << (30 + rng.IntN(20))
		raw := binary.LittleEndian.AppendUint64(nil, uint64(size))
		m.Graph.Initializer = append(m.Graph.Initializer, &onnx.TensorProto{Name: "size", DataType: 7, Dims: []int64{1}, RawData: raw})
		bomb := &onnx.NodeProto{OpType: "ConstantOfShape", Input: []string{"size"}, Output: []string{"bomb"}}
		m.Graph.Node = append(m.Graph.Node, bomb)
		behind(m, &onnx.NodeProto{OpType: "Add", Input: []string{"behind", "bomb"}})
	})},
	{"functions", "", onModel(func(_ *rand.Rand, m *onnx.ModelProto) { // that call themselves
		f := &onnx.NodeProto{OpType: "f", Domain: "com.microsoft", Input: []string{"a"}, Output: []string{"b"}}
		m.Functions = append(m.Functions, &onnx.FunctionProto{
			Name: "f", Domain: "com.microsoft", Input: []string{"a"}, Output: []string{"b"}, Node: []*onnx.NodeProto{f}, OpsetImport: m.OpsetImport,
		})
		behind(m, &onnx.NodeProto{OpType: "f", Domain: "com.microsoft", Input: []string{"behind"}})
	})},
	{"endless", "died", func(_ *rand.Rand, graph []byte, _ [][]byte) []byte { return endless(graph) }},
	{"runtime's format", "refused", onModel(func(_ *rand.Rand, m *onnx.ModelProto) { m.ProducerName = "ORTM" })}, // at byte 4
	{"ids", "", onModel(func(_ *rand.Rand, m *onnx.ModelProto) { // the table of words is cut: ids lie outside of it
		for _, t := range m.Graph.Initializer {
			if len(t.Dims) == 2 && t.Dims[0] == 100 {
				t.RawData = t.RawData[:2*len(t.RawData)/int(t.Dims[0])]
				t.Dims[0] = 2
			}
		}
	})},
	{"metadata", "ok", onModel(func(rng *rand.Rand, m *onnx.ModelProto) {
		m.Graph.Name, m.ProducerVersion = strings.Repeat("name", rng.IntN(1<<18)), "\x1b[31m"
	})},
}

// endless is a graph that never comes to its output: a loop of 2^63-1 rounds.
func endless(graph []byte) []byte {
	return onModel(func(_ *rand.Rand, m *onnx.ModelProto) {
		value := func(name string, kind int32, shape *onnx.TensorShapeProto) *onnx.ValueInfoProto {
			return &onnx.ValueInfoProto{Name: name, Type: &onnx.TypeProto{Value: &onnx.TypeProto_TensorType{TensorType: &onnx.TypeProto_Tensor{ElemType: kind, Shape: shape}}}}
		}
		scalar := &onnx.TensorShapeProto{}
		body := &onnx.GraphProto{
			Name:   "body",
			Input:  []*onnx.ValueInfoProto{value("round", 7, scalar), value("go", 9, scalar), value("v", 1, nil)},
			Output: []*onnx.ValueInfoProto{value("go_on", 9, scalar), value("w", 1, nil)},
			Node: []*onnx.NodeProto{
				{OpType: "Identity", Input: []string{"go"}, Output: []string{"go_on"}},
				{OpType: "Sin", Input: []string{"v"}, Output: []string{"w"}},
			},
		}
		m.Graph.Initializer = append(m.Graph.Initializer,
			&onnx.TensorProto{Name: "rounds", DataType: 7, RawData: binary.LittleEndian.AppendUint64(nil, math.MaxInt64)},
			&onnx.TensorProto{Name: "always", DataType: 9, RawData: []byte{1}})
		behind(m, &onnx.NodeProto{OpType: "Loop", Input: []string{"rounds", "always", "behind"},
			Attribute: []*onnx.AttributeProto{{Name: "body", Type: onnx.AttributeProto_GRAPH, G: body}}})
	})(nil, graph, nil)
}

// behind puts a node behind the graph's first output, which it reads as "behind" and gives itself.
func behind(m *onnx.ModelProto, n *onnx.NodeProto) {
	output := m.Graph.Output[0].Name
	for _, other := range m.Graph.Node {
		for _, names := range [][]string{other.Input, other.Output} {
			for i := range names {
				if names[i] == output {
					names[i] = "behind"
				}
			}
		}
	}
	n.Output = []string{output}
	m.Graph.Node = append(m.Graph.Node, n)
}

func onBytes(change func(rng *rand.Rand, file []byte) []byte) func(*rand.Rand, []byte, [][]byte) []byte {
	return func(rng *rand.Rand, graph []byte, _ [][]byte) []byte { return change(rng, slices.Clone(graph)) }
}

func onModel(change func(rng *rand.Rand, m *onnx.ModelProto)) func(*rand.Rand, []byte, [][]byte) []byte {
	return func(rng *rand.Rand, graph []byte, _ [][]byte) []byte {
		var m onnx.ModelProto
		if err := proto.Unmarshal(graph, &m); err != nil {
			panic(err)
		}
		change(rng, &m)
		file, err := proto.Marshal(&m)
		if err != nil {
			panic(err)
		}
		return file
	}
}

func onTensor(change func(rng *rand.Rand, t *onnx.TensorProto)) func(*rand.Rand, []byte, [][]byte) []byte {
	return onModel(func(rng *rand.Rand, m *onnx.ModelProto) { change(rng, anyOf(rng, m.Graph.Initializer)) })
}

func onNode(change func(rng *rand.Rand, n *onnx.NodeProto)) func(*rand.Rand, []byte, [][]byte) []byte {
	return onModel(func(rng *rand.Rand, m *onnx.ModelProto) { change(rng, anyOf(rng, m.Graph.Node)) })
}

func anyOf[T any](rng *rand.Rand, all []T) T { return all[rng.IntN(len(all))] }

func pick(rng *rand.Rand, all ...int64) int64 { return anyOf(rng, all) }

func pickString(rng *rand.Rand, all ...string) string { return anyOf(rng, all) }
