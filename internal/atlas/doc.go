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
	"time"
)

// Point is a place on the map.
type Point struct{ X, Y float32 }

// Neighbor is another point, and how far it is.
type Neighbor struct {
	To       uint32
	Distance float32
}

const (
	// gentleWork is for how long work that is to be gentle goes on, and half of that it rests.
	gentleWork = 2 * time.Millisecond
	gentleRest = gentleWork / 2
)

type gentleKey struct{}

// pacer knows when work last rested.
type pacer struct{ last time.Time }

// Gently is a context for work beside others who are in a hurry: it rests a third of the time, so that where cores are scarce it is not in their way.
// It is for one goroutine.
func Gently(ctx context.Context) context.Context {
	return context.WithValue(ctx, gentleKey{}, &pacer{time.Now()})
}

// rest lets others use the core, and tells whether to go on.
func rest(ctx context.Context) error {
	if p, ok := ctx.Value(gentleKey{}).(*pacer); ok && time.Since(p.last) >= gentleWork {
		time.Sleep(gentleRest)
		p.last = time.Now()
	} else {
		runtime.Gosched()
	}
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
