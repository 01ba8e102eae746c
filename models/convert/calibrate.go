package convert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/viterin/vek/vek32"
)

// Calibration is what int8 arithmetic needs to know of a network's activations. It is found once, by running texts
// through the float32 graph, and kept as JSON: from the same weights and the same calibration comes the same graph to the
// byte, on every machine, although float32 arithmetic differs between machines in the last bits.
type Calibration struct {
	// Texts and Tokens are how much was run.
	Texts  int `json:"texts"`
	Tokens int `json:"tokens"`
	// Layers hold a Range for each product, in the order qkv, o, i, d.
	Layers [][sites]Range `json:"layers"`
}

// Range says how the input of one product is rounded: channel j is divided by Smooth[j], then Low to High is spread
// over 0 to 255.
type Range struct {
	Low    float32   `json:"low"`
	High   float32   `json:"high"`
	Smooth []float32 `json:"smooth"`
	// Copies says how often a channel of the intermediate activations is there; absent: once each.
	Copies []int `json:"copies,omitempty"`
	// Bias is added to the product's: the mean of what rounding changes in it, with the sign turned.
	Bias []float32 `json:"bias"`
}

// affine gives the scale and zero point of the activations.
func (r *Range) affine() (scale float32, zero uint8) {
	scale = (r.High - r.Low) / 255
	return scale, uint8(max(0, min(255, math.RoundToEven(float64(-r.Low/scale)))))
}

// ReadCalibration reads what json.Marshal wrote.
func ReadCalibration(r io.Reader) (*Calibration, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	var c Calibration
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	return &c, nil
}

// fits checks a calibration against a network.
func (c *Calibration) fits(n *Network) error {
	if len(c.Layers) < n.Layers {
		return fmt.Errorf("calibration: has %d layers, the network has %d", len(c.Layers), n.Layers)
	}
	for i := range n.layers {
		for s := range sites {
			r, l := &c.Layers[i][s], n.layers[i].at(s)
			finite := func(x float32) bool { return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) }
			sum := 0
			for _, n := range r.Copies {
				sum += n
			}
			switch {
			case r.Copies != nil && s != siteD:
				return fmt.Errorf("calibration: layer %d, %v: copies are for the product d alone", i, s)
			case r.Copies != nil && (len(r.Copies) != l.in || slices.Min(r.Copies) < 1 || slices.Max(r.Copies) > l.in || sum > 2*l.in):
				return fmt.Errorf("calibration: layer %d, %v: copies must be 1 or more for each of %d channels, %d in all at most", i, s, l.in, 2*l.in)
			case len(r.Smooth) != l.in || len(r.Bias) != l.out:
				return fmt.Errorf("calibration: layer %d, %v: is for a product of %d × %d, the network's is %d × %d", i, s, len(r.Smooth), len(r.Bias), l.in, l.out)
			case !finite(r.Low) || !finite(r.High) || r.Low > 0 || r.High <= r.Low:
				return fmt.Errorf("calibration: layer %d, %v: range %v to %v must be finite, from 0 or below to above it", i, s, r.Low, r.High)
			case slices.ContainsFunc(r.Smooth, func(x float32) bool { return !finite(x) || x <= 0 }):
				return fmt.Errorf("calibration: layer %d, %v: smooth must be finite and above 0", i, s)
			case slices.ContainsFunc(r.Bias, func(x float32) bool { return !finite(x) }):
				return fmt.Errorf("calibration: layer %d, %v: bias must be finite", i, s)
			}
		}
	}
	return nil
}

// Text is a tokenised text, or a pair of texts, special tokens included.
type Text struct {
	IDs []int32
	// Second is the place of the first token of the second text of a pair, 0 for a text that is no pair.
	Second int
}

// Runner runs a graph on one text at a time.
type Runner interface {
	// Run gives the values of each output. They are valid until the next Run.
	Run(t Text) ([][]float32, error)
	Close() error
}

// Runtime loads a graph for the named outputs.
type Runtime func(graph []byte, outputs []string) (Runner, error)

// extraChannels is how many further channels a layer's intermediate activations get at most: see split.
const extraChannels = 32

// headroom widens each range beyond what was seen: other texts reach farther.
const headroom = 1.1

// weightShare is how much more the rounding of weights counts than that of activations when a smoothing is chosen. The
// error of an activation differs from token to token, and the mean over a text takes most of it out; that of a weight is
// the same for every token and stays.
const weightShare = 8

