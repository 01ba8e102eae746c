package retrieval

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"embedd/ann"
	"embedd/internal/atlas"
)

const (
	// MaxMapPapers is how many papers of a map may be asked for at once.
	MaxMapPapers = 100
	// minMapPapers are what it takes to draw a map.
	minMapPapers = 10
	// mapNeighbours of each paper are what a map is drawn by.
	mapNeighbours = 15
	// mapShare of the papers come or go before a map is drawn anew, where the server sees to it; or mapLeast.
	mapShare = 8
	mapLeast = 10
	// mapPiece is how many papers are worked on before others may use a lock or the core.
	mapPiece = 64
	// mapSeed is always the same, so that the same papers give the same map.
	mapSeed = 1
)

// The stages of drawing a map.
const (
	MapReading    = "reading the papers"
	MapNeighbours = "finding neighbours"
	MapClusters   = "finding clusters"
	MapNames      = "naming clusters"
	MapLayout     = "laying out"
)

// Map is the papers of a collection on a plane, those that are alike near each other, and in clusters. A paper is known by its position in the slices. It
// must not be changed.
type Map struct {
	// X and Y of each paper; the longer side of the map goes from -1 to 1.
	X, Y []float32
	// Cluster and Year of each; 0 where no year is known, or it does not fit.
	Cluster []uint32
	Year    []int32
	// Clusters, the largest first; the last may be what is in none. One may have lost all of its papers.
	Clusters []MapCluster
	// Computed is when the map was drawn; each paper that has gone since makes it later by a nanosecond, so that it tells by which map a position is meant.
	Computed time.Time

	ordinals []uint64 // ascending
}

// MapCluster is papers that are more alike than others are.
type MapCluster struct {
	// Label is two or three words that tell it from the others.
	Label string
	// X and Y are in its middle.
	X, Y float32
	// Papers are how many it has.
	Papers int
}

// Papers is how many papers are on the map.
func (m *Map) Papers() int { return len(m.X) }

// chart keeps the last map that was drawn. It is in memory and derived. Papers that have gone since are left out; those that came are not on it.
type chart struct {
	// wanted: it is drawn behind a start, and anew after many changes.
	wanted bool
	gaveUp atomic.Bool  // it could not be drawn, and is not before the next start unless somebody asks for it
	change atomic.Int64 // papers that came or went since it was drawn
	few    atomic.Bool  // there were too few papers when it was to be drawn

	mu     sync.Mutex          // guards what follows
	making *MapProgress        // how far the drawing is; nil: none is under way
	left   map[uint64]struct{} // ordinals that have gone since the drawing began
	last   *Map
	shown  *Map               // last without those that have gone; nil: to be made
	gone   []int32            // positions in last, in the order of going
	struck map[int32]struct{} // the same
}

// leave takes a paper off the map.
func (c *chart) leave(ordinal uint64) {
	c.change.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.making != nil {
		c.left[ordinal] = struct{}{}
	}
	c.strike(ordinal)
}

// strike takes a paper off the map. c.mu is held.
func (c *chart) strike(ordinal uint64) {
	if c.last == nil {
		return
	}
	at, there := slices.BinarySearch(c.last.ordinals, ordinal)
	if _, again := c.struck[int32(at)]; !there || again {
		return
	}
	c.gone, c.struck[int32(at)], c.shown = append(c.gone, int32(at)), struct{}{}, nil
}

// MapProgress is how far the drawing of a map is. Total is 0 where that is not known.
type MapProgress struct {
	Stage       string
	Done, Total int
}

// String is the progress in words.
func (p *MapProgress) String() string {
	if p.Total == 0 {
		return p.Stage
	}
	return fmt.Sprintf("%s, %d of %d", p.Stage, p.Done, p.Total)
}

// MapProgress tells how far the map is that is being drawn; nil where none is. It may be called at any time.
func (c *Collection) MapProgress() *MapProgress {
	c.chart.mu.Lock()
	defer c.chart.mu.Unlock()
	return c.chart.making
}

// begin begins a drawing, unless one is under way.
func (c *chart) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.making != nil {
		return &Error{Kind: Exhausted, Message: "a map of this collection is being made: " + c.making.String() + "; get it when that is done", RetryAfter: 5 * time.Second}
	}
	c.making, c.left = &MapProgress{Stage: MapReading}, map[uint64]struct{}{}
	return nil
}

