package onnx

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// small is a graph with an inner one.
func small(t testing.TB) *ModelProto {
	t.Helper()
	b := NewBuilder("small")
	x := b.Input("x", TensorProto_DATA_TYPE_FLOAT, "batch", 2)
	y := b.Node("Add", []string{x, b.Floats("one", []float32{1, 1}, 2)})
	b.Output(b.Fused("FastGelu", []string{y}), "y", TensorProto_DATA_TYPE_FLOAT, "batch", 2)
	file, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var m ModelProto
	if err := proto.Unmarshal(file, &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

func inspect(t testing.TB, m *ModelProto) (*Info, error) {
	t.Helper()
	file, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return Inspect(file)
}

func TestInspectTellsWhatIsThere(t *testing.T) {
	info, err := inspect(t, small(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Inputs) != 1 || info.Inputs["x"] != TensorProto_DATA_TYPE_FLOAT || !slices.Equal(info.Outputs, []string{"y"}) {
		t.Errorf("%+v", info)
	}
}

// Data outside of the file and custom operators are found wherever they are hidden.
func TestInspectRefuses(t *testing.T) {
	outside := func() *TensorProto {
		return &TensorProto{Name: "w", DataLocation: TensorProto_EXTERNAL, ExternalData: []*StringStringEntryProto{{Key: "location", Value: "/etc/passwd"}}}
	}
	custom := &NodeProto{Name: "n", OpType: "Shell", Domain: "evil"}
	in := func(a *AttributeProto) func(m *ModelProto) {
		return func(m *ModelProto) { m.Graph.Node[0].Attribute = append(m.Graph.Node[0].Attribute, a) }
	}
	deep := &GraphProto{}
	for range maxDepth + 2 {
		deep = &GraphProto{Node: []*NodeProto{{OpType: "If", Attribute: []*AttributeProto{{G: deep}}}}}
	}
	for _, c := range []struct {
		want   string
		change func(m *ModelProto)
	}{
		{"has no graph", func(m *ModelProto) { m.Graph = nil }},
		{"has no graph", func(m *ModelProto) { m.Graph.Node = nil }},
		{"external_data", func(m *ModelProto) { m.Graph.Initializer = append(m.Graph.Initializer, outside()) }},
		{"external_data", func(m *ModelProto) { m.Graph.Initializer[0].ExternalData = outside().ExternalData }},
		{"external_data", func(m *ModelProto) { m.Graph.SparseInitializer = []*SparseTensorProto{{Values: outside()}} }},
		{"external_data", in(&AttributeProto{T: outside()})},
		{"external_data", in(&AttributeProto{Tensors: []*TensorProto{outside()}})},
		{"external_data", in(&AttributeProto{SparseTensor: &SparseTensorProto{Indices: outside()}})},
		{"external_data", in(&AttributeProto{G: &GraphProto{Initializer: []*TensorProto{outside()}}})},
		{"external_data", func(m *ModelProto) {
			m.Functions = []*FunctionProto{{AttributeProto: []*AttributeProto{{Name: "a", T: outside()}}}}
		}},
		{"custom operator", func(m *ModelProto) { m.Graph.Node = append(m.Graph.Node, custom) }},
		{"custom operator", in(&AttributeProto{Graphs: []*GraphProto{{Node: []*NodeProto{custom}}}})},
		{"custom operator", func(m *ModelProto) { m.Functions = []*FunctionProto{{Node: []*NodeProto{custom}}} }},
		{"custom operators are not loaded", func(m *ModelProto) {
			m.OpsetImport = append(m.OpsetImport, &OperatorSetIdProto{Domain: "evil", Version: 1})
		}},
		{"own format", func(m *ModelProto) { m.ProducerName = ortFormat }}, // whose first letter is byte 4
		{"deep", in(&AttributeProto{G: deep})},
	} {
		m := small(t)
		c.change(m)
		if _, err := inspect(t, m); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want ErrRefused with %q", err, c.want)
		}
	}
}

// Damaged files give a result or ErrRefused.
func TestInspectOfDamagedFiles(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	good, err := proto.Marshal(small(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		file := slices.Clone(good)
		for range 1 + rng.IntN(4) {
			file[rng.IntN(len(file))] = byte(rng.Uint32())
		}
		if rng.IntN(3) == 0 {
			file = file[:rng.IntN(len(file))]
		}
		if _, err := Inspect(file); err != nil && !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
}
