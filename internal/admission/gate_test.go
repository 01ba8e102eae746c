package admission

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func options(running, waiting int) Options {
	return Options{Name: "search", Running: running, Waiting: waiting, Burst: 100 * time.Millisecond, Standing: 10 * time.Millisecond}
}

// enter is Enter in a test in which nothing may be refused.
func enter(t *testing.T, g *Gate) Ticket {
	t.Helper()
	ticket, err := g.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// refused checks that err is a refusal for a reason.
func refused(t *testing.T, err error, why Reason) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != why {
		t.Fatalf("%v, want a refusal: %v", err, why)
	}
	return e
}

func TestTheNewestIsLetInFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 3))
		first := enter(t, g)
		var mu sync.Mutex
		var order []int
		for i := range 3 {
			go func() {
				ticket, err := g.Enter(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				ticket.Leave()
			}()
			synctest.Wait()
		}
		if l := g.Load(); l.Running != 1 || l.Waiting != 3 {
			t.Errorf("%+v, want 1 running and 3 waiting", l)
		}
		first.Leave()
		synctest.Wait()
		if len(order) != 3 || order[0] != 2 || order[2] != 0 {
			t.Errorf("let in %v, want 2, 1, 0", order)
		}
		if l := g.Load(); l.Running != 0 || l.Waiting != 0 || l.Admitted != 4 || l.Waited != 3 {
			t.Errorf("%+v", l)
		}
	})
}

// Where as many wait as may, the oldest goes for the newest.
func TestTheOldestGoesWhereItIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 2))
		first := enter(t, g)
		errs := make([]error, 3)
		for i := range errs {
			go func() {
				ticket, err := g.Enter(t.Context())
				if errs[i] = err; err == nil {
					ticket.Leave()
				}
			}()
			synctest.Wait()
		}
		e := refused(t, errs[0], Full)
		if !strings.Contains(e.Error(), "runs 1 search calls at once and lets 2 wait") || e.Wait < 100*time.Millisecond {
			t.Errorf("%v, wait %v", e, e.Wait)
		}
		first.Leave()
		synctest.Wait()
		if errs[1] != nil || errs[2] != nil {
			t.Errorf("%v, want the two others let in", errs)
		}
	})
}

func TestNobodyWaitsWhereNobodyMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 0))
		defer enter(t, g).Leave()
		_, err := g.Enter(t.Context())
		refused(t, err, Full)
	})
}

// A burst may wait for long; where there has hardly been room for as long, nobody may.
func TestAStandingQueueRefusesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 1000))
		held := enter(t, g)
		wait := func() time.Duration {
			begin := time.Now()
			_, err := g.Enter(t.Context())
			refused(t, err, Slow)
			return time.Since(begin)
		}
		if w := wait(); w != 100*time.Millisecond {
			t.Errorf("waited %v in a burst, want 100ms", w)
		}
		time.Sleep(time.Millisecond)
		for range 3 {
			if w := wait(); w != 10*time.Millisecond {
				t.Errorf("waited %v where there was no room for long, want 10ms", w)
			}
		}
		// A moment of room changes nothing; where there was some for as long as a burst, it is a burst again.
		held.Leave()
		time.Sleep(time.Millisecond)
		held = enter(t, g)
		if w := wait(); w != 10*time.Millisecond {
			t.Errorf("waited %v after a moment of room, want 10ms", w)
		}
		held.Leave()
		time.Sleep(100 * time.Millisecond)
		held = enter(t, g)
		if w := wait(); w != 100*time.Millisecond {
			t.Errorf("waited %v after there was room, want 100ms", w)
		}
		held.Leave()
	})
}

// Those that came in a burst do not wait any longer when it is none.
func TestAStandingQueueIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 1000))
		held := enter(t, g)
		waited := make(chan time.Duration, 3)
		for _, after := range []time.Duration{0, 60 * time.Millisecond, 101 * time.Millisecond} {
			go func() {
				time.Sleep(after)
				begin := time.Now()
				_, err := g.Enter(t.Context())
				refused(t, err, Slow)
				waited <- time.Since(begin)
			}()
		}
		for _, want := range []time.Duration{100 * time.Millisecond, 41 * time.Millisecond, 10 * time.Millisecond} {
			if w := <-waited; w != want {
				t.Errorf("waited %v, want %v", w, want)
			}
		}
		held.Leave()
	})
}

