package convert

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// tensors are the weights of a model.safetensors file by name: 8 bytes of header length, a JSON header, then the data
// (https://huggingface.co/docs/safetensors).
type tensors struct {
	data   []byte
	header map[string]tensorInfo
	used   map[string]bool
}

type tensorInfo struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// maxHeader bounds the JSON header, as the reference implementation does.
const maxHeader = 100 << 20

func openTensors(path string) (*tensors, error) {
	file, err := readRegular(path)
	if err != nil {
		return nil, err
	}
	t, err := parseTensors(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func parseTensors(file []byte) (*tensors, error) {
	if len(file) < 8 {
		return nil, errors.New("not a safetensors file: shorter than 8 bytes")
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader || n > uint64(len(file)-8) {
		return nil, fmt.Errorf("not a safetensors file: header of %d bytes in a file of %d", n, len(file))
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(file[8:8+n], &entries); err != nil {
		return nil, fmt.Errorf("safetensors header: %w", err)
	}
	t := &tensors{data: file[8+n:], header: map[string]tensorInfo{}, used: map[string]bool{}}
	for name, raw := range entries {
		if name == "__metadata__" {
			continue
		}
		var info tensorInfo
		if err := json.Unmarshal(raw, &info); err != nil {
			return nil, fmt.Errorf("safetensors header: tensor %q: %w", name, err)
		}
		size, known := map[string]int64{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}[info.DType]
		if !known {
			return nil, fmt.Errorf("safetensors header: tensor %q: dtype %q is not supported", name, info.DType)
		}
		count := int64(1)
		for _, d := range info.Shape {
			if d < 0 || (d > 0 && count > int64(len(file))/int64(d)) {
				return nil, fmt.Errorf("safetensors header: tensor %q: shape %v is larger than the file", name, info.Shape)
			}
			count *= int64(d)
		}
		if info.Offsets[0] < 0 || info.Offsets[1] > int64(len(t.data)) || info.Offsets[1]-info.Offsets[0] != count*size {
			return nil, fmt.Errorf("safetensors header: tensor %q: offsets %v do not hold %d values of %s in %d bytes of data", name, info.Offsets, count, info.DType, len(t.data))
		}
		t.header[name] = info
	}
	return t, t.gapless()
}

// gapless returns an error unless the tensors lie one after the other and fill the data, as the format demands: tensors that
// share bytes could be many times as large as their file.
func (t *tensors) gapless() error {
	names := slices.SortedFunc(maps.Keys(t.header), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.header[a].Offsets[0], t.header[b].Offsets[0]), cmp.Compare(t.header[a].Offsets[1], t.header[b].Offsets[1]), cmp.Compare(a, b))
	})
	end := int64(0)
	for _, name := range names {
		if o := t.header[name].Offsets; o[0] != end {
			return fmt.Errorf("safetensors header: tensor %q begins at byte %d, the one before it ends at %d", name, o[0], end)
		}
		end = t.header[name].Offsets[1]
	}
	if end != int64(len(t.data)) {
		return fmt.Errorf("safetensors header: the tensors end at byte %d of %d", end, len(t.data))
	}
	return nil
}

// has tells whether there is a tensor of this name.
func (t *tensors) has(name string) bool {
	_, ok := t.header[name]
	return ok
}

// floats gives a tensor of floating-point values as float32, which must have the given shape and finite values.
func (t *tensors) floats(name string, shape ...int) ([]float32, error) {
	info, ok := t.header[name]
	if !ok {
		return nil, fmt.Errorf("model.safetensors: tensor %q is missing", name)
	}
	if !slices.Equal(info.Shape, shape) {
		return nil, fmt.Errorf("model.safetensors: tensor %q has shape %v, config.json asks for %v", name, info.Shape, shape)
	}
	t.used[name] = true
	raw := t.data[info.Offsets[0]:info.Offsets[1]]
	var out []float32
	switch info.DType {
	case "F32":
		out = make([]float32, len(raw)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	case "F16":
		out = make([]float32, len(raw)/2)
		for i := range out {
			out[i] = fromFloat16(binary.LittleEndian.Uint16(raw[2*i:]))
		}
	case "BF16":
		out = make([]float32, len(raw)/2)
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		}
	default:
		return nil, fmt.Errorf("model.safetensors: tensor %q has dtype %s; supported are F32, F16 and BF16", name, info.DType)
	}
	for i, x := range out {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("model.safetensors: tensor %q has the value %v at %d", name, x, i)
		}
	}
	return out, nil
}

// fromFloat16 widens an IEEE 754 half.
func fromFloat16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // zero and subnormal: the fraction in units of 2^-24
		f := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// unused gives the names that nothing asked for, sorted.
func (t *tensors) unused() []string {
	var names []string
	for name := range t.header {
		if !t.used[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
