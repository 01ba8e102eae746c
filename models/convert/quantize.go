package convert

import (
	"math"
	"slices"

	"embedd/models/onnx"
)

// Static int8. Activations are rounded to u8 with one range a site, fixed by the calibration; weights to s8 with one
// scale a column. Before rounding, input channel j of a site is divided by its smoothing s_j and row j of the weights
// multiplied by it, which moves outliers from the activations, where one channel widens the range of all, to the
// weights (Xiao et al., SmoothQuant, 2022).
//
// # Why the weights are rounded in pairs
//
// A CPU without VNNI multiplies u8 by s8 with VPMADDUBSW, which adds two neighbouring products and saturates the sum
// at 16 bits: 255·127 + 255·127 does not fit. Whoever ignores that gets other vectors on other machines. The usual
// cure is to give up a bit of every weight. But only the sum of two neighbouring rows' weights matters: if it lies
// within ±128, no activation can saturate, for 255·128 = 32,640 < 32,767. So each column's scale is chosen for the
// least squared error under that condition, and weights stay close to eight bits.

// pairLimit is the largest magnitude of the sum of two neighbouring weights.
const pairLimit = 128

// fineTries is how many scales are tried for a column of the finished graph.
const fineTries = 11

// quantized is a network in int8.
type quantized struct {
	words      []int8
	wordScales []float32
	layers     []layerInt8
}

type layerInt8 [sites]linearInt8

// linearInt8 is a product of u8 activations with s8 weights.
type linearInt8 struct {
	in, out int
	inverse []float32 // 1/smoothing of each input channel; nil where it is folded into the product before
	scale   float32   // of the activations
	zero    uint8     // of the activations
	w       []int8    // [in × out]
	scales  []float32 // of the weights, one a column
	bias    []float32
}

// quantize rounds the whole network.
func (n *Network) quantize(c *Calibration) *quantized {
	q := &quantized{layers: make([]layerInt8, n.Layers)}
	q.words, q.wordScales = quantizeRows(n.words, n.vocabulary, n.Dimension)
	for i := range n.layers {
		for s := range sites {
			l, r := n.layers[i].at(s), &c.Layers[i][s]
			x := quantizeLinear(l, r, fineTries)
			for j := range x.bias {
				x.bias[j] += r.Bias[j]
			}
			if s == siteI {
				x = x.columns(c.Layers[i][siteD].channels())
			}
			if s == siteO {
				x.inverse = nil // folded into the values below
			}
			if s == siteQKV {
				// The attention's output is a mean of the values: what it is divided by, the values can be.
				o := c.Layers[i][siteO].Smooth
				for j := range n.Dimension {
					x.scales[2*n.Dimension+j] /= o[j]
					x.bias[2*n.Dimension+j] /= o[j]
				}
			}
			q.layers[i][s] = x
		}
	}
	return q
}

// quantizeRows rounds each row to ±127 with a scale of its own.
func quantizeRows(m []float32, rows, cols int) (codes []int8, scales []float32) {
	codes, scales = make([]int8, len(m)), make([]float32, rows)
	for r := range rows {
		row := m[r*cols : (r+1)*cols]
		var top float32
		for _, x := range row {
			top = max(top, abs(x))
		}
		scales[r] = top / 127
		if top == 0 {
			continue
		}
		for j, x := range row {
			codes[r*cols+j] = int8(math.RoundToEven(float64(x) / float64(scales[r])))
		}
	}
	return codes, scales
}

// quantizeLinear rounds a product by its calibration, trying so many scales for each column. The bias stays as it is.
func quantizeLinear(l *linear, r *Range, tries int) linearInt8 {
	channels := r.channels()
	in := len(channels)
	q := linearInt8{
		in: in, out: l.out,
		inverse: make([]float32, in),
		w:       make([]int8, in*l.out),
		scales:  make([]float32, l.out),
		bias:    slices.Clone(l.b),
	}
	q.scale, q.zero = r.affine()
	factor := make([]float32, in) // of each row of the weights
	for k, c := range channels {
		q.inverse[k] = 1 / r.Smooth[c]
		factor[k] = r.Smooth[c]
		if r.Copies != nil {
			factor[k] /= float32(r.Copies[c])
		}
	}
	column, codes := make([]float64, in), make([]int8, in)
	for j := range l.out {
		for k, c := range channels {
			column[k] = float64(l.w[c*l.out+j] * factor[k])
		}
		q.scales[j] = roundColumn(column, codes, tries)
		for k, c := range codes {
			q.w[k*l.out+j] = c
		}
	}
	return q
}

