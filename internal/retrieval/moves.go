package retrieval

import (
	"sync"
	"sync/atomic"

	"embedd/internal/store"
)

// moves are what keeps searches and commits from missing each other. A commit is in the store first and in the index a moment later, and
// commits come to the index in any order.
type moves struct {
	mu sync.Mutex
	// leaving are the papers that get another ordinal, as they were under the old one: from before the store has lost it until
	// the index has the new one. A search finds them by the old one.
	leaving  map[uint64]store.Record
	underway atomic.Int64 // how many they are
	// early are ordinals that were removed before they came.
	early map[uint64]struct{}
	// ended counts the papers that have left.
	ended atomic.Uint64
}

// leave notes that a paper will leave an ordinal.
func (m *moves) leave(old uint64, as store.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leaving == nil {
		m.leaving = map[uint64]store.Record{}
	}
	m.leaving[old] = as
	m.underway.Store(int64(len(m.leaving)))
}

// left notes that it has left, or that it stays.
func (m *moves) left(old uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.leaving, old)
	m.underway.Store(int64(len(m.leaving)))
	m.ended.Add(1)
}

// under gives the paper that is about to leave an ordinal.
func (m *moves) under(old uint64) (store.Record, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.leaving[old]
	return r, ok
}

// remove takes an ordinal out of the index; if it is not there yet, it will be taken out when it comes.
func (c *Collection) remove(ordinal uint64) {
	m := &c.moves
	m.mu.Lock()
	if m.early == nil {
		m.early = map[uint64]struct{}{}
	}
	m.early[ordinal] = struct{}{}
	m.mu.Unlock()
	if c.index.Delete(ordinal) {
		m.came(ordinal)
	}
	c.neighbours.leave(ordinal)
}

// came tells whether an ordinal that has come was removed before.
func (m *moves) came(ordinal uint64) (removed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, removed = m.early[ordinal]
	delete(m.early, ordinal)
	return removed
}
