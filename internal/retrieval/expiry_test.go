package retrieval

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// clock is the time of a test.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }
func newClock() *clock                   { c := &clock{}; c.at.Store(time.Now().UnixNano()); return c }

// openAt opens a collection that goes by a clock.
func openAt(t *testing.T, dir string, enc Encoder, clock *clock) *Collection {
	t.Helper()
	c, err := Open(t.Context(), dir, enc, &Options{now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

// hold keeps the upkeep from removing what has expired.
func hold(c *Collection) { c.expiry.notBefore.Store(math.MaxInt64) }

func release(t *testing.T, c *Collection) {
	c.expiry.notBefore.Store(0)
	c.tend()
	settle(t, c)
}

// A paper is in no answer from the moment at which it expires, before it is removed and after.
func TestExpiredPapersAreInNoAnswer(t *testing.T) {
	clock, enc := newClock(), newBag()
	dir := t.TempDir()
	c := openAt(t, dir, enc, clock)
	hold(c)
	end := clock.now().Add(time.Hour).UTC()
	var papers []Paper
	for i := range 60 {
		p := paper(fmt.Sprintf("p%02d", i), fmt.Sprintf("graph networks number%d", i))
		if p.Year = 2020; i < 40 { // the nearest of all would be these
			p.Title, p.Expires = "graph networks", end
		}
		papers = append(papers, p)
	}
	put(t, c, papers...)
	filter, err := ParseFilter("filter", "year = 2020")
	if err != nil {
		t.Fatal(err)
	}
	// seen is what the papers that can be seen are, by every way to ask.
	seen := func(name string, want int) {
		t.Helper()
		check := func(way string, papers []Paper) {
			t.Helper()
			ids := map[string]bool{}
			for _, p := range papers {
				ids[p.ID] = true
				if want == 20 && p.ID < "p40" {
					t.Errorf("%s, %s: %s is in the answer", name, way, p.ID)
				}
			}
			if len(ids) != want || len(papers) != want {
				t.Errorf("%s, %s: %d papers, want %d", name, way, len(papers), want)
			}
		}
		for _, w := range []Which{{}, {Filter: filter, Field: "filter"}} {
			for _, mode := range []Mode{Dense, Lexical, Hybrid} {
				res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("graph networks")}, Mode: mode, K: ptr(100), Which: w})
				if err != nil {
					t.Fatal(err)
				}
				var found []Paper
				for _, h := range res.Hits {
					found = append(found, h.Paper)
				}
				check(fmt.Sprint(mode, w.Filter), found)
				few, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("graph networks")}, Mode: mode, K: ptr(5), Which: w})
				if err != nil || len(few.Hits) != 5 {
					t.Errorf("%s, %v: %d of 5 hits, %v", name, mode, len(few.Hits), err)
				}
			}
			list, _, err := c.List(t.Context(), "", nil, w)
			if err != nil {
				t.Fatal(err)
			}
			check("list", list)
		}
		_, _, err := c.Get(t.Context(), "p00", Which{})
		_, errRelated := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "p00"}})
		if (KindOf(err) == NotFound) != (want == 20) || (KindOf(errRelated) == NotFound) != (want == 20) {
			t.Errorf("%s: get says %v, related %v", name, err, errRelated)
		}
	}
	seen("before", 60)
	clock.advance(time.Hour - 1)
	seen("just before", 60)
	clock.advance(1)
	seen("at its time", 20)
	if info, _ := c.Info(); info.Papers != 20 || c.store.Count() != 60 {
		t.Errorf("%d papers, %d are stored: some have been removed", info.Papers, c.store.Count())
	}
	// What has expired is not there for who writes.
	if _, _, err := c.Write(t.Context(), []Paper{paper("p00", "x")}, UpdateOnly); KindOf(err) != NotFound {
		t.Errorf("an update of a paper that has expired: %v", err)
	}
	if _, _, err := c.UpdateMetadata(t.Context(), []MetadataUpdate{{ID: "p00", Mask: []string{"expires"}}}); KindOf(err) != NotFound {
		t.Errorf("an update of the metadata of a paper that has expired: %v", err)
	}
	if _, missing, _, err := c.Delete(t.Context(), []string{"p01", "p41"}); err != nil || !slices.Equal(missing, []string{"p01"}) {
		t.Errorf("deleted: %v are missing, %v", missing, err)
	}
	encoded := enc.encoded.Load()
	r, _, err := c.Write(t.Context(), []Paper{paper("p00", "graph networks")}, InsertOnly)
	if err != nil || r[0].Outcome != Created || enc.encoded.Load() != encoded {
		t.Errorf("inserted in the place of one that has expired: %+v, %v", r, err)
	}
	if r := put(t, c, paper("p02", "another text")); r[0].Outcome != Created {
		t.Errorf("written in the place of one that has expired: %+v", r)
	}
	if _, _, err := c.Upsert(t.Context(), papers[3:4]); fieldOf(err) != "papers[0].expires" {
		t.Errorf("a time that has passed: %v", err)
	}
	want := 60 - 40 - 1 + 2
	release(t, c)
	if info, _ := c.Info(); info.Papers != want || info.Index.Vectors != want {
		t.Errorf("%d papers and %d vectors are left, want %d", info.Papers, info.Index.Vectors, want)
	}
	if c.expiry.next.Load() != never {
		t.Error("something is still to expire")
	}
}

