package similar

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// parse reads links as "ab bc".
func parseLinks(words ...string) (links []link) {
	for i, w := range words {
		links = append(links, link{uint32(w[0] - 'a'), uint32(w[1] - 'a'), float32(i) / 1000})
	}
	slices.SortFunc(links, link.compare)
	return links
}

func TestGather(t *testing.T) {
	for _, test := range []struct {
		name  string
		links []link
		want  string
	}{
		{"nothing", nil, ""},
		{"two", parseLinks("ab"), "ab"},
		{"all with all", parseLinks("ab", "ac", "bc", "de"), "abc de"},
		{"a chain falls into pieces", parseLinks("ab", "bc", "cd", "de", "ef"), "ab cd ef"},
		{"two texts, and a page that has both", parseLinks("ab", "ac", "bc", "cd", "de", "df", "ef"), "abc def"},
		{"a garbled copy that some are linked to", parseLinks("ab", "ac", "bc", "ad", "bd"), "abcd"},
		{"a garbled copy that one of four is linked to", parseLinks("ab", "ac", "ad", "bc", "bd", "cd", "ae"), "abcd"},
		{"a star of many hangs together by nothing but its middle", parseLinks("ab", "ac", "ad", "ae"), "abc"},
	} {
		got := ""
		for _, g := range gather(26, test.links) {
			if got != "" {
				got += " "
			}
			for _, m := range g {
				got += string(rune('a' + m))
			}
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// slowGather is gather by going over all pairs of groups each time.
func slowGather(papers int, links []link) [][]uint32 {
	type pair struct{ a, b uint32 }
	near := map[pair]float32{}
	for _, l := range links {
		near[pair{l.a, l.b}] = l.distance
	}
	groups := map[uint32][]uint32{}
	degree := map[uint32]int{} // groups that a group has links to
	for p := range uint32(papers) {
		groups[p] = []uint32{p}
	}
	between := func(x, y []uint32) (n int, d float32) {
		d = 9
		for _, a := range x {
			for _, b := range y {
				if v, ok := near[pair{min(a, b), max(a, b)}]; ok {
					n, d = n+1, min(d, v)
				}
			}
		}
		return n, d
	}
	for {
		clear(degree)
		best := candidate{share: -1}
		for a := range groups {
			for b := range groups {
				if a >= b {
					continue
				}
				n, d := between(groups[a], groups[b])
				if n == 0 {
					continue
				}
				degree[a]++
				degree[b]++
				c := candidate{float64(n) / float64(len(groups[a])*len(groups[b])), d, a, b}
				if c.share >= leastShare && (best.share < 0 || cmp.Or(cmp.Compare(best.share, c.share), cmp.Compare(c.distance, best.distance), cmp.Compare(c.a, best.a), cmp.Compare(c.b, best.b)) < 0) {
					best = c
				}
			}
		}
		if best.share < 0 {
			break
		}
		keep, drop := best.a, best.b
		if degree[drop] > degree[keep] {
			keep, drop = drop, keep
		}
		groups[keep] = append(groups[keep], groups[drop]...)
		delete(groups, drop)
	}
	var out [][]uint32
	for _, g := range groups {
		if len(g) > 1 {
			slices.Sort(g)
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b []uint32) int { return cmp.Compare(a[0], b[0]) })
	return out
}

func TestGatherAgainstSlow(t *testing.T) {
	rng := testkit.Rand(t)
	for range 200 {
		n := 2 + rng.IntN(14)
		var links []link
		for a := range uint32(n) {
			for b := a + 1; b < uint32(n); b++ {
				if rng.IntN(10) < 3 {
					links = append(links, link{a, b, float32(rng.IntN(6)) / 10})
				}
			}
		}
		want, got := slowGather(n, links), gather(n, links)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("links %v: %v, want %v", links, got, want)
		}
	}
}

// A text that thousands have printed takes no more than its links.
func TestGatherMany(t *testing.T) {
	var links []link
	for a := range uint32(1200) {
		for b := a + 1; b < 1200; b++ {
			links = append(links, link{a, b, 0.01})
		}
	}
	begin := time.Now()
	if got := gather(1200, links); len(got) != 1 || len(got[0]) != 1200 {
		t.Fatalf("%d groups", len(got))
	}
	t.Logf("%d links in %v", len(links), time.Since(begin).Round(time.Millisecond))
}

func TestSure(t *testing.T) {
	var links []link
	var same []bool
	add := func(n int, cosine float32, is bool) {
		for range n {
			links, same = append(links, link{uint32(len(links)), 1e6, 1 - cosine}), append(same, is)
		}
	}
	if got := sure(nil, nil); got <= 1 {
		t.Errorf("nothing: %v", got)
	}
	add(30, 0.99, true)
	if got := sure(links, same); got <= 1 {
		t.Errorf("too few to say: %v", got)
	}
	add(100, 0.95, true)
	add(20, 0.9, true)
	add(200, 0.8, false)
	if got := sure(links, same); got < 0.79 || got > 0.9001 {
		t.Errorf("%v, want 0.9 or a little less", got)
	}
	add(60, 1, false) // now the nearest are of other texts, as forms are that all begin with the same
	if got := sure(links, same); got <= 1 {
		t.Errorf("near ones that are not the same: %v", got)
	}
}
