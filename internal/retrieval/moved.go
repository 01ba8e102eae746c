package retrieval

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// What becomes of writes while a collection moves to another model: they go on, wait for a moment, and then go to the one in its place.

// writes says where the papers of a collection are written.
type writes struct {
	// moved is the collection that has taken this one's place; nil: there is none.
	moved atomic.Pointer[Collection]

	mu      sync.Mutex
	running int           // writes that were let in
	held    chan struct{} // closed when writes are let in again; nil: they are
	idle    chan struct{} // closed when none is running; nil: nobody waits for that
}

// errMoved ends a write to a collection whose place another has taken. It reaches no caller: see placed.
var errMoved = errors.New("the collection has moved")

// ofFollower marks the writes that bring a collection to what another has: they wait for nobody, and go nowhere else.
type ofFollower struct{}

// admit lets a write in, which calls done when it has ended, or waits for as long as writes are held.
func (w *writes) admit(ctx context.Context) (done func(), err error) {
	if ctx.Value(ofFollower{}) != nil {
		return func() {}, nil
	}
	for {
		w.mu.Lock()
		held := w.held
		if held == nil {
			break
		}
		w.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer w.mu.Unlock()
	if w.moved.Load() != nil {
		return nil, errMoved
	}
	w.running++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.running--; w.running == 0 && w.idle != nil {
			close(w.idle)
			w.idle = nil
		}
	}, nil
}

// HoldWrites has writes wait, and returns when none is under way; release lets them go on. Writes that wait end with their own contexts. What a
// disk that does not answer has begun is waited for, until ctx ends. Papers that expire go on to do so. Only one may hold them at a time.
func (c *Collection) HoldWrites(ctx context.Context) (release func(), err error) {
	w := &c.writes
	w.mu.Lock()
	if w.held != nil {
		w.mu.Unlock()
		return nil, &Error{Kind: Internal, Message: "the writes of the collection are held already"}
	}
	w.held = make(chan struct{})
	release = sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(w.held)
		w.held = nil
	})
	if w.running == 0 {
		w.mu.Unlock()
		return release, nil
	}
	idle := make(chan struct{})
	w.idle = idle
	w.mu.Unlock()
	select {
	case <-idle:
		return release, nil
	case <-ctx.Done():
		w.mu.Lock()
		w.idle = nil
		w.mu.Unlock()
		release()
		return nil, ctx.Err()
	}
}

// MoveTo has writes that come from now on go to another collection, nil for this one. Calls that read go on here. Writes are held.
func (c *Collection) MoveTo(to *Collection) { c.writes.moved.Store(to) }

// placed calls a write of a collection, or of the one that has taken its place.
func placed(c *Collection, write func(*Collection) error) error {
	for {
		err := write(c)
		if !errors.Is(err, errMoved) {
			return err
		}
		if to := c.writes.moved.Load(); to != nil { // otherwise it has come back
			c = to
		}
	}
}

// KeepLog keeps what the change log has after a revision, for one that follows; nil: nobody does. Without it a snapshot of the index takes away what it does
// not need itself.
func (c *Collection) KeepLog(after *uint64) { c.keepLog.Store(after) }

// Revision is that of the store: up to it all that was acknowledged is there.
func (c *Collection) Revision() uint64 { return c.store.Revision() }
