package retrieval

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"embedd/ann"
)

// Examples are a reading list: papers that somebody liked, or did not, and a text besides.
type Examples struct {
	// Positive examples, for Sequence in the order of reading, and negative ones; MaxExamples together. At least one is positive, or there is a
	// text.
	Positive, Negative []Example
	Strategy           Strategy
	// Text, where it is not nil, is what is looked for besides; its weight is TextWeight, nil for 1.
	Text       *string
	TextWeight *float64
}

// Example is one paper, text or vector of a reading list. Texts of examples are encoded as documents.
type Example struct {
	Input Input // without examples
	// Weight is above 0, to MaxWeight; nil is 1.
	Weight *float64
}

// Strategy says how the examples of a reading list are joined.
type Strategy uint8

const (
	// UsualStrategy is Average.
	UsualStrategy Strategy = iota
	// Average looks for what is near to the mean m of the positive examples and, where there are negative ones with the mean n, near to 2m - n
	// (Rocchio, "Relevance Feedback in Information Retrieval", 1971, with weights that need no tuning).
	Average
	// BestScore gives a paper the cosine with the example that it is nearest to, times minus one where that is a negative one.
	BestScore
	// SumScores gives it the weighted mean of its cosines, those with negative examples subtracted.
	SumScores
	// Sequence weighs the positive examples anew for each paper, by a softmax over what it has in common with each, after how late each was read:
	// attention over a user's history per candidate, as in Deep Interest Network (Zhou et al., KDD 2018) and BERT4Rec (Sun et al., CIKM
	// 2019), without anything to train.
	Sequence
)

const (
	// sequenceHeat divides cosines before the softmax: papers of one subject differ by about as much.
	sequenceHeat = 0.1
	// sequenceHalf is after how many later papers an example counts half.
	sequenceHalf = 5.0
	// examplesPool is how many candidates the positive examples bring together, each of them at least exampleLeast.
	examplesPool, exampleLeast = 2000, 40
)

// probeVector is an example as it is compared.
type probeVector struct {
	vector   []float32
	weight   float64
	negative bool
	at       int // among those of its kind; -1: the text
	// share is the weight against the largest; worth its logarithm, less for each later paper: see weigh.
	share, worth float64
}

// forEach tells whether a list is searched with by each of its examples, and not by one vector that is made of them; nil is no list.
func (e *Examples) forEach() bool {
	return e != nil && (e.Strategy == BestScore || e.Strategy == Sequence)
}

// check refuses a list that cannot be searched with.
func (e *Examples) check(field string) error {
	switch n := len(e.Positive) + len(e.Negative); {
	case len(e.Positive) == 0 && e.Text == nil:
		return invalid(field+".positive", "is empty; give at least one positive example, or a text")
	case n > MaxExamples:
		return invalid(field, "has %d examples; the limit is %d, positive and negative together", n, MaxExamples)
	case e.Strategy > Sequence:
		return invalid(field+".strategy", "%d is not a strategy", e.Strategy)
	case e.TextWeight != nil && e.Text == nil:
		return invalid(field+".text_weight", "is given, and there is no text")
	}
	if err := checkWeight(field+".text_weight", e.TextWeight); err != nil {
		return err
	}
	for i, x := range slices.Concat(e.Positive, e.Negative) {
		at := e.field(field, i)
		if err := checkWeight(at+".weight", x.Weight); err != nil {
			return err
		}
		if x.Input.Examples != nil {
			return invalid(at+".input", "is a reading list itself; give a paper, a text or a vector")
		}
	}
	return nil
}

// field is the path of the i-th example, the negative ones after the positive ones.
func (e *Examples) field(field string, i int) string {
	if i < len(e.Positive) {
		return fmt.Sprintf("%s.positive[%d]", field, i)
	}
	return fmt.Sprintf("%s.negative[%d]", field, i-len(e.Positive))
}

func checkWeight(field string, w *float64) error {
	if w != nil && !(*w > 0 && *w <= MaxWeight) { // NaN too
		return invalid(field, "is %v; must be above 0, to %d", *w, MaxWeight)
	}
	return nil
}

// weightOf is a weight that may be left out.
func weightOf(w *float64) float64 {
	if w == nil {
		return 1
	}
	return *w
}

// resolveExamples fills in what a reading list looks for.
func (c *Collection) resolveExamples(ctx context.Context, r SearchRequest, l *looking, field string, e *Examples, res *SearchResult) error {
	if err := e.check(field); err != nil {
		return err
	}
	if l.strategy = e.Strategy; l.strategy == UsualStrategy {
		l.strategy = Average
	}
	res.Strategy = l.strategy
	var text *probeVector
	if e.Text != nil {
		if err := c.resolveText(ctx, l, field+".text", *e.Text, res); err != nil {
			return err
		}
		text = &probeVector{vector: l.vector, weight: weightOf(e.TextWeight), at: -1}
	}
	if err := c.probesOf(ctx, r, l, field, e, res); err != nil {
		return err
	}
	if l.mode == Lexical {
		return nil
	}
	switch l.strategy {
	case Average:
		return l.average(field, text)
	case SumScores:
		if text != nil {
			l.probes = append(l.probes, *text)
		}
		return l.sum(field)
	}
	if text != nil {
		l.probes = append(l.probes, *text)
	}
	l.weigh()
	return nil
}

