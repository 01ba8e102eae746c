package retrieval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fieldsOfStudy are words of which each field has its own.
var fieldsOfStudy = []string{"graph node edge spectral", "galaxy star dust nebula", "protein gene cell enzyme", "market price asset trader", "speech voice phoneme audio", "robot grasp arm gripper"}

// studies are n papers of some fields.
func studies(n int) (papers []Paper) {
	for i := range n {
		of := strings.Fields(fieldsOfStudy[i%len(fieldsOfStudy)])
		p := paper(fmt.Sprintf("p%04d", i), fmt.Sprintf("%s %s of a%d", of[i/6%4], of[i/24%4], i%7))
		p.Year = int32(1990 + i%30)
		papers = append(papers, p)
	}
	return papers
}

// checkMap proves what is true of every map.
func checkMap(t *testing.T, m *Map) {
	t.Helper()
	n := m.Papers()
	if len(m.Y) != n || len(m.Cluster) != n || len(m.Year) != n || len(m.ordinals) != n || !slices.IsSorted(m.ordinals) {
		t.Fatalf("the map has %d, %d, %d, %d and %d values", n, len(m.Y), len(m.Cluster), len(m.Year), len(m.ordinals))
	}
	papers := make([]int, len(m.Clusters))
	for i := range n {
		if !(m.X[i] >= -1.001 && m.X[i] <= 1.001 && m.Y[i] >= -1.001 && m.Y[i] <= 1.001) {
			t.Fatalf("paper %d is at %v, %v", i, m.X[i], m.Y[i])
		}
		papers[m.Cluster[i]]++
	}
	labels := map[string]bool{}
	for k, c := range m.Clusters {
		if c.Papers != papers[k] || c.Label == "" || labels[c.Label] {
			t.Errorf("cluster %+v has %d papers", c, papers[k])
		}
		labels[c.Label] = true
	}
}

// titlesOf are the titles of the papers of a map, by their positions.
func titlesOf(t *testing.T, c *Collection, m *Map) (titles map[int32]string) {
	t.Helper()
	titles = map[int32]string{}
	for begin := 0; begin < m.Papers(); begin += MaxMapPapers {
		var at []int32
		for i := begin; i < min(m.Papers(), begin+MaxMapPapers); i++ {
			at = append(at, int32(i))
		}
		found, err := c.MapPapers(t.Context(), at, m.Computed)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			titles[p.At] = p.Paper.Title
		}
	}
	return titles
}

// Papers of one field are in one cluster, with a name of its words, whether their neighbours are kept or not, in passages or not.
func TestMap(t *testing.T) {
	for _, s := range []Settings{{}, {Neighbours: 20}, {Passages: true}} {
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			c, err := Open(t.Context(), t.TempDir(), wideBag(), &Options{Settings: s})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { shut(t, c) })
			if _, err := c.Map(); !errors.Is(err, errNoMap) {
				t.Errorf("before: %v", err)
			}
			if _, err := c.MapPapers(t.Context(), []int32{0}, time.Now()); !errors.Is(err, errNoMap) {
				t.Errorf("papers before: %v", err)
			}
			all := studies(300)
			if s.Passages {
				for i := range all {
					all[i].Abstract = strings.Repeat(fieldsOfStudy[i%len(fieldsOfStudy)]+" ", 4)
				}
			}
			put(t, c, all[:9]...)
			if _, err := c.ComputeMap(t.Context(), nil); KindOf(err) != FailedPrecondition || err == nil {
				t.Errorf("of 9 papers: %v", err)
			}
			put(t, c, all...)
			var stages []string
			m, err := c.ComputeMap(t.Context(), func(stage string, done, total int) {
				if p := c.MapProgress(); p == nil || *p != (MapProgress{stage, done, total}) {
					t.Errorf("%v is told of %s, %d of %d", p, stage, done, total)
				}
				if len(stages) == 0 || stages[len(stages)-1] != stage {
					stages = append(stages, stage)
				}
				if done < 0 || done > total {
					t.Errorf("%s: %d of %d", stage, done, total)
				}
			})
			if p := c.MapProgress(); p != nil {
				t.Errorf("%v is told when nothing is drawn", p)
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{MapReading, MapNeighbours, MapClusters, MapNames, MapLayout}; !slices.Equal(stages, want) {
				t.Errorf("the stages are %q, want %q", stages, want)
			}
			checkMap(t, m)
			if m.Papers() != 300 {
				t.Errorf("%d papers are on it", m.Papers())
			}
			// Nearly all papers of a cluster are of one field.
			titles, same := titlesOf(t, c, m), 0
			for k := range m.Clusters {
				of := map[int]int{}
				for i, cluster := range m.Cluster {
					for f, words := range fieldsOfStudy {
						if cluster == uint32(k) && strings.Contains(words, strings.Fields(titles[int32(i)])[0]) {
							of[f]++
						}
					}
				}
				most := 0
				for _, n := range of {
					most = max(most, n)
				}
				same += most
			}
			if same < 290 {
				t.Errorf("%d of 300 papers are in a cluster of their field: %+v", same, m.Clusters)
			}
			again, err := c.ComputeMap(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(m.X, again.X) || !slices.Equal(m.Clusters, again.Clusters) || !again.Computed.After(m.Computed) {
				t.Error("the second map is another one")
			}
		})
	}
}

