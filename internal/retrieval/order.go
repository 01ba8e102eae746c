package retrieval

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"embedd/ann"
)

// Group keeps an answer from being about one value of a field.
type Group struct {
	// Field is one that filters may speak of. A paper with several values counts for the first of them; one with none is not limited.
	Field string
	// Hits for each value, 1 to MaxGroupHits; 0 is 1.
	Hits int
}

// ordering is what is done with the papers that were found, in this order: those that are too far are left out, a cross-encoder reads the best, the age counts, hits are made
// to differ, groups are limited, and the answer ends at a drop. All of it is over a pool whose size does not depend on how many hits are
// wanted, so that the answer for k is the beginning of that for more.
type ordering struct {
	minCosine float32 // -2: none is too far
	minBand   Band
	halfLife  float64 // in years, 0: the age does not count
	dateField string
	diversity float64
	group     *Group
	// The full name of the field of the group; that of the date is dateField.
	groupField string
	autocut    bool
	now        time.Time
	rerank     *reranking // nil: none
}

const (
	// recencyPool is how many papers an age can bring forward.
	recencyPool = 1000
	// autocutFrom is what part of the range of scores a drop must be to end an answer, among the autocutOf best.
	autocutFrom, autocutOf = 0.2, 100
)

// any tells whether hits change their order, or some are left out, for what can be seen of the papers together.
func (o *ordering) any() bool {
	return o.halfLife > 0 || o.diversity > 0 || o.group != nil || o.autocut || o.rerank != nil
}

// pool is how many papers are looked at at least. Where both an age, the others of a pool or a rank say where a hit stands and groups leave hits out, all
// that may be looked at are: otherwise those that groups want more would be put in another order.
func (o *ordering) pool(f Fusion) int {
	switch {
	case o.group != nil && (o.diversity > 0 || o.halfLife > 0 || f == RRF):
		return poolMore
	case o.halfLife > 0:
		return recencyPool
	}
	return 0
}

// order checks what a request says of the order, and puts it into the house's words.
func (r *SearchRequest) order(l *looking) (err error) {
	o := &l.order
	*o = ordering{minCosine: -2, diversity: r.Diversity, group: r.Group, autocut: r.Autocut, now: time.Now()}
	l.scoped = r.Which.Scope != nil
	switch {
	case !(r.Diversity >= 0 && r.Diversity <= 1): // NaN too
		return invalid("diversity", "is %v; must be 0 to 1", r.Diversity)
	case r.HalfLife != nil && !(*r.HalfLife > 0 && *r.HalfLife <= MaxHalfLife):
		return invalid("half_life", "is %v; must be above 0, to %d years", *r.HalfLife, MaxHalfLife)
	case r.MinCosine != nil && !(*r.MinCosine >= -1 && *r.MinCosine <= 1):
		return invalid("min_cosine", "is %v; must be -1 to 1", *r.MinCosine)
	case r.MinCosine != nil && l.mode == Lexical:
		return invalid("min_cosine", "is given, and the mode is lexical, which compares no vectors")
	case r.MinBand != NoBand && l.mode == Lexical:
		return invalid("min_band", "is given, and the mode is lexical, which compares no vectors")
	case r.MinBand > Strong:
		return invalid("min_band", "%d is not a band", r.MinBand)
	case r.MinBand != NoBand && l.scoped:
		return invalid("min_band", "is told by all papers, and the key has a filter; use min_cosine")
	case r.Group != nil && r.Group.Field == "":
		return invalid("group_by.field", "is empty; name a field, for example venue")
	case r.Group != nil && (r.Group.Hits < 0 || r.Group.Hits > MaxGroupHits):
		return invalid("group_by.hits", "is %d; must be 1 to %d, or 0 for 1", r.Group.Hits, MaxGroupHits)
	}
	if r.HalfLife != nil {
		o.halfLife = *r.HalfLife
	}
	if r.MinCosine != nil {
		o.minCosine = float32(*r.MinCosine)
	}
	o.minBand = r.MinBand
	if r.Feedback != nil {
		if l.feedback, err = r.Feedback.checked(); err != nil {
			return err
		}
		if e := r.Input.Examples; e != nil && (e.Strategy == BestScore || e.Strategy == Sequence) {
			return invalid("feedback", "is given, and the strategy of the examples looks for none in particular; use average or sum_scores")
		}
	}
	return nil
}

// nameFields finds the fields that a request names for dates and groups.
func (c *Collection) nameFields(ctx context.Context, r SearchRequest, o *ordering) (err error) {
	if o.halfLife > 0 {
		if o.dateField, err = c.dateField(ctx, r.Which, r.DateField); err != nil {
			return err
		}
	} else if r.DateField != "" && r.PublishedAfter == "" && r.PublishedBefore == "" {
		return invalid("date_field", "is given, and neither half_life, published_after nor published_before, which it is for")
	}
	if o.group != nil {
		o.groupField, err = c.groupField(ctx, r.Which, o.group.Field)
	}
	return err
}

func ordinalsOf(hits []Hit) []uint64 {
	out := make([]uint64, len(hits))
	for i := range hits {
		out[i] = hits[i].ordinal
	}
	return out
}

// near leaves out candidates that are too far.
func (o *ordering) near(found []candidate) []candidate {
	if o.minCosine < -1 {
		return found
	}
	return slices.DeleteFunc(found, func(c candidate) bool { return !(c.cosine >= o.minCosine) })
}

