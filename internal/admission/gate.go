// Package admission keeps the work that is going on, and the work that waits, within bounds, and refuses the rest quickly.
//
// A [Gate] lets so many calls run at once. Others wait, the newest first: under more load than can be carried, somebody has to be
// refused, and the one who came last is the most likely to still want the answer. A call waits for as long as a burst takes to pass;
// where there has hardly been room for as long, it is no burst, and calls wait for much less, those too that wait already. So a gate that
// cannot keep up refuses within hundredths of a second, and one that can refuses nobody. (CoDel's standing queue and the adaptive LIFO are
// Facebook's, in "Fail at Scale", ACM Queue 2015. Where that asks when the queue was empty last, a gate here asks for how much of the time of
// late somebody waited, and then for how much there was no room: a queue whose calls soon give up is empty for a moment again and again, and
// each time the next would wait for a burst to pass that is none.)
//
// A call that would have to wait, and whose deadline is nearer than half of the calls of late took, is refused at once: the work would
// be for nothing.
package admission

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Options of New.
type Options struct {
	// Name is of the kind of work, for errors.
	Name string
	// Running is how many calls run at once, at least 1.
	Running int
	// Waiting is how many more may wait; 0: none.
	Waiting int
	// Burst is how long a call waits, where there was room of late; Standing is how long, where there hardly was for as long as a burst.
	Burst, Standing time.Duration
}

// Reason says why a call was refused.
type Reason uint8

const (
	// Full: as many wait as may.
	Full Reason = iota
	// Slow: the call waited for as long as it may.
	Slow
	// Late: the call's deadline is nearer than the answer.
	Late
	reasons
)

func (r Reason) String() string { return [...]string{"full", "slow", "late"}[r] }

// Error refuses a call.
type Error struct {
	Name   string
	Reason Reason
	// Running and Waiting are the limits.
	Running, Waiting int
	// Waited is how long the call has waited, Left the time to its deadline where Reason is Late.
	Waited, Left time.Duration
	// Wait is when to try again.
	Wait time.Duration
}

func (e *Error) Error() string {
	limit := fmt.Sprintf("the server runs %d %s calls at once and lets %d wait", e.Running, e.Name, e.Waiting)
	again := fmt.Sprintf("try again in %v", e.Wait.Round(time.Millisecond))
	switch e.Reason {
	case Slow:
		return fmt.Sprintf("%s; this one has waited for %v, as long as it may; %s", limit, e.Waited.Round(time.Millisecond), again)
	case Late:
		return fmt.Sprintf("%s, and half of them take longer than the %v to this one's deadline; give it more time, or %s", limit, e.Left.Round(time.Millisecond), again)
	}
	return fmt.Sprintf("%s; there is no room; %s", limit, again)
}

// sample is how many calls of late tell how long a call takes; they are looked at after every sixteenth of them.
const sample = 64

// Gate bounds one kind of work. All methods may be called from many goroutines at once.
type Gate struct {
	o Options

	mu      sync.Mutex // guards what follows
	running int
	queue   []*waiter // the newest last
	waits   float64   // share of the time of late in which calls waited, or had to where they stood before, at the time seen
	seen    time.Time
	stands  bool
	took    [sample]time.Duration
	calls   int           // that have ended
	typical time.Duration // half of the calls of late took longer; 0: not known yet
	load    Load          // what it counts
}

// waiter is a call in the queue. It is out of the queue when done is closed.
type waiter struct {
	done   chan struct{}
	let    bool
	refuse Reason // where it is not let
	begin  time.Time
	ctx    context.Context
}

// A queue stands from the time on when this share of the time is waited, which one that was empty comes to after a burst, until it is
// less than half of that.
const standing = 0.8

// look brings waits and stands up to now: before every change of running and of the queue. mu is held.
func (g *Gate) look(now time.Time) {
	left := math.Pow(1-standing, float64(now.Sub(g.seen))/float64(g.o.Burst)) // of what was before
	g.waits *= left
	if len(g.queue) > 0 || g.stands && g.running >= g.o.Running {
		g.waits += 1 - left
	}
	g.seen = now
	if g.stands {
		g.stands = g.waits >= standing/2
	} else {
		g.stands = g.waits >= standing-1e-9 // a burst, to the rounding
	}
}

// New makes a gate that nothing has passed.
func New(o Options) *Gate { return &Gate{o: o} }