// Rows of activations that are kept of each product's input: some to choose the smoothing by, all for the bias.
const (
	keptRows   = 1024
	searchRows = 256
)

// Calibrate runs texts through the float32 graph and finds, for each product, the smoothing and range whose int8 product
// is nearest to the exact one. progress, where set, is told of what is done, in parts of total.
func Calibrate(ctx context.Context, n *Network, texts []Text, run Runtime, progress func(done, total int)) (_ *Calibration, err error) {
	if len(texts) == 0 {
		return nil, errors.New("calibration: no text to run")
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	total := len(texts) + n.Layers*int(sites)
	c := &Calibration{Texts: len(texts), Layers: make([][sites]Range, n.Layers)}
	for _, t := range texts {
		c.Tokens += len(t.IDs)
	}
	seen, err := observe(ctx, n, texts, c.Tokens, run, func(done int) { progress(done, total) })
	if err != nil {
		return nil, err
	}
	for i := range n.layers {
		for s := range sites {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			c.Layers[i][s] = choose(n.layers[i].at(s), &seen[i][s], s)
			progress(len(texts)+i*int(sites)+int(s)+1, total)
		}
	}
	return c, nil
}

// activations are what was seen of one product's input.
type activations struct {
	low, high []float32 // of each channel
	rows      []float32 // some rows, [rows × channels]
}

// observe runs the texts and keeps ranges and an even sample of the rows.
func observe(ctx context.Context, n *Network, texts []Text, tokens int, run Runtime, progress func(done int)) (_ [][sites]activations, err error) {
	graph, err := n.probes()
	if err != nil {
		return nil, err
	}
	var names []string
	seen := make([][sites]activations, n.Layers)
	for i := range n.layers {
		for s := range sites {
			names = append(names, probeName(i, s))
			in := n.layers[i].at(s).in
			seen[i][s] = activations{
				low:  slices.Repeat([]float32{float32(math.Inf(1))}, in),
				high: slices.Repeat([]float32{float32(math.Inf(-1))}, in),
			}
		}
	}
	runner, err := run(graph, names)
	if err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	stride := max(1, tokens/keptRows)
	row := 0
	for done, t := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		outputs, err := runner.Run(t)
		if err != nil {
			return nil, fmt.Errorf("calibration: text %d: %w", done, err)
		}
		for at, values := range outputs {
			a := &seen[at/int(sites)][at%int(sites)]
			in := len(a.low)
			if len(values) != len(t.IDs)*in {
				return nil, fmt.Errorf("calibration: output %s has %d values for %d tokens", names[at], len(values), len(t.IDs))
			}
			for r := range t.IDs {
				x := values[r*in : (r+1)*in]
				for j, v := range x {
					a.low[j] = min(a.low[j], v)
					a.high[j] = max(a.high[j], v)
				}
				if (row+r)%stride == 0 {
					a.rows = append(a.rows, x...)
				}
			}
		}
		row += len(t.IDs)
		progress(done + 1)
	}
	return seen, nil
}

// choose searches the smoothing and the range of one product.
func choose(l *linear, a *activations, s site) Range {
	e := newExact(l, a)
	reach := make([]float32, l.in)
	for j := range reach {
		reach[j] = max(abs(a.low[j]), abs(a.high[j]))
	}
	var best Range
	least := math.Inf(1)
	try := func(r Range) {
		if loss := e.loss(l, &r); loss < least {
			best, least = r, loss
		}
	}
	plain := slices.Repeat([]float32{1}, l.in)
	candidates := [][]float32{plain}
	sorted := slices.Clone(reach)
	slices.Sort(sorted)
	for _, percentile := range []float64{0, 10, 25, 50, 75, 90, 95, 98, 99, 99.5} {
		for _, alpha := range []float64{1, 0.7} {
			candidates = append(candidates, smoothing(reach, sorted, percentile, alpha))
		}
	}
	if s != siteD { // behind GELU, whose floor of -0.17 a small divisor would blow up
		for _, alpha := range []float64{0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1} {
			for _, beta := range []float64{0, 0.25, 0.5} {
				candidates = append(candidates, balance(reach, l, alpha, beta))
			}
		}
	}
	for _, smooth := range candidates {
		r := spread(a, smooth)
		if s == siteD {
			r.Copies = split(smooth, extraChannels)
		}
		try(r)
	}
	for j, x := range best.Smooth {
		best.Smooth[j] = short(x)
	}
	best.Low, best.High = short(best.Low), short(best.High)
	best.Bias = e.bias(l, &best)
	for j, x := range best.Bias {
		best.Bias[j] = short(x)
	}
	return best
}

