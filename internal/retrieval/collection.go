package retrieval

import (
	"cmp"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"embedd/ann"
	"embedd/internal/store"
)

// Paper is one document of a collection, as it is stored.
type Paper = store.Paper

// Options tune Open. The zero value is usable.
type Options struct {
	// Name is what the collection is called.
	Name string
	// Settings are what the collection is made with.
	Settings Settings
	// Index are the parameters of the HNSW graph. Dir is the data directory where it is empty.
	Index ann.Options
	// Log is told of a snapshot that is not used, and why, and of the index's upkeep. Default: slog.Default().
	Log *slog.Logger
	// Map: the map of the papers is drawn behind the start, and anew when many have come or gone.
	Map bool
	// Observer, when set, is told of the stages of calls.
	Observer Observer
	// Rerankers are cross-encoders that searches can be re-ranked by; the first is the usual one.
	Rerankers []Reranker
	// Progress, when set, is called while the index catches up with the store.
	Progress func(done, total int)
	// Reserve and Ballast are about a disk that fills up, OnWritable is told of it: see package store.
	Reserve    uint64
	Ballast    int64
	OnWritable func(error)
	// KeepLog is that of the method of this name, from the start on.
	KeepLog *uint64
	now     func() time.Time // for tests
}

// Collection is a set of papers under one encoder, in one data directory. All methods may be called from many
// goroutines at once.
type Collection struct {
	name    string
	dir     string
	root    *os.Root // dir, which no file is opened outside of
	encoder Encoder
	store   *store.Store
	index   *ann.Index
	log     *slog.Logger

	observer  Observer // may be nil
	settings  Settings
	rerankers []Reranker
	now       func() time.Time

	// version is the store's revision up to which the index has everything.
	version watermark
	moves   moves
	// passages are of papers whose text is kept in several parts.
	passages passages
	fields   fields
	words    lexicon
	works    catalogue

	expiry     expiry
	upkeep     upkeep
	calibrated atomic.Int64 // vectors when recall was last measured
	snapshots  snapshots
	probe      probe
	survey     survey
	cards      cards
	neighbours neighbours
	chart      chart
	sealer     func() (cipher.AEAD, error) // of page tokens
	start      IndexStart                  // set by Open
	writes     writes
	keepLog    atomic.Pointer[uint64]
	across     atomic.Pointer[Across]
	searched   atomic.Int64 // when the latest search began, in Unix nanoseconds

	// life is held for reading by each call and for writing by Close.
	life   sync.RWMutex
	closed bool
	// discarded is why calls fail once Discard has begun; nil before.
	discarded atomic.Pointer[Error]
	// commits are those under way, whose callers may have gone.
	commits    sync.WaitGroup
	committing chan struct{} // has an entry for each
}

// storeName is the store's folder in a data directory.
const storeName = "store"

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
	if err := o.Settings.Check(); err != nil {
		return nil, err
	}
	c := &Collection{name: o.Name, dir: dir, encoder: encoder, committing: make(chan struct{}, maxCommits), log: o.Log, observer: o.Observer, settings: o.Settings, rerankers: o.Rerankers, now: o.now}
	if c.now == nil {
		c.now = time.Now
	}
	if o.Settings.OwnVectors {
		own, err := newOwnVectors(o.Settings.Dimension)
		if err != nil {
			return nil, err
		}
		c.encoder = own
	}
	c.fields.init()
	c.words.init()
	c.cards.init()
	c.neighbours.init(o.Settings.Neighbours)
	c.chart.wanted = o.Map
	c.KeepLog(o.KeepLog)
	c.works.init()
	if c.log == nil {
		c.log = slog.Default()
	}
	if c.root, err = store.MakeRoot(dir); err != nil {
		return nil, internal("open data directory "+dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.root.Close())
		}
	}()
	if err := checkStoreIsThere(c.root); err != nil {
		return nil, err
	}
	m := c.encoder.Model()
	c.store, err = store.Open(storeName, store.Identity{Model: m.ID, Fingerprint: m.Fingerprint, Dimension: m.Dimension}, &store.Options{
		Root: c.root, Log: c.log, Reserve: o.Reserve, Ballast: o.Ballast, OnWritable: o.OnWritable,
	})
	if err != nil {
		return nil, storeError("open data directory "+dir, err)
	}
	c.sealer = sync.OnceValues(func() (cipher.AEAD, error) { return newSealer(c.store.UUID()) })
	defer func() {
		if err != nil {
			err = errors.Join(err, c.store.Close())
		}
	}()
	if err := c.passages.load(c.store); err != nil {
		return nil, storeError("read passages", err)
	}
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
	c.tidy()
	begin := time.Now()
	from, err := c.useSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.catchUp(ctx, from, o.Progress); err != nil {
		return nil, err
	}
	c.start.Rebuilt, c.start.Took = from == 0 && c.start.Inserted > 0, time.Since(begin)
	if c.store.Count() == 0 {
		c.fields.there()
		c.neighbours.made.Store(true) // each paper that comes makes its own list
	}
	for _, k := range c.allKept() {
		k.find(c)
	}
	c.version.start(c.store.Revision())
	if err := c.openExpiry(); err != nil {
		return nil, err
	}
	c.upkeep.ctx, c.upkeep.cancel = context.WithCancel(context.Background())
	c.upkeep.timer = time.AfterFunc(saveAfter, c.tend)
	c.probe.timer = time.AfterFunc(probeEvery, func() {
		c.probe.due.Store(true)
		c.tend()
	})
	c.armExpiry()
	c.tend()
	return c, nil
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
	// Vectors, one of each paper, can be found, Tombstones are deleted and still in the graph, Free are slots to be used again.
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
	papers, err := c.papers()
	if err != nil {
		return Info{}, err
	}
	o, u := c.index.Options(), c.index.Usage()
	return Info{
		Model:  c.encoder.Model(),
		Papers: papers,
		Index: IndexInfo{
			M: o.M, EfConstruction: o.EfConstruction, Memory: o.Memory.String(), Kernels: ann.Kernels(),
			Vectors: u.Live - c.passages.len(), Tombstones: u.Tombstones, Free: u.Free, MemoryBytes: u.Bytes, FileBytes: u.FileBytes,
			Calibrated: int(c.calibrated.Load()),
		},
		Version: c.version.load(),
	}, nil
}