// beyond tells whether what was found by vectors ends with what is too far: all that there is behind it is too.
func (o *ordering) beyond(near []ann.Neighbor) bool {
	return o.minCosine >= -1 && len(near) > 0 && !(cosine(near[len(near)-1].Distance) >= o.minCosine)
}

// arrange brings hits into the order of the answer; the first limit of them are as they will be.
func (c *Collection) arrange(ctx context.Context, l *looking, hits []Hit, limit int) ([]Hit, error) {
	o := &l.order
	if o.halfLife > 0 {
		hits = c.byAge(o, hits)
	}
	if o.group != nil {
		for i, value := range c.groups(o.groupField, ordinalsOf(hits)) {
			hits[i].Why.Group = value
		}
	}
	if o.diversity > 0 {
		var err error
		if hits, err = c.diversify(ctx, hits, o, limit); err != nil {
			return nil, err
		}
	}
	if o.group != nil {
		hits = o.grouped(hits)
	}
	return hits, nil
}

// byAge multiplies scores by a half for each half-life of a paper's age, and orders the hits anew. A paper without a date is taken to be one
// half-life old. Of a score below 0, as a cosine may be, nothing is left to halve.
func (c *Collection) byAge(o *ordering, hits []Hit) []Hit {
	for i, date := range c.dates(o.dateField, ordinalsOf(hits)) {
		age := o.halfLife
		if !date.IsZero() {
			age = max(0, o.now.Sub(date).Hours()/24/365.2425)
		}
		factor := float32(math.Exp2(-age / o.halfLife))
		hits[i].Why.Recency = &factor
		if hits[i].Score > 0 {
			hits[i].Score *= factor
		}
	}
	order := make([]int, len(hits)) // what is moved many times is small: a hit is not
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(hits[b].Score, hits[a].Score) })
	sorted := make([]Hit, len(hits))
	for i, at := range order {
		sorted[i] = hits[at]
	}
	return sorted
}

// diversify chooses hits one after the other, each the best of (1 - λ) · score - λ · largest cosine to those before it, scores being brought to 0
// to 1: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998). After limit of them that groups let pass the others keep their order.
func (c *Collection) diversify(ctx context.Context, hits []Hit, o *ordering, limit int) ([]Hit, error) {
	lambda := o.diversity
	if len(hits) < 2 {
		return hits, nil
	}
	best, worst := hits[0].Score, hits[0].Score
	for i := range hits {
		best, worst = max(best, hits[i].Score), min(worst, hits[i].Score)
	}
	scores, like := make([]float64, len(hits)), make([]float64, len(hits)) // like: the largest cosine to those chosen
	for i, h := range hits {
		if scores[i] = 1; best > worst {
			scores[i] = float64((h.Score - worst) / (best - worst))
		}
	}
	out, left := make([]Hit, 0, len(hits)), make([]int, len(hits))
	for i := range left {
		left[i] = i
	}
	passes := o.group.counter()
	for kept := 0; len(left) > 0 && kept < limit; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at, most := 0, math.Inf(-1)
		for j, i := range left {
			if m := (1-lambda)*scores[i] - lambda*like[i]; m > most {
				at, most = j, m
			}
		}
		chosen := hits[left[at]]
		if len(out) > 0 {
			l := float32(like[left[at]])
			chosen.Why.LikeEarlier = &l
		}
		left = slices.Delete(left, at, at+1)
		out = append(out, chosen)
		if passes(&chosen) {
			kept++
		}
		v, ok := c.index.Vector(chosen.ordinal)
		if !ok { // it has gone meanwhile: nothing is like it
			continue
		}
		labels := make([]uint64, len(left))
		for j, i := range left {
			labels[j] = hits[i].ordinal
		}
		distances, err := c.index.Distances(v, labels)
		if err != nil {
			return nil, internal("compare hits", err)
		}
		for j, i := range left {
			if d := distances[j]; d == d && (len(out) == 1 || float64(1-d) > like[i]) {
				like[i] = float64(cosine(d))
			}
		}
	}
	for _, i := range left {
		out = append(out, hits[i])
	}
	return out, nil
}

// grouped leaves out hits of a value that has had as many as it may.
func (o *ordering) grouped(hits []Hit) []Hit {
	passes := o.group.counter()
	return slices.DeleteFunc(hits, func(h Hit) bool { return !passes(&h) })
}

// counter gives what tells of hits, one after the other, whether they pass: those of a value that has had as many as it may do not. No group: all do.
func (g *Group) counter() func(*Hit) bool {
	had := map[string]int{}
	return func(h *Hit) bool {
		return g == nil || h.Why.Group == "" || more(had, h.Why.Group, max(1, g.Hits))
	}
}

// more counts one more of a value, unless there are as many as there may be.
func more(had map[string]int, value string, most int) bool {
	if had[value] == most {
		return false
	}
	had[value]++
	return true
}

// autocut is how many hits come before the largest drop in score, if that is a good part of all that scores fall; all of them otherwise.
func autocut(hits []Hit) int {
	n := min(len(hits), autocutOf)
	if n < 2 {
		return len(hits)
	}
	at, most := 0, float32(0)
	for i := 1; i < n; i++ {
		if drop := hits[i-1].Score - hits[i].Score; drop > most {
			at, most = i, drop
		}
	}
	if at == 0 || most < autocutFrom*(hits[0].Score-hits[n-1].Score) {
		return len(hits)
	}
	return at
}
