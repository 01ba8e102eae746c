package embed

import (
	"math"
	"testing"
)

func TestMeanPoolTakesOnlyWhatTheMaskKeeps(t *testing.T) {
	hidden := []float32{
		1, 10,
		3, 30,
		100, 1000, // masked
	}
	out := make([]float32, 2)
	meanPool(out, hidden, []int64{1, 1, 0})
	if out[0] != 2 || out[1] != 20 {
		t.Errorf("mean is %v, want [2 20]", out)
	}
}

func TestNormalize(t *testing.T) {
	v := []float32{3, 4}
	if err := normalize(v); err != nil || v[0] != 0.6 || v[1] != 0.8 {
		t.Errorf("[3 4] becomes %v, %v", v, err)
	}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, v := range [][]float32{{0, 0}, {}, {inf, 1}, {nan, 1}} {
		if err := normalize(v); err == nil {
			t.Errorf("%v has no direction, but no error comes", v)
		}
	}
}
