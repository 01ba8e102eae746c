package retrieval

import (
	"bufio"
	"bytes"
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
	// Index are the parameters of the HNSW graph.
	Index ann.Options
	// Log is told of a snapshot that is not used, and why. Default: slog.Default().
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
}

// Open opens the data directory dir, making it where it does not exist, and brings the index up to date with the store.
// A directory made by another model, or open in another process, is FailedPrecondition.
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
	if c.index, err = ann.New(m.Dimension, &o.Index); err != nil {
		return nil, &Error{Kind: Invalid, Field: "index", Message: err.Error(), Err: err}
	}
	switch index, saved, err := c.loadSnapshot(); {
	case err == nil:
		c.index, c.saved = index, saved
	case !errors.Is(err, fs.ErrNotExist):
		c.log.Warn("snapshot of the index is not used; the index is rebuilt from the store", "reason", err)
	}
	if err := c.catchUp(ctx, o.Progress); err != nil {
		return nil, err
	}
	c.version.Store(c.store.Revision())
	return c, nil
}

// loadSnapshot reads the index's snapshot if it was made from this store by this model, with the options of c.index, which
// is new.
func (c *Collection) loadSnapshot() (*ann.Index, uint64, error) {
	index, text, err := ann.Open(filepath.Join(c.dir, snapshotName))
	if err != nil {
		return nil, 0, err
	}
	if err := index.Verify(context.Background()); err != nil {
		return nil, 0, errors.Join(err, index.Close())
	}
	var note snapshotNote
	if err := json.Unmarshal(text, &note); err != nil {
		return nil, 0, fmt.Errorf("note of the snapshot: %w", err)
	}
	id := c.store.Identity()
	switch {
	case note.Store != c.store.UUID():
		return nil, 0, errors.New("it was made from another store")
	case note.Fingerprint != id.Fingerprint || index.Dim() != id.Dimension:
		return nil, 0, errors.New("it was made by another model")
	case index.Options().M != c.index.Options().M || index.Options().EfConstruction != c.index.Options().EfConstruction:
		return nil, 0, fmt.Errorf("it was made with the options %+v, these are %+v", index.Options(), c.index.Options())
	case note.Revision > c.store.Revision():
		return nil, 0, fmt.Errorf("it is of revision %d, the store is at %d", note.Revision, c.store.Revision())
	}
	return index, note.Revision, nil
}

// saveSnapshot writes the index's snapshot: whole and synced before it takes the old one's place.
func (c *Collection) saveSnapshot() (err error) {
	note, err := json.Marshal(snapshotNote{Store: c.store.UUID(), Fingerprint: c.store.Identity().Fingerprint, Revision: c.version.Load()})
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

// catchUp inserts what the store has and the index lacks, and deletes what the index has and the store lacks. An
// ordinal's vector never changes, so equal sets of ordinals are equal contents.
func (c *Collection) catchUp(ctx context.Context, progress func(done, total int)) error {
	total, done := c.store.Count(), 0
	insert := func(ordinal uint64, v []float32) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.index.Insert(ordinal, v); err != nil {
			return internal("rebuild index", err)
		}
		if done++; progress != nil {
			progress(done, total)
		}
		return nil
	}
	if c.index.Len()+c.index.Tombstones() == 0 { // a new index: the vectors in one sweep
		return catchUpError(c.store.Vectors(insert))
	}
	live := make(map[uint64]struct{}, total)
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
	total = len(missing)
	for _, ordinal := range missing {
		v, err := c.store.Vector(ordinal)
		if err == nil {
			err = insert(ordinal, v)
		}
		if err != nil {
			return catchUpError(err)
		}
	}
	return nil
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
	Model      Model
	Papers     int
	Vectors    int
	Tombstones int
	// Version grows with every change.
	Version uint64
}

// Info returns counts of the moment.
func (c *Collection) Info() (Info, error) {
	if err := c.enter(); err != nil {
		return Info{}, err
	}
	defer c.leave()
	return Info{
		Model:      c.encoder.Model(),
		Papers:     c.store.Count(),
		Vectors:    c.index.Len(),
		Tombstones: c.index.Tombstones(),
		Version:    c.version.Load(),
	}, nil
}

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

// Close waits for running calls, saves a snapshot of the index if it changed, and closes the store. The encoder is the
// caller's to close.
func (c *Collection) Close() error {
	c.life.Lock()
	defer c.life.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var errs []error
	if v := c.version.Load(); v != c.saved {
		if err := c.saveSnapshot(); err != nil {
			errs = append(errs, fmt.Errorf("save snapshot of the index: %w", err))
		}
	}
	return errors.Join(append(errs, c.store.Close())...)
}

// samePaper tells whether two papers are equal in every field.
func samePaper(a, b *Paper) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}
