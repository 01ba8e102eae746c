package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// Turned begins the name of the constant that Turn adds last: the matrix on its side.
const Turned = "adapter"

// Turn gives the model file with a matrix behind an output: each vector v of it becomes matrix·v. The matrix is of dim rows of dim values. The pooled output,
// float32 [batch, dim], is brought to norm 1; an output of token vectors, float32 [batch, tokens, dim], is not, as they are pooled later: a mean of turned vectors
// is the turned mean. With pooled "" there is none, with tokens "" no other. Outputs beside these are taken away, as they would be of another space. What Inspect
// refuses is an error, and so is an output that is not there or not float32.
func Turn(file []byte, pooled, tokens string, matrix []float32, dim int) ([]byte, error) {
	if len(matrix) != dim*dim {
		return nil, fmt.Errorf("the matrix has %d values for a dimension of %d", len(matrix), dim)
	}
	if _, err := Inspect(file); err != nil {
		return nil, err
	}
	var m ModelProto
	if err := proto.Unmarshal(file, &m); err != nil {
		return nil, err
	}
	t := turner{graph: m.GetGraph(), taken: map[string]bool{}}
	names(t.graph, t.taken)
	raw := make([]byte, 0, 4*len(matrix))
	for i := range dim {
		for j := range dim {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(matrix[j*dim+i]))
		}
	}
	t.dim = int64(dim)
	t.matrix = t.free(Turned)
	var kept []*ValueInfoProto
	for _, out := range t.graph.Output {
		if name := out.GetName(); name != "" && (name == pooled || name == tokens) {
			kept = append(kept, out)
		}
	}
	t.graph.Output = kept
	for _, name := range []string{pooled, tokens} {
		if name == "" {
			continue
		}
		if err := t.turn(name, name == pooled); err != nil {
			return nil, err
		}
	}
	t.graph.Initializer = append(t.graph.Initializer, &TensorProto{Name: t.matrix, DataType: int32(TensorProto_DATA_TYPE_FLOAT), RawData: raw, Dims: []int64{t.dim, t.dim}})
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
	if err != nil {
		return nil, err
	}
	_, err = Inspect(out)
	return out, err
}

// Matrix gives the matrix that Turn last put into a model file, nil where there is none of this dimension.
func Matrix(file []byte, dim int) ([]float32, error) {
	var m ModelProto
	if err := proto.Unmarshal(file, &m); err != nil {
		return nil, err
	}
	all := m.GetGraph().GetInitializer()
	for _, c := range slices.Backward(all) { // where a graph was turned more than once, the last
		raw := c.GetRawData()
		if !strings.HasPrefix(c.GetName(), Turned) || !slices.Equal(c.GetDims(), []int64{int64(dim), int64(dim)}) || len(raw) != 4*dim*dim {
			continue
		}
		matrix := make([]float32, dim*dim)
		for i := range dim {
			for j := range dim {
				matrix[j*dim+i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*(i*dim+j):]))
			}
		}
		return matrix, nil
	}
	return nil, nil
}

// turner adds to a graph that is there.
type turner struct {
	graph  *GraphProto
	taken  map[string]bool // names of values
	matrix string          // its name
	dim    int64
}

// free gives a name that no value has, and takes it.
func (t *turner) free(name string) string {
	for n := 2; t.taken[name]; n++ {
		name = fmt.Sprintf("%s_%d", name, n)
	}
	t.taken[name] = true
	return name
}

// index adds a constant of int64.
func (t *turner) index(values []int64, dims ...int64) string {
	c := &TensorProto{Name: t.free("adapter.index"), DataType: int32(TensorProto_DATA_TYPE_INT64), Dims: dims}
	for _, x := range values {
		c.RawData = binary.LittleEndian.AppendUint64(c.RawData, uint64(x))
	}
	t.graph.Initializer = append(t.graph.Initializer, c)
	return c.Name
}

// node adds an operator whose output is named so; "" for a free name.
func (t *turner) node(op, output string, inputs []string, attrs ...*AttributeProto) string {
	if output == "" {
		output = t.free("adapter." + op)
	}
	t.graph.Node = append(t.graph.Node, &NodeProto{Name: t.free("adapter.node." + op), OpType: op, Input: inputs, Output: []string{output}, Attribute: attrs})
	return output
}

func whole(name string, x int64) *AttributeProto {
	return &AttributeProto{Name: name, Type: AttributeProto_INT, I: x}
}

// turn puts the matrix behind an output.
func (t *turner) turn(name string, pooled bool) error {
	i := slices.IndexFunc(t.graph.Output, func(o *ValueInfoProto) bool { return o.GetName() == name })
	if i < 0 {
		return fmt.Errorf("the graph has no output %q", name)
	}
	if kind := TensorProto_DataType(t.graph.Output[i].GetType().GetTensorType().GetElemType()); kind != TensorProto_DATA_TYPE_FLOAT {
		return fmt.Errorf("the graph's output %q is %v; only float32 is turned", name, kind)
	}
	// The value itself becomes another name, wherever it is read.
	before := t.free(name + ".before")
	made := false
	for _, n := range t.graph.Node {
		for k, out := range n.Output {
			if out == name {
				n.Output[k], made = before, true
			}
		}
	}
	if !made {
		return fmt.Errorf("the graph's output %q is made by no node", name)
	}
	rename(t.graph.Node, name, before)
	if !pooled {
		t.node("MatMul", name, []string{before, t.matrix})
		return nil
	}
	// Each row twice, so that a batch of one is no product of a vector and a matrix, which is added up in another order than a product of two matrices: the vector
	// of a text would depend on whether it is alone. The operators are those that all sets of them have in this form.
	row := t.node("Reshape", "", []string{before, t.index([]int64{-1, 1, t.dim}, 3)})
	twice := t.node("Concat", "", []string{row, row}, whole("axis", 1))
	product := t.node("MatMul", "", []string{twice, t.matrix})
	first := t.node("Gather", "", []string{product, t.index([]int64{0})}, whole("axis", 1))
	t.node("LpNormalization", name, []string{first}, whole("axis", -1), whole("p", 2))
	return nil
}

// rename changes what nodes read, and graphs in their attributes.
func rename(nodes []*NodeProto, from, to string) {
	for _, n := range nodes {
		for k, in := range n.Input {
			if in == from {
				n.Input[k] = to
			}
		}
		for _, g := range graphs(n) {
			rename(g.Node, from, to)
			for _, out := range g.Output {
				if out.GetName() == from {
					out.Name = to
				}
			}
		}
	}
}

// graphs are those in a node's attributes.
func graphs(n *NodeProto) (all []*GraphProto) {
	for _, a := range n.GetAttribute() {
		if a.GetG() != nil {
			all = append(all, a.GetG())
		}
		all = append(all, a.GetGraphs()...)
	}
	return all
}

// names collects the names of values and nodes of a graph, and of those inside of it.
func names(g *GraphProto, taken map[string]bool) {
	for _, c := range g.GetInitializer() {
		taken[c.GetName()] = true
	}
	for _, c := range g.GetSparseInitializer() {
		taken[c.GetValues().GetName()] = true
	}
	for _, v := range append(slices.Clone(g.GetInput()), g.GetOutput()...) {
		taken[v.GetName()] = true
	}
	for _, n := range g.GetNode() {
		taken[n.GetName()] = true
		for _, out := range n.GetOutput() {
			taken[out] = true
		}
		for _, inner := range graphs(n) {
			names(inner, taken)
		}
	}
}
