package retrieval

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"embedd/ann"
	"embedd/internal/store"
)

// Paper is one document of a collection, as it is stored.
type Paper = store.Paper

// Options tune Open. The zero value is usable.
type Options struct {
	// Index are the parameters of the HNSW graph. Dir is the data directory where it is empty.
	Index ann.Options
	// Log is told of a snapshot that is not used, and why, and of the index's upkeep. Default: slog.Default().
	Log *slog.Logger
	// Progress, when set, is called while the index catches up with the store.
	Progress func(done, total int)
}

// Collection is a set of papers under one encoder, in one data directory. All methods may be called from many
// goroutines at once.
type Collection struct {
	dir     string
	encoder Encoder
	store   *store.Store
	index   *ann.Index
	log     *slog.Logger

	// version is the store's revision up to which the index has everything.
	version atomic.Uint64

	upkeep     upkeep
	calibrated atomic.Int64 // vectors when recall was last measured
	touched    atomic.Bool  // the upkeep changed the index since its snapshot

	// write serialises commits, so that the index sees them in the store's order.
	write sync.Mutex

	// life is held for reading by each call and for writing by Close.
	life   sync.RWMutex
	closed bool
	// saved is the version of the snapshot on disk, 0 for none. Guarded by life.
	saved uint64
}

// Names in a data directory.
const (
	storeName    = "store"
	snapshotName = "index.snapshot"
)

// snapshotNote ties a snapshot of the index to the store that it was made from. Ordinals are never used again, so a
// snapshot of the same store can be brought up to date by the difference of the two sets of ordinals.
type snapshotNote struct {
	Store       string `json:"store"`
	Fingerprint string `json:"fingerprint"`
	Revision    uint64 `json:"revision"`
	// Calibrated is how many vectors there were when recall was last measured.
	Calibrated int64 `json:"calibrated,omitempty"`
}

// Open opens the data directory dir, making it where it does not exist, and brings the index up to date with the store.
// A directory made by another model, or open in another process, is FailedPrecondition.
//
// The index's snapshot is proved before Open returns. It could be searched at once and proved behind that, but an answer
// from a damaged one may be wrong without a sign of it; the proof takes about a tenth of a second for 100,000 papers, and the
// encoder's warm-up that comes next a whole one; and so nobody ever waits for, or searches, an index that is being replaced.
func Open(ctx context.Context, dir string, encoder Encoder, o *Options) (_ *Collection, err error) {
	if o == nil {
		o = &Options{}
	}
	c := &Collection{dir: dir, encoder: encoder, log: o.Log}
	if c.log == nil {
		c.log = slog.Default()
	}
	m := encoder.Model()
	c.store, err = store.Open(filepath.Join(dir, storeName), store.Identity{Model: m.ID, Fingerprint: m.Fingerprint, Dimension: m.Dimension}, &store.Options{Log: c.log})
	if err != nil {
		var mismatch *store.MismatchError
		if errors.As(err, &mismatch) || errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrFormat) {
			return nil, &Error{Kind: FailedPrecondition, Message: err.Error(), Err: err}
		}
		return nil, internal("open data directory "+dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.store.Close())
		}
	}()
	options := o.Index
	options.Dir = cmp.Or(options.Dir, dir)
	if c.index, err = ann.New(m.Dimension, &options); err != nil {
		return nil, &Error{Kind: Invalid, Field: "index", Message: err.Error(), Err: err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.index.Close())
		}
	}()
	if err := c.useSnapshot(ctx); err != nil {
		return nil, err
	}
	if err := c.catchUp(ctx, o.Progress); err != nil {
		return nil, err
	}
	c.version.Store(c.store.Revision())
	c.upkeep.ctx, c.upkeep.cancel = context.WithCancel(context.Background())
	c.tend()
	return c, nil
}

