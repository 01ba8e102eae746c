package retrieval

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"embedd/internal/testkit"
)

// What the basic view shows is what is stored, while papers change in every way.
func TestCards(t *testing.T) {
	rng := testkit.Rand(t)
	c := open(t, t.TempDir(), newBag())
	c.cards.most = 20_000 // fewer than there are
	all := words(t, 300)
	for i := range all {
		all[i].Abstract, all[i].Venue = "w1 w2", fmt.Sprint("venue ", i)
	}
	put(t, c, all...)
	for step := range 300 {
		i := rng.IntN(len(all))
		switch p := &all[i]; rng.IntN(4) {
		case 0:
			p.Venue = fmt.Sprint("venue of step ", step)
			put(t, c, *p)
		case 1:
			p.Title = fmt.Sprintf("w%d w%d", rng.IntN(60), rng.IntN(60))
			put(t, c, *p)
		case 2:
			if _, _, _, err := c.Delete(t.Context(), []string{p.ID}); err != nil {
				t.Fatal(err)
			}
			put(t, c, *p)
		}
		text := all[rng.IntN(len(all))].Title
		for _, basic := range []bool{true, false, true} {
			res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, K: ptr(20), Basic: basic, SameWork: true, Exact: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range res.Hits {
				want := all[slices.IndexFunc(all, func(p Paper) bool { return p.ID == h.Paper.ID })]
				if h.Paper.Title != want.Title || h.Paper.Venue != want.Venue || !basic && h.Paper.Abstract != want.Abstract {
					t.Fatalf("step %d, basic %v: a hit is %+v, stored is %+v", step, basic, h.Paper, want)
				}
			}
		}
		if n := c.cards.bytes.Load(); n < 0 || n > c.cards.most {
			t.Fatalf("cards take %d bytes, the limit is %d", n, c.cards.most)
		}
	}
	var kept int64
	for i := range c.cards.parts {
		for _, card := range c.cards.parts[i].papers {
			kept += cardSize(card)
		}
	}
	if kept == 0 || kept != c.cards.bytes.Load() {
		t.Errorf("cards take %d bytes, counted are %d", kept, c.cards.bytes.Load())
	}
}

// A change that was acknowledged shows in every later answer, whoever reads beside it.
func TestCardsBesideWriters(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, words(t, 50)...)
	put(t, c, Paper{ID: "x", Title: "w1 w2", Venue: "0"})
	search := func() (venue string, times int) {
		res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("w1 w2")}, K: ptr(40), Basic: true, SameWork: true, Exact: true})
		if err != nil {
			t.Error(err)
			return "", 0
		}
		for _, h := range res.Hits {
			if h.Paper.ID == "x" {
				venue, times = h.Paper.Venue, times+1
			}
		}
		return venue, times
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, times := search(); times != 1 {
					t.Errorf("the paper is %d times in an answer", times)
				}
			}
		})
	}
	for i := range 400 {
		title := "w1 w2"
		if i%3 == 1 { // it moves
			title += fmt.Sprint(" w", i)
		}
		put(t, c, Paper{ID: "x", Title: title, Venue: fmt.Sprint(i)})
		if venue, _ := search(); venue != fmt.Sprint(i) {
			t.Fatalf("after change %d the venue is %q", i, venue)
		}
	}
	close(stop)
	readers.Wait()
}
