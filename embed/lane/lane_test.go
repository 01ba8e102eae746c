package lane

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// record is an Observer and a Run: it keeps the batches in the order in which they began. A batch takes a millisecond for
// each token, padding included, of the test's own clock.
type record struct {
	mu      sync.Mutex
	batches [][]uint32 // the first id of each text, by batch
	running int
	most    int
	joined  int
	dropped int
	refused int
	fail    func(id uint32) error
}

func (r *record) run(_ int, batch []Text, out []Result) error {
	r.mu.Lock()
	r.running++
	r.most = max(r.most, r.running)
	var ids []uint32
	longest := 0
	for _, t := range batch {
		ids = append(ids, t.IDs[0])
		longest = max(longest, len(t.IDs))
	}
	r.batches = append(r.batches, ids)
	r.mu.Unlock()
	time.Sleep(time.Duration(longest*len(batch)) * time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	for i, t := range batch {
		if r.fail != nil {
			if err := r.fail(t.IDs[0]); err != nil {
				return err
			}
		}
		out[i].Vector = []float32{float32(t.IDs[0]), float32(len(t.IDs))}
	}
	return nil
}

func (r *record) Ran(Lane, int, int, int, time.Duration, []time.Duration) {}
func (r *record) Refused(Lane, bool)                                      { r.count(&r.refused) }
func (r *record) Dropped(Lane)                                            { r.count(&r.dropped) }
func (r *record) Joined(Lane)                                             { r.count(&r.joined) }
func (r *record) count(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

func newScheduler(slots int, p Plan) (*Scheduler, *record) {
	r := &record{}
	s := New(Options{Slots: slots, Limits: [2]int{1000, 4000}, Run: r.run, Observer: r})
	s.SetPlan(p, 0)
	return s, r
}

// check proves what must hold when nothing is under way.
func check(t *testing.T, s *Scheduler) {
	t.Helper()
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) != s.o.Slots || len(s.queues[0])+len(s.queues[1]) != 0 || len(s.flights) != 0 || s.tokens != [lanes]int{} {
		t.Errorf("idle: %d of %d slots free, queues %d and %d, %d flights, tokens %v", len(s.free), s.o.Slots, len(s.queues[0]), len(s.queues[1]), len(s.flights), s.tokens)
	}
}

// tokens makes a text of n tokens that begins with id.
func tokens(id uint32, n int) []uint32 {
	ids := make([]uint32, n)
	ids[0] = id
	return ids
}

// send runs a call of one text to its end.
func send(ctx context.Context, s *Scheduler, l Lane, key string, ids []uint32) ([]float32, error) {
	c, err := s.Begin(ctx, l, 1, len(ids))
	if err != nil {
		return nil, err
	}
	defer c.End()
	if err := c.Add(0, Text{Key: key, IDs: ids}); err != nil {
		return nil, err
	}
	r, err := c.Wait()
	if err != nil {
		return nil, err
	}
	return r[0].Vector, r[0].Err
}

// sendSoon sends a text from a goroutine of its own and returns when it is queued or running.
func sendSoon(t *testing.T, s *Scheduler, l Lane, id uint32, n int) {
	t.Helper()
	go func() {
		if _, err := send(t.Context(), s, l, fmt.Sprint(id), tokens(id, n)); err != nil {
			t.Errorf("text %d: %v", id, err)
		}
	}()
	synctest.Wait()
}

func TestOrder(t *testing.T) {
	type in struct {
		l  Lane
		id uint32
		n  int
	}
	many := func(l Lane, from, to uint32) (all []in) {
		for id := from; id < to; id++ {
			all = append(all, in{l, id, 10})
		}
		return all
	}
	var streak [][]uint32
	for id := uint32(100); id < 116; id++ {
		streak = append(streak, []uint32{id})
	}
	for _, c := range []struct {
		name string
		plan Plan
		in   []in // sent while the only slot is busy
		want [][]uint32
	}{
		{"one lane is first in, first out", Plan{}, many(Bulk, 1, 4), [][]uint32{{1}, {2}, {3}}},
		{"interactive goes first", Plan{}, slices.Concat(many(Bulk, 1, 3), many(Interactive, 5, 7)), [][]uint32{{5}, {6}, {1}, {2}}},
		{"bulk has its turn after a streak", Plan{}, slices.Concat(many(Bulk, 1, 2), many(Interactive, 100, 118)), slices.Concat(streak, [][]uint32{{1}, {116}, {117}})},
		{"short texts go together up to the budget", Plan{Budget: 40, Rows: 16}, many(Bulk, 1, 7), [][]uint32{{1, 2, 3, 4}, {5, 6}}},
		{"and up to the rows", Plan{Budget: 400, Rows: 3}, many(Bulk, 1, 5), [][]uint32{{1, 2, 3}, {4}}},
		{"lanes do not mix", Plan{Budget: 40, Rows: 16}, []in{{Bulk, 1, 10}, {Interactive, 2, 10}, {Bulk, 3, 10}}, [][]uint32{{2}, {1, 3}}},
		{"the oldest is never passed over", Plan{Budget: 64, Rows: 16}, []in{{Bulk, 1, 30}, {Bulk, 2, 8}, {Bulk, 3, 8}}, [][]uint32{{1}, {2, 3}}},
		{"the nearest in length", Plan{Budget: 64, Rows: 3}, []in{{Bulk, 1, 20}, {Bulk, 2, 18}, {Bulk, 3, 22}, {Bulk, 4, 20}, {Bulk, 5, 21}}, [][]uint32{{1, 4, 5}, {2, 3}}},
		{"padding counts", Plan{Budget: 32, Rows: 16}, []in{{Bulk, 1, 10}, {Bulk, 2, 11}, {Bulk, 3, 11}}, [][]uint32{{1, 2}, {3}}},
		{"a text beyond the budget runs alone", Plan{Budget: 32, Rows: 16}, []in{{Bulk, 1, 50}, {Bulk, 2, 50}}, [][]uint32{{1}, {2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, r := newScheduler(1, c.plan)
				sendSoon(t, s, Bulk, 99, 500)
				for _, x := range c.in {
					sendSoon(t, s, x.l, x.id, x.n)
				}
				check(t, s)
				if got := r.batches[1:]; !slices.EqualFunc(got, c.want, slices.Equal) {
					t.Errorf("batches %v, want %v", got, c.want)
				}
			})
		})
	}
}

