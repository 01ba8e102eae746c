package lane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Lane is the queue that a text waits in.
type Lane uint8

const (
	// Interactive is for texts that someone is waiting for.
	Interactive Lane = iota
	// Bulk is for texts that come in numbers.
	Bulk
	lanes
)

func (l Lane) String() string {
	if l == Bulk {
		return "bulk"
	}
	return "interactive"
}

const (
	// window is how many texts of one call are queued or running at most; also how far take looks for texts of a length.
	window = 256
	// maxStreak is how many interactive batches go before a bulk text that waits.
	maxStreak = 16
)

// ErrClosed: the scheduler was closed.
var ErrClosed = errors.New("closed")

// BusyError refuses a call whose lane is full, or that could not begin before its deadline.
type BusyError struct {
	Lane Lane
	// Tokens are in the lane, of Limit.
	Tokens, Limit int
	// Wait is how long it takes, at the present speed, until there is room for the call, or until it would begin.
	Wait time.Duration
	// Left is the time to the call's deadline, where that is the reason; else 0.
	Left time.Duration
}

func (e *BusyError) Error() string {
	wait := e.Wait.Round(time.Millisecond)
	if e.Left > 0 {
		return fmt.Sprintf("the encoder's %s lane has %d tokens to read first, about %v of work, and the call's deadline is in %v; give it more time or try again later",
			e.Lane, e.Tokens, wait, e.Left.Round(time.Millisecond))
	}
	return fmt.Sprintf("the encoder's %s lane is full: %d tokens are in flight, and it lets calls in up to %d; try again in %v", e.Lane, e.Tokens, e.Limit, wait)
}

// Text is what a call adds.
type Text struct {
	// Key names the text: texts of one key have the same tokens.
	Key string
	// IDs are its tokens, at least one. They must not be changed.
	IDs []uint32
	// Second is the place of the first token of the second text of a pair, 0 for a text that is no pair.
	Second int
	// Whole asks for what the Run makes of each token too. Such a text runs alone.
	Whole bool
}

// Result is what became of one text: a vector or an error.
type Result struct {
	Vector []float32
	// Tokens are the vectors of the tokens, one after the other, where they were asked for.
	Tokens []float32
	Err    error
}

// Run computes the results of a batch. It is called for one batch at a time with the same slot. An error of the whole batch
// makes the scheduler run each text of it alone.
type Run func(slot int, batch []Text, out []Result) error

// Plan says how texts are put together. The zero Plan runs each alone.
type Plan struct {
	// Budget is the most tokens of a batch of several texts, padding included.
	Budget int
	// Rows is the most texts of a batch.
	Rows int
}

// Observer is told of what happens. Its methods are called by many goroutines at once and must be quick.
type Observer interface {
	// Ran: a batch ran for took. tokens are those of the texts, padded with the padding; waits is how long each was queued.
	Ran(l Lane, texts, tokens, padded int, took time.Duration, waits []time.Duration)
	// Refused: a call was refused; late says that its deadline was the reason.
	Refused(l Lane, late bool)
	// Dropped: a queued text that nobody waited for any more was not run.
	Dropped(l Lane)
	// Joined: a text was found in flight already, and is not run again.
	Joined(l Lane)
}

// Options of New. All fields are required.
type Options struct {
	// Slots is how many batches run at once, at least 1.
	Slots int
	// Limits are the most tokens in flight, by lane. A call for which the lane is empty is always let in.
	Limits   [2]int
	Run      Run
	Observer Observer
}

// Scheduler runs texts in slots. All methods may be called from many goroutines at once.
type Scheduler struct {
	o Options

	mu     sync.Mutex
	plan   Plan
	free   []int // slots
	queues [lanes][]*entry
	// flights are the texts that are queued or running.
	flights map[flight]*entry
	// tokens are those that calls have reserved or that are in flight.
	tokens [lanes]int
	// speed is how many tokens a slot reads in a second, as of late; 0 before the first batch.
	speed  float64
	streak int
	closed bool
	idle   sync.Cond // all slots are free
}

// flight names a text in flight.
type flight struct {
	lane  Lane
	key   string
	whole bool
}

// entry is one text, from Add to its result.
type entry struct {
	Text
	flight
	since   time.Time
	waiters []waiter
	first   [1]waiter // the memory of waiters, for the usual one
}

type waiter struct {
	call  *Call
	index int
}

// New makes a scheduler with all its slots free.
func New(o Options) *Scheduler {
	s := &Scheduler{o: o, flights: map[flight]*entry{}}
	s.idle.L = &s.mu
	for slot := range o.Slots {
		s.free = append(s.free, slot)
	}
	return s
}

// SetPlan changes how texts are put together from now on. speed, where it is not 0, is what to expect of a slot, in tokens a
// second, until it has been seen.
func (s *Scheduler) SetPlan(p Plan, speed float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan = p
	if speed > 0 {
		s.speed = speed
	}
}

// Load is what the lanes hold at a moment.
type Load struct {
	// Queued texts, and all Tokens in flight, by lane.
	Queued, Tokens [2]int
	// Slots there are, and those that are Busy.
	Slots, Busy int
	// Oldest is how long the oldest queued text has waited, by lane.
	Oldest [2]time.Duration
	// Speed is how many tokens a slot reads in a second, as of late.
	Speed float64
}

// Load returns what the lanes hold now.
func (s *Scheduler) Load() Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	load := Load{Tokens: s.tokens, Slots: s.o.Slots, Busy: s.o.Slots - len(s.free), Speed: s.speed}
	for l, q := range s.queues {
		load.Queued[l] = len(q)
		if len(q) > 0 {
			load.Oldest[l] = time.Since(q[0].since)
		}
	}
	return load
}