// What expires is known after a restart, and what expired while nobody was there is removed.
func TestExpiryAfterARestart(t *testing.T) {
	clock, enc, dir := newClock(), newBag(), t.TempDir()
	c := openAt(t, dir, enc, clock)
	soon, later := clock.now().Add(time.Hour), clock.now().Add(2*time.Hour)
	a, b := paper("a", "graphs"), paper("b", "networks")
	a.Expires, b.Expires = soon, later
	put(t, c, a, b, paper("c", "words"))
	shut(t, c)
	clock.advance(time.Hour)
	c = openAt(t, dir, enc, clock)
	settle(t, c)
	if info, _ := c.Info(); info.Papers != 2 {
		t.Errorf("%d papers, want 2", info.Papers)
	}
	// One that is to stay longer, and one that is to stay for ever.
	if _, _, err := c.UpdateMetadata(t.Context(), []MetadataUpdate{{ID: "b", Mask: []string{"expires"}}}); err != nil {
		t.Fatal(err)
	}
	clock.advance(24 * time.Hour)
	c.tend()
	settle(t, c)
	if _, _, err := c.Get(t.Context(), "b", Which{}); err != nil {
		t.Errorf("a paper whose time was taken away: %v", err)
	}
}

// While expired papers are removed the store may have lost some that are still in the fields: they are in no count all the same.
func TestExpiredPapersAreNotCountedWhileTheyGo(t *testing.T) {
	clock, enc := newClock(), newBag()
	c := openAt(t, t.TempDir(), enc, clock)
	hold(c)
	for i := range 10 {
		p := paper(fmt.Sprint("p", i), fmt.Sprint("graphs number", i))
		if i < 6 {
			p.Expires = clock.now().Add(time.Hour).UTC()
		}
		put(t, c, p)
	}
	clock.advance(2 * time.Hour)
	going, err := c.stillStored(clock.now())
	if err != nil || len(going) != 6 {
		t.Fatal(going, err)
	}
	c.expiry.going.Store(&going)
	if _, _, _, err := c.store.Expire(clock.now(), 10); err != nil { // as a sweep does, which takes them out of the fields next
		t.Fatal(err)
	}
	filter, err := ParseFilter("filter", "id:*")
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]Which{"all": {}, "by a filter": {Filter: filter}} {
		if n, _, err := c.Count(t.Context(), w, nil); n != 4 || err != nil {
			t.Errorf("%s: %d papers, %v, want 4", name, n, err)
		}
	}
	if info, err := c.Info(); info.Papers != 4 || err != nil {
		t.Errorf("%d papers, %v, want 4", info.Papers, err)
	}
	for ordinal := range going {
		c.removePaper(ordinal)
	}
	c.update(slices.Collect(maps.Keys(going)), slices.Collect(maps.Keys(going)))
	c.expiry.going.Store(nil)
}
