package retrieval

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"embedd/internal/testkit"
)

var visibleChecks = flag.Int("checks", 10000, "how many searches TestWritesAreVisible makes")

// TestWritesAreVisible: whoever has been answered finds what they wrote. After each write the same client searches exactly, by the text it
// wrote, and has the paper first; after each delete no search has it. Meanwhile others write and delete, the index is written into snapshots,
// and tombstones are taken out of it.
func TestWritesAreVisible(t *testing.T) {
	rng := testkit.Rand(t)
	c := open(t, t.TempDir(), newBag())
	const clients, own = 8, 100
	ctx, stop := context.WithCancel(t.Context())
	var upkeep sync.WaitGroup
	var snapshots, consolidated int
	upkeep.Go(func() {
		for ctx.Err() == nil {
			if err := c.saveSnapshot(); err != nil {
				t.Error(err)
			}
			snapshots++
			time.Sleep(20 * time.Millisecond)
		}
	})
	upkeep.Go(func() {
		for ctx.Err() == nil {
			n, err := c.index.Consolidate(ctx)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			consolidated += n
			time.Sleep(30 * time.Millisecond)
		}
	})
	var checks atomic.Int64
	var writers sync.WaitGroup
	for number := range clients {
		v := visible{t: t, c: c, number: number, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), titles: map[string]string{}}
		writers.Go(func() {
			for checks.Add(1) <= int64(fewer(*visibleChecks)) && !t.Failed() {
				v.step(own)
			}
		})
	}
	writers.Wait()
	stop()
	upkeep.Wait()
	t.Logf("%d snapshots were written meanwhile, and %d tombstones taken out", snapshots, consolidated)
}

// visible is a client with ids of its own.
type visible struct {
	t       *testing.T
	c       *Collection
	number  int
	rng     *rand.Rand
	titles  map[string]string // of what is stored
	version int
}

// step writes or deletes, and searches.
func (v *visible) step(own int) {
	id := fmt.Sprintf("c%d/%d", v.number, v.rng.IntN(own))
	old, stored := v.titles[id]
	if stored && v.rng.IntN(3) == 0 {
		if _, _, _, err := v.c.Delete(v.t.Context(), []string{id}); err != nil {
			v.t.Error(err)
			return
		}
		delete(v.titles, id)
		if hits := v.search(old); len(hits) > 0 && hits[0].Paper.ID == id {
			v.t.Errorf("%s was deleted, and is found: %v", id, ids(hits))
		}
		return
	}
	p := Paper{ID: id, Title: old, Year: int32(v.rng.IntN(1000))}
	if !stored || v.rng.IntN(4) > 0 { // otherwise the paper changes beside its text
		v.version++
		p.Title = v.title(id)
	}
	if _, _, err := v.c.Upsert(v.t.Context(), []Paper{p}); err != nil {
		v.t.Error(err)
		return
	}
	v.titles[id] = p.Title
	if hits := v.search(p.Title); len(hits) == 0 || hits[0].Paper.ID != id || hits[0].Paper.Title != p.Title || hits[0].Paper.Year != p.Year {
		v.t.Errorf("%s was written as %v, and the search gives %v", id, p, hits)
	}
}

// title is eight words that nobody else has: a direction of its own.
func (v *visible) title(id string) (title string) {
	for i := range 8 {
		title += fmt.Sprintf("%s.%d.%d ", id, v.version, i)
	}
	return title
}

func (v *visible) search(text string) []Hit {
	res, err := v.c.Search(v.t.Context(), SearchRequest{Input: Input{Text: &text}, K: ptr(2), Exact: true, Basic: true})
	if err != nil {
		v.t.Error(err)
		return nil
	}
	return res.Hits
}

// Who is told that a paper is stored already, or is gone already, by the doing of another who has not been answered yet, finds it so.
func TestWhatIsToldIsInTheIndex(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for i := range rounds {
		p := Paper{ID: "a", Title: fmt.Sprintf("one%d two%d three%d", i, i, i)}
		together(t, func() error {
			_, version, err := c.Upsert(t.Context(), []Paper{p})
			if err != nil {
				return err
			}
			res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &p.Title}, K: ptr(1), Exact: true, Basic: true})
			if err == nil && (len(res.Hits) == 0 || res.Hits[0].Paper.Title != p.Title || res.Version < version) {
				err = fmt.Errorf("round %d: stored with version %d, and a search of version %d gives %v", i, version, res.Version, res.Hits)
			}
			return err
		})
		together(t, func() error {
			_, _, version, err := c.Delete(t.Context(), []string{"a"})
			if err != nil {
				return err
			}
			res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &p.Title}, K: ptr(1), Exact: true, Basic: true})
			if err == nil && (len(res.Hits) != 0 || res.Version < version || c.index.Len() != 0) {
				err = fmt.Errorf("round %d: deleted with version %d, and a search of version %d gives %v; %d are in the index", i, version, res.Version, res.Hits, c.index.Len())
			}
			return err
		})
	}
}

// together runs a function in a few goroutines at once.
func together(t *testing.T, do func() error) {
	t.Helper()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
