package ann

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// A batch of InsertAll is at most the 1/batchShare-th part of what is in the graph already, and batchMost: its slots do not see each
// other when they look for links.
const (
	batchShare = 50
	batchMost  = 4096
)

// InsertAll adds the vectors of many labels; vector gives the i-th, is called from several goroutines, and its result is read before
// it is called again from the same one. The graph is the same, byte for byte, for any number of threads and on any machine, if it was the
// same before. (It is not the one that Insert makes of the same vectors one after the other.) threads 0 is as many as there are cores.
// progress, if not nil, is told how many are done.
//
// Vectors go in by batches, in order, each against the graph as it was before the batch, as in ParlayANN (Manohar et al.,
// arXiv:2305.04359). After an error, or the end of ctx, the batches before are in. Searches go on meanwhile; other changes take turns
// with the batches.
func (x *Index) InsertAll(ctx context.Context, labels []uint64, vector func(i int) ([]float32, error), threads int, progress func(done, total int)) error {
	if err := x.ready(); err != nil {
		return err
	}
	sorted := slices.Clone(labels)
	slices.Sort(sorted)
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return fmt.Errorf("%w: %d stands twice in the call", ErrExists, sorted[i])
		}
	}
	b := builder{x: x, threads: threads}
	for done := 0; done < len(labels); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := b.batch(labels[done:], func(i int) ([]float32, error) { return vector(done + i) })
		if err != nil {
			return err
		}
		if done += n; progress != nil {
			progress(done, len(labels))
		}
	}
	return nil
}

// builder is the memory of InsertAll.
type builder struct {
	x       *Index
	threads int
	vectors []float32
	slots   []uint32
	drafts  []draft
	edges   [][]uint64 // by level: target and newcomer
}

// batch inserts as many of the labels as one batch takes.
func (b *builder) batch(labels []uint64, vector func(i int) ([]float32, error)) (int, error) {
	x := b.x
	n := b.room(labels)
	b.vectors = resize(b.vectors, n*x.dim)
	var failed firstError
	parallel(b.threads, n, 16, func(i int) {
		v, err := vector(i)
		if err == nil {
			err = x.checkVector(v)
		}
		if err != nil {
			failed.set(i, err)
			return
		}
		copy(b.vectors[i*x.dim:], v)
	})
	if failed.err != nil {
		return 0, fmt.Errorf("label %d: %w", labels[failed.i], failed.err)
	}
	x.writers.Lock()
	defer x.writers.Unlock()
	n = b.room(labels[:n]) // others may have taken much out of the graph meanwhile
	if err := b.take(labels[:n]); err != nil {
		return 0, err
	}
	a := x.arrays.Load()
	parallel(b.threads, n, 16, func(i int) { x.store(a, b.slots[i], b.vectors[i*x.dim:][:x.dim]) })
	from := 0
	if x.begins(b.slots[0], int(a.levels[b.slots[0]])) {
		from = 1 // and the only one
	}
	b.link(b.slots[from:n])
	for _, slot := range b.slots {
		setBit(a.live, slot)
		x.rise(slot, int(a.levels[slot]))
	}
	x.size.Add(int64(n))
	return n, nil
}

// room is how many of the labels one batch takes.
func (b *builder) room(labels []uint64) int {
	x := b.x
	n := min(len(labels), batchMost, max(1, (x.Len()+x.Tombstones())/batchShare))
	// A slot above all others begins a level: nobody else may be on it in the same batch.
	top := -1
	if e := x.entry.Load(); e != noEntry {
		top = int(e >> 32)
	}
	for i, label := range labels[:n] {
		if x.levelOf(label) > top {
			return i + 1
		}
	}
	return n
}

