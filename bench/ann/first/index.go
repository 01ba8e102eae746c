// Package first is the index that embedd began with: HNSW over float32 vectors in Go memory, one call of vek a distance, one
// lock over everything. It is kept, without deletes and snapshots, for one purpose: benchmarks of package ann print it beside
// what came of it. Nothing but bench/ann may import it, and it is not to be improved.
package first

import (
	"math"
	"sync"

	"github.com/viterin/vek/vek32"
)

const (
	seed     = 0
	maxLevel = 31
	none     = math.MaxUint32 // no slot
)

// Index is a set of unit vectors; a vector's label is its number in the order of insertion.
type Index struct {
	dim, m, efConstruction int

	mu sync.RWMutex // guards everything below

	// Of each slot, by slot.
	vectors []float32
	levels  []uint8
	parent  []uint32   // in the spanning tree of level 0; none for the root, slot 0
	kids    []uint16   // number of children in it, at most m
	links0  []uint32   // level 0: stride0 values a slot, the first is the number of links
	upper   [][]uint32 // levels 1 to levels[slot]: stride values a level, the first is the number of links
	entry   uint32     // none if there is no slot

	searchers sync.Pool // of *searcher
}

// New makes an empty index for vectors of dim values.
func New(dim, m, efConstruction int) *Index {
	return &Index{dim: dim, m: m, efConstruction: efConstruction, entry: none}
}

func (x *Index) vector(slot uint32) []float32 {
	i := int(slot) * x.dim
	return x.vectors[i : i+x.dim : i+x.dim]
}

// distance is the cosine distance of two unit vectors.
func distance(a, b []float32) float32 { return 1 - vek32.Dot(a, b) }

// stride0 and stride are the sizes of a list of links, its number included.
func (x *Index) stride0() int { return 1 + 2*x.m }
func (x *Index) stride() int  { return 1 + x.m }

// list is the memory of a slot's links on a level: their number and their places.
func (x *Index) list(slot uint32, level int) []uint32 {
	if level == 0 {
		n := x.stride0()
		return x.links0[int(slot)*n : (int(slot)+1)*n]
	}
	n := x.stride()
	return x.upper[slot][(level-1)*n : level*n]
}

// links are the slots that a slot is linked to on a level.
func (x *Index) links(slot uint32, level int) []uint32 {
	l := x.list(slot, level)
	return l[1 : 1+l[0]]
}
