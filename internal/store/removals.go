package store

import "sync"

// Removals collects the ids of papers that are removed, for who brings another store to what this one has: the change log has the ordinals of what
// was removed, and not the ids. It knows of nothing that was before it, and of no more than it was made for.
type Removals struct {
	s    *Store
	most int

	mu     sync.Mutex
	ids    []removal
	missed bool
}

// removal is a paper that a revision has removed.
type removal struct {
	revision uint64
	id       string
}

// WatchRemovals begins to collect, up to so many ids between two calls of Take. It is ended by Close.
func (s *Store) WatchRemovals(most int) *Removals {
	r := &Removals{s: s, most: most}
	s.write.Lock()
	defer s.write.Unlock()
	s.removals = append(s.removals, r)
	return r
}

// Close ends the collecting.
func (r *Removals) Close() {
	r.s.write.Lock()
	defer r.s.write.Unlock()
	for i, other := range r.s.removals {
		if other == r {
			r.s.removals = append(r.s.removals[:i:i], r.s.removals[i+1:]...)
			return
		}
	}
}

// Take gives the ids that were removed up to the revision that is on disk, in order, each as often as it was removed, and forgets them. missed: there
// were more than it keeps since the last call, and the two stores have to be compared.
func (r *Removals) Take() (ids []string, missed bool) {
	upTo := r.s.Revision()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for ; n < len(r.ids) && r.ids[n].revision <= upTo; n++ {
		ids = append(ids, r.ids[n].id)
	}
	r.ids = append([]removal(nil), r.ids[n:]...)
	missed, r.missed = r.missed, false
	return ids, missed
}

// add notes what a revision removes. It is called in the order of the revisions.
func (r *Removals) add(revision uint64, ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if len(r.ids) == r.most {
			r.missed = true
			return
		}
		r.ids = append(r.ids, removal{revision, id})
	}
}
