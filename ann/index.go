package ann

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/viterin/vek/vek32"

	"embedd/ann/vec"
)

// Errors of the index, for errors.Is.
var (
	// ErrDimension: a vector has another length than the index's.
	ErrDimension = errors.New("wrong dimension")
	// ErrNotUnit: a vector has a norm other than 1, or a value that is not finite.
	ErrNotUnit = errors.New("not a unit vector")
	// ErrExists: the label is in the index already.
	ErrExists = errors.New("label exists")
	// ErrQuery: a parameter of a search is out of range.
	ErrQuery = errors.New("bad query")
	// ErrFull: the index has as many slots as it can address.
	ErrFull = errors.New("index is full")
	// ErrMemory: the system gives no more memory.
	ErrMemory = errors.New("out of memory")
	// ErrGivenUp: nobody waited for a search any more.
	ErrGivenUp = errors.New("search was given up")
	// ErrClosed: the index was closed.
	ErrClosed = errors.New("index is closed")
)

// normTolerance is how far a vector's norm may be from 1: what rounding to float32, or to less, leaves.
const normTolerance = 1e-3

// Memory says what is kept of a vector for the second comparison; the first is always by a code of a byte a value. The bytes are
// those of a vector of 384 values with M 16.
type Memory uint8

const (
	// Residual keeps what the code leaves, another byte a value: distances are off by some 1e-6 on average, 930 bytes a vector. For a
	// model with a few values many times as large as the others it is some 1e-3: take another mode.
	Residual Memory = iota
	// Fast keeps float32: 2,080 bytes a vector.
	Fast
	// Lean keeps float32 in a file, of which a search reads the few vectors that it compares: 550 bytes a vector in memory.
	Lean
)

var memoryNames = []string{"residual", "fast", "lean"}

func (m Memory) String() string {
	if int(m) < len(memoryNames) {
		return memoryNames[m]
	}
	return fmt.Sprintf("Memory(%d)", uint8(m))
}

// ParseMemory is the mode of a name: residual, fast or lean.
func ParseMemory(name string) (Memory, error) {
	if i := slices.Index(memoryNames, name); i >= 0 {
		return Memory(i), nil
	}
	return 0, fmt.Errorf("memory mode %q is not known; there are %v", name, memoryNames)
}

// Code says what a vector is in the first comparison, by which the graph is built and walked.
type Code uint8

const (
	// Byte keeps 7 bits a value.
	Byte Code = iota
	// Bit keeps the sign of each value: an eighth of the bytes, for models whose vectors were made to be cut to signs. For others it
	// needs a list many times as long for the same recall. All candidates are compared again, so it goes with Fast or Lean.
	Bit
)

func (c Code) String() string { return [...]string{"byte", "bit"}[min(c, Bit)] }

// Options are the parameters of the graph, named as in the paper. The zero value gives the defaults.
type Options struct {
	// M is the number of links of a new slot on each level, 2 to 128; 0 is 16. More is a larger, better connected graph.
	M int
	// EfConstruction is the number of candidates that are looked at for these links, M to 4,096; 0 is 200. More is a
	// slower build of a better graph.
	EfConstruction int
	// Seed chooses the levels of the slots.
	Seed uint64
	// Memory is what is kept of a vector beside its code.
	Memory Memory
	// Code is what a vector is in the first comparison.
	Code Code
	// Dir is the folder in which Lean has a file without a name; "" is os.TempDir(). What Open opens uses the snapshot's.
	Dir string
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
	if int(out.Memory) >= len(memoryNames) {
		return out, fmt.Errorf("option Memory is %d, must be Residual, Fast or Lean", out.Memory)
	}
	if out.Code > Bit {
		return out, fmt.Errorf("option Code is %d, must be Byte or Bit", out.Code)
	}
	if out.Code == Bit && out.Memory == Residual {
		return out, errors.New("option Code is Bit, which needs the Memory Fast or Lean: signs leave no residual")
	}
	return out, nil
}

// maxDim is the longest vector.
const maxDim = 65536

// maxLevel bounds the height of the graph. With M 2 a slot is above it once in 2^32.
const maxLevel = 31

// noEntry is the entry point of an index without slots.
const noEntry = math.MaxUint64

// Index is a set of labelled unit vectors that can be searched. See the package comment for what may run together.
type Index struct {
	dim     int
	stride  int // of a code, in bytes
	fstride int // of a float32 row, in values
	scale   float32
	opt     Options

	// What searches read.
	arrays atomic.Pointer[arrays]
	count  atomic.Uint32 // slots that were ever used; all others are behind them
	entry  atomic.Uint64 // level in the upper half, slot in the lower
	grace  grace
	size   atomic.Int64 // live labels
	deads  atomic.Int64 // tombstones

	// writers is held for reading by those who insert one vector, for writing by those who change the index as a whole.
	writers sync.RWMutex
	stripes [1024]sync.Mutex // of lists, by slot: held while a list is changed

	mu     sync.RWMutex // guards what follows; taken after writers
	mem    *memory
	free   []uint32         // slots to be used again, the last first
	spare  map[int][]uint32 // of each height: towers to be used again
	highs  int              // lists above level 0 that were ever used
	closed bool

	verifying  sync.Mutex // guards what follows; taken before writers
	unverified *unverified
	damaged    error // what Verify found

	tuning    atomic.Pointer[tuning]
	searchers sync.Pool // of *searcher
	cleanup   runtime.Cleanup
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
	x := &Index{dim: dim, stride: strideOf(dim, opt.Code), fstride: floatsOf(dim), scale: scaleOf(dim), opt: opt, mem: &memory{}, spare: map[int][]uint32{}}
	x.entry.Store(noEntry)
	x.arrays.Store(&arrays{})
	x.tuning.Store(untuned)
	if opt.Memory == Lean {
		x.mem.floats.m.dir = cmp.Or(opt.Dir, os.TempDir())
	}
	// An index that nobody closed gives its memory back when it is collected.
	x.cleanup = runtime.AddCleanup(x, func(m *memory) { _ = m.release() }, x.mem)
	return x, nil
}

