package retrieval

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	cards, ids := 0, 0
	for i := range c.cards.parts {
		ids += len(c.cards.ids[i].at)
		for ordinal, card := range c.cards.parts[i].papers {
			kept += card.size()
			cards++
			if at, there := c.cards.ordinal(card.id()); !there || at != ordinal {
				t.Errorf("paper %s is at %d, and is found at %d, %v", card.id(), ordinal, at, there)
			}
		}
	}
	if kept == 0 || kept != c.cards.bytes.Load() || ids != cards {
		t.Errorf("%d cards take %d bytes, counted are %d; %d ids", cards, kept, c.cards.bytes.Load(), ids)
	}
}

// A card gives back what the basic view shows of a paper, whatever is in it.
func TestACardIsThePaper(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, p := range []Paper{
		{ID: "a"},
		{ID: long, Title: "t\x00ü", Authors: []string{"", "B", long}, Year: -44, Venue: "v", DOI: "10.1/x", ArxivID: "1", URL: "u", Expires: time.Unix(1<<31, 7).UTC()},
		{ID: "b", Authors: slices.Repeat([]string{"A"}, 100), Year: 9999, Expires: time.Unix(0, 0).UTC()},
	} {
		full := p
		full.Abstract, full.Metadata, full.Vector = "abstract", []byte("{}"), []float32{1}
		k := newCard(&full)
		var got Paper
		if k.paper(&got); !reflect.DeepEqual(got, p) || k.id() != p.ID {
			t.Errorf("%+v, its id %q; want %+v", got, k.id(), p)
		}
	}
}

// Behind a start cards are made of all papers, as far as there is room.
func TestCardsAreMade(t *testing.T) {
	dir := t.TempDir()
	all := words(t, 300)
	c := open(t, dir, newBag())
	put(t, c, all...)
	shut(t, c)
	for _, most := range []int64{cardBytes, 10_000} {
		c := open(t, dir, newBag())
		c.cards.most = most
		c.LoadDerived()
		<-c.fields.made
		n := 0
		for i := range all {
			if at, there := c.cards.ordinal(all[i].ID); there {
				n++
				if want, err := c.store.Ordinal(all[i].ID); err != nil || at != want {
					t.Fatalf("%s is at %d, want %d, %v", all[i].ID, at, want, err)
				}
			}
		}
		if b := c.cards.bytes.Load(); b > most || most == cardBytes && n != len(all) || n == 0 {
			t.Errorf("%d papers of %d have cards of %d bytes, the limit is %d", n, len(all), b, most)
		}
		shut(t, c)
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
