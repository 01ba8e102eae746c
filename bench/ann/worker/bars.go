package main

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"embedd/ann"
)

// check proves the invariants of the index.
func (w *worker) check(r *request) (any, error) {
	x, err := w.own(r)
	if err != nil {
		return nil, err
	}
	begin := now()
	err = x.Check()
	return begin.until(), err
}

// calibrate measures the index's own queries for Recall and the plans.
func (w *worker) calibrate(r *request) (any, error) {
	x, err := w.own(r)
	if err != nil {
		return nil, err
	}
	begin := now()
	err = x.Calibrate(w.ctx)
	return begin.until(), err
}

func (w *worker) save(r *request) (any, error) {
	x, err := w.own(r)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(r.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	begin := now()
	if err := errors.Join(x.WriteSnapshot(f, nil), f.Sync()); err != nil {
		return nil, err
	}
	return begin.until(), nil
}

type opened struct {
	clock
	Open time.Duration `json:"open_ns"` // of Wall: until the index was open; the rest is the first search
	IDs  []byte        `json:"ids"`
}

// open opens a snapshot and answers the first of the queries.
func (w *worker) open(r *request) (any, error) {
	if r.Cold {
		f, err := os.Open(r.File)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return nil, err
		}
	}
	q := w.data.copies([2]int{r.Queries[0], r.Queries[0] + 1})[0]
	runtime.GC()
	begin := now()
	x, _, err := ann.Open(r.File)
	if err != nil {
		return nil, err
	}
	out := opened{Open: begin.until().Wall}
	labels, err := embedd{x}.answer(q, r, nil, nil)
	if err != nil {
		return nil, err
	}
	out.clock, out.IDs = begin.until(), appendLabels(nil, labels, r.K)
	w.indexes[r.Index] = embedd{x}
	return out, nil
}

// neighbors writes the k nearest others of the rows 0 to n-1, uint32 little-endian.
func (w *worker) neighbors(r *request) (any, error) {
	x, err := w.own(r)
	if err != nil {
		return nil, err
	}
	all := make([]uint32, r.N*r.K)
	for i := range all {
		all[i] = ^uint32(0)
	}
	begin := now()
	err = x.AllNeighbors(w.ctx, r.K, r.Ef, r.Threads, func(label uint64, near []ann.Neighbor) error {
		row := all[int(label)*r.K:][:r.K]
		for i, n := range near {
			row[i] = uint32(n.Label)
		}
		return nil
	})
	took := begin.until()
	if err != nil {
		return nil, err
	}
	f, err := os.Create(r.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := bufio.NewWriter(f)
	for _, label := range all {
		b.Write([]byte{byte(label), byte(label >> 8), byte(label >> 16), byte(label >> 24)})
	}
	return took, b.Flush()
}

type churned struct {
	Deletes     latencies `json:"deletes"`
	Consolidate latencies `json:"consolidate"`
	Idle        latencies `json:"idle_reader"`   // searches one after the other with nothing beside them
	Reader      latencies `json:"reader"`        // and while it is consolidated
	Blocked     latencies `json:"blocked"`       // of these: the time that the reader's thread had no CPU
	IdleBlocked latencies `json:"idle_blocked"`  // and with nothing beside it
	Insert      float64   `json:"insert_cpu_us"` // CPU time of an insertion
	Tombstones  int       `json:"tombstones"`
}

// churn deletes every vector and inserts it again, rounds times, in a new random order each time; it consolidates whenever
// share of the vectors have been deleted, while a reader searches.
func (w *worker) churn(r *request) (any, error) {
	x, err := w.own(r)
	if err != nil {
		return nil, err
	}
	out := churned{}
	queries := w.data.copies(r.Queries)
	wait, blocked, err := readWhile(x, queries, r, func() error { time.Sleep(time.Second); return nil })
	if err != nil {
		return nil, err
	}
	out.Idle, out.IdleBlocked = sumUp(wait), sumUp(blocked)
	var deletes, passes, readers, blocks []time.Duration
	var inserting time.Duration
	chunk := max(1, int(r.Share*float64(r.N)))
	for round := range r.Rounds {
		order := rand.New(rand.NewPCG(uint64(round), 5)).Perm(r.N)
		for ; len(order) > 0; order = order[min(chunk, len(order)):] {
			part := order[:min(chunk, len(order))]
			for _, i := range part {
				begin := time.Now()
				x.Delete(uint64(i))
				deletes = append(deletes, time.Since(begin))
			}
			begin := now()
			if err := insert(x, w.data, part, r.Threads, nil); err != nil {
				return nil, err
			}
			inserting += begin.until().Process
			wait, blocked, err := readWhile(x, queries, r, func() error {
				begin := time.Now()
				defer func() { passes = append(passes, time.Since(begin)) }()
				_, err := x.Consolidate(w.ctx)
				return err
			})
			if err != nil {
				return nil, err
			}
			readers, blocks = append(readers, wait...), append(blocks, blocked...)
		}
	}
	out.Insert = float64(inserting) / 1e3 / float64(r.N*r.Rounds)
	out.Deletes, out.Consolidate, out.Reader, out.Blocked = sumUp(deletes), sumUp(passes), sumUp(readers), sumUp(blocks)
	out.Tombstones = x.Tombstones()
	return out, nil
}

// insert adds rows with that many writers; done, if not nil, counts them.
func insert(x *ann.Index, data *vectors, rows []int, writers int, done *atomic.Int64) error {
	var next atomic.Int64
	errs := make(chan error, writers)
	for range writers {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(rows) {
					errs <- nil
					return
				}
				if err := x.Insert(uint64(rows[i]), data.row(rows[i])); err != nil {
					errs <- err
					return
				}
				if done != nil {
					done.Add(1)
				}
			}
		}()
	}
	var err error
	for range writers {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}

