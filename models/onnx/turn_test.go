package onnx

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// pooledAndTokens is a graph with a pooled output, one of token vectors, which the pooled one is made of, and another.
func pooledAndTokens(t testing.TB) *ModelProto {
	t.Helper()
	b := NewBuilder("small")
	x := b.Input("x", TensorProto_DATA_TYPE_FLOAT, "batch", "tokens", 2)
	tokens := b.Node("Relu", []string{x})
	b.Output(b.Node("Gather", []string{tokens, b.Int64s("first", []int64{0})}, Attr{"axis", 1}), "pooled", TensorProto_DATA_TYPE_FLOAT, "batch", 2)
	b.Output(tokens, "tokens", TensorProto_DATA_TYPE_FLOAT, "batch", "tokens", 2)
	b.Output(b.Node("Abs", []string{x}), "other", TensorProto_DATA_TYPE_FLOAT, "batch", "tokens", 2)
	return read(t, bytesOf(t, b))
}

func bytesOf(t testing.TB, b *Builder) []byte {
	t.Helper()
	file, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t testing.TB, file []byte) *ModelProto {
	t.Helper()
	var m ModelProto
	if err := proto.Unmarshal(file, &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

func file(t testing.TB, m *ModelProto) []byte {
	t.Helper()
	out, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// every value is made once, before it is read.
func wellFormed(t *testing.T, m *ModelProto) {
	t.Helper()
	made := map[string]bool{}
	for _, c := range m.Graph.Initializer {
		made[c.Name] = true
	}
	for _, in := range m.Graph.Input {
		made[in.Name] = true
	}
	for _, n := range m.Graph.Node {
		for _, in := range n.Input {
			if in != "" && !made[in] {
				t.Errorf("node %s reads %q, which is not made before", n.Name, in)
			}
		}
		for _, out := range n.Output {
			if made[out] {
				t.Errorf("%q is made twice", out)
			}
			made[out] = true
		}
	}
	for _, out := range m.Graph.Output {
		if !made[out.Name] {
			t.Errorf("the output %q is not made", out.Name)
		}
	}
}

// Outputs keep their names, what was read of them inside of the graph is read as it was, and the matrix comes back as it was given. A graph that has been turned can be
// turned again. What the vectors are is tested where there is a runtime, in package embed.
func TestTurn(t *testing.T) {
	m := pooledAndTokens(t)
	for round, matrix := range [][]float32{{1, 2, 3, 4}, {5, 6, 7, 8}} {
		turned, err := Turn(file(t, m), "pooled", "tokens", matrix, 2)
		if err != nil {
			t.Fatal(err)
		}
		m = read(t, turned)
		wellFormed(t, m)
		info, err := Inspect(turned)
		if err != nil || !slices.Equal(info.Outputs, []string{"pooled", "tokens"}) || info.Widths["pooled"] != 2 {
			t.Fatalf("round %d: %+v, %v", round, info, err)
		}
		if got, err := Matrix(turned, 2); err != nil || !slices.Equal(got, matrix) {
			t.Errorf("round %d: the matrix is %v, %v", round, got, err)
		}
		again, err := Turn(turned, "pooled", "", matrix, 2)
		if err != nil || len(read(t, again).Graph.Output) != 1 {
			t.Errorf("with one output: %v", err)
		}
	}
	if got, err := Matrix(file(t, pooledAndTokens(t)), 2); got != nil || err != nil {
		t.Errorf("a graph that was not turned has the matrix %v, %v", got, err)
	}
	if got, err := Matrix(file(t, m), 3); got != nil || err != nil {
		t.Errorf("for another dimension: %v, %v", got, err)
	}
}

// A value that a graph inside of the graph reads is renamed there too.
func TestTurnRenamesInside(t *testing.T) {
	m := pooledAndTokens(t)
	inner := &GraphProto{Node: []*NodeProto{{OpType: "Identity", Input: []string{"pooled"}, Output: []string{"inner"}}}, Output: []*ValueInfoProto{{Name: "pooled"}}}
	m.Graph.Node = append(m.Graph.Node, &NodeProto{Name: "if", OpType: "If", Input: []string{"tokens"}, Output: []string{"later"}, Attribute: []*AttributeProto{{Name: "then_branch", G: inner}}})
	turned, err := Turn(file(t, m), "pooled", "tokens", []float32{1, 0, 0, 1}, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range read(t, turned).Graph.Node {
		if n.OpType == "If" {
			if g := n.Attribute[0].G; g.Node[0].Input[0] != "pooled.before" || g.Output[0].Name != "pooled.before" || n.Input[0] != "tokens.before" {
				t.Errorf("the inner graph reads %q and gives %q, the node reads %q", g.Node[0].Input[0], g.Output[0].Name, n.Input[0])
			}
		}
	}
}

func TestTurnRefuses(t *testing.T) {
	for _, c := range []struct {
		name, pooled string
		change       func(m *ModelProto)
		matrix       []float32
		want         string
	}{
		{"no such output", "nobody", func(*ModelProto) {}, []float32{1, 0, 0, 1}, `the graph has no output "nobody"`},
		{"float16", "pooled", func(m *ModelProto) { m.Graph.Output[0].Type.GetTensorType().ElemType = 10 }, []float32{1, 0, 0, 1}, "only float32 is turned"},
		{"made by nobody", "x", func(m *ModelProto) { m.Graph.Output = append(m.Graph.Output, m.Graph.Input[0]) }, []float32{1, 0, 0, 1}, "is made by no node"},
		{"a short matrix", "pooled", func(*ModelProto) {}, []float32{1, 0, 0}, "the matrix has 3 values for a dimension of 2"},
		{"a custom operator", "pooled", func(m *ModelProto) { m.Graph.Node[0].Domain = "evil" }, []float32{1, 0, 0, 1}, ErrRefused.Error()},
	} {
		m := pooledAndTokens(t)
		c.change(m)
		if _, err := Turn(file(t, m), c.pooled, "", c.matrix, 2); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := Turn([]byte("no model"), "pooled", "", []float32{1}, 1); !errors.Is(err, ErrRefused) {
		t.Errorf("no model: %v", err)
	}
}
