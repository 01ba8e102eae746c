package embed

import (
	"math"
	"slices"
	"testing"

	"embedd/models"
)

func TestPool(t *testing.T) {
	tokens := []float32{
		1, 30,
		3, 10,
		5, 20,
	}
	for _, c := range []struct {
		pooling models.Pooling
		want    []float32
	}{
		{models.PoolingMean, []float32{3, 20}},
		{models.PoolingCLS, []float32{1, 30}},
		{models.PoolingLast, []float32{5, 20}},
		{models.PoolingMax, []float32{5, 30}},
	} {
		out := make([]float32, 2)
		pool(out, tokens, c.pooling)
		if !slices.Equal(out, c.want) {
			t.Errorf("%s: %v, want %v", c.pooling, out, c.want)
		}
	}
}

func TestCheckUnit(t *testing.T) {
	for _, c := range []struct {
		v  []float32
		ok bool
	}{{[]float32{0.6, 0.8}, true}, {[]float32{0.6, 0.9}, false}, {[]float32{0, 0}, false}} {
		if err := checkUnit(c.v); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.v, err)
		}
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