// at notes how far the drawing is.
func (c *chart) at(stage string, done, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.making = &MapProgress{stage, done, total}
}

// end ends a drawing; m is nil where nothing came of it.
func (c *chart) end(m *Map) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.left
	c.making, c.left = nil, nil
	if m == nil {
		return
	}
	if c.last != nil && !m.Computed.After(c.last.Computed.Add(time.Duration(len(c.gone)))) { // the clock was set back
		m.Computed = c.last.Computed.Add(time.Duration(len(c.gone)) + time.Second)
	}
	c.last, c.shown, c.gone, c.struck = m, nil, nil, map[int32]struct{}{}
	for ordinal := range left {
		c.strike(ordinal)
	}
}

// underway tells whether a drawing is.
func (c *chart) underway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.making != nil
}

// show gives the map without the papers that have gone; nil where there is none.
func (c *chart) show() *Map {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shown == nil && c.last != nil {
		c.shown = c.last.without(c.gone)
	}
	return c.shown
}

// without is the map without those at some positions.
func (m *Map) without(gone []int32) *Map {
	if len(gone) == 0 {
		return m
	}
	gone = slices.Sorted(slices.Values(gone))
	out := &Map{Computed: m.Computed.Add(time.Duration(len(gone))), Clusters: slices.Clone(m.Clusters)}
	for i := range m.X {
		if len(gone) > 0 && int(gone[0]) == i {
			gone = gone[1:]
			out.Clusters[m.Cluster[i]].Papers--
			continue
		}
		out.X, out.Y = append(out.X, m.X[i]), append(out.Y, m.Y[i])
		out.Cluster, out.Year = append(out.Cluster, m.Cluster[i]), append(out.Year, m.Year[i])
		out.ordinals = append(out.ordinals, m.ordinals[i])
	}
	return out
}

// as gives the map as it was when it told this time; nil where there is none such.
func (c *chart) as(computed time.Time) *Map {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return nil
	}
	switch after := computed.Sub(c.last.Computed); {
	case after < 0 || after > time.Duration(len(c.gone)):
		return nil
	case int(after) == len(c.gone) && c.shown != nil:
		return c.shown
	default:
		return c.last.without(c.gone[:after])
	}
}

// bytes is about what the map takes.
func (c *chart) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n int64
	for _, m := range []*Map{c.last, c.shown} {
		if m != nil {
			n += 24 * int64(cap(m.ordinals))
		}
	}
	return n
}

// errNoMap is what there is to say before a map is made.
var errNoMap = &Error{Kind: NotFound, Message: "the map is not made yet; make it with: embedd map"}

// Map gives the map that was drawn last, without the papers that have gone since; those that came are not on it.
func (c *Collection) Map() (*Map, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	if m := c.chart.show(); m != nil {
		return m, nil
	}
	return nil, errNoMap
}

// MapPaper is a paper of a map, as the basic view shows it.
type MapPaper struct {
	At    int32
	Paper Paper
}

// MapPapers gives the papers at some positions of the map that tells it was computed then. Those that have gone are left out.
func (c *Collection) MapPapers(ctx context.Context, at []int32, computed time.Time) ([]MapPaper, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	if n := len(at); n == 0 || n > MaxMapPapers {
		return nil, invalid("at", "has %d positions; must have 1 to %d", n, MaxMapPapers)
	}
	if c.chart.show() == nil {
		return nil, errNoMap
	}
	m := c.chart.as(computed)
	if m == nil {
		return nil, &Error{Kind: FailedPrecondition, Field: "computed", Message: "is of another map than there is now; get the map anew"}
	}
	ordinals := make([]uint64, len(at))
	for i, position := range at {
		if position < 0 || int(position) >= m.Papers() {
			return nil, invalid(fmt.Sprintf("at[%d]", i), "is %d; the map has the positions 0 to %d", position, m.Papers()-1)
		}
		ordinals[i] = m.ordinals[position]
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	records, present, err := c.records(ordinals, true)
	if err != nil {
		return nil, storeError("read papers", err)
	}
	var out []MapPaper
	for i := range records {
		if present[i] && !c.gone(&records[i].Paper) {
			out = append(out, MapPaper{at[i], records[i].Paper})
		}
	}
	return out, nil
}

// ComputeMap draws the map anew, beside all other calls, and gives it. It takes about half a minute for 100,000 papers. progress, which may
// be nil, is told from one goroutine. One is drawn at a time.
func (c *Collection) ComputeMap(ctx context.Context, progress func(stage string, done, total int)) (*Map, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.upkeep.ctx, cancel)()
	m, err := c.drawMap(ctx, progress)
	if err == nil {
		c.chart.gaveUp.Store(false)
	}
	if err != nil && c.upkeep.ctx.Err() != nil {
		return nil, c.ended()
	}
	return m, err
}

