package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"embedd/internal/testkit"
)

// model is the slow truth: what a store must hold, in maps.
type model struct {
	papers   map[string]modelPaper
	next     uint64
	revision uint64
}

type modelPaper struct {
	ordinal         uint64
	version, vector int
}

// Random calls are made to a store and to a map, which must agree after each.
func TestModel(t *testing.T) {
	for _, disk := range []bool{false, true} {
		name, dir, o, ops := "memory", "store", &Options{FS: vfs.NewMem()}, 6000
		if disk {
			name, dir, o, ops = "disk", t.TempDir(), &Options{}, 1500
		}
		if testing.Short() {
			ops /= 5
		}
		t.Run(name, func(t *testing.T) {
			rng := testkit.Rand(t)
			s := open(t, dir, o)
			uuid := s.UUID()
			m := &model{papers: map[string]modelPaper{}, next: 1}
			for op := range ops {
				if rng.IntN(ops/20) == 0 { // 20 times
					checkAndClose(t, s)
					s = open(t, dir, o)
					m.compareAll(t, s)
					if s.UUID() != uuid {
						t.Fatalf("the UUID is %s, was %s", s.UUID(), uuid)
					}
				}
				m.step(t, s, rng, op+1)
				if t.Failed() {
					t.Fatalf("at op %d", op)
				}
			}
			m.compareAll(t, s)
		})
	}
}

// step makes one random call. version is new.
func (m *model) step(t *testing.T, s *Store, rng *rand.Rand, version int) {
	id := func() string { return fmt.Sprintf("id/%d", rng.IntN(80)) }
	switch rng.IntN(10) {
	case 0, 1, 2, 3:
		m.put(t, s, rng, id, version)
	case 4:
		var ids []string
		for range 1 + rng.IntN(4) {
			ids = append(ids, id())
		}
		m.delete(t, s, ids)
	case 5, 6, 7:
		m.compare(t, s, id())
	case 8:
		m.list(t, s, id(), rng.IntN(20))
	case 9:
		m.records(t, s, rng)
	}
	if s.Count() != len(m.papers) || s.Revision() != m.revision {
		t.Errorf("count %d, revision %d; want %d, %d", s.Count(), s.Revision(), len(m.papers), m.revision)
	}
}

func (m *model) put(t *testing.T, s *Store, rng *rand.Rand, id func() string, version int) {
	after, next := maps.Clone(m.papers), m.next
	var writes []Write
	var want []Placement
	refused := false
	seen := map[string]bool{}
	for range 1 + rng.IntN(5) {
		id := id()
		refused = refused || seen[id]
		seen[id] = true
		old, known := m.papers[id]
		if rng.IntN(3) == 0 && (known || rng.IntN(4) == 0) {
			writes = append(writes, Write{Record: testRecord(id, version, old.vector)})
			want = append(want, Placement{Ordinal: old.ordinal})
			after[id] = modelPaper{old.ordinal, version, old.vector}
			refused = refused || !known
			continue
		}
		writes = append(writes, withSentences(id, version))
		want = append(want, Placement{next, old.ordinal})
		after[id] = modelPaper{next, version, version}
		next++
	}
	got, revision, err := s.Put(writes)
	if refused {
		if err == nil {
			t.Errorf("Put(%v) was not refused", writes)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	m.papers, m.next, m.revision = after, next, m.revision+1
	if !slices.Equal(got, want) || revision != m.revision {
		t.Errorf("Put gave %v, %d; want %v, %d", got, revision, want, m.revision)
	}
}

func (m *model) delete(t *testing.T, s *Store, ids []string) {
	var want []uint64
	changed := false
	for _, id := range ids {
		p, known := m.papers[id]
		want = append(want, p.ordinal)
		changed = changed || known
		delete(m.papers, id)
	}
	if changed {
		m.revision++
	}
	got, revision, err := s.Delete(ids)
	if err != nil || !slices.Equal(got, want) || revision != m.revision {
		t.Errorf("Delete(%v) = %v, %d, %v; want %v, %d", ids, got, revision, err, want, m.revision)
	}
}

func (m *model) compare(t *testing.T, s *Store, id string) {
	p, known := m.papers[id]
	if !known {
		_, _, err := s.Get(id)
		_, err2 := s.Ordinal(id)
		if !errors.Is(err, ErrNotFound) || !errors.Is(err2, ErrNotFound) {
			t.Errorf("Get(%q), Ordinal: %v, %v; want ErrNotFound", id, err, err2)
		}
		return
	}
	ordinal := wantPaper(t, s, Write{Record: testRecord(id, p.version, p.vector), Vector: testVector(id, p.vector)})
	wantSentences(t, s, ordinal, testSentences(id, p.vector))
	if o, err := s.Ordinal(id); o != p.ordinal || ordinal != p.ordinal || err != nil {
		t.Errorf("ordinal of %q is %d, %d, %v; want %d", id, o, ordinal, err, p.ordinal)
	}
}

func (m *model) list(t *testing.T, s *Store, after string, limit int) {
	var want []Record
	for _, id := range slices.Sorted(maps.Keys(m.papers)) {
		if id > after && len(want) < limit {
			want = append(want, testRecord(id, m.papers[id].version, m.papers[id].vector))
		}
	}
	if got, err := s.List(after, limit); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("List(%q, %d) = %v, %v; want %v", after, limit, got, err, want)
	}
}

func (m *model) records(t *testing.T, s *Store, rng *rand.Rand) {
	byOrdinal := map[uint64]string{}
	for id, p := range m.papers {
		byOrdinal[p.ordinal] = id
	}
	var ordinals []uint64
	var wantFound []bool
	want := make([]Record, 10)
	for i := range want {
		o := rng.Uint64N(m.next + 1)
		ordinals = append(ordinals, o)
		id, known := byOrdinal[o]
		wantFound = append(wantFound, known)
		if known {
			want[i] = testRecord(id, m.papers[id].version, m.papers[id].vector)
		}
	}
	got, found, err := s.Records(ordinals)
	if err != nil || !slices.Equal(found, wantFound) || !reflect.DeepEqual(got, want) {
		t.Errorf("Records(%v) = %v, %v, %v; want %v, %v", ordinals, got, found, err, want, wantFound)
	}
}

func (m *model) compareAll(t *testing.T, s *Store) {
	t.Helper()
	for i := range 80 {
		m.compare(t, s, fmt.Sprintf("id/%d", i))
	}
	m.list(t, s, "", 100)
	vectors := map[uint64][]float32{}
	var want, got, keys []uint64
	for id, p := range m.papers {
		vectors[p.ordinal] = testVector(id, p.vector)
		want = append(want, p.ordinal)
	}
	slices.Sort(want)
	err := s.Vectors(func(ordinal uint64, v []float32) error {
		if !slices.Equal(v, vectors[ordinal]) {
			t.Errorf("vector %d is %v, want %v", ordinal, v, vectors[ordinal])
		}
		got = append(got, ordinal)
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Vectors gave ordinals %v, %v; want %v", got, err, want)
	}
	if err := s.Ordinals(func(o uint64) error { keys = append(keys, o); return nil }); err != nil || !slices.Equal(keys, want) {
		t.Errorf("Ordinals gave %v, %v; want %v", keys, err, want)
	}
	if s.Count() != len(m.papers) || s.Revision() != m.revision {
		t.Errorf("count %d, revision %d; want %d, %d", s.Count(), s.Revision(), len(m.papers), m.revision)
	}
	if err := s.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
}