// readWhile searches, one query after the other on a thread of its own, until do returns. It gives the wall time of each search
// and how much of it the thread had no CPU: it waited for a lock, for the scheduler of Go or for that of the system.
func readWhile(x *ann.Index, queries [][]float32, r *request, do func() error) (wall, blocked []time.Duration, err error) {
	var stop atomic.Bool
	var reading sync.WaitGroup
	var readErr error
	reading.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		for i := 0; !stop.Load(); i++ {
			begin := now()
			if _, readErr = x.Search(queries[i%len(queries)], ann.Query{K: r.K, Ef: r.Ef}); readErr != nil {
				return
			}
			took := begin.until()
			wall, blocked = append(wall, took.Wall), append(blocked, took.Wall-took.Thread)
			if r.PauseUS > 0 {
				time.Sleep(time.Duration(r.PauseUS) * time.Microsecond)
			}
		}
	})
	err = do()
	stop.Store(true)
	reading.Wait()
	if err == nil {
		err = readErr
	}
	return wall, blocked, err
}

type written struct {
	Idle     latencies `json:"idle"`
	Busy     latencies `json:"busy"`
	Inserted int64     `json:"inserted"`
	Seconds  float64   `json:"seconds"`
}

// writers searches with nothing beside it, then while threads writers insert rows.
func (w *worker) writers(r *request) (any, error) {
	x, err := w.own(r)
	if err != nil {
		return nil, err
	}
	queries := w.data.copies(r.Queries)
	idle, _, err := readWhile(x, queries, r, func() error { time.Sleep(time.Duration(r.Seconds * 1e9)); return nil })
	if err != nil {
		return nil, err
	}
	var rows []int
	for i := r.N; i < r.Until; i++ {
		rows = append(rows, i)
	}
	var done atomic.Int64
	begin := time.Now()
	busy, _, err := readWhile(x, queries, r, func() error { return insert(x, w.data, rows, r.Threads, &done) })
	if err != nil {
		return nil, err
	}
	return written{sumUp(idle), sumUp(busy), done.Load(), time.Since(begin).Seconds()}, nil
}