// mapDue tells whether the map is to be drawn without anybody's asking.
func (c *Collection) mapDue() bool {
	x := &c.chart
	if !x.wanted || x.gaveUp.Load() || c.index.Len() < minMapPapers || x.underway() {
		return false
	}
	m := x.show()
	if m == nil {
		return !x.few.Load() || x.change.Load() >= mapLeast
	}
	return x.change.Load() >= max(mapLeast, int64(m.Papers()/mapShare))
}

// tendMap draws the map as a job of the upkeep.
func (c *Collection) tendMap(ctx context.Context) ([]any, error) {
	m, err := c.drawMap(ctx, nil)
	switch kind := KindOf(err); {
	case err == nil:
		return []any{"papers", m.Papers(), "clusters", len(m.Clusters)}, nil
	case kind == Exhausted || kind == FailedPrecondition: // somebody draws it, or papers have gone
		c.chart.change.Store(0)
		c.chart.few.Store(true)
		return nil, nil
	}
	return nil, err
}

// drawMap draws the map and keeps it.
func (c *Collection) drawMap(ctx context.Context, progress func(stage string, done, total int)) (m *Map, err error) {
	x := &c.chart
	if err := x.begin(); err != nil {
		return nil, err
	}
	defer func() { x.end(m) }()
	changed := x.change.Load()
	told := func(stage string, done, total int) {
		x.at(stage, done, total)
		if progress != nil {
			progress(stage, done, total)
		}
	}
	d := &drawing{c: c, Map: &Map{Computed: c.now().UTC().Truncate(time.Microsecond)}, told: told}
	if err := d.run(atlas.Gently(ctx)); err != nil {
		return nil, err
	}
	x.change.Add(-changed)
	return d.Map, nil
}

// drawing is a map that is being drawn.
type drawing struct {
	*Map
	c      *Collection
	titles []string
	told   func(stage string, done, total int)
}

func (d *drawing) run(ctx context.Context) error {
	if err := d.read(ctx); err != nil {
		return err
	}
	n := len(d.ordinals)
	if n < minMapPapers {
		return &Error{Kind: FailedPrecondition, Message: fmt.Sprintf("the collection has too few papers for a map: %d; it takes %d", n, minMapPapers)}
	}
	near, err := d.neighbours(ctx)
	if err != nil {
		return err
	}
	d.told(MapClusters, 0, 0)
	g, err := atlas.Weigh(ctx, near)
	if err != nil {
		return err
	}
	near = nil // before the largest part of the work
	clusters, err := atlas.FindClusters(ctx, g, mapSeed)
	if err != nil {
		return err
	}
	d.told(MapNames, 0, 0)
	names, err := atlas.Names(ctx, clusters, func(i int) string { return d.titles[i] })
	if err != nil {
		return err
	}
	d.titles = nil
	d.told(MapLayout, 0, atlas.Epochs(n))
	points, err := atlas.Start(ctx, n, mapSeed, func(i int) []float32 {
		v, _ := d.c.index.Vector(d.ordinals[i])
		return v
	})
	if err != nil {
		return err
	}
	if err := atlas.Layout(ctx, g, points, mapSeed, func(done, total int) { d.told(MapLayout, done, total) }); err != nil {
		return err
	}
	d.X, d.Y, d.Cluster = make([]float32, n), make([]float32, n), clusters.Of
	for i, p := range points {
		d.X[i], d.Y[i] = p.X, p.Y
	}
	d.place(names, clusters.Sizes)
	return nil
}

// place puts the names of the clusters where their papers are: in the median of each axis, which stragglers do not move.
func (d *drawing) place(names []string, sizes []int) {
	xs, ys := make([][]float32, len(sizes)), make([][]float32, len(sizes))
	for i, k := range d.Cluster {
		xs[k], ys[k] = append(xs[k], d.X[i]), append(ys[k], d.Y[i])
	}
	for k, size := range sizes {
		slices.Sort(xs[k])
		slices.Sort(ys[k])
		d.Clusters = append(d.Clusters, MapCluster{Label: names[k], X: xs[k][size/2], Y: ys[k][size/2], Papers: size})
	}
}