// short keeps five digits, which is more than the choice is good for, and makes the file small.
func short(x float32) float32 {
	y, err := strconv.ParseFloat(strconv.FormatFloat(float64(x), 'g', 5, 32), 32)
	if err != nil {
		panic("convert: " + err.Error()) // what was just written
	}
	return float32(y)
}

// spread gives the range that nothing seen lies outside of, and some headroom.
func spread(a *activations, smooth []float32) Range {
	r := Range{Smooth: smooth}
	for j, s := range smooth {
		r.Low = min(r.Low, a.low[j]/s)
		r.High = max(r.High, a.high[j]/s)
	}
	r.Low, r.High = r.Low*headroom, r.High*headroom
	if r.High <= r.Low {
		r.High = r.Low + 1 // a product whose input is all zeros
	}
	return r
}

// smoothing divides the channels that reach beyond a percentile of all, the farther the more.
func smoothing(reach, sorted []float32, percentile, alpha float64) []float32 {
	at := sorted[min(len(sorted)-1, int(percentile/100*float64(len(sorted))))]
	smooth := make([]float32, len(reach))
	for j, x := range reach {
		smooth[j] = 1
		if at > 0 && x > at {
			smooth[j] = float32(math.Pow(float64(x/at), alpha))
		}
	}
	return smooth
}

// balance shares the reach of each channel between activations and weights (SmoothQuant's formula), scaled to a
// geometric mean of 1.
func balance(reach []float32, l *linear, alpha, beta float64) []float32 {
	smooth := make([]float32, l.in)
	var sum float64
	logs := make([]float64, l.in)
	for k := range l.in {
		var top float32
		for _, w := range l.w[k*l.out : (k+1)*l.out] {
			top = max(top, abs(w))
		}
		if reach[k] == 0 || top == 0 {
			continue // stays at the mean
		}
		logs[k] = alpha*math.Log(float64(reach[k])) - beta*math.Log(float64(top))
		sum += logs[k]
	}
	for k := range smooth {
		smooth[k] = 1
		if logs[k] != 0 {
			smooth[k] = float32(math.Exp(logs[k] - sum/float64(l.in)))
		}
	}
	return smooth
}

// exact is a product in float32 on the rows that were kept.
type exact struct {
	rows   []float32 // [rows × in]
	weight []float64 // of each row
	mean   []float64 // of the rows, by channel
	wt     []float32 // weights by column, [out × in]

	// The rows that the smoothing is chosen by, spread over all.
	search       []float32 // [searchRows × in]
	searchWant   []float32 // [searchRows × out] without bias
	searchWeight []float64
}

func newExact(l *linear, a *activations) *exact {
	e := &exact{rows: a.rows, wt: transpose(l.w, l.in, l.out), mean: make([]float64, l.in)}
	want := multiply(e.rows, e.wt, l.in, l.out)
	e.weight = weigh(want, l.out)
	var total float64
	for r, w := range e.weight {
		total += w
		for j, x := range e.rows[r*l.in : (r+1)*l.in] {
			e.mean[j] += w * float64(x)
		}
	}
	for j := range e.mean {
		e.mean[j] /= total
	}
	count := len(e.weight)
	some := min(count, searchRows)
	for i := range some {
		r := i * count / some
		e.search = append(e.search, e.rows[r*l.in:(r+1)*l.in]...)
		e.searchWant = append(e.searchWant, want[r*l.out:(r+1)*l.out]...)
	}
	e.searchWeight = weigh(e.searchWant, l.out)
	return e
}

// weigh gives each row the inverse of its squared norm, bounded by the median's. What follows is normalised row by row,
// so an error counts by its size beside its own row: without weights a few rows of huge values would decide for all.
func weigh(rows []float32, out int) []float64 {
	norms := make([]float64, len(rows)/out)
	for r := range norms {
		for _, x := range rows[r*out : (r+1)*out] {
			norms[r] += float64(x) * float64(x)
		}
	}
	sorted := slices.Clone(norms)
	slices.Sort(sorted)
	median := sorted[len(sorted)/2]
	for r := range norms {
		norms[r] = 1 / (norms[r] + median)
	}
	return norms
}

// multiply gives x·w for w by columns.
func multiply(x, wt []float32, in, out int) []float32 {
	rows := len(x) / in
	y := make([]float32, rows*out)
	inParallel(out, func(j int) {
		w := wt[j*in : (j+1)*in]
		for r := range rows {
			y[r*out+j] = vek32.Dot(x[r*in:(r+1)*in], w)
		}
	})
	return y
}

