package first

import "cmp"

// candidate is a slot at a distance.
type candidate struct {
	distance float32
	slot     uint32
}

// compare orders by distance, ties by slot, so that a search has one course.
func (c candidate) compare(o candidate) int {
	return cmp.Or(cmp.Compare(c.distance, o.distance), cmp.Compare(c.slot, o.slot))
}

func (c candidate) less(o candidate) bool {
	return c.distance < o.distance || c.distance == o.distance && c.slot < o.slot
}

// nearestFirst and farthestFirst are binary heaps: h[0] is the nearest, or the farthest. container/heap would call each
// comparison through an interface, in the innermost loop of a search.
type (
	nearestFirst  []candidate
	farthestFirst []candidate
)

func (h *nearestFirst) push(c candidate) {
	*h = append(*h, c)
	a := *h
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !c.less(a[up]) {
			break
		}
		a[i] = a[up]
		i = up
	}
	a[i] = c
}

func (h *nearestFirst) pop() candidate {
	a := *h
	top, last := a[0], a[len(a)-1]
	a = a[:len(a)-1]
	*h = a
	i := 0
	for {
		down := 2*i + 1
		if down >= len(a) {
			break
		}
		if down+1 < len(a) && a[down+1].less(a[down]) {
			down++
		}
		if !a[down].less(last) {
			break
		}
		a[i] = a[down]
		i = down
	}
	if len(a) > 0 {
		a[i] = last
	}
	return top
}

func (h *farthestFirst) push(c candidate) {
	*h = append(*h, c)
	a := *h
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !a[up].less(c) {
			break
		}
		a[i] = a[up]
		i = up
	}
	a[i] = c
}

func (h *farthestFirst) pop() candidate {
	a := *h
	top, last := a[0], a[len(a)-1]
	a = a[:len(a)-1]
	*h = a
	i := 0
	for {
		down := 2*i + 1
		if down >= len(a) {
			break
		}
		if down+1 < len(a) && a[down].less(a[down+1]) {
			down++
		}
		if !last.less(a[down]) {
			break
		}
		a[i] = a[down]
		i = down
	}
	if len(a) > 0 {
		a[i] = last
	}
	return top
}