// Name is what the collection is called, "" where it was opened without a name.
func (c *Collection) Name() string { return c.name }

// Dir is the data directory.
func (c *Collection) Dir() string { return c.dir }

// Model describes the encoder.
func (c *Collection) Model() Model { return c.encoder.Model() }

// Check proves the invariants between store and index, and those of each: slow, for tests and tools. No write may run meanwhile.
func (c *Collection) Check() error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	c.expiry.sweeping.Lock()
	defer c.expiry.sweeping.Unlock()
	errs := []error{c.store.Check(), c.index.Check()}
	n := 0
	errs = append(errs, c.store.Ordinals(func(ordinal uint64) error {
		n++
		if !c.index.Contains(ordinal) {
			return fmt.Errorf("invariant 3: paper %d is stored and not in the index", ordinal)
		}
		return nil
	}))
	errs = append(errs, c.store.Passages(func(ordinal uint64, p store.Passage) error {
		if p.Index > 0 {
			n++
		}
		if !c.index.Contains(ordinal) || !slices.Contains(c.passages.labels(p.Paper), ordinal) {
			return fmt.Errorf("invariant 3: passage %d of paper %d is stored and not in the index", p.Index, p.Paper)
		}
		return nil
	}))
	if n != c.index.Len() {
		errs = append(errs, fmt.Errorf("invariant 3: %d papers and passages are stored, %d are in the index", n, c.index.Len()))
	}
	return errors.Join(append(errs, c.checkFields(), c.words.check(c), c.works.check(c), c.checkNeighbours())...)
}

// enter begins a call; leave ends it. Between the two nothing is closed.
func (c *Collection) enter() error {
	if gone := c.discarded.Load(); gone != nil { // who waited for the lock would wait for Close
		return gone
	}
	c.life.RLock()
	if c.closed {
		c.life.RUnlock()
		return c.ended()
	}
	return nil
}

// ended is why nothing is answered any more.
func (c *Collection) ended() error {
	if gone := c.discarded.Load(); gone != nil {
		return gone
	}
	return &Error{Kind: Unavailable, Message: "the server is shutting down"}
}

func (c *Collection) leave() { c.life.RUnlock() }

// Close waits for running calls, ends the upkeep of the index, saves a snapshot of it if it changed, and closes index and store.
// The encoder is the caller's to close.
func (c *Collection) Close() error {
	c.upkeep.cancel() // who waits for what is being made goes
	c.life.Lock()
	defer c.life.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.commits.Wait()
	c.fields.loading.Wait()
	c.words.loading.Wait()
	c.works.loading.Wait()
	c.upkeep.timer.Stop()
	c.probe.timer.Stop()
	c.expiry.timer.Stop()
	_ = c.Settle(context.Background()) // its context does not end
	var errs []error
	kept := c.discarded.Load() == nil
	if kept && c.unsaved() {
		if err := c.saveSnapshot(); errors.Is(err, store.ErrRoom) {
			c.log.Warn("the index is not saved; the next start takes longer", "error", err)
		} else if err != nil {
			errs = append(errs, fmt.Errorf("save snapshot of the index: %w", err))
		}
	}
	if kept {
		c.keep()
	}
	return errors.Join(append(errs, c.index.Close(), c.store.Close(), c.root.Close())...)
}

// Discard is Close for a collection that is to be removed: nothing derived is saved, and calls that begin from now on fail with why.
func (c *Collection) Discard(why *Error) error {
	c.discarded.CompareAndSwap(nil, why)
	return c.Close()
}

// Writable returns nil, or why no papers are taken: a disk that is nearly full.
func (c *Collection) Writable() error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	return storeError("store papers", c.store.Writable())
}
