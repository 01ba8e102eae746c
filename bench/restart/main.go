// Command restart measures how long a collection takes from its directory to an index that can be searched, with a snapshot of the index and
// without. It needs no model; a server's start has the model's warm-up on top, a second or two. The vectors are random, of norm 1, and as
// those of texts are, of few degrees of freedom: --rank of them, and a little noise. With 0 they are random in all values, which is the worst
// that a graph can be built of, and takes longer still. Beside the time of the clock stands that of the CPUs, which other
// programs on the machine do not lengthen.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"embedd/ann"
	"embedd/internal/retrieval"
	"embedd/internal/store"
)

func main() {
	papers := flag.Int("papers", 118000, "papers that are stored")
	dimension := flag.Int("dimension", 384, "values of a vector")
	rank := flag.Int("rank", 32, "degrees of freedom of the vectors; 0: all their values")
	changed := flag.Int("changed", 5000, "papers that a crash leaves to catch up with")
	dir := flag.String("dir", "", "directory to make the collection in; it stays. Default: one that does not")
	flag.Parse()
	if err := measure(*papers, *changed, newVectors(*dimension, *rank), *dir); err != nil {
		fmt.Fprintln(os.Stderr, "restart:", err)
		os.Exit(1)
	}
}

func measure(papers, changed int, vectors *vectors, dir string) error {
	if dir == "" {
		scratch, err := os.MkdirTemp("", "embedd-restart-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(scratch)
		dir = filepath.Join(scratch, "data")
	}
	enc := model{retrieval.Model{ID: "random", Fingerprint: strings.Repeat("0", 64), Dimension: vectors.dimension}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	begin := time.Now()
	if err := fill(dir, enc, vectors, papers, 0); err != nil {
		return err
	}
	fmt.Printf("%d papers of about 1.3 KB, %d values: stored in %.1f s\n", papers, vectors.dimension, time.Since(begin).Seconds())
	for _, run := range []struct {
		name    string
		prepare func() error
		bar     time.Duration
	}{
		{"without a snapshot", func() error { return nil }, 30 * time.Second},
		{"with a snapshot", func() error { return nil }, 3 * time.Second},
		{"with a snapshot, again", func() error { return nil }, 3 * time.Second},
		{fmt.Sprintf("with a snapshot, and %d papers that came after it", changed), func() error { return fill(dir, enc, vectors, changed, papers) }, 0},
	} {
		if err := run.prepare(); err != nil {
			return err
		}
		if err := restart(dir, enc, run.name, run.bar); err != nil {
			return err
		}
	}
	return nil
}

// restart opens the store alone, then the collection, and prints both times and the bar. Close writes the snapshot for the next one.
func restart(dir string, enc model, name string, bar time.Duration) error {
	begin := time.Now()
	s, err := store.Open(filepath.Join(dir, "store"), enc.identity(), nil)
	if err != nil {
		return err
	}
	opened := time.Since(begin)
	if err := s.Close(); err != nil {
		return err
	}
	inserted := 0
	begin = time.Now()
	cpu := cpuTime()
	c, err := retrieval.Open(context.Background(), dir, enc, &retrieval.Options{
		Index: ann.Options{M: 16, EfConstruction: 200}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Progress: func(done, _ int) { inserted = done },
	})
	if err != nil {
		return err
	}
	took, used := time.Since(begin), cpuTime()-cpu
	info, err := c.Info()
	if err == nil && info.Index.Vectors != info.Papers {
		err = fmt.Errorf("%d of %d papers are in the index", info.Index.Vectors, info.Papers)
	}
	begin = time.Now()
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	fmt.Printf("%s: %.2f s, %.2f s of the CPUs, to an index that can be searched (the store alone, with its mark and the census of its papers: %.2f s; papers inserted: %d)",
		name, took.Seconds(), used.Seconds(), opened.Seconds(), inserted)
	switch {
	case bar == 0:
	case took <= bar:
		fmt.Printf(", bar %v: held", bar)
	default:
		fmt.Printf(", bar %v: MISSED", bar)
	}
	fmt.Printf("; closed in %.2f s\n", time.Since(begin).Seconds())
	return nil
}

// fill stores n papers with ids from the number first on.
func fill(dir string, enc model, vectors *vectors, n, first int) (err error) {
	s, err := store.Open(filepath.Join(dir, "store"), enc.identity(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	const batch = 500
	for done := 0; done < n; done += batch {
		var writes []store.Write
		for i := done; i < min(n, done+batch); i++ {
			writes = append(writes, vectors.paper(first+i))
		}
		if _, _, err := s.Put(writes); err != nil {
			return err
		}
	}
	return nil
}

// vectors makes random papers.
type vectors struct {
	dimension int
	rng       *rand.Rand
	basis     [][]float32 // of the degrees of freedom
}

func newVectors(dimension, rank int) *vectors {
	v := &vectors{dimension: dimension, rng: rand.New(rand.NewPCG(1, 1))}
	for range rank {
		v.basis = append(v.basis, v.noise())
	}
	return v
}

// noise is normal in each value.
func (v *vectors) noise() []float32 {
	x := make([]float32, v.dimension)
	for i := range x {
		x[i] = float32(v.rng.NormFloat64())
	}
	return x
}

// next is a vector of norm 1.
func (v *vectors) next() []float32 {
	x := v.noise()
	for _, b := range v.basis {
		f := float32(v.rng.NormFloat64()) * 2 // of the noise are left 1 in 4·rank parts
		for i := range x {
			x[i] += f * b[i]
		}
	}
	var sum float64
	for _, y := range x {
		sum += float64(y) * float64(y)
	}
	for i := range x {
		x[i] /= float32(math.Sqrt(sum))
	}
	return x
}

func (v *vectors) paper(number int) store.Write {
	words := make([]string, 180)
	for i := range words {
		words[i] = fmt.Sprintf("w%05d", v.rng.IntN(100000))
	}
	return store.Write{Vector: v.next(), Record: store.Record{Paper: store.Paper{
		ID: fmt.Sprintf("ARXIV:%08d", number), Title: strings.Join(words[:8], " "), Abstract: strings.Join(words, " "), Year: 2020,
		Metadata: json.RawMessage(`{"categories":"cs.IR"}`),
	}}}
}

// cpuTime is what this process has used of the CPUs.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// model is an encoder that is asked for nothing but its name.
type model struct{ m retrieval.Model }

func (m model) Model() retrieval.Model { return m.m }

func (m model) identity() store.Identity {
	return store.Identity{Model: m.m.ID, Fingerprint: m.m.Fingerprint, Dimension: m.m.Dimension}
}

var errNoModel = errors.New("there is no model")

func (model) Encode(context.Context, retrieval.Lane, retrieval.Role, []string) ([]retrieval.Encoding, error) {
	return nil, errNoModel
}

func (model) Sentences(context.Context, retrieval.Lane, []retrieval.Passage) ([][]retrieval.Part, error) {
	return nil, errNoModel
}

func (model) Passages(context.Context, retrieval.Lane, []retrieval.Passage, int) ([][]retrieval.Part, error) {
	return nil, errNoModel
}

func (model) Explain(context.Context, retrieval.Asked, []retrieval.Passage) ([]*retrieval.Explanation, error) {
	return nil, errNoModel
}