// probesOf reads and encodes the examples.
func (c *Collection) probesOf(ctx context.Context, r SearchRequest, l *looking, field string, e *Examples, res *SearchResult) error {
	all := slices.Concat(e.Positive, e.Negative)
	var texts []string
	var lacking []int // whose vectors are those of the texts
	for i, x := range all {
		at := e.field(field, i) + ".input"
		p := probeVector{weight: weightOf(x.Weight), negative: i >= len(e.Positive), at: i}
		if p.negative {
			p.at -= len(e.Positive)
		}
		in := x.Input
		if in.Paper != nil {
			own, err := c.knows(ctx, at+".paper", in.Paper, r.Which)
			if err != nil {
				return err
			}
			if own == "" {
				l.unknown = append(l.unknown, in.Paper)
				if err := c.isAlso(l, in.Paper.ID); err != nil {
					return err
				}
				if c.settings.OwnVectors {
					if p.vector, err = c.inputVector(at+".paper.vector", in.Paper); err != nil {
						return err
					}
				} else {
					texts, lacking = append(texts, PaperText(in.Paper)), append(lacking, i)
				}
				l.probes = append(l.probes, p)
				continue
			}
			in = Input{PaperID: own}
		}
		switch {
		case in.Text != nil:
			if err := checkText(at+".text", *in.Text); err != nil {
				return err
			}
			texts, lacking = append(texts, *in.Text), append(lacking, i)
		case in.Vector != nil:
			v, err := unit(at+".vector", in.Vector, c.encoder.Model().Dimension)
			if err != nil {
				return err
			}
			p.vector = v
		default:
			one := &looking{mode: Dense, exact: l.exact}
			if err := c.resolve(ctx, SearchRequest{Input: in, Field: at, Which: r.Which}, one, res); err != nil {
				return err
			}
			p.vector = one.vector
			l.selves, l.selfIDs = append(l.selves, one.selves...), append(l.selfIDs, one.selfIDs...)
		}
		l.probes = append(l.probes, p)
	}
	if len(texts) == 0 {
		return nil
	}
	lane := Interactive
	if len(texts) > MaxInteractiveTexts {
		lane = Bulk
	}
	begin := time.Now()
	encoded, err := c.encoder.Encode(ctx, lane, Document, texts)
	res.ended(ctx, c, StageEncode, begin)
	if err != nil {
		return encodeError(err, func(i int) string { return e.field(field, lacking[i]) + ".input" })
	}
	for j, i := range lacking {
		l.probes[i].vector = encoded[j].Vector
	}
	return nil
}

// average makes one vector of the examples and the text.
func (l *looking) average(field string, text *probeVector) error {
	like, unlike := mean(l.probes, false), mean(l.probes, true)
	sum := like
	if unlike != nil {
		if sum = make([]float64, len(unlike)); like != nil {
			for i := range sum {
				sum[i] = 2 * like[i]
			}
		}
		for i := range sum {
			sum[i] -= unlike[i]
		}
	}
	if like != nil {
		if err := scaleTo1(field, sum); err != nil {
			return err
		}
	}
	if text != nil {
		if sum == nil {
			sum = make([]float64, len(text.vector))
		}
		for i, x := range text.vector {
			sum[i] += text.weight * float64(x)
		}
		if err := scaleTo1(field, sum); err != nil {
			return err
		}
	}
	l.vector = narrow(sum)
	return nil
}

// sum makes one vector, whose cosines are as the weighted means of those of the examples.
func (l *looking) sum(field string) error {
	var sum []float64
	total := 0.0
	for _, p := range l.probes {
		if sum == nil {
			sum = make([]float64, len(p.vector))
		}
		w := p.weight
		total += w
		if p.negative {
			w = -w
		}
		for i, x := range p.vector {
			sum[i] += w * float64(x)
		}
	}
	norm := normOf(sum)
	if err := scaleTo1(field, sum); err != nil {
		return err
	}
	l.vector, l.scale = narrow(sum), float32(norm/total)
	return nil
}

// mean is the weighted mean of the examples of a kind; nil where there are none.
func mean(probes []probeVector, negative bool) []float64 {
	var sum []float64
	total := 0.0
	for _, p := range probes {
		if p.negative != negative {
			continue
		}
		if sum == nil {
			sum = make([]float64, len(p.vector))
		}
		for i, x := range p.vector {
			sum[i] += p.weight * float64(x)
		}
		total += p.weight
	}
	for i := range sum {
		sum[i] /= total
	}
	return sum
}

func normOf(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum)
}