// take gives slots to all labels, or to none.
func (b *builder) take(labels []uint64) error {
	x := b.x
	x.mu.Lock()
	defer x.mu.Unlock()
	height := 0
	for _, label := range labels {
		height += x.levelOf(label)
	}
	if err := x.room(len(labels), height); err != nil {
		return err
	}
	a := x.arrays.Load()
	for _, label := range labels {
		if _, exists := x.mem.table.get(a, label); exists {
			return fmt.Errorf("%w: %d", ErrExists, label)
		}
	}
	b.slots = b.slots[:0]
	for _, label := range labels {
		slot, ok, err := x.takeLocked(label, x.levelOf(label))
		if !ok { // there is room, and no label twice
			panic(fmt.Sprintf("ann: no slot for label %d: %v", label, err))
		}
		b.slots = append(b.slots, slot)
	}
	return nil
}

// link links new slots into the graph: each looks for its links in the graph as it is, then all are put in.
func (b *builder) link(slots []uint32) {
	x := b.x
	w := x.look()
	b.drafts = resize(b.drafts, len(slots))
	parallel(b.threads, len(slots), 4, func(i int) {
		s := x.searcher()
		b.drafts[i] = x.draft(s, w, slots[i])
		x.searchers.Put(s)
	})
	for l := range b.edges {
		b.edges[l] = b.edges[l][:0]
	}
	given := map[uint32]int{} // edges of the tree that are promised
	room := func(slot uint32) bool { return x.degree(w.arrays, slot)+given[slot] < x.maxDegree() }
	for i, slot := range slots {
		d := &b.drafts[i]
		parent := uint32(noLink)
		for _, c := range d.near {
			if room(c.slot()) {
				parent = c.slot()
				break
			}
		}
		if parent == noLink {
			parent = x.roomBelow(w.arrays, d.near[0].slot(), room)
		}
		given[parent]++
		if at := slices.Index(d.links[0], parent); at >= 0 {
			d.links[0][at] |= treeLink
		} else {
			d.links[0] = append(d.links[0], parent|treeLink)
		}
		for l, links := range d.links {
			write(x.list(w.arrays, slot, l), links)
			for len(b.edges) <= l {
				b.edges = append(b.edges, nil)
			}
			for _, n := range links {
				b.edges[l] = append(b.edges[l], uint64(n&slotMask)<<32|uint64(slot|n&treeLink))
			}
		}
	}
	for l, edges := range b.edges {
		x.addEdges(w, l, edges, b.threads)
	}
}

// addEdges adds links to lists of a level: each edge is the slot whose list it goes to, in its upper half, and a link. Nobody else
// changes lists. Edges are put in order.
func (x *Index) addEdges(w view, level int, edges []uint64, threads int) {
	slices.Sort(edges)
	var begins []int
	for i := range edges {
		if i == 0 || edges[i]>>32 != edges[i-1]>>32 {
			begins = append(begins, i)
		}
	}
	parallel(threads, len(begins), 16, func(g int) {
		end := len(edges)
		if g+1 < len(begins) {
			end = begins[g+1]
		}
		group := edges[begins[g]:end]
		s := x.searcher()
		s.newcomers = s.newcomers[:0]
		for _, e := range group {
			s.newcomers = append(s.newcomers, uint32(e))
		}
		x.add(s, w, uint32(group[0]>>32), level, s.newcomers...)
		x.searchers.Put(s)
	})
}

// parallel calls do for each number below n, from threads goroutines, 0 for one a core, some numbers at a time. It returns when all
// calls have.
func parallel(threads, n, some int, do func(i int)) {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	if threads == 1 || n <= some {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(threads, (n+some-1)/some) {
		wg.Go(func() {
			for {
				from := int(next.Add(int64(some))) - some
				if from >= n {
					return
				}
				for i := from; i < min(n, from+some); i++ {
					do(i)
				}
				runtime.Gosched() // a search that waits for a core goes first
			}
		})
	}
	wg.Wait()
}

// firstError keeps the error of the lowest number, so that it does not depend on who came first.
type firstError struct {
	mu  sync.Mutex
	i   int
	err error
}

func (f *firstError) set(i int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || i < f.i {
		f.i, f.err = i, err
	}
}
