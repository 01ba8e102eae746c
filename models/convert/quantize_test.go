package convert

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// ReadTensors is what a fuzzer calls: every tensor of a file, read in some shape.
func ReadTensors(file []byte, shape ...int) error {
	t, err := parseTensors(file)
	if err != nil {
		return err
	}
	for name := range t.header {
		_, _ = t.floats(name, shape...) // a result or an error, but no panic
	}
	return nil
}

// PlainCalibration has a range for each product, and changes nothing else.
func PlainCalibration(n *Network) *Calibration {
	c := &Calibration{Texts: 1, Layers: make([][sites]Range, n.Layers)}
	for i := range n.layers {
		for s := range sites {
			l := n.layers[i].at(s)
			c.Layers[i][s] = Range{Low: -4, High: 4, Smooth: slices.Repeat([]float32{1}, l.in), Bias: make([]float32, l.out)}
		}
		c.Layers[i][siteD].Low = -0.2
		c.Layers[i][siteD].Copies = split(c.Layers[i][siteD].Smooth, 3)
	}
	return c
}

// No pair of neighbouring weights can saturate 16 bits, the codes are as near as the pairs allow, and the error is that
// of eight bits.
func TestRoundColumnNeverSaturates(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		w := make([]float64, 1+rng.IntN(400))
		for k := range w {
			w[k] = rng.NormFloat64()
			if rng.IntN(50) == 0 {
				w[k] *= 10
			}
		}
		codes := make([]int8, len(w))
		scale := float64(roundColumn(w, codes, fineTries))
		var loss, power float64
		for k := range w {
			if k%2 == 1 {
				a, b := int(codes[k-1]), int(codes[k])
				for _, pair := range [][2]int{{255, 255}, {255, 0}, {0, 255}} {
					if sum := pair[0]*a + pair[1]*b; sum > math.MaxInt16 || sum < math.MinInt16 {
						t.Fatalf("weights %d and %d saturate: %d", a, b, sum)
					}
				}
			}
			if codes[k] == -128 {
				t.Fatal("a code of -128, which has no negative")
			}
			loss += (w[k] - float64(codes[k])*scale) * (w[k] - float64(codes[k])*scale)
			power += w[k] * w[k]
		}
		if len(w) > 20 && loss > power/300 {
			t.Errorf("%d weights: squared error %.2g of %.2g", len(w), loss, power)
		}
	}
	codes := make([]int8, 4)
	if s := roundColumn(make([]float64, 4), codes, fineTries); s != 1 || !slices.Equal(codes, make([]int8, 4)) {
		t.Errorf("zeros become %v at scale %v", codes, s)
	}
}

func TestRoundPair(t *testing.T) {
	for _, c := range []struct{ a, b, ca, cb float64 }{
		{1.4, -2.6, 1, -3}, {200, 0, 127, 0}, {100, 100, 64, 64}, {127, 3, 126, 2}, {-90, -60, -79, -49}, {-127, 127, -127, 127}, {64.4, 63.8, 64, 64},
	} {
		if ca, cb := roundPair(c.a, c.b); ca != c.ca || cb != c.cb {
			t.Errorf("roundPair(%v, %v) = %v, %v, want %v, %v", c.a, c.b, ca, cb, c.ca, c.cb)
		}
	}
}

func TestFromFloat16(t *testing.T) {
	for h, want := range map[uint16]float32{0: 0, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0001: 1.0 / (1 << 24), 0x8001: -1.0 / (1 << 24), 0x3555: 0.333251953125} {
		if got := fromFloat16(h); got != want {
			t.Errorf("%#04x is %v, want %v", h, got, want)
		}
	}
	if !math.IsInf(float64(fromFloat16(0x7c00)), 1) || !math.IsNaN(float64(fromFloat16(0x7e00))) {
		t.Error("infinity or NaN is lost")
	}
}

// MPNet's buckets, as its authors' code gives them for 32 buckets and distances up to 128.
func TestRelativeBias(t *testing.T) {
	table := make([]float32, 32)
	for b := range table {
		table[b] = float32(b)
	}
	const n = 300
	bias := relativeBias(table, 32, 1, n)
	for _, c := range []struct{ distance, bucket int }{{0, 0}, {1, 1}, {7, 7}, {8, 8}, {11, 8}, {12, 9}, {127, 15}, {128, 15}, {299, 15}, {-1, 17}, {-7, 23}, {-8, 24}, {-299, 31}} {
		q, k := max(c.distance, 0), max(-c.distance, 0)
		if got := bias[q*n+k]; got != float32(c.bucket) {
			t.Errorf("a key %d before the query is in bucket %v, want %d", c.distance, got, c.bucket)
		}
	}
}

func TestChannelsPutCopiesApart(t *testing.T) {
	r := Range{Smooth: []float32{1, 8, 1, 4}}
	r.Copies = split(r.Smooth, 4)
	if want := []int{1, 4, 1, 2}; !slices.Equal(r.Copies, want) {
		t.Errorf("copies %v, want %v", r.Copies, want)
	}
	if got, want := r.channels(), []int{0, 1, 2, 3, 1, 3, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("channels %v, want %v", got, want)
	}
}

func TestCalibrationOfAnotherNetworkIsRefused(t *testing.T) {
	n := &Network{Dimension: 2, Layers: 1, layers: []layer{{
		qkv: linear{in: 2, out: 6}, o: linear{in: 2, out: 2}, i: linear{in: 2, out: 4}, d: linear{in: 4, out: 2},
	}}}
	if err := PlainCalibration(n).fits(n); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(c *Calibration){
		"has 0 layers":   func(c *Calibration) { c.Layers = nil },
		"product of":     func(c *Calibration) { c.Layers[0][siteI].Smooth = nil },
		"range":          func(c *Calibration) { c.Layers[0][siteQKV].High = c.Layers[0][siteQKV].Low },
		"range 1":        func(c *Calibration) { c.Layers[0][siteQKV].Low = 1 },
		"smooth":         func(c *Calibration) { c.Layers[0][siteO].Smooth[1] = 0 },
		"bias":           func(c *Calibration) { c.Layers[0][siteO].Bias[0] = float32(math.NaN()) },
		"copies must be": func(c *Calibration) { c.Layers[0][siteD].Copies[0] = 0 },
		"copies are for": func(c *Calibration) { c.Layers[0][siteI].Copies = []int{1, 1} },
	} {
		c := PlainCalibration(n)
		change(c)
		if err := c.fits(n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}
