package retrieval

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
)

// Band says how alike a paper is to what was looked for, in words.
type Band uint8

const (
	// NoBand: it cannot be said.
	NoBand Band = iota
	// Weak is no more alike than papers of about the same field are.
	Weak
	// Related is as alike as one in relatedOne random pairs, or more.
	Related
	// Strong is as alike as one in strongOne.
	Strong
)

// Where bands begin: at the cosine that so many random pairs of papers have one above it. See docs/search.md for how they were chosen.
const (
	relatedOne = 200
	strongOne  = 2000
)

const (
	// surveyFrom papers are what it takes to say how alike random ones are.
	surveyFrom = 200
	// surveyed papers are compared with as many others each: their pairs are the sample. Of so many papers or fewer all pairs are.
	surveyed = 500
)

// background is how alike random pairs of the papers are.
type background struct {
	papers          int
	cosines         []float32 // ascending
	mean, deviation float64
}

// survey keeps the background, which is made when it is asked for first, and again when the collection has half as many papers more or less.
type survey struct {
	last atomic.Pointer[background]
	mu   sync.Mutex // held while it is made
}

// fits tells whether a background is that of a collection of so many papers.
func (b *background) fits(papers int) bool {
	return b != nil && 2*papers < 3*b.papers && 3*papers > 2*b.papers
}

// background gives it, nil where there are too few papers. To make it takes some hundredths of a second.
func (c *Collection) background() (*background, error) {
	papers := c.index.Len()
	if b := c.survey.last.Load(); b.fits(papers) {
		return b, nil
	}
	if papers < surveyFrom {
		return nil, nil
	}
	last := c.survey.last.Load()
	if last == nil {
		c.survey.mu.Lock()
	} else if !c.survey.mu.TryLock() { // somebody makes the next one: that of before is good for as long
		return last, nil
	}
	defer c.survey.mu.Unlock()
	if b := c.survey.last.Load(); b.fits(papers) {
		return b, nil
	}
	b, err := c.lookAround(papers)
	if err == nil && b != nil {
		c.survey.last.Store(b)
	}
	return b, err
}

// lookAround compares pairs of papers: all of them where there are few, so that the same papers give the same bands whichever came first,
// else random ones.
func (c *Collection) lookAround(papers int) (*background, error) {
	labels := slices.Sorted(c.index.Labels())
	if len(labels) == 0 { // they have gone meanwhile
		return nil, nil
	}
	selves := labels
	rng := rand.New(rand.NewPCG(uint64(len(labels)), 0))
	if len(labels) > surveyed {
		selves = make([]uint64, surveyed)
		for i := range selves {
			selves[i] = labels[rng.IntN(len(labels))]
		}
	}
	b := &background{papers: papers}
	others := labels
	if len(labels) > surveyed {
		others = make([]uint64, surveyed)
	}
	for _, self := range selves {
		v, ok := c.index.Vector(self)
		if !ok { // it has gone meanwhile
			continue
		}
		if len(labels) > surveyed {
			for i := range others {
				others[i] = labels[rng.IntN(len(labels))]
			}
		}
		distances, err := c.index.Distances(v, others)
		if err != nil {
			return nil, internal("compare papers", err)
		}
		for i, d := range distances {
			if d == d && others[i] != self {
				b.cosines = append(b.cosines, cosine(d))
			}
		}
	}
	slices.Sort(b.cosines)
	var sum, squares float64
	for _, x := range b.cosines {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	n := float64(max(1, len(b.cosines)))
	b.mean = sum / n
	b.deviation = math.Sqrt(max(0, squares/n-b.mean*b.mean))
	return b, nil
}

// percentile is the share of random pairs that are less alike.
func (b *background) percentile(cosine float32) float64 {
	at, _ := slices.BinarySearch(b.cosines, cosine)
	return float64(at) / float64(max(1, len(b.cosines)))
}

// begins is the cosine from which on one in so many random pairs is.
func (b *background) begins(one int) float32 {
	n := len(b.cosines)
	if n == 0 {
		return 1
	}
	return b.cosines[min(n-1, n-n/one)]
}

// band is the band of a cosine.
func (b *background) band(cosine float32) Band {
	switch {
	case cosine >= b.begins(strongOne):
		return Strong
	case cosine >= b.begins(relatedOne):
		return Related
	}
	return Weak
}

// judge says how alike hits are, beyond their cosines. It leaves that out for who has a key with a filter, since it tells of all papers.
func (c *Collection) judge(l *looking, res *SearchResult) error {
	if l.mode == Lexical || l.across != nil || l.scoped || l.strategy == BestScore || l.strategy == Sequence || len(res.Hits) == 0 { // what these two give is no cosine
		return nil
	}
	b, err := c.background()
	if err != nil || b == nil {
		return err
	}
	for i := range res.Hits {
		h := &res.Hits[i]
		if h.Cosine != nil {
			p := b.percentile(*h.Cosine)
			h.Percentile, h.Band = &p, b.band(*h.Cosine)
		}
	}
	return nil
}

// Bands are where bands begin.
type Bands struct {
	Related, Strong float32
	// Mean and Deviation are of the cosine of random pairs.
	Mean, Deviation float64
}

// Bands gives them; nil where there are too few papers.
func (c *Collection) Bands() (*Bands, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	b, err := c.background()
	if err != nil || b == nil {
		return nil, err
	}
	return &Bands{Related: b.begins(relatedOne), Strong: b.begins(strongOne), Mean: b.mean, Deviation: b.deviation}, nil
}

// least is the least cosine that a search may give by its band.
func (c *Collection) least(o *ordering) error {
	if o.minBand < Related {
		return nil
	}
	b, err := c.background()
	switch {
	case err != nil:
		return err
	case b == nil:
		return &Error{Kind: FailedPrecondition, Field: "min_band", Message: "bands are told by random pairs of papers, and there are too few; use min_cosine"}
	case o.minBand == Strong:
		o.minCosine = max(o.minCosine, b.begins(strongOne))
	default:
		o.minCosine = max(o.minCosine, b.begins(relatedOne))
	}
	return nil
}