// Close waits until no slot is busy; texts that are queued are still run. Later calls are refused with ErrClosed.
func (s *Scheduler) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for len(s.free) < s.o.Slots {
		s.idle.Wait()
	}
}

// next gives a slot that is done the batch to go on with; without one, the slot is free.
func (s *Scheduler) next(slot int) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.take()
	if batch == nil {
		s.free = append(s.free, slot)
		if len(s.free) == s.o.Slots {
			s.idle.Broadcast()
		}
	}
	return batch
}

// serve runs batches in a slot until nothing is queued.
func (s *Scheduler) serve(slot int, batch []*entry) {
	for ; batch != nil; batch = s.next(slot) {
		s.run(slot, batch)
	}
}

// run runs a batch in a slot and hands out the results.
func (s *Scheduler) run(slot int, batch []*entry) {
	begin := time.Now()
	texts := make([]Text, len(batch))
	waits := make([]time.Duration, len(batch))
	tokens, longest := 0, 0
	for i, t := range batch {
		texts[i] = t.Text
		waits[i] = begin.Sub(t.since)
		tokens += len(t.IDs)
		longest = max(longest, len(t.IDs))
	}
	results := make([]Result, len(batch))
	if err := s.o.Run(slot, texts, results); err != nil {
		for i := range batch {
			if len(batch) > 1 {
				err = s.o.Run(slot, texts[i:i+1], results[i:i+1])
			}
			if err != nil {
				results[i] = Result{Err: err}
			}
		}
	}
	took := time.Since(begin)
	s.deliver(batch, results, float64(tokens)/took.Seconds())
	s.o.Observer.Ran(batch[0].lane, len(batch), tokens, longest*len(batch), took, waits)
}

// deliver gives the results of a batch, which was read at this speed, to those who wait for them.
func (s *Scheduler) deliver(batch []*entry, results []Result, speed float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.speed == 0 {
		s.speed = speed
	}
	s.speed += (speed - s.speed) / 16
	for i, t := range batch {
		s.land(t, results[i])
	}
}

// land ends a text's flight. Each who waits gets a vector of their own.
func (s *Scheduler) land(t *entry, r Result) {
	delete(s.flights, t.flight)
	for i, w := range slices.Backward(t.waiters) {
		if w.call.left {
			continue
		}
		own := r
		if i > 0 { // the vector itself goes out last, so nobody can change it while it is copied
			own.Vector, own.Tokens = slices.Clone(r.Vector), slices.Clone(r.Tokens)
		}
		s.hold(w.call, -len(t.IDs))
		if w.call.later > 0 {
			w.call.later--
			s.hold(w.call, w.call.share)
		}
		w.call.results[w.index] = own
		w.call.landed <- w.index // there is room for each text of the window
	}
}

// hold changes the tokens that a call has in its lane.
func (s *Scheduler) hold(c *Call, tokens int) {
	c.held += tokens
	s.tokens[c.lane] += tokens
}

// take removes the texts of the next batch from their queue: nil if there are none. The oldest text of the lane is always
// in the batch.
func (s *Scheduler) take() []*entry {
	for l := range s.queues {
		s.drop(Lane(l))
	}
	l := Interactive
	switch {
	case len(s.queues[Bulk]) == 0:
		s.streak = 0
	case len(s.queues[Interactive]) == 0 || s.streak >= maxStreak:
		l, s.streak = Bulk, 0
	default:
		s.streak++
	}
	q := s.queues[l]
	if len(q) == 0 {
		return nil
	}
	chosen := s.company(q)
	batch := make([]*entry, len(chosen))
	for i, at := range chosen {
		batch[i], q[at] = q[at], nil
	}
	if len(chosen) == 1 { // the usual case, without moving the queue
		s.queues[l] = q[1:]
	} else {
		s.queues[l] = slices.DeleteFunc(q, func(t *entry) bool { return t == nil })
	}
	return batch
}

// drop removes the texts at the head of a lane that nobody waits for.
func (s *Scheduler) drop(l Lane) {
	q := s.queues[l]
	for len(q) > 0 && !q[0].wanted() {
		s.land(q[0], Result{Err: context.Canceled}) // to calls whose context has ended and that have not left yet
		s.o.Observer.Dropped(l)
		q[0] = nil
		q = q[1:]
	}
	s.queues[l] = q
}

// wanted tells whether someone still waits for the text.
func (t *entry) wanted() bool {
	return slices.ContainsFunc(t.waiters, func(w waiter) bool { return !w.call.left && w.call.ctx.Err() == nil })
}

// company chooses from a queue the places of the texts to run with the oldest, which is at 0: the nearest in length that the
// plan has room for, of about that length, so that little is padding.
func (s *Scheduler) company(q []*entry) []int {
	oldest := len(q[0].IDs)
	rows := min(s.plan.Rows, s.plan.Budget/oldest)
	chosen := []int{0}
	if rows < 2 || q[0].Whole {
		return chosen
	}
	gap := func(at int) int {
		if n := len(q[at].IDs) - oldest; n < 0 {
			return -n
		} else {
			return n
		}
	}
	for at := 1; at < min(len(q), window); at++ {
		if gap(at) <= 2+oldest/8 && !q[at].Whole && q[at].wanted() {
			chosen = append(chosen, at)
		}
	}
	slices.SortStableFunc(chosen[1:], func(a, b int) int { return gap(a) - gap(b) })
	longest := oldest
	for i, at := range chosen {
		longest = max(longest, len(q[at].IDs))
		if i >= rows || longest*(i+1) > s.plan.Budget {
			return chosen[:i]
		}
	}
	return chosen
}
