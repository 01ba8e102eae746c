// Package atlas draws a set of points that are known by their nearest neighbours: a layout in two dimensions, clusters, and names of the clusters by words.
// It knows nothing of papers or indexes.
//
// Everything is of one goroutine, and the same for the same input and seed, bit for bit on one kind of CPU. It takes pieces of less than a millisecond, and
// lets others use the core between two of them.
package atlas

import (
	"context"
	"math/bits"
	"runtime"
)

// Point is a place on the map.
type Point struct{ X, Y float32 }

// Neighbor is another point, and how far it is.
type Neighbor struct {
	To       uint32
	Distance float32
}

// rest lets others use the core, and tells whether to go on.
func rest(ctx context.Context) error {
	runtime.Gosched()
	return ctx.Err()
}

// random is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014): as fast as a layout needs, and the same everywhere.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below gives a number less than n.
func (r *random) below(n int) int {
	high, _ := bits.Mul64(r.next(), uint64(n))
	return int(high)
}

// unit gives a number from -1 to 1.
func (r *random) unit() float64 { return float64(r.next()>>11)/(1<<52) - 1 }