// scaleTo1 scales a vector to norm 1.
func scaleTo1(field string, v []float64) error {
	norm := normOf(v)
	if norm < 1e-6 {
		return invalid(field, "the examples cancel each other out: what is liked and what is not is the same, and nothing is left to look for")
	}
	for i := range v {
		v[i] /= norm
	}
	return nil
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// nearExamples gives what is near to the examples by a strategy that asks for each of them. The pools of the examples do not depend on how many
// hits are wanted, so that the answer for k is the beginning of that for more.
func (c *Collection) nearExamples(ctx context.Context, l *looking, q ann.Query, res *SearchResult) ([]ann.Neighbor, error) {
	positive := 0
	for _, p := range l.probes {
		if !p.negative {
			positive++
		}
	}
	most := q.K
	q.K = max(exampleLeast, examplesPool/positive) + l.aside()
	seen := map[uint64]struct{}{}
	var labels []uint64
	for _, p := range l.probes {
		if p.negative {
			continue
		}
		near, err := c.nearVector(ctx, l, p.vector, q, res)
		if err != nil {
			return nil, err
		}
		for _, n := range near {
			if _, again := seen[n.Label]; !again {
				seen[n.Label] = struct{}{}
				labels = append(labels, n.Label)
			}
		}
	}
	distances, err := c.distancesOfExamples(l, labels)
	if err != nil {
		return nil, err
	}
	all := make([]ann.Neighbor, 0, len(labels))
	for i, label := range labels {
		if d := distances[i]; d == d { // gone meanwhile
			all = append(all, ann.Neighbor{Label: label, Distance: d})
		}
	}
	slices.SortFunc(all, func(a, b ann.Neighbor) int {
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Label, b.Label))
	})
	return all[:min(len(all), most)], nil
}

// distancesOfExamples gives 1 minus what a strategy makes of the cosines of papers and examples.
func (c *Collection) distancesOfExamples(l *looking, labels []uint64) ([]float32, error) {
	of := make([][]float32, len(l.probes))
	for i, p := range l.probes {
		var err error
		if of[i], err = c.distancesTo(p.vector, labels); err != nil {
			return nil, internal("compare with the examples", err)
		}
	}
	out := make([]float32, len(labels))
	cosines, heat := make([]float64, len(l.probes)), make([]float64, len(l.probes))
	for j := range labels {
		gone := false
		for i := range l.probes {
			cosines[i] = float64(cosine(of[i][j]))
			gone = gone || of[i][j] != of[i][j]
		}
		out[j] = float32(1 - l.scoreOf(cosines, heat))
		if gone {
			out[j] = unknown
		}
	}
	return out, nil
}

// scoreOf is what a strategy makes of a paper's cosines with the examples. heat is as long as they are, to work in.
func (l *looking) scoreOf(cosines, heat []float64) float64 {
	if l.strategy == BestScore {
		best, worst := math.Inf(-1), math.Inf(-1)
		for i, p := range l.probes {
			// Weights say how much of a cosine counts; less than none does not become more.
			of := &best
			if p.negative {
				of = &worst
			}
			*of = max(*of, cosines[i]*p.share)
		}
		if worst > best {
			return -worst
		}
		return best
	}
	// The softmax, from its largest term on, so that none overflows.
	most := math.Inf(-1)
	for i, p := range l.probes {
		if !p.negative {
			heat[i] = cosines[i]/sequenceHeat + p.worth
			most = max(most, heat[i])
		}
	}
	var sum, total, against, weights float64
	for i, p := range l.probes {
		if p.negative {
			against += p.weight * cosines[i]
			weights += p.weight
			continue
		}
		w := math.Exp(heat[i] - most)
		sum, total = sum+w*cosines[i], total+w
	}
	score := sum / total
	if weights > 0 {
		score = (score - against/weights) / 2
	}
	return score
}

// weigh fills in what of the examples' weights does not depend on a paper.
func (l *looking) weigh() {
	most, last := 0.0, 0
	for _, p := range l.probes {
		most = max(most, p.weight)
		if !p.negative && p.at >= 0 {
			last = max(last, p.at)
		}
	}
	for i := range l.probes {
		p := &l.probes[i]
		p.share, p.worth = p.weight/most, math.Log(p.weight)
		if p.at >= 0 {
			p.worth -= float64(last-p.at) * math.Ln2 / sequenceHalf
		}
	}
}

// nearestExamples says of each hit which positive example it is nearest to.
func (c *Collection) nearestExamples(l *looking, hits []Hit) error {
	ordinals := ordinalsOf(hits)
	nearest := make([]float32, len(hits))
	for i := range nearest {
		nearest[i] = math.MaxFloat32
	}
	for _, p := range l.probes {
		if p.negative || p.at < 0 {
			continue
		}
		distances, err := c.distancesTo(p.vector, ordinals)
		if err != nil {
			return internal("compare with the examples", err)
		}
		for i, d := range distances {
			if d < nearest[i] {
				at := p.at
				nearest[i], hits[i].Why.Example = d, &at
			}
		}
	}
	return nil
}
