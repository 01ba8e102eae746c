package lexical

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// Match is a paper that has words of a query.
type Match struct {
	Ordinal uint64
	// Score by BM25, above 0.
	Score float32
}

// Set is a set of ordinals.
type Set interface {
	Contains(ordinal uint64) bool
}

// Search gives the k papers with the highest scores, the highest first and equal ones by their ordinals; less where fewer have any word of the
// query. Where within is not nil, only those in it are asked for. of gives the scores of some papers besides: 0 where there is none. The error is the
// end of ctx.
func (x *Index) Search(ctx context.Context, q Query, k int, within Set, of []uint64) (best []Match, scores []float32, err error) {
	scores = make([]float32, len(of))
	if q.Empty() {
		return nil, scores, ctx.Err()
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.places) == 0 {
		return nil, scores, ctx.Err()
	}
	words := x.weigh(q)
	places := make([]place, len(of)) // of papers; those that are not there are in no chunk
	for i, ordinal := range of {
		p, there := x.places[ordinal]
		if places[i] = p; !there {
			places[i] = placeOf(len(x.chunks), 0)
		}
	}
	top := ranking{k: k, within: within, least: smallest}
	s := sumsPool.Get().(*sums)
	defer sumsPool.Put(s)
	s.saturations = x.saturations()
	for i, c := range x.chunks {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		s.begin(c, wordsOf(words, i))
		s.addUp(&top)
		for j, p := range places {
			if p.chunk() == i {
				scores[j] = s.whole(p.at())
			}
		}
		if k > 0 {
			top.from(s)
		}
	}
	return top.best(), scores, nil
}

// word is a word of a query in one chunk.
type word struct {
	weight float32
	list   []posting
	counts *counts // nil: it has none
}

// weighed is a word of a query that some paper has.
type weighed struct {
	weight float32
	df     int
	chunks []word
}

// weigh gives the words of a query that some paper has in the order in which what they give is added up: the rarest first, and equal ones in the
// order of the query.
func (x *Index) weigh(q Query) (words []weighed) {
	for _, t := range q.counts {
		w := weighed{chunks: make([]word, len(x.chunks))}
		for i, c := range x.chunks {
			if at, ok := c.terms[t.term]; ok {
				w.chunks[i] = word{list: c.lists[at], counts: c.long[at]}
				w.df += len(c.lists[at])
			}
		}
		if w.df > 0 {
			w.weight = float32(t.weight * idf(len(x.places), w.df) * (k1 + 1))
			words = append(words, w)
		}
	}
	slices.SortStableFunc(words, func(a, b weighed) int { return cmp.Compare(a.df, b.df) })
	return words
}

// wordsOf gives those of the words that a chunk has.
func wordsOf(words []weighed, chunk int) []word {
	of := make([]word, 0, len(words))
	for i := range words {
		if w := words[i].chunks[chunk]; len(w.list) > 0 {
			w.weight = words[i].weight
			of = append(of, w)
		}
	}
	return of
}

// sums are the places of a chunk, added up.
type sums struct {
	*saturations
	chunk  *chunk
	of     [chunkSize]float32         // what the words before rest give
	maxima [chunkSize / block]float32 // the highest of each block
	sorted [chunkSize / block]float32 // some of them are
	words  []word                     // those that the chunk has
	rest   []word                     // the last of them, which all have counts: what they give is looked up
}

var sumsPool = sync.Pool{New: func() any { return new(sums) }}

func (s *sums) begin(c *chunk, words []word) {
	s.chunk, s.words, s.rest = c, words, nil
	clear(s.of[:(len(c.ordinals)+block-1)/block*block])
}

// addUp adds up what the words give, until what is left is looked up sooner for the papers that may be among the best (after MaxScore: Turtle
// and Flood, "Query Evaluation: Strategies and Optimizations", 1995).
func (s *sums) addUp(top *ranking) {
	listed := len(s.words)
	for listed > 0 && s.words[listed-1].counts != nil {
		listed--
	}
	for i := range s.words {
		if i >= listed {
			if s.rest = s.words[i:]; top.few(s) {
				return
			}
		}
		s.add(&s.words[i])
	}
	s.rest = nil
	s.maximise()
}

// add adds what a word gives to each paper that has it. Arrays as long as a place can say need no check of bounds.
func (s *sums) add(w *word) {
	lengths := (*[chunkSize]uint32)(s.chunk.lengths[:chunkSize])
	sum, table, weight := &s.of, &s.table, w.weight
	for _, p := range w.list {
		at, f := uint16(p>>16), p.count()
		length := lengths[at]
		var worth float32
		if f < tableCounts && length < tableLengths {
			worth = table[(f*tableLengths+length)%(tableCounts*tableLengths)]
		} else {
			worth = s.saturation(f, length)
		}
		sum[at] += float32(weight * worth) // rounded here, so that no machine joins the two
	}
}

// whole is the sum of a place, with what the rest of the words gives.
func (s *sums) whole(at uint32) float32 {
	sum := s.of[at]
	for i := range s.rest {
		w := &s.rest[i]
		f := w.counts.at(at)
		if f == 0 {
			continue
		}
		if f == manyTimes {
			j, _ := find(w.list, at)
			f = w.list[j].count()
		}
		sum += float32(w.weight * s.saturation(f, s.chunk.lengths[at]))
	}
	return sum
}

// The counts and lengths of which most papers are.
const tableCounts, tableLengths = 8, 512

// curve is what counts are worth among papers of a mean length: f / (f + k1 · (1 - b + b · length / mean)), below 1.
type curve struct{ slope float32 } // k1 · b / mean

// curveOf is that of n papers with a length of all.
func curveOf(length uint64, n int) curve {
	mean := float32(max(float64(length)/float64(n), 1e-9))
	return curve{float32(k1 * b / float64(mean))}
}

// saturations are a curve, and its values that are asked for most.
type saturations struct {
	curve
	table [tableCounts * tableLengths]float32
}

// saturations gives those of the index as it is. The last ones are kept: making the table takes some microseconds.
func (x *Index) saturations() *saturations {
	of := curveOf(x.length, len(x.places))
	if t := x.kept.Load(); t != nil && t.curve == of {
		return t
	}
	t := &saturations{curve: of}
	for f := range uint32(tableCounts) {
		for length := range uint32(tableLengths) {
			t.table[f*tableLengths+length] = t.saturation(f, length)
		}
	}
	x.kept.Store(t)
	return t
}

func (c *curve) saturation(f, length uint32) float32 {
	n := float32(int32(f))
	return n / (n + float32(k1*(1-b)+float32(c.slope*float32(int32(length)))))
}
