package onnx

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
)

// ErrRefused: a model file asks for something that this program does not let a file do.
var ErrRefused = errors.New("model file is refused")

// domains are those of the operators that ONNX Runtime brings itself; any other needs a library of custom operators.
var domains = []string{"", "ai.onnx", "ai.onnx.ml", Microsoft, "com.microsoft.nchwc", "com.ms.internal.nhwc"}

// ortFormat stands at byte 4 of a file in ONNX Runtime's own format, which is no protobuf message.
const ortFormat = "ORTM"

// maxDepth bounds how deep graphs may lie in attributes of other graphs.
const maxDepth = 16

// Info is what a model file says of itself.
type Info struct {
	// Inputs are the types of the graph's inputs by name, without those that only name a constant.
	Inputs map[string]TensorProto_DataType
	// Outputs are the names of the graph's outputs.
	Outputs []string
	// Widths are the last dimensions of the outputs, by name, as far as the file says a number.
	Widths map[string]int64
}

// Inspect reads a model file and refuses what must not reach a runtime: data outside of the file, which could name any
// path, and operators of foreign domains, which could only come from a library. The error is ErrRefused with the place.
func Inspect(file []byte) (*Info, error) {
	// ONNX Runtime would not read such a file as what is inspected here, whatever else it is.
	if len(file) >= 8 && string(file[4:8]) == ortFormat {
		return nil, fmt.Errorf("%w: it is marked as being in ONNX Runtime's own format", ErrRefused)
	}
	var m ModelProto
	if err := proto.Unmarshal(file, &m); err != nil {
		return nil, fmt.Errorf("%w: it is not an ONNX file: %w", ErrRefused, err)
	}
	if m.GetGraph() == nil || len(m.GetGraph().GetNode()) == 0 {
		return nil, fmt.Errorf("%w: it has no graph", ErrRefused)
	}
	if err := checkImports(m.GetOpsetImport()); err != nil {
		return nil, err
	}
	info := &Info{Inputs: map[string]TensorProto_DataType{}, Widths: map[string]int64{}}
	if err := checkGraph(m.GetGraph(), 0); err != nil {
		return nil, err
	}
	for _, f := range m.GetFunctions() {
		if err := errors.Join(checkImports(f.GetOpsetImport()), checkAttributes(f.GetAttributeProto(), 0), checkNodes(f.GetNode(), 0)); err != nil {
			return nil, err
		}
	}
	constants := map[string]bool{}
	for _, t := range m.GetGraph().GetInitializer() {
		constants[t.GetName()] = true
	}
	for _, in := range m.GetGraph().GetInput() {
		if !constants[in.GetName()] {
			info.Inputs[in.GetName()] = TensorProto_DataType(in.GetType().GetTensorType().GetElemType())
		}
	}
	for _, out := range m.GetGraph().GetOutput() {
		info.Outputs = append(info.Outputs, out.GetName())
		if dims := out.GetType().GetTensorType().GetShape().GetDim(); len(dims) > 0 && dims[len(dims)-1].GetDimValue() > 0 {
			info.Widths[out.GetName()] = dims[len(dims)-1].GetDimValue()
		}
	}
	return info, nil
}

// checkImports refuses the domains of custom operators.
func checkImports(all []*OperatorSetIdProto) error {
	for _, o := range all {
		if !slices.Contains(domains, o.GetDomain()) {
			return fmt.Errorf("%w: it imports operators of the domain %q; custom operators are not loaded", ErrRefused, o.GetDomain())
		}
	}
	return nil
}

func checkGraph(g *GraphProto, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: graphs lie more than %d deep in each other", ErrRefused, maxDepth)
	}
	for _, t := range g.GetInitializer() {
		if err := inside(t); err != nil {
			return err
		}
	}
	for _, t := range g.GetSparseInitializer() {
		if err := errors.Join(inside(t.GetValues()), inside(t.GetIndices())); err != nil {
			return err
		}
	}
	return checkNodes(g.GetNode(), depth)
}

func checkNodes(nodes []*NodeProto, depth int) error {
	for _, n := range nodes {
		if !slices.Contains(domains, n.GetDomain()) {
			return fmt.Errorf("%w: node %q is a custom operator, %s of %q", ErrRefused, n.GetName(), n.GetOpType(), n.GetDomain())
		}
		if err := checkAttributes(n.GetAttribute(), depth); err != nil {
			return err
		}
	}
	return nil
}

func checkAttributes(all []*AttributeProto, depth int) error {
	for _, a := range all {
		tensors := append(slices.Clone(a.GetTensors()), a.GetT())
		for _, s := range append(slices.Clone(a.GetSparseTensors()), a.GetSparseTensor()) {
			tensors = append(tensors, s.GetValues(), s.GetIndices())
		}
		for _, t := range tensors {
			if err := inside(t); err != nil {
				return err
			}
		}
		for _, g := range append(slices.Clone(a.GetGraphs()), a.GetG()) {
			if g == nil {
				continue
			}
			if err := checkGraph(g, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// inside refuses a tensor whose data lie in another file.
func inside(t *TensorProto) error {
	if t.GetDataLocation() != TensorProto_DEFAULT || len(t.GetExternalData()) > 0 {
		return fmt.Errorf("%w: tensor %q has its data outside of the file (external_data)", ErrRefused, t.GetName())
	}
	return nil
}
