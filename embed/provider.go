package embed

import (
	"errors"
	"fmt"
	"slices"

	ort "github.com/yalue/onnxruntime_go"
)

// Provider is what computes the graph: an execution provider of ONNX Runtime.
type Provider string

const (
	// CPU is ONNX Runtime's own, and the default.
	CPU Provider = "cpu"
	// OpenVINO is Intel's, on the CPU. The library must be that of the package onnxruntime-openvino.
	OpenVINO Provider = "openvino"
	// CUDA is NVIDIA's. The library must be that of the package onnxruntime-gpu, beside CUDA and cuDNN.
	CUDA Provider = "cuda"
)

// Providers are those that there are.
var Providers = []Provider{CPU, OpenVINO, CUDA}

// add puts the provider before ONNX Runtime's own in a session's options. One that the library does not have is an error: never
// is another taken in its place.
func (p Provider) add(o *ort.SessionOptions) error {
	var err error
	packages := map[Provider]string{OpenVINO: "onnxruntime-openvino", CUDA: "onnxruntime-gpu"}
	switch p {
	case "", CPU:
		return nil
	case OpenVINO:
		// One thread in a Run, as everywhere: the slots are the parallelism.
		err = o.AppendExecutionProviderOpenVINO(map[string]string{"device_type": "CPU", "num_of_threads": "1"})
	case CUDA:
		err = p.addCUDA(o)
	}
	if err != nil {
		return fmt.Errorf("provider %s: %w; ONNX Runtime's library at %s cannot provide it: name one that can with --library, from the Python package %s", p, err, environment.library, packages[p])
	}
	return nil
}

func (p Provider) addCUDA(o *ort.SessionOptions) (err error) {
	c, err := ort.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Destroy()) }()
	if err := c.Update(map[string]string{"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}); err != nil {
		return err
	}
	return o.AppendExecutionProviderCUDA(c)
}

// known tells whether there is such a provider; "" is CPU.
func (p Provider) known() bool { return p == "" || slices.Contains(Providers, p) }
