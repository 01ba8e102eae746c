package lane

import (
	"context"
	"time"
)

// Call is one caller's texts on their way. It is used by one goroutine.
type Call struct {
	s       *Scheduler
	ctx     context.Context
	lane    Lane
	texts   int
	share   int // of the reservation, for each text
	results []Result
	landed  chan int // indexes of results
	flying  int      // added and not seen in landed

	// Guarded by the scheduler.
	held  int  // tokens in the lane
	later int  // texts beyond the window, for which nothing is held yet
	left  bool // nobody waits any more
}

// Begin asks for room in a lane for a call of so many texts, at least 1, of about so many tokens in all. A full lane, and one
// that would not get to the call before ctx's deadline, is a *BusyError. The call must be ended.
func (s *Scheduler) Begin(ctx context.Context, l Lane, texts, tokens int) (*Call, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	c := &Call{s: s, ctx: ctx, lane: l, texts: texts, share: tokens / texts, results: make([]Result, texts)}
	first := min(texts, window)
	if err := s.admit(ctx, l, first*c.share); err != nil {
		s.mu.Unlock()
		s.o.Observer.Refused(l, err.Left > 0)
		return nil, err
	}
	c.landed = make(chan int, first)
	c.later = texts - first
	s.hold(c, first*c.share)
	s.mu.Unlock()
	return c, nil
}

// admit says why a call may not begin.
func (s *Scheduler) admit(ctx context.Context, l Lane, tokens int) *BusyError {
	has := s.tokens[l]
	if has == 0 {
		return nil
	}
	ahead := has
	if l == Bulk {
		ahead += s.tokens[Interactive]
	}
	busy := &BusyError{Lane: l, Tokens: has, Limit: s.o.Limits[l]}
	tokens = min(tokens, busy.Limit/2) // a larger call would have to find the lane empty
	if over := has + tokens - busy.Limit; over > 0 {
		busy.Wait = max(s.reading(min(over, ahead)), time.Millisecond)
		return busy
	}
	if deadline, ok := ctx.Deadline(); ok && len(s.free) == 0 {
		busy.Left = max(time.Until(deadline), 1)
		if busy.Wait = s.reading(ahead); busy.Wait > busy.Left {
			return busy
		}
	}
	return nil
}

// reading is how long all slots take to read so many tokens.
func (s *Scheduler) reading(tokens int) time.Duration {
	if s.speed == 0 {
		return 0 // nothing has been read yet
	}
	return time.Duration(float64(tokens) / (s.speed * float64(s.o.Slots)) * float64(time.Second))
}

// Add takes the call's next text and its place in the call. It waits while a window's texts of the call are in flight, and
// gives the call's first error so far. A call of one text may find it run when Add returns.
func (c *Call) Add(index int, text Text) error {
	for c.flying == window {
		if err := c.land(); err != nil {
			return err
		}
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	c.flying++
	s := c.s
	s.mu.Lock()
	s.hold(c, len(text.IDs)-c.share)
	name := flight{c.lane, text.Key, text.Whole}
	if t := s.flights[name]; t != nil {
		t.waiters = append(t.waiters, waiter{c, index})
		s.mu.Unlock()
		s.o.Observer.Joined(c.lane)
		return nil
	}
	t := &entry{Text: text, flight: name, since: time.Now(), first: [1]waiter{{c, index}}}
	t.waiters = t.first[:]
	s.flights[name] = t
	if len(s.free) == 0 {
		s.queues[c.lane] = append(s.queues[c.lane], t)
		s.mu.Unlock()
		return nil
	}
	slot := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.mu.Unlock()
	if c.texts > 1 {
		go s.serve(slot, []*entry{t})
		return nil
	}
	s.run(slot, []*entry{t})
	if batch := s.next(slot); batch != nil {
		go s.serve(slot, batch)
	}
	return nil
}

// land waits for one text of the call and gives its error.
func (c *Call) land() error {
	select {
	case index := <-c.landed:
		c.flying--
		return c.results[index].Err
	default:
	}
	select {
	case index := <-c.landed:
		c.flying--
		return c.results[index].Err
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// Wait waits for all that was added and gives the results, by index; or the end of the context.
func (c *Call) Wait() ([]Result, error) {
	for c.flying > 0 {
		if err := c.land(); err != nil && c.ctx.Err() != nil {
			return nil, c.ctx.Err()
		}
	}
	return c.results, nil
}

// End gives back the call's room. What is still queued for it is dropped, unless another call waits for it too.
func (c *Call) End() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.left = true
	c.s.hold(c, -c.held)
}