// useSnapshot puts the index's snapshot in the place of c.index, which is new, if it can be used. The only error is the end of
// ctx: an index without its snapshot is made anew.
func (c *Collection) useSnapshot(ctx context.Context) error {
	index, text, err := ann.Open(filepath.Join(c.dir, snapshotName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var note snapshotNote
	if err == nil {
		if err = c.checkSnapshot(ctx, index, text, &note); err != nil {
			err = errors.Join(err, index.Close())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.log.Warn("snapshot of the index is not used; the index is rebuilt from the store", "reason", err, "papers", c.store.Count())
		return nil
	}
	empty := c.index
	c.index, c.saved = index, note.Revision
	c.calibrated.Store(note.Calibrated)
	return empty.Close()
}

// checkSnapshot reads the note of a snapshot, and proves that it is whole, made from this store by this model, and of the
// options of c.index.
func (c *Collection) checkSnapshot(ctx context.Context, index *ann.Index, text []byte, note *snapshotNote) error {
	if err := json.Unmarshal(text, note); err != nil {
		return fmt.Errorf("its note: %w", err)
	}
	id, has, want := c.store.Identity(), index.Options(), c.index.Options()
	switch {
	case note.Store != c.store.UUID():
		return errors.New("it was made from another store")
	case note.Fingerprint != id.Fingerprint || index.Dim() != id.Dimension:
		return errors.New("it was made by another model")
	case has.M != want.M || has.EfConstruction != want.EfConstruction || has.Memory != want.Memory || has.Code != want.Code:
		return fmt.Errorf("it was made with M %d, efConstruction %d, memory %v, codes of a %v; asked for are M %d, efConstruction %d, memory %v, codes of a %v",
			has.M, has.EfConstruction, has.Memory, has.Code, want.M, want.EfConstruction, want.Memory, want.Code)
	case note.Revision > c.store.Revision():
		return fmt.Errorf("it is of revision %d, the store is at %d", note.Revision, c.store.Revision())
	}
	return index.Verify(ctx)
}

// saveSnapshot writes the index's snapshot: whole and synced before it takes the old one's place.
func (c *Collection) saveSnapshot() (err error) {
	note, err := json.Marshal(snapshotNote{Store: c.store.UUID(), Fingerprint: c.store.Identity().Fingerprint, Revision: c.version.Load(), Calibrated: c.calibrated.Load()})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, snapshotName+".*.new")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	w := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(c.index.WriteSnapshot(w, note), w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(c.dir, snapshotName)); err != nil {
		return err
	}
	d, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// catchUp deletes what the index has and the store lacks, and inserts what the store has and the index lacks, on all cores. An
// ordinal's vector never changes, so equal sets of ordinals are equal contents.
func (c *Collection) catchUp(ctx context.Context, progress func(done, total int)) error {
	live := make(map[uint64]struct{}, c.store.Count())
	var missing []uint64
	err := c.store.Ordinals(func(ordinal uint64) error {
		live[ordinal] = struct{}{}
		if !c.index.Contains(ordinal) {
			missing = append(missing, ordinal)
		}
		return ctx.Err()
	})
	if err != nil {
		return catchUpError(err)
	}
	for label := range c.index.Labels() {
		if _, ok := live[label]; !ok {
			c.index.Delete(label)
		}
	}
	return catchUpError(c.index.InsertAll(ctx, missing, func(i int) ([]float32, error) { return c.store.Vector(missing[i]) }, 0, progress))
}

// catchUpError says what was going on, unless the error says so itself.
func catchUpError(err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return internal("bring the index up to the store", err)
}

// Info is what a collection is and holds.
type Info struct {
	Model  Model
	Papers int
	Index  IndexInfo
	// Version grows with every change.
	Version uint64
}

// IndexInfo is what the index is and takes.
type IndexInfo struct {
	M, EfConstruction int
	// Memory is what is kept of a vector beside its code, Kernels what compares codes.
	Memory, Kernels string
	// Vectors can be found, Tombstones are deleted and still in the graph, Free are slots to be used again.
	Vectors, Tombstones, Free int
	// MemoryBytes are in use in memory, FileBytes in a mapped file.
	MemoryBytes, FileBytes int64
	// Calibrated is how many vectors there were when recall was last measured, 0 for never.
	Calibrated int
}

// BytesPerVector is the memory of one vector, everything that is not a vector included; 0 where there are none.
func (x IndexInfo) BytesPerVector() float64 {
	if x.Vectors == 0 {
		return 0
	}
	return float64(x.MemoryBytes) / float64(x.Vectors)
}

// Info returns counts of the moment.
func (c *Collection) Info() (Info, error) {
	if err := c.enter(); err != nil {
		return Info{}, err
	}
	defer c.leave()
	o, u := c.index.Options(), c.index.Usage()
	return Info{
		Model:  c.encoder.Model(),
		Papers: c.store.Count(),
		Index: IndexInfo{
			M: o.M, EfConstruction: o.EfConstruction, Memory: o.Memory.String(), Kernels: ann.Kernels(),
			Vectors: u.Live, Tombstones: u.Tombstones, Free: u.Free, MemoryBytes: u.Bytes, FileBytes: u.FileBytes,
			Calibrated: int(c.calibrated.Load()),
		},
		Version: c.version.Load(),
	}, nil
}

// Model describes the encoder.
func (c *Collection) Model() Model { return c.encoder.Model() }

// Check proves the invariants between store and index, and those of each: slow, for tests and tools. Writes wait.
func (c *Collection) Check() error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	c.write.Lock()
	defer c.write.Unlock()
	errs := []error{c.store.Check(), c.index.Check()}
	n := 0
	errs = append(errs, c.store.Ordinals(func(ordinal uint64) error {
		n++
		if !c.index.Contains(ordinal) {
			return fmt.Errorf("invariant 3: paper %d is stored and not in the index", ordinal)
		}
		return nil
	}))
	if n != c.index.Len() {
		errs = append(errs, fmt.Errorf("invariant 3: %d papers are stored, %d are in the index", n, c.index.Len()))
	}
	return errors.Join(errs...)
}

// enter begins a call; leave ends it. Between the two nothing is closed.
func (c *Collection) enter() error {
	c.life.RLock()
	if c.closed {
		c.life.RUnlock()
		return &Error{Kind: Unavailable, Message: "the server is shutting down"}
	}
	return nil
}

func (c *Collection) leave() { c.life.RUnlock() }

// Close waits for running calls, ends the upkeep of the index, saves a snapshot of it if it changed, and closes index and store.
// The encoder is the caller's to close.
func (c *Collection) Close() error {
	c.life.Lock()
	defer c.life.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.upkeep.cancel()
	_ = c.Settle(context.Background()) // its context does not end
	var errs []error
	if v := c.version.Load(); v != c.saved || c.touched.Load() {
		if err := c.saveSnapshot(); err != nil {
			errs = append(errs, fmt.Errorf("save snapshot of the index: %w", err))
		}
	}
	return errors.Join(append(errs, c.index.Close(), c.store.Close())...)
}

// samePaper tells whether two papers are equal in every field.
func samePaper(a, b *Paper) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}