// Kernels is the name of the instructions by which vectors are compared on this machine: avx512vnni, avx2, neondot, neon or go.
func Kernels() string { return vec.Implementation() }

// Dim is the number of values of a vector.
func (x *Index) Dim() int { return x.dim }

// Options are the graph's parameters, defaults filled in.
func (x *Index) Options() Options { return x.opt }

// Len is the number of live vectors.
func (x *Index) Len() int { return int(x.size.Load()) }

// Tombstones is the number of deleted vectors that still take room, until Consolidate.
func (x *Index) Tombstones() int { return int(x.deads.Load()) }

// lookup gives the slot of a live label, and the arrays in which it is.
func (x *Index) lookup(label uint64) (*arrays, uint32, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	a := x.arrays.Load()
	slot, ok := x.mem.table.get(a, label)
	return a, slot, ok && hasBit(a.live, slot)
}

// Contains tells whether a label is live.
func (x *Index) Contains(label uint64) bool {
	_, _, ok := x.lookup(label)
	return ok
}

// Labels gives the labels that are live when the iteration begins, in ascending order.
func (x *Index) Labels() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		e := x.grace.enter()
		v := x.look()
		all := make([]uint64, 0, x.Len())
		for slot := range v.n {
			if hasBit(v.live, slot) {
				all = append(all, v.labels[slot])
			}
		}
		x.grace.leave(e)
		slices.Sort(all)
		for _, label := range all {
			if !yield(label) {
				return
			}
		}
	}
}

// Delete takes a label out of all answers of searches that begin from now on, and tells whether it was in. Its slot stays in the
// graph as a tombstone until Consolidate.
func (x *Index) Delete(label uint64) bool {
	if x.ready() != nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	a := x.arrays.Load()
	slot, ok := x.mem.table.get(a, label)
	if !ok || !hasBit(a.live, slot) { // or is being inserted at the moment
		return false
	}
	x.mem.table.remove(a, label)
	setBit(a.dead, slot)
	clearBit(a.live, slot)
	x.size.Add(-1)
	x.deads.Add(1)
	return true
}

// view is what one search sees: the arrays, and the number of slots at its beginning.
type view struct {
	*arrays
	n     uint32
	entry uint64
}

// look gives a view. The entry point is read first, so that it is among the slots.
func (x *Index) look() view {
	entry := x.entry.Load()
	a := x.arrays.Load()
	return view{a, min(x.count.Load(), uint32(a.cap)), entry}
}

// checkVector returns an error unless v is a unit vector of the index's dimension.
func (x *Index) checkVector(v []float32) error {
	if len(v) != x.dim {
		return fmt.Errorf("%w: %d values, the index has %d", ErrDimension, len(v), x.dim)
	}
	if norm := math.Sqrt(float64(vek32.Dot(v, v))); !(math.Abs(norm-1) <= normTolerance) { // false for NaN
		return fmt.Errorf("%w: norm %v", ErrNotUnit, norm)
	}
	return nil
}

// Usage is the memory of an index.
type Usage struct {
	// Live, Tombstones and Free are numbers of slots: in answers, deleted, and to be used again.
	Live, Tombstones, Free int
	// Bytes are in use, in memory; those that Lean keeps in its file are FileBytes.
	Bytes, FileBytes int64
}

// Usage returns figures of the moment.
func (x *Index) Usage() Usage {
	x.mu.RLock()
	defer x.mu.RUnlock()
	u := Usage{Live: x.Len(), Tombstones: x.Tombstones(), Free: len(x.free)}
	n := int(x.count.Load())
	per := int64(x.stride + 4 + 8 + 4*x.width(0) + 4 + 4 + 1)
	switch x.opt.Memory {
	case Residual:
		per += int64(x.stride + 4)
	case Fast:
		per += int64(4 * x.fstride)
	default:
		u.FileBytes = int64(n * 4 * x.fstride)
	}
	u.Bytes = int64(n)*per + int64(2*8*words(n)+4*x.width(1)*x.highs) + x.mem.table.places.bytes()
	return u
}

// Close gives the memory back once running calls have ended. The index cannot be used any more: searches find nothing.
func (x *Index) Close() error {
	x.verifying.Lock()
	defer x.verifying.Unlock()
	x.writers.Lock()
	defer x.writers.Unlock()
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	x.entry.Store(noEntry)
	x.size.Store(0)
	x.deads.Store(0)
	x.count.Store(0)
	x.arrays.Store(&arrays{})
	x.mu.Unlock() // a search that is under way may want it
	x.grace.wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cleanup.Stop()
	errs := []error{x.mem.release()}
	if x.unverified != nil {
		errs = append(errs, x.unverified.file.Close())
		x.unverified = nil
	}
	return errors.Join(errs...)
}