// inParallel calls f for 0 to n-1 from a goroutine for each core.
func inParallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}

// smoothed gives rows divided by the smoothing, with the copies of channels.
func (r *Range) smoothed(rows []float32) []float32 {
	channels := r.channels()
	in := len(r.Smooth)
	out := make([]float32, 0, len(rows)/in*len(channels))
	for ; len(rows) > 0; rows = rows[in:] {
		for _, j := range channels {
			out = append(out, rows[j]/r.Smooth[j])
		}
	}
	return out
}

// rounded gives smoothed values as the int8 graph would see them, in float32.
func (r *Range) rounded(smoothed []float32) []float32 {
	scale, zero := r.affine()
	out := make([]float32, len(smoothed))
	for i, x := range smoothed {
		code := math.RoundToEven(float64(x/scale)) + float64(zero)
		out[i] = float32(max(0, min(255, code))-float64(zero)) * scale
	}
	return out
}

// channels lists which channel stands at each place of the rounded input: all of them once, then the further copies, in
// rounds, so that two copies of a channel are no neighbours.
func (r *Range) channels() []int {
	list := make([]int, len(r.Smooth))
	for j := range list {
		list[j] = j
	}
	for round := 1; ; round++ {
		n := len(list)
		for j, c := range r.Copies {
			if c > round {
				list = append(list, j)
			}
		}
		if len(list) == n {
			return list
		}
	}
}

// split shares extra copies out to the channels with the largest smoothing. A channel that reaches far beyond the others
// needs a large divisor, and so large weights, which coarsen the rounding of all weights beside them; split in two, each
// half has half of the weight (Zhao et al., outlier channel splitting, 2019).
func split(smooth []float32, extra int) []int {
	copies := make([]int, len(smooth))
	for j := range copies {
		copies[j] = 1
	}
	for range extra {
		most := 0
		for j := range smooth {
			if smooth[j]/float32(copies[j]) > smooth[most]/float32(copies[most]) {
				most = j
			}
		}
		copies[most]++
	}
	return copies
}

// weights gives the rounded weights by column, in float32.
func (q *linearInt8) weights() []float32 {
	wt := make([]float32, len(q.w))
	for j := range q.out {
		for k := range q.in {
			wt[j*q.in+k] = float32(q.w[k*q.out+j]) * q.scales[j]
		}
	}
	return wt
}

// loss is the squared error of the int8 product after the best constant correction of each column, and that of the
// rounded weights alone, weightShare times.
func (e *exact) loss(l *linear, r *Range) float64 {
	q := quantizeLinear(l, r, 1) // one scale a column is enough to compare smoothings
	w, x := q.weights(), r.smoothed(e.search)
	both, weights := multiply(r.rounded(x), w, q.in, l.out), multiply(x, w, q.in, l.out)
	losses := make([]float64, l.out)
	inParallel(l.out, func(j int) {
		losses[j] = e.spread(both, l.out, j) + weightShare*e.spread(weights, l.out, j)
	})
	var total float64
	for _, x := range losses {
		total += x
	}
	return total
}

// spread is the squared error of column j around its mean.
func (e *exact) spread(got []float32, out, j int) float64 {
	var sum, squares, weights float64
	for k, w := range e.searchWeight {
		d := float64(got[k*out+j] - e.searchWant[k*out+j])
		sum += w * d
		squares += w * d * d
		weights += w
	}
	return squares - sum*sum/weights
}

// bias is what the rounding of weights takes from the product on average: mean(x)·(w − rounded w). That of the
// activations is left out: its mean hangs on where values lie between two steps, and what corrects it for some texts
// was measured to make others worse.
func (e *exact) bias(l *linear, r *Range) []float32 {
	q := quantizeLinear(l, r, fineTries)
	mean := make([]float64, q.in)
	var total float64
	for _, w := range e.weight {
		total += w
	}
	for i, x := range r.smoothed(e.rows) {
		mean[i%q.in] += e.weight[i/q.in] / total * float64(x)
	}
	wt := q.weights()
	bias := make([]float32, l.out)
	for j := range bias {
		var sum float64
		for k := range l.in {
			sum += e.mean[k] * float64(e.wt[j*l.in+k])
		}
		for k := range q.in {
			sum -= mean[k] * float64(wt[j*q.in+k])
		}
		bias[j] = float32(sum)
	}
	return bias
}