// A slot is never free while a text is queued, whoever brings it.
func TestNoWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newScheduler(2, Plan{Budget: 100, Rows: 10})
		begin := time.Now()
		for id := range uint32(3) {
			sendSoon(t, s, Interactive, id+1, 10)
		}
		check(t, s)
		if took := time.Since(begin); took != 20*time.Millisecond || r.most != 2 {
			t.Errorf("3 texts of 10 ms in 2 slots took %v, at most %d at once", took, r.most)
		}
	})
}

func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newScheduler(1, Plan{})
		var vectors [3][]float32
		var all sync.WaitGroup
		for i := range vectors {
			all.Go(func() {
				l := Interactive
				if i == 2 {
					l = Bulk // the same text in the other lane is another
				}
				var err error
				if vectors[i], err = send(t.Context(), s, l, "same", tokens(7, 10)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if r.joined != 1 || len(r.batches) != 2 {
			t.Errorf("joined %d, ran %v", r.joined, r.batches)
		}
		if vectors[0] = append(vectors[0][:0], 0, 0); vectors[1][0] != 7 || vectors[2][0] != 7 {
			t.Errorf("vectors %v share memory", vectors)
		}
		check(t, s)
	})
}

func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newScheduler(1, Plan{Budget: 100, Rows: 10})
		sendSoon(t, s, Bulk, 1, 100)
		ctx, cancel := context.WithCancel(t.Context())
		soon, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer stop()
		for id, ctx := range map[uint32]context.Context{2: ctx, 3: soon} {
			go func() {
				if _, err := send(ctx, s, Interactive, fmt.Sprint(id), tokens(id, 10)); !errors.Is(err, ctx.Err()) || err == nil {
					t.Errorf("text %d: %v, want %v", id, err, ctx.Err())
				}
			}()
		}
		go func() { // waits for the same text, and is not cancelled
			if _, err := send(t.Context(), s, Interactive, "2", tokens(2, 10)); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		cancel()
		check(t, s)
		if want := [][]uint32{{1}, {2}}; !slices.EqualFunc(r.batches, want, slices.Equal) || r.dropped != 1 {
			t.Errorf("ran %v, dropped %d; want %v, 1", r.batches, r.dropped, want)
		}
	})
}

func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newScheduler(1, Plan{})
		sendSoon(t, s, Interactive, 1, 600) // the speed is not known before it is done
		time.Sleep(time.Second)
		sendSoon(t, s, Interactive, 2, 600)
		_, err := send(t.Context(), s, Interactive, "3", tokens(3, 600))
		var busy *BusyError
		if !errors.As(err, &busy) || busy.Left != 0 || busy.Tokens != 600 || busy.Limit != 1000 || busy.Wait != 100*time.Millisecond {
			t.Errorf("a full lane: %+v, %v", busy, err)
		}
		soon, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		_, err = send(soon, s, Interactive, "4", tokens(4, 300))
		if !errors.As(err, &busy) || busy.Left != 100*time.Millisecond || busy.Wait != 600*time.Millisecond {
			t.Errorf("no time left: %+v, %v", busy, err)
		}
		sendSoon(t, s, Bulk, 5, 600) // the other lane has room
		sendSoon(t, s, Interactive, 6, 300)
		if r.refused != 2 {
			t.Errorf("%d refusals were counted", r.refused)
		}
		check(t, s)
		if _, err := send(t.Context(), s, Interactive, "7", tokens(7, 1)); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A call that is larger than its lane counts for half of the lane: it is let in once there is that much room.
func TestLargeCallIsLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newScheduler(1, Plan{})
		sendSoon(t, s, Interactive, 1, 400)
		c, err := s.Begin(t.Context(), Interactive, 100, 5000)
		if err != nil {
			t.Fatal(err)
		}
		_, err = send(t.Context(), s, Interactive, "3", tokens(3, 10))
		var busy *BusyError
		if !errors.As(err, &busy) {
			t.Errorf("the lane is not full: %v", err)
		}
		c.End()
		sendSoon(t, s, Interactive, 2, 400)
		check(t, s)
	})
}

// A call larger than its lane is let in where the lane is empty, and never has more than a window in flight.
func TestLargeCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newScheduler(2, Plan{Budget: 64, Rows: 8})
		const n = 3 * window
		c, err := s.Begin(t.Context(), Bulk, n, 20*n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if err := c.Add(i, Text{Key: fmt.Sprint(i), IDs: tokens(uint32(i), 5+i%30)}); err != nil {
				t.Fatal(err)
			}
			if load := s.Load(); load.Queued[Bulk]+load.Busy*8 > window+16 {
				t.Fatalf("%d texts in flight", load.Queued[Bulk])
			}
		}
		results, err := c.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil || r.Vector[0] != float32(i) || r.Vector[1] != float32(5+i%30) {
				t.Fatalf("text %d: %+v", i, r)
			}
		}
		c.End()
		check(t, s)
	})
}

// When a batch fails, each of its texts is run alone, and only those at fault fail.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newScheduler(1, Plan{Budget: 100, Rows: 10})
		broken := errors.New("broken")
		r.fail = func(id uint32) error {
			if id == 3 {
				return broken
			}
			return nil
		}
		c, err := s.Begin(t.Context(), Bulk, 5, 50)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if err := c.Add(i, Text{Key: fmt.Sprint(i), IDs: tokens(uint32(i), 10)}); err != nil {
				t.Fatal(err)
			}
		}
		results, err := c.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if want := i == 3; errors.Is(r.Err, broken) != want {
				t.Errorf("text %d: %v", i, r.Err)
			}
		}
		c.End()
		check(t, s)
	})
}

// Many callers, some of which give up, on a real clock: each that does not give up gets its own vector.
func TestRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &record{}
	quick := func(_ int, batch []Text, out []Result) error {
		for i, t := range batch {
			out[i].Vector = []float32{float32(t.IDs[0]), float32(len(t.IDs))}
		}
		return nil
	}
	s := New(Options{Slots: 3, Limits: [2]int{1 << 20, 1 << 20}, Run: quick, Observer: r})
	s.SetPlan(Plan{Budget: 64, Rows: 8}, 1e6)
	var all sync.WaitGroup
	for caller := range 16 {
		rng := rand.New(rand.NewPCG(seed, uint64(caller)))
		all.Go(func() {
			for range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				gone := rng.IntN(4) == 0
				if gone {
					time.AfterFunc(time.Duration(rng.IntN(100))*time.Microsecond, cancel)
				}
				n := 1 + rng.IntN(20)*rng.IntN(2)
				c, err := s.Begin(ctx, Lane(rng.IntN(2)), n, 20*n)
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				texts := make([][]uint32, n)
				for i := range n {
					texts[i] = tokens(uint32(rng.IntN(50)), 1+rng.IntN(40))
					if err = c.Add(i, Text{Key: fmt.Sprint(texts[i][0], len(texts[i])), IDs: texts[i]}); err != nil {
						break
					}
				}
				var results []Result
				if err == nil {
					results, err = c.Wait()
				}
				c.End()
				cancel()
				if err != nil {
					if !gone {
						t.Error(err)
					}
					continue
				}
				for i, x := range results {
					if x.Err != nil && !gone || x.Err == nil && (x.Vector[0] != float32(texts[i][0]) || x.Vector[1] != float32(len(texts[i]))) {
						t.Errorf("text %v of %d tokens: %+v", texts[i][0], len(texts[i]), x)
					}
				}
			}
		})
	}
	all.Wait()
	check(t, s)
}