// read finds the papers that there are, in the order of storing, and reads their titles and years. A damaged one stays without.
func (d *drawing) read(ctx context.Context) error {
	c := d.c
	var all []uint64
	for label := range c.index.Labels() {
		all = append(all, label)
	}
	slices.Sort(all)
	all = slices.DeleteFunc(all, c.passages.part)
	done := 0
	for some := range slices.Chunk(all, mapPiece) {
		if err := ctx.Err(); err != nil {
			return err
		}
		records, present, damaged, err := c.lookedAt(some, false)
		if err != nil {
			return err
		}
		for i := range records {
			p := &records[i].Paper
			if !present[i] && !damaged[i] || c.gone(p) {
				continue
			}
			year := p.Year
			if year < 0 || year > math.MaxInt16 {
				year = 0
			}
			d.ordinals, d.Year, d.titles = append(d.ordinals, some[i]), append(d.Year, year), append(d.titles, p.Title)
		}
		done += len(some)
		d.told(MapReading, done, len(all))
	}
	return nil
}

// neighbours gives the neighbours of each paper, by positions: those that are kept where enough are, else they are all searched for together.
func (d *drawing) neighbours(ctx context.Context) ([][]atlas.Neighbor, error) {
	c, n := d.c, len(d.ordinals)
	d.told(MapNeighbours, 0, n)
	near := make([][]atlas.Neighbor, n)
	if kept := &c.neighbours; kept.size >= mapNeighbours && kept.made.Load() && c.passages.len() == 0 {
		for begin := 0; begin < n; begin += mapPiece {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			end := min(n, begin+mapPiece)
			kept.mu.RLock()
			for i := begin; i < end; i++ {
				if list := kept.lists[d.ordinals[i]]; list != nil && list.whole {
					for _, x := range list.near {
						near[i] = d.add(near[i], i, uint64(x.ordinal), x.distance)
					}
				}
			}
			kept.mu.RUnlock()
			for i := begin; i < end; i++ {
				if len(near[i]) >= min(mapNeighbours, n-1) {
					continue
				}
				v, ok := c.index.Vector(d.ordinals[i])
				if !ok { // it has gone meanwhile
					continue
				}
				answer, err := c.index.Search(v, ann.Query{K: 1 + mapNeighbours})
				if err != nil {
					return nil, fmt.Errorf("search neighbours of a paper: %w", err)
				}
				near[i] = nil
				for _, x := range answer.Neighbors {
					near[i] = d.add(near[i], i, x.Label, x.Distance)
				}
			}
			d.told(MapNeighbours, end, n)
		}
		return near, nil
	}
	k := mapNeighbours
	if c.passages.len() > 0 { // of which several may be of one paper, and of the paper itself
		k *= 2
	}
	done := 0
	err := c.index.AllNeighbors(ctx, k, 0, 1, func(label uint64, found []ann.Neighbor) error {
		self := c.passages.paper(label)
		i, there := slices.BinarySearch(d.ordinals, self)
		if !there {
			return nil
		}
		for _, x := range c.passages.fold(found) {
			near[i] = d.add(near[i], i, x.Label, x.Distance)
		}
		if done++; done%mapPiece == 0 {
			d.told(MapNeighbours, min(done, n), n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return near, nil
}

// add puts a paper into the list of another, nearest first, where it belongs.
func (d *drawing) add(list []atlas.Neighbor, self int, ordinal uint64, distance float32) []atlas.Neighbor {
	at, there := slices.BinarySearch(d.ordinals, ordinal)
	if !there || at == self {
		return list
	}
	x := atlas.Neighbor{To: uint32(at), Distance: distance}
	before := slices.IndexFunc(list, func(o atlas.Neighbor) bool { return o.To == x.To })
	switch {
	case before >= 0 && list[before].Distance <= distance:
		return list
	case before >= 0:
		list = slices.Delete(list, before, before+1)
	}
	i, _ := slices.BinarySearchFunc(list, x, func(a, b atlas.Neighbor) int {
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.To, b.To))
	})
	if i == mapNeighbours {
		return list
	}
	if list == nil {
		list = make([]atlas.Neighbor, 0, mapNeighbours)
	}
	return slices.Insert(list[:min(len(list), mapNeighbours-1)], i, x)
}
