package ann

import (
	"fmt"
	"slices"
)

// Exact returns the k live vectors nearest to the unit vector q, nearest first: it compares with every one. It is the
// truth that Search is measured against.
func (x *Index) Exact(q []float32, k int) ([]Neighbor, error) {
	if k < 1 {
		return nil, fmt.Errorf("%w: is %d", ErrK, k)
	}
	if err := x.checkVector(q); err != nil {
		return nil, err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	// The best k stand somewhere in best; whenever it is full, it is sorted and cut back to them.
	best := make([]Neighbor, 0, max(1024, 2*k))
	keep := func() {
		slices.SortFunc(best, Neighbor.compare)
		best = best[:min(k, len(best))]
	}
	full, worst := false, Neighbor{}
	for slot, label := range x.labels {
		if x.dead[slot] {
			continue
		}
		n := Neighbor{label, distance(q, x.vector(uint32(slot)))}
		if full && n.compare(worst) > 0 {
			continue
		}
		if best = append(best, n); len(best) == cap(best) {
			keep()
			full, worst = true, best[k-1]
		}
	}
	keep()
	return best, nil
}
