package retrieval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"embedd/ann"
)

// MaxNeighbours is the most neighbours of each paper that a collection may keep.
const MaxNeighbours = 100

// neighbours keeps, where the settings ask for it, the nearest papers of each paper, so that related papers are read and not searched for. The
// lists are in memory and derived: after a start they are made behind it, and who asks before is answered by a search.
//
// A paper that comes gets a list by a search, and is put into the lists of those that it is nearer to than what they have: it is offered to
// neighboursOffered, many more than a list has, as it may be near to somebody who is not so near to it. Beside a dense cluster there may be such
// a one all the same, so the lists are made once more when an eighth of the papers has come since. A paper that goes is found missing when a list with
// it is read, which is then made anew.
type neighbours struct {
	size int // of a list, 0: none are kept
	made atomic.Bool
	came atomic.Int64 // papers since the lists were made
	// gaveUp: the lists of all papers could not be made, and are not before the next start. Searches answer in their place.
	gaveUp atomic.Bool
	mu     sync.RWMutex
	lists  map[uint64]*neighbourList // by ordinal
}

const (
	// neighboursOffered is to how many papers a new one is offered.
	neighboursOffered = 256
	// neighboursShare of the papers, and neighboursLeast, come before the lists are made once more.
	neighboursShare = 8
	neighboursLeast = 100
)

// neighbourList is of one paper.
type neighbourList struct {
	near []neighbour // nearest first
	// whole: the paper was searched with, or compared with all; before that the list has only what came since.
	whole   bool
	version uint64    // of the collection when the list last changed
	at      time.Time // when that was
}

// neighbour is a paper of a list. An ordinal that does not fit is in no list, and its paper is searched for.
type neighbour struct {
	ordinal  uint32
	distance float32
}

func (n neighbour) compare(o neighbour) int {
	return cmp.Or(cmp.Compare(n.distance, o.distance), cmp.Compare(n.ordinal, o.ordinal))
}

func (n *neighbours) init(size int) {
	n.size, n.lists = size, map[uint64]*neighbourList{}
}

// offer puts a paper into a list that it belongs into and is not in yet, at whatever distance: which of two was rounded depends on who was searched
// for. n.mu is held.
func (n *neighbours) offer(list *neighbourList, x neighbour, version uint64, now time.Time) {
	at, _ := slices.BinarySearchFunc(list.near, x, neighbour.compare)
	if at == n.size || slices.ContainsFunc(list.near, func(o neighbour) bool { return o.ordinal == x.ordinal }) {
		return
	}
	if len(list.near) == n.size {
		list.near = list.near[:n.size-1]
	}
	list.near = slices.Insert(list.near, at, x)
	list.version, list.at = version, now
}

// come gives a paper that is in the index its list, and puts it into those of others.
func (n *neighbours) come(c *Collection, ordinal uint64, vector []float32) error {
	if n.size == 0 || ordinal > math.MaxUint32 {
		return nil
	}
	// The list is there before it is searched for: what comes in the meantime is put into it.
	list := &neighbourList{}
	n.mu.Lock()
	n.lists[ordinal] = list
	n.mu.Unlock()
	answer, err := c.index.Search(vector, ann.Query{K: 1 + neighboursOffered})
	if err != nil {
		return fmt.Errorf("search neighbours of a paper: %w", err)
	}
	version, now := c.store.Revision(), time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, x := range answer.Neighbors {
		if x.Label == ordinal || x.Label > math.MaxUint32 {
			continue
		}
		if i <= n.size {
			n.offer(list, neighbour{uint32(x.Label), x.Distance}, version, now)
		}
		theirs := n.lists[x.Label]
		if theirs == nil && !n.made.Load() && c.index.Contains(x.Label) { // whose list is being made, from before this paper came
			theirs = &neighbourList{}
			n.lists[x.Label] = theirs
		}
		if theirs != nil {
			n.offer(theirs, neighbour{uint32(ordinal), x.Distance}, version, now)
		}
	}
	if !c.index.Contains(ordinal) { // it has gone meanwhile
		delete(n.lists, ordinal)
	}
	list.whole, list.version, list.at = true, version, now
	return nil
}

// leave takes away the list of a paper that has gone. It stays in those of others, until they are read.
func (n *neighbours) leave(ordinal uint64) {
	if n.size == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.lists, ordinal)
}

// bytes is about what the lists take.
func (n *neighbours) bytes() int64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return int64(len(n.lists)) * int64(8*n.size+100)
}

// neighboursDue tells whether the lists are to be made, or once more.
func (c *Collection) neighboursDue() bool {
	n := &c.neighbours
	if n.size == 0 || n.gaveUp.Load() || c.index.Len() == 0 {
		return false
	}
	return !n.made.Load() || n.came.Load() >= max(neighboursLeast, int64(c.index.Len()/neighboursShare))
}

// makeNeighbours makes the lists of all papers that have none, or not a whole one, and brings the others what they lack.
func (c *Collection) makeNeighbours(ctx context.Context) ([]any, error) {
	n := &c.neighbours
	came := n.came.Load()
	made := 0
	err := c.index.AllNeighbors(ctx, n.size, 0, 1, func(label uint64, near []ann.Neighbor) error {
		if label > math.MaxUint32 {
			return nil
		}
		version, now := c.store.Revision(), time.Now()
		n.mu.Lock()
		defer n.mu.Unlock()
		list := n.lists[label]
		switch {
		case list == nil && !c.index.Contains(label): // it has gone meanwhile
			return nil
		case list == nil:
			list = &neighbourList{}
			n.lists[label] = list
		}
		for _, x := range near {
			if x.Label <= math.MaxUint32 {
				n.offer(list, neighbour{uint32(x.Label), x.Distance}, version, now)
			}
		}
		list.near = slices.Clip(list.near)
		list.whole, list.version, list.at = true, version, now
		made++
		return nil
	})
	if err == nil {
		n.made.Store(true)
		n.came.Add(-came)
	}
	return []any{"papers", made, "neighbours", n.size}, err
}