// columns gives a product with the columns listed, of which one may be there more than once.
func (q *linearInt8) columns(list []int) linearInt8 {
	y := *q
	y.out = len(list)
	y.w, y.scales, y.bias = make([]int8, q.in*y.out), make([]float32, y.out), make([]float32, y.out)
	for j, c := range list {
		y.scales[j], y.bias[j] = q.scales[c], q.bias[c]
		for k := range q.in {
			y.w[k*y.out+j] = q.w[k*q.out+c]
		}
	}
	return y
}

// roundColumn rounds a column of weights to codes of ±127 whose neighbouring pairs sum to ±pairLimit at most, and returns
// the scale that makes the squared error least among as many as are tried: the least that clips nothing, and smaller ones
// by steps of a twentieth.
func roundColumn(w []float64, codes []int8, tries int) float32 {
	var need float64 // the least scale that clips nothing
	for k := 0; k < len(w); k += 2 {
		a, b := w[k], 0.0
		if k+1 < len(w) {
			b = w[k+1]
		}
		need = max(need, math.Abs(a)/127, math.Abs(b)/127)
		if a*b > 0 {
			need = max(need, math.Abs(a+b)/pairLimit)
		}
	}
	if need == 0 {
		clear(codes)
		return 1 // a column of zeros; any scale will do
	}
	var best float32
	least := math.Inf(1)
	try := make([]int8, len(w))
	for shrink := 20; shrink > 20-tries; shrink-- {
		scale := float32(need * float64(shrink) / 20)
		if scale == 0 {
			continue
		}
		var loss float64
		for k := 0; k < len(w); k += 2 {
			a, b := w[k]/float64(scale), 0.0
			if k+1 < len(w) {
				b = w[k+1] / float64(scale)
			}
			ca, cb := roundPair(a, b)
			try[k] = int8(ca)
			if k+1 < len(w) {
				try[k+1] = int8(cb)
			}
			da, db := ca-a, cb-b
			// The conversions keep a compiler from fusing product and sum, which would round differently elsewhere.
			loss += float64(da*da) + float64(db*db)
		}
		loss *= float64(scale)
		loss *= float64(scale)
		if loss < least {
			least, best = loss, scale
			copy(codes, try)
		}
	}
	return best
}

// roundPair gives the integers nearest to a and b within ±127 whose sum is within ±pairLimit.
func roundPair(a, b float64) (ca, cb float64) {
	clamp := func(x float64) float64 { return max(-127, min(127, math.RoundToEven(x))) }
	ca, cb = clamp(a), clamp(b)
	for ca+cb > pairLimit || ca+cb < -pairLimit {
		step := 1.0
		if ca+cb > 0 {
			step = -1
		}
		// The step that costs less: the one whose code lies farther on the side to leave.
		if (ca-a)*step <= (cb-b)*step {
			ca += step
		} else {
			cb += step
		}
	}
	return ca, cb
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// quantizeInput adds the rounding of a product's input.
func (g *graph) quantizeInput(q *linearInt8, x string) (codes, scale, zero string) {
	if q.inverse != nil {
		x = g.Node("Mul", []string{x, g.Floats("smooth", q.inverse, q.in)})
	}
	scale, zero = g.Floats("scale", []float32{q.scale}), g.Uint8s("zero", []uint8{q.zero})
	return g.Node("QuantizeLinear", []string{x, scale, zero}), scale, zero
}

func (g *graph) attentionInt8(n *Network, i int, x, bias string, heads onnx.Attr) string {
	q := &g.quantized.layers[i][siteQKV]
	if bias != "" {
		// QAttention knows no bias of the scores: the product and the attention apart.
		y := g.NodeN("Split", []string{g.productInt8(i, siteQKV, x)}, 3, onnx.Attr{Name: "axis", Value: -1})
		return g.Fused("MultiHeadAttention", []string{y[0], y[1], y[2], "", g.mask, bias}, heads)
	}
	codes, scale, zero := g.quantizeInput(q, x)
	return g.Fused("QAttention", []string{
		codes, g.Int8s("qkv", q.w, q.in, q.out), g.Floats("qkv_bias", q.bias, q.out),
		scale, g.Floats("qkv_scale", q.scales, q.out), g.mask, zero, g.Int8s("qkv_zero", make([]int8, q.out), q.out),
	}, heads)
}

func (g *graph) productInt8(i int, s site, x string) string {
	q := &g.quantized.layers[i][s]
	name := s.String()
	w, ws := g.Int8s(name, q.w, q.in, q.out), g.Floats(name+"_scale", q.scales, q.out)
	wz, bias := g.Int8s(name+"_zero", make([]int8, q.out), q.out), g.Floats(name+"_bias", q.bias, q.out)
	codes, scale, zero := g.quantizeInput(q, x)
	return g.Fused("MatMulIntegerToFloat", []string{codes, w, scale, ws, zero, wz, bias})
}