// Who takes no more than there is makes no queue, and one call more may wait for a burst to pass.
func TestAFullGateHasNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 1000))
		for range 100 {
			held := enter(t, g)
			time.Sleep(10 * time.Millisecond)
			held.Leave()
		}
		held := enter(t, g)
		begin := time.Now()
		_, err := g.Enter(t.Context())
		refused(t, err, Slow)
		if w := time.Since(begin); w != 100*time.Millisecond {
			t.Errorf("waited %v, want 100ms", w)
		}
		held.Leave()
	})
}

func TestLateCallsAreRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 10))
		for range sample {
			ticket := enter(t, g)
			time.Sleep(50 * time.Millisecond)
			ticket.Leave()
		}
		if l := g.Load(); l.Typical != 50*time.Millisecond {
			t.Fatalf("typical is %v, want 50ms", l.Typical)
		}
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		// Where there is room it runs: only so the gate learns that calls have become faster.
		held, err := g.Enter(short)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, err = g.Enter(short)
		if e := refused(t, err, Late); time.Since(begin) != 0 || !strings.Contains(e.Error(), "20ms to this one's deadline") {
			t.Errorf("after %v: %v", time.Since(begin), e)
		}
		// One that becomes late while it waits is not let in.
		waits, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		defer cancel()
		done := make(chan error)
		go func() {
			_, err := g.Enter(waits)
			done <- err
		}()
		time.Sleep(40 * time.Millisecond)
		held.Leave()
		refused(t, <-done, Late)
		if l := g.Load(); l.Running != 0 {
			t.Errorf("%d are running, want none", l.Running)
		}
	})
}

func TestACancelledCallLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 10))
		held := enter(t, g)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := g.Enter(ctx)
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want the end of the context", err)
		}
		if l := g.Load(); l.Waiting != 0 || l.Cancelled != 1 {
			t.Errorf("%+v", l)
		}
		held.Leave()
		enter(t, g).Leave()
	})
}

// Those that wait are counted by how long they do, let in or not.
func TestWaitsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(options(1, 10))
		held := enter(t, g)
		for _, wait := range []time.Duration{time.Millisecond, time.Millisecond + 1, 30 * time.Millisecond} {
			go func() {
				time.Sleep(wait)
				held.Leave()
			}()
			held = enter(t, g)
		}
		_, err := g.Enter(t.Context())
		refused(t, err, Slow) // after 100 ms
		l := g.Load()
		if l.Waited != 4 || l.WaitTime != 132*time.Millisecond+1 {
			t.Errorf("%d waited for %v", l.Waited, l.WaitTime)
		}
		for i, want := range []uint64{1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0} {
			if l.Waits[i] != want {
				t.Errorf("waits %v", l.Waits)
				break
			}
		}
		held.Leave()
	})
}

// Whatever happens, no more run than may, and nobody is left behind.
func TestManyCallsInAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0))
		g := New(options(4, 16))
		var mu sync.Mutex
		running := 0
		var wg sync.WaitGroup
		const calls = 5000
		var ended [4]int // let in, full, slow or late, cancelled
		for range calls {
			time.Sleep(time.Duration(r.IntN(int(4 * time.Millisecond))))
			work, limit := time.Duration(r.IntN(int(30*time.Millisecond))), time.Duration(r.IntN(int(300*time.Millisecond)))
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				ticket, err := g.Enter(ctx)
				mu.Lock()
				defer mu.Unlock()
				var e *Error
				switch {
				case err == nil:
					ended[0]++
					running++
					if running > 4 {
						t.Errorf("%d run at once", running)
					}
					mu.Unlock()
					time.Sleep(work)
					mu.Lock()
					running--
					ticket.Leave()
				case errors.As(err, &e) && e.Reason == Full:
					ended[1]++
				case errors.As(err, &e):
					ended[2]++
				default:
					ended[3]++
				}
			})
		}
		wg.Wait()
		l := g.Load()
		if l.Running != 0 || l.Waiting != 0 {
			t.Errorf("%+v, want that nothing is left", l)
		}
		if int(l.Admitted) != ended[0] || int(l.Refused[Full]) != ended[1] || int(l.Refused[Slow]+l.Refused[Late]) != ended[2] || int(l.Cancelled) != ended[3] {
			t.Errorf("counted %+v, want %v", l, ended)
		}
		if ended[0] == 0 || ended[2] == 0 {
			t.Errorf("%v: the test does not load the gate", ended)
		}
	})
}
