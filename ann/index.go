package ann

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"

	"github.com/viterin/vek/vek32"
)

// Errors of Insert and the searches, for errors.Is.
var (
	// ErrDimension: a vector has another length than the index's.
	ErrDimension = errors.New("wrong dimension")
	// ErrNotUnit: a vector has a norm other than 1, or a value that is not finite.
	ErrNotUnit = errors.New("not a unit vector")
	// ErrExists: the label is in the index already.
	ErrExists = errors.New("label exists")
	// ErrK: k is less than 1.
	ErrK = errors.New("k must be at least 1")
	// ErrFull: the index has as many slots as it can address.
	ErrFull = errors.New("index is full")
)

// normTolerance is how far a vector's norm may be from 1: what rounding to float32, or to less, leaves.
const normTolerance = 1e-3

// Options are the parameters of the graph, named as in the paper. The zero value gives the defaults.
type Options struct {
	// M is the number of links of a new slot on each level, 2 to 128; 0 is 16. More is a larger, better connected graph.
	M int
	// EfConstruction is the number of candidates that are looked at for these links, M to 4,096; 0 is 200. More is a
	// slower build of a better graph.
	EfConstruction int
	// Seed chooses the levels of the slots: equal seeds, labels and order of insertion give equal graphs.
	Seed uint64
}

func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	if out.M == 0 {
		out.M = 16
	}
	if out.EfConstruction == 0 {
		out.EfConstruction = max(200, out.M)
	}
	if out.M < 2 || out.M > 128 {
		return out, fmt.Errorf("option M is %d, must be 2 to 128", out.M)
	}
	if out.EfConstruction < out.M || out.EfConstruction > 4096 {
		return out, fmt.Errorf("option EfConstruction is %d, must be %d (M) to 4096", out.EfConstruction, out.M)
	}
	return out, nil
}

// maxDim is the longest vector.
const maxDim = 65536

// maxLevel bounds the height of the graph. With M 2 a slot is above it once in 2^32.
const maxLevel = 31

// none is no slot.
const none = math.MaxUint32

// Index is a set of labelled unit vectors that can be searched. See the package comment for what may run together.
type Index struct {
	dim    int
	stride int // of a code, in bytes
	opt    Options

	mu sync.RWMutex // guards everything below

	// Of each slot, by slot. A slot is never used again.
	vectors []float32 // dim values a slot
	codes   []byte    // stride bytes a slot: what searches compare
	scales  []float32 // of the codes
	labels  []uint64
	levels  []uint8
	dead    []bool     // tombstones
	parent  []uint32   // in the spanning tree of level 0; none for the root, slot 0
	kids    []uint16   // number of children in it, at most M
	links0  []uint32   // level 0: listSize0 values a slot, the first is the number of links
	upper   [][]uint32 // levels 1 to levels[slot]: listSize values a level, the first is the number of links

	slots      map[uint64]uint32 // live labels
	entry      uint32            // none if there is no slot
	tombstones int

	searchers sync.Pool // of *searcher
}

// New makes an empty index for vectors of dim values, 1 to 65,536. Nil options are the defaults.
func New(dim int, o *Options) (*Index, error) {
	opt, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if dim < 1 || dim > maxDim {
		return nil, fmt.Errorf("dimension is %d, must be 1 to %d", dim, maxDim)
	}
	return &Index{dim: dim, stride: strideOf(dim), opt: opt, slots: map[uint64]uint32{}, entry: none}, nil
}

// Dim is the number of values of a vector.
func (x *Index) Dim() int { return x.dim }

// Options are the graph's parameters, defaults filled in.
func (x *Index) Options() Options { return x.opt }

// Len is the number of live vectors.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.slots)
}

// Tombstones is the number of deleted vectors that still take room.
func (x *Index) Tombstones() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.tombstones
}

// Contains tells whether a label is live.
func (x *Index) Contains(label uint64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.slots[label]
	return ok
}

// Labels gives the labels that are live when the iteration begins, in ascending order.
func (x *Index) Labels() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		x.mu.RLock()
		all := make([]uint64, 0, len(x.slots))
		for label := range x.slots {
			all = append(all, label)
		}
		x.mu.RUnlock()
		slices.Sort(all)
		for _, label := range all {
			if !yield(label) {
				return
			}
		}
	}
}

// Delete takes a label out of all answers and tells whether it was in. Its slot stays in the graph as a tombstone until
// the index is built anew.
func (x *Index) Delete(label uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	slot, ok := x.slots[label]
	if !ok {
		return false
	}
	delete(x.slots, label)
	x.dead[slot] = true
	x.tombstones++
	return true
}

// checkVector returns an error unless v is a unit vector of the index's dimension.
func (x *Index) checkVector(v []float32) error {
	if len(v) != x.dim {
		return fmt.Errorf("%w: %d values, the index has %d", ErrDimension, len(v), x.dim)
	}
	var sum float64
	for _, f := range v {
		sum += float64(f) * float64(f)
	}
	if norm := math.Sqrt(sum); !(math.Abs(norm-1) <= normTolerance) { // false for NaN
		return fmt.Errorf("%w: norm %v", ErrNotUnit, norm)
	}
	return nil
}

// vector is the vector of a slot.
func (x *Index) vector(slot uint32) []float32 {
	i := int(slot) * x.dim
	return x.vectors[i : i+x.dim : i+x.dim]
}

// distance is the cosine distance of two unit vectors.
func distance(a, b []float32) float32 { return 1 - vek32.Dot(a, b) }

// listSize0 and listSize are the sizes of a list of links, its number included.
func (x *Index) listSize0() int { return 1 + 2*x.opt.M }
func (x *Index) listSize() int  { return 1 + x.opt.M }

// list is the memory of a slot's links on a level: their number and their places.
func (x *Index) list(slot uint32, level int) []uint32 {
	if level == 0 {
		n := x.listSize0()
		return x.links0[int(slot)*n : (int(slot)+1)*n]
	}
	n := x.listSize()
	return x.upper[slot][(level-1)*n : level*n]
}

// links are the slots that a slot is linked to on a level.
func (x *Index) links(slot uint32, level int) []uint32 {
	l := x.list(slot, level)
	return l[1 : 1+l[0]]
}