// Enter waits until the call may run. The error is an *Error, or the end of ctx; without one, the ticket must be given back.
func (g *Gate) Enter(ctx context.Context) (Ticket, error) {
	now := time.Now()
	g.mu.Lock()
	g.look(now)
	if g.running < g.o.Running { // late ones too: what is typical is only learnt from calls that run
		g.running++
		g.load.Admitted++
		g.mu.Unlock()
		return Ticket{g, now}, nil
	}
	late := g.tooLate(ctx, now)
	if late || g.o.Waiting == 0 {
		why := Full
		if late {
			why = Late
		}
		err := g.refusal(ctx, why, 0, now)
		g.mu.Unlock()
		return Ticket{}, err
	}
	patience := g.o.Burst
	if g.stands {
		patience = g.o.Standing
		for len(g.queue) > 0 && now.Sub(g.queue[0].begin) >= patience { // those that came before it stood
			g.dismiss(Slow)
		}
	}
	if len(g.queue) == g.o.Waiting {
		g.dismiss(Full)
	}
	w := &waiter{done: make(chan struct{}), begin: now, ctx: ctx}
	g.queue = append(g.queue, w)
	g.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
		g.leaveQueue(w)
	case <-ctx.Done():
		g.leaveQueue(w)
	}
	now = time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load.count(now.Sub(w.begin))
	switch {
	case w.let:
		g.load.Admitted++
		return Ticket{g, now}, nil
	case ctx.Err() != nil:
		g.load.Cancelled++
		return Ticket{}, ctx.Err()
	}
	return Ticket{}, g.refusal(ctx, w.refuse, now.Sub(w.begin), now)
}

// dismiss refuses the call that has waited longest. mu is held.
func (g *Gate) dismiss(why Reason) {
	oldest := g.queue[0]
	g.queue = slices.Delete(g.queue, 0, 1)
	oldest.refuse = why
	close(oldest.done)
}

// leaveQueue takes a call that waits no longer out of the queue, if it is still there.
func (g *Gate) leaveQueue(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.queue, w); i >= 0 {
		g.look(time.Now())
		g.queue = slices.Delete(g.queue, i, i+1)
		w.refuse = Slow
		close(w.done)
	}
}

// tooLate tells whether a call's deadline is nearer than an answer.
func (g *Gate) tooLate(ctx context.Context, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ok && deadline.Sub(now) < g.typical
}

// refusal makes the error of a call, and counts it.
func (g *Gate) refusal(ctx context.Context, why Reason, waited time.Duration, now time.Time) *Error {
	g.load.Refused[why]++
	e := &Error{Name: g.o.Name, Reason: why, Running: g.o.Running, Waiting: g.o.Waiting, Waited: waited}
	if deadline, ok := ctx.Deadline(); ok && why == Late {
		e.Left = max(deadline.Sub(now), 0)
	}
	// All who are here now, at the present speed.
	ahead := g.typical * time.Duration(g.running+len(g.queue)) / time.Duration(g.o.Running)
	e.Wait = min(max(ahead, g.o.Burst), 10*time.Second)
	return e
}

// Ticket is a call that runs. The zero Ticket is of none.
type Ticket struct {
	g     *Gate
	begin time.Time
}

// Leave ends the call and lets the newest of those who wait run.
func (t Ticket) Leave() {
	if t.g == nil {
		return
	}
	g, now := t.g, time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look(now)
	g.took[g.calls%sample] = now.Sub(t.begin)
	g.calls++
	if g.calls%(sample/4) == 0 {
		seen := slices.Clone(g.took[:min(g.calls, sample)])
		slices.Sort(seen)
		g.typical = seen[len(seen)/2]
	}
	for len(g.queue) > 0 {
		last := len(g.queue) - 1
		w := g.queue[last]
		g.queue[last] = nil
		g.queue = g.queue[:last]
		w.let = w.ctx.Err() == nil && !g.tooLate(w.ctx, now)
		w.refuse = Late
		close(w.done)
		if w.let {
			return // in this call's place
		}
	}
	g.running--
}

// Load is what a gate holds at a moment, and what it has counted.
type Load struct {
	// Running and Waiting calls.
	Running, Waiting int
	// Typical is how long half of the calls of late took at most; 0 before the first sixteen.
	Typical time.Duration
	// Admitted calls; those that had to wait, let in or not, and for how long in all.
	Admitted, Waited uint64
	WaitTime         time.Duration
	// Waits are those that had to wait by how long: up to each of WaitBounds and longer than the one before it, the last of them
	// longer than all.
	Waits [len(WaitBounds) + 1]uint64
	// Cancelled calls ended while they waited; Refused is by Reason.
	Cancelled uint64
	Refused   [reasons]uint64
}

// WaitBounds part the calls that had to wait.
var WaitBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// count counts a call that has waited.
func (l *Load) count(waited time.Duration) {
	l.Waited++
	l.WaitTime += waited
	i, _ := slices.BinarySearch(WaitBounds[:], waited)
	l.Waits[i]++
}

// Load returns what the gate holds now.
func (g *Gate) Load() Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	load := g.load
	load.Running, load.Waiting, load.Typical = g.running, len(g.queue), g.typical
	return load
}