// kept answers a search from the list of the paper that is the input, where there is a whole one that is long enough and the search is no other
// than what it was made by.
func (c *Collection) kept(l *looking, res *SearchResult) ([]ann.Neighbor, bool) {
	n := &c.neighbours
	res.Materialised = nil
	if !l.kept || len(l.selves) != 1 || l.query.K-1 > n.size {
		return nil, false
	}
	self := l.selves[0]
	n.mu.RLock()
	list := n.lists[self]
	if list == nil || !list.whole {
		n.mu.RUnlock()
		return nil, false
	}
	near := append(make([]ann.Neighbor, 0, l.query.K), ann.Neighbor{Label: self})
	gone := false
	for _, x := range list.near[:min(len(list.near), l.query.K-1)] {
		if !c.index.Contains(uint64(x.ordinal)) {
			gone = true
			break
		}
		near = append(near, ann.Neighbor{Label: uint64(x.ordinal), Distance: x.distance})
	}
	as := Materialised{Version: list.version, At: list.at}
	n.mu.RUnlock()
	if gone {
		if err := n.come(c, self, l.vector); err != nil {
			return nil, false // a search will say why
		}
		return c.kept(l, res)
	}
	res.Materialised = &as
	return near, true
}

// beyondKept tells, of a search for more than a kept list has, how many more are to be searched for so that the list can come first; 0 where there is none.
func (c *Collection) beyondKept(l *looking) int {
	n := &c.neighbours
	if !l.kept || len(l.selves) != 1 || l.query.K-1 <= n.size {
		return 0
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.full(l.selves[0]) == nil {
		return 0
	}
	return n.size
}

// full gives the list of a paper that has as many as a list may have, nil where there is none: shorter ones have all that there are. n.mu is held.
func (n *neighbours) full(ordinal uint64) *neighbourList {
	if list := n.lists[ordinal]; list != nil && list.whole && len(list.near) == n.size {
		return list
	}
	return nil
}

// keptFirst puts the kept list before what a search found beyond it, so that the answer for fewer is the beginning of that for more (invariant 6). What
// the search found nearer, and the list has not, comes into the list, for the next time.
func (c *Collection) keptFirst(l *looking, near []ann.Neighbor) []ann.Neighbor {
	n := &c.neighbours
	self := l.selves[0]
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.full(self)
	if list == nil {
		return near
	}
	if l.first == nil { // a search that is widened goes on with what it had
		l.first = slices.Clone(list.near)
	}
	out, in := []ann.Neighbor{{Label: self}}, map[uint64]bool{self: true}
	for _, x := range l.first {
		if !c.index.Contains(uint64(x.ordinal)) { // whoever asks for fewer makes it anew
			return near
		}
		out = append(out, ann.Neighbor{Label: uint64(x.ordinal), Distance: x.distance})
		in[uint64(x.ordinal)] = true
	}
	last := l.first[len(l.first)-1]
	var missed []neighbour
	for _, x := range near {
		switch y := (neighbour{uint32(x.Label), x.Distance}); {
		case in[x.Label]:
		case x.Label <= math.MaxUint32 && y.compare(last) < 0:
			missed = append(missed, y)
		default:
			out = append(out, x)
		}
	}
	version, now := c.store.Revision(), time.Now()
	for _, x := range missed {
		n.offer(list, x, version, now)
	}
	return out
}

// Materialised says as of when a kept list of neighbours is.
type Materialised struct {
	// Version of the collection, and time, at which the list last changed; it is up to date with what came after.
	Version uint64
	At      time.Time
}

// keeps tells whether a search is one that kept lists answer.
func (c *Collection) keeps(r *SearchRequest, l *looking) bool {
	return c.neighbours.size > 0 && !r.Live && l.mode == Dense && r.Input.PaperID != "" && !l.exact && r.Ef == nil && r.Recall == nil && r.Plan == Auto &&
		r.Which.all() && l.feedback == nil && !l.order.any() && r.Page == ""
}

// checkNeighbours proves the lists: whole ones have papers by their distance, none twice and not the paper itself, and as many as there are.
func (c *Collection) checkNeighbours() error {
	n := &c.neighbours
	n.mu.RLock()
	defer n.mu.RUnlock()
	var errs []error
	for ordinal, list := range n.lists {
		if !c.index.Contains(ordinal) {
			errs = append(errs, fmt.Errorf("paper %d is not in the index, and has neighbours", ordinal))
		}
		labels := make([]uint64, len(list.near))
		for i, x := range list.near {
			labels[i] = uint64(x.ordinal)
			if labels[i] == ordinal || slices.Contains(labels[:i], labels[i]) || i > 0 && list.near[i-1].compare(x) >= 0 || len(list.near) > n.size {
				errs = append(errs, fmt.Errorf("the neighbours of paper %d are %v", ordinal, list.near))
				break
			}
		}
		v, ok := c.index.Vector(ordinal)
		if !ok {
			continue
		}
		distances, err := c.index.Distances(v, labels)
		if err != nil {
			return err
		}
		for i, d := range distances {
			if d == d && math.Abs(float64(d-list.near[i].distance)) > 1e-3 { // which of the two was rounded depends on who was searched for
				errs = append(errs, fmt.Errorf("paper %d is said to be %v from paper %d, and is %v", labels[i], list.near[i].distance, ordinal, d))
			}
		}
	}
	return errors.Join(errs...)
}
