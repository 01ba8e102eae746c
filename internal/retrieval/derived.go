package retrieval

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"embedd/internal/store"
)

// derived is the life of something in memory that is made of the papers. What is in the store is read anew by each change, one after the other, so
// that the last one to read has read the last state.
//
// It is made when it is asked for first, which takes some seconds for 100,000 papers: a start does not wait for it, and neither does who never asks.
type derived struct {
	what string // for messages
	put  func(ordinals []uint64, records []store.Record, present []bool) error
	// skips: a paper whose record is damaged is left out, with a line in the log. Otherwise nothing is answered, as that paper might be what is
	// asked for.
	skips bool
	// cards: what it reads is kept for answers too.
	cards bool
	// saved, when set, takes what was saved of it and brings that up to the store, or says that there is nothing of use.
	saved func(c *Collection, ctx context.Context) bool

	mu      sync.Mutex // held while papers are read and put
	begun   bool
	pending []uint64 // papers that could not be read, and are to be read again

	failing atomic.Pointer[error] // why what is there is not what is stored
	made    chan struct{}         // closed when all papers are there, or it was given up
	loading sync.WaitGroup
}

// derivedAtOnce is how many papers are read at once while it is made: others who write wait for so many.
const derivedAtOnce = 64

// begin begins to make it, where nobody has before. The collection is entered.
func (d *derived) begin(c *Collection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun {
		return
	}
	d.begun = true
	d.loading.Go(func() {
		defer close(d.made)
		begin := time.Now()
		err := d.load(c.upkeep.ctx, c)
		if err == nil {
			c.log.Debug(d.what+" are made", "papers", c.store.Count(), "took", time.Since(begin))
			return
		}
		d.failing.Store(&err)
		if !errors.Is(err, context.Canceled) { // by Close
			c.log.Error(d.what+" cannot be used until the next start", "error", err)
		}
	})
}

// there says that it has all papers already.
func (d *derived) there() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = true
	close(d.made)
}

// load puts every paper that is in the store. What could not be read is pending.
func (d *derived) load(ctx context.Context, c *Collection) error {
	if d.saved != nil && d.saved(c, ctx) {
		return nil
	}
	batch := make([]uint64, 0, derivedAtOnce)
	err := c.store.Ordinals(func(ordinal uint64) error {
		if batch = append(batch, ordinal); len(batch) == derivedAtOnce {
			d.update(c, batch)
			batch = batch[:0]
		}
		return ctx.Err()
	})
	d.update(c, batch)
	return err
}

// update brings it to what is stored of some papers, once it is being made, and of those that could not be read before.
func (d *derived) update(c *Collection, ordinals []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.begun {
		return
	}
	d.pending = append(d.pending, ordinals...)
	if len(d.pending) == 0 {
		return
	}
	err := d.bring(c, d.pending)
	if err == nil {
		d.pending = nil
		d.failing.Store(nil)
		return
	}
	if d.failing.Swap(&err) == nil {
		c.log.Error(d.what+" are not up to the store; it is tried again when they are asked for", "error", err)
	}
}

// bring reads papers and puts them.
func (d *derived) bring(c *Collection, ordinals []uint64) error {
	var changes []uint64
	if d.cards {
		changes = c.cards.changesOf(ordinals)
	}
	records, present, err := c.store.Records(ordinals)
	if errors.Is(err, store.ErrCorrupt) && d.skips {
		records, present = make([]store.Record, len(ordinals)), make([]bool, len(ordinals))
		for i, ordinal := range ordinals {
			r, p, err := c.store.Records([]uint64{ordinal})
			switch {
			case errors.Is(err, store.ErrCorrupt):
				c.log.Error(d.what+" are without those of a damaged paper", "error", err)
			case err != nil:
				return err
			default:
				records[i], present[i] = r[0], p[0]
			}
		}
		err = nil
	}
	if err != nil {
		return err
	}
	if d.cards {
		c.cards.keepAll(ordinals, changes, records, present)
	}
	return d.put(ordinals, records, present)
}

// failed is why it cannot be used, nil where it can.
func (d *derived) failed() error {
	if err := d.failing.Load(); err != nil {
		return *err
	}
	return nil
}

// ready tells whether it has all papers.
func (d *derived) ready() bool {
	select {
	case <-d.made:
		return d.failed() == nil
	default:
		return false
	}
}

// wait waits until it has all papers. Who finds it so waits for nobody who writes.
func (d *derived) wait(ctx context.Context, c *Collection) error {
	if d.ready() {
		return nil
	}
	d.begin(c)
	select {
	case <-d.made:
	case <-ctx.Done():
		return &Error{Kind: Unavailable, Message: d.what + " are still being read, which takes some seconds after a start; try again", Err: ctx.Err()}
	case <-c.upkeep.ctx.Done():
		return c.ended()
	}
	if d.failed() != nil {
		d.update(c, nil)
	}
	if err := d.failed(); err != nil {
		return storeError("read "+d.what, err)
	}
	return nil
}

// LoadDerived begins to make what is derived from the papers and is in memory, where nobody has before, so that who asks for it first need not
// wait.
func (c *Collection) LoadDerived() {
	if c.enter() != nil {
		return // it is being closed
	}
	defer c.leave()
	c.fields.begin(c)
	c.words.begin(c)
	c.works.begin(c)
}

// update brings all that is derived and in memory to what is stored of some papers. reworded are those of them whose words may be others. Words and
// works are made from the first write on, so that their snapshots keep up with the store.
func (c *Collection) update(ordinals, reworded []uint64) {
	c.cards.forget(ordinals)
	c.words.begin(c)
	c.works.begin(c)
	c.fields.update(c, ordinals)
	c.words.update(c, reworded)
	c.works.update(c, ordinals)
}
