package retrieval

import (
	"context"
	"errors"
	"log/slog"
	"sync"
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

	mu    sync.Mutex // held while papers are read and put
	begun bool
	err   error // why what is there is not what is stored; it is not asked any more then

	made    chan struct{} // closed when all papers are there, or err is set
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
		if err := d.load(c.upkeep.ctx, c); err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.fail(c.log, err)
			return
		}
		c.log.Debug(d.what+" are made", "papers", c.store.Count(), "took", time.Since(begin))
	})
}

// there says that it has all papers already.
func (d *derived) there() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = true
	close(d.made)
}

// load puts every paper that is in the store.
func (d *derived) load(ctx context.Context, c *Collection) error {
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

// update brings it to what is stored of some papers, once it is being made.
func (d *derived) update(c *Collection, ordinals []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.begun || d.err != nil || len(ordinals) == 0 {
		return
	}
	records, present, err := c.store.Records(ordinals)
	if err == nil {
		err = d.put(ordinals, records, present)
	}
	if err != nil {
		d.fail(c.log, err)
	}
}

// fail ends its use until the next start. mu is held.
func (d *derived) fail(log *slog.Logger, err error) {
	if d.err = err; !errors.Is(err, context.Canceled) { // by Close
		log.Error(d.what+" cannot be used until the next start", "error", err)
	}
}

// failed is why it cannot be used, nil where it can.
func (d *derived) failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
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

// wait waits until it has all papers.
func (d *derived) wait(ctx context.Context, c *Collection) error {
	d.begin(c)
	select {
	case <-d.made:
	case <-ctx.Done():
		return &Error{Kind: Unavailable, Message: d.what + " are still being read, which takes some seconds after a start; try again", Err: ctx.Err()}
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
}

// update brings all that is derived and in memory to what is stored of some papers.
func (c *Collection) update(ordinals []uint64) {
	c.fields.update(c, ordinals)
	c.words.update(c, ordinals)
}