// A paper that has gone is on no map and in no answer, positions of a map of before mean what they meant, and what came is not on it.
func TestPapersLeaveTheMap(t *testing.T) {
	clock := newClock()
	c := openAt(t, t.TempDir(), wideBag(), clock)
	all := studies(100)
	all[70].Expires = clock.now().Add(time.Hour)
	put(t, c, all...)
	first, err := c.ComputeMap(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	before := titlesOf(t, c, first)
	if _, _, _, err := c.Delete(t.Context(), []string{"p0050", "p0003"}); err != nil {
		t.Fatal(err)
	}
	changed := all[20]
	changed.Title = "another title"
	put(t, c, changed, paper("new", "graph node"))
	m, err := c.Map()
	if err != nil {
		t.Fatal(err)
	}
	checkMap(t, m)
	if m.Papers() != 97 || m.Computed.Sub(first.Computed) != 3 {
		t.Fatalf("%d papers, computed %v later", m.Papers(), m.Computed.Sub(first.Computed))
	}
	now := titlesOf(t, c, m)
	if len(now) != 97 {
		t.Errorf("%d of 97 papers are given", len(now))
	}
	for at, title := range now {
		if title == "another title" {
			t.Errorf("%q is on the map, at %d", title, at)
		}
	}
	still := titlesOf(t, c, first)
	for at, title := range still {
		if before[at] != title {
			t.Errorf("position %d was %q, is %q", at, before[at], title)
		}
	}
	if len(still) != 97 {
		t.Errorf("%d papers of the first map are given", len(still))
	}
	clock.advance(2 * time.Hour)
	hold(c)
	if expired := titlesOf(t, c, m); len(expired) != 96 {
		t.Errorf("%d papers are given after one has expired", len(expired))
	}
	for _, test := range []struct {
		at       []int32
		computed time.Time
		kind     Kind
		field    string
	}{
		{nil, m.Computed, Invalid, "at"},
		{make([]int32, MaxMapPapers+1), m.Computed, Invalid, "at"},
		{[]int32{0, -1}, m.Computed, Invalid, "at[1]"},
		{[]int32{int32(m.Papers())}, m.Computed, Invalid, "at[0]"},
		{[]int32{0}, m.Computed.Add(10), FailedPrecondition, "computed"},
		{[]int32{0}, first.Computed.Add(-1), FailedPrecondition, "computed"},
		{[]int32{0}, time.Time{}, FailedPrecondition, "computed"},
	} {
		_, err := c.MapPapers(t.Context(), test.at, test.computed)
		var e *Error
		if !errors.As(err, &e) || e.Kind != test.kind || e.Field != test.field {
			t.Errorf("%v of %v: %v", test.at, test.computed, err)
		}
	}
}

// One map is drawn at a time; papers that go meanwhile are not on it; what is cut short leaves the last one.
func TestMapMeanwhile(t *testing.T) {
	c := open(t, t.TempDir(), wideBag())
	put(t, c, studies(200)...)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.ComputeMap(ctx, func(stage string, done, total int) {
		if stage == MapLayout && done == 5 {
			cancel()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Fatalf("cut short: %v", err)
	}
	if _, err := c.Map(); !errors.Is(err, errNoMap) {
		t.Errorf("after it was cut short: %v", err)
	}
	var once sync.Once
	m, err := c.ComputeMap(t.Context(), func(stage string, done, total int) {
		if stage != MapLayout {
			return
		}
		once.Do(func() {
			if _, err := c.ComputeMap(t.Context(), nil); KindOf(err) != Exhausted || err == nil || !strings.Contains(err.Error(), MapLayout) {
				t.Errorf("a second one: %v", err)
			}
			if _, _, _, err := c.Delete(t.Context(), []string{"p0007"}); err != nil {
				t.Error(err)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Map(); err != nil || got.Papers() != 199 || m.Papers() != 200 {
		t.Errorf("%v papers, %v", got, err)
	}
}

// A collection that is closed while its map is drawn does not wait for it.
func TestCloseEndsTheMap(t *testing.T) {
	c, err := Open(t.Context(), t.TempDir(), wideBag(), nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, studies(200)...)
	begun, ended := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		_, err := c.ComputeMap(context.Background(), func(stage string, _, _ int) {
			if stage == MapLayout {
				once.Do(func() { close(begun); <-c.upkeep.ctx.Done() })
			}
		})
		ended <- err
	}()
	<-begun
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; KindOf(err) != Unavailable {
		t.Errorf("the map: %v", err)
	}
}

// Where it is wanted, the map is there behind the start, and is drawn anew when enough has come or gone.
func TestMapIsKeptUp(t *testing.T) {
	dir := t.TempDir()
	start := func() *Collection {
		c, err := Open(t.Context(), dir, wideBag(), &Options{Map: true})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := start()
	all := studies(200)
	put(t, c, all[:9]...)
	settle(t, c)
	if _, err := c.Map(); !errors.Is(err, errNoMap) {
		t.Fatalf("of 9 papers: %v", err)
	}
	papers := func(n int) *Map {
		t.Helper()
		settle(t, c)
		m, err := c.Map()
		if err != nil || m.Papers() != n {
			t.Fatalf("%+v, %v; want %d papers", m, err, n)
		}
		return m
	}
	put(t, c, all[:160]...)
	first := papers(160)
	put(t, c, all[:170]...)
	if m := papers(160); !m.Computed.Equal(first.Computed) {
		t.Error("it was drawn anew for 10 papers")
	}
	put(t, c, all[:180]...)
	papers(180)
	var gone []string
	for _, p := range all[:30] {
		gone = append(gone, p.ID)
	}
	if _, _, _, err := c.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	papers(150)
	if n := c.Figures().Upkeep[mapped].Done; n != 3 {
		t.Errorf("it was drawn %d times, want 3", n)
	}
	shut(t, c)
	c = start()
	papers(150)
	shut(t, c)
}
