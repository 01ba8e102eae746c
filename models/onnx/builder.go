package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"
)

// Versions of the format and of the operator sets that a Builder's models declare.
const (
	irVersion        = 8
	opsetVersion     = 17
	microsoftVersion = 1
	// Microsoft is the domain of the fused operators of ONNX Runtime.
	Microsoft = "com.microsoft"
)

// Builder makes a graph. Nodes must be added in an order in which each input exists already; the names of values are
// given out by the builder, so that they cannot clash. It is not for concurrent use.
type Builder struct {
	graph *GraphProto
	names map[string]int
}

// NewBuilder begins a graph.
func NewBuilder(name string) *Builder {
	return &Builder{graph: &GraphProto{Name: name}, names: map[string]int{}}
}

// name gives the first free name of the form prefix, prefix_2, prefix_3.
func (b *Builder) name(prefix string) string {
	b.names[prefix]++
	if n := b.names[prefix]; n > 1 {
		return b.name(fmt.Sprintf("%s_%d", prefix, n))
	}
	return prefix
}

// Input declares an input of the graph. Dimensions are numbers (int) or names of free dimensions (string).
func (b *Builder) Input(name string, t TensorProto_DataType, dims ...any) string {
	name = b.name(name)
	b.graph.Input = append(b.graph.Input, valueInfo(name, t, dims))
	return name
}

// Output gives value the name of an output of the graph and declares it.
func (b *Builder) Output(value, name string, t TensorProto_DataType, dims ...any) {
	if b.names[name] != 0 {
		panic("onnx: output " + name + " is taken")
	}
	b.names[name]++
	for _, n := range b.graph.Node {
		for i := range n.Output {
			if n.Output[i] == value {
				n.Output[i] = name
			}
		}
		for i := range n.Input {
			if n.Input[i] == value {
				n.Input[i] = name
			}
		}
	}
	b.graph.Output = append(b.graph.Output, valueInfo(name, t, dims))
}

func valueInfo(name string, t TensorProto_DataType, dims []any) *ValueInfoProto {
	shape := &TensorShapeProto{}
	for _, d := range dims {
		var dim TensorShapeProto_Dimension
		switch d := d.(type) {
		case int:
			dim.Value = &TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}
		case string:
			dim.Value = &TensorShapeProto_Dimension_DimParam{DimParam: d}
		default:
			panic(fmt.Sprintf("onnx: dimension of type %T", d))
		}
		shape.Dim = append(shape.Dim, &dim)
	}
	return &ValueInfoProto{Name: name, Type: &TypeProto{Value: &TypeProto_TensorType{
		TensorType: &TypeProto_Tensor{ElemType: int32(t), Shape: shape},
	}}}
}

// Attr is an attribute of a node: a value of type int, float32, string or []int.
type Attr struct {
	Name  string
	Value any
}

// Node adds an operator of ONNX's own set and returns its output. An input "" stands for an optional one left out.
func (b *Builder) Node(op string, inputs []string, attrs ...Attr) string {
	return b.node("", op, inputs, 1, attrs)[0]
}

// NodeN is Node for an operator with n outputs.
func (b *Builder) NodeN(op string, inputs []string, n int, attrs ...Attr) []string {
	return b.node("", op, inputs, n, attrs)
}

// Fused adds an operator of the domain com.microsoft and returns its first output.
func (b *Builder) Fused(op string, inputs []string, attrs ...Attr) string {
	return b.node(Microsoft, op, inputs, 1, attrs)[0]
}

func (b *Builder) node(domain, op string, inputs []string, outputs int, attrs []Attr) []string {
	n := &NodeProto{Name: b.name(op), OpType: op, Domain: domain, Input: inputs}
	for i := range outputs {
		out := n.Name + ".out"
		if i > 0 {
			out = fmt.Sprintf("%s.out%d", n.Name, i)
		}
		n.Output = append(n.Output, b.name(out))
	}
	for _, a := range attrs {
		p := &AttributeProto{Name: a.Name}
		switch v := a.Value.(type) {
		case int:
			p.Type, p.I = AttributeProto_INT, int64(v)
		case float32:
			p.Type, p.F = AttributeProto_FLOAT, v
		case string:
			p.Type, p.S = AttributeProto_STRING, []byte(v)
		case []int:
			p.Type = AttributeProto_INTS
			for _, x := range v {
				p.Ints = append(p.Ints, int64(x))
			}
		default:
			panic(fmt.Sprintf("onnx: attribute %s of type %T", a.Name, v))
		}
		n.Attribute = append(n.Attribute, p)
	}
	b.graph.Node = append(b.graph.Node, n)
	return n.Output
}

// Floats adds a float32 constant of the given shape; no dimension makes a scalar.
func (b *Builder) Floats(name string, data []float32, dims ...int) string {
	raw := make([]byte, 0, 4*len(data))
	for _, x := range data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return b.constant(name, TensorProto_DATA_TYPE_FLOAT, raw, len(data), dims)
}

// Int8s adds an int8 constant.
func (b *Builder) Int8s(name string, data []int8, dims ...int) string {
	raw := make([]byte, len(data))
	for i, x := range data {
		raw[i] = byte(x)
	}
	return b.constant(name, TensorProto_DATA_TYPE_INT8, raw, len(data), dims)
}

// Uint8s adds a uint8 constant.
func (b *Builder) Uint8s(name string, data []uint8, dims ...int) string {
	return b.constant(name, TensorProto_DATA_TYPE_UINT8, data, len(data), dims)
}

// Int64s adds an int64 constant.
func (b *Builder) Int64s(name string, data []int64, dims ...int) string {
	raw := make([]byte, 0, 8*len(data))
	for _, x := range data {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(x))
	}
	return b.constant(name, TensorProto_DATA_TYPE_INT64, raw, len(data), dims)
}

func (b *Builder) constant(name string, t TensorProto_DataType, raw []byte, n int, dims []int) string {
	p := &TensorProto{Name: b.name(name), DataType: int32(t), RawData: raw}
	want := 1
	for _, d := range dims {
		p.Dims = append(p.Dims, int64(d))
		want *= d
	}
	if n != want {
		panic(fmt.Sprintf("onnx: constant %s has %d values for shape %v", name, n, dims))
	}
	b.graph.Initializer = append(b.graph.Initializer, p)
	return p.Name
}

// Bytes gives the model file.
func (b *Builder) Bytes() ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&ModelProto{
		IrVersion:    irVersion,
		ProducerName: "embedd",
		Graph:        b.graph,
		OpsetImport: []*OperatorSetIdProto{
			{Version: opsetVersion},
			{Domain: Microsoft, Version: microsoftVersion},
		},
	})
}
