package retrieval

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Reranker is a cross-encoder, which reads a query and a text together. Its methods may be called from many goroutines at once.
type Reranker interface {
	// Name is the model's id.
	Name() string
	// Score judges each text, in order. A call that there is no room or time for is a *BusyError.
	Score(ctx context.Context, query string, texts []string) ([]Judged, error)
}

// Judged is what a cross-encoder makes of a query and a text.
type Judged struct {
	// Logit is any number, more is nearer: NaN where the model knows no word of the query or the text.
	Logit float32
	// TextUse is of the two together; zero where there is no logit.
	TextUse
}

// Rerank asks for the best to be ordered anew by a cross-encoder.
type Rerank struct {
	// Candidates is how many, 1 to MaxRerank; 0 is DefaultRerank.
	Candidates int
	// Model is the cross-encoder's name; the first of Options.Rerankers when empty.
	Model string
}

const (
	// MaxRerank is the most candidates of one search, DefaultRerank how many there are when none is asked for.
	MaxRerank     = 100
	DefaultRerank = 20
	// MaxRerankBytes of a query, and of a paper, are given to a cross-encoder: more than any reads.
	MaxRerankBytes = 64 << 10
)

// errLeftOut is the error of a stage that there was no time for before the call's deadline. The answer is without it, and true.
var errLeftOut = errors.New("there was no time for it before the deadline")

// Rerankers are the names of the cross-encoders, the one that is usually taken first.
func (c *Collection) Rerankers() (names []string) {
	for _, r := range c.rerankers {
		names = append(names, r.Name())
	}
	return names
}

// checkRerank checks what a request says of re-ranking, and fills in what it leaves to us. readable tells whether the query has a text: a paper
// has, a vector has none.
func (c *Collection) checkRerank(o Rerank, readable bool) (Rerank, error) {
	switch {
	case o.Candidates < 0 || o.Candidates > MaxRerank:
		return o, invalid("rerank.candidates", "is %d; must be 1 to %d, or 0 for %d", o.Candidates, MaxRerank, DefaultRerank)
	case !readable:
		return o, invalid("rerank", "is given, and the query is a vector; a cross-encoder reads texts; leave it out, or search by a text or a paper")
	case len(c.rerankers) == 0:
		return o, &Error{Kind: FailedPrecondition, Field: "rerank", Message: "the server has no cross-encoder; leave it out, or start the server with --reranker ID"}
	case c.reranker(o.Model) == nil:
		return o, invalid("rerank.model", "%q is not a cross-encoder of the server, which has: %s", o.Model, strings.Join(c.Rerankers(), ", "))
	}
	return Rerank{Candidates: cmp.Or(o.Candidates, DefaultRerank), Model: c.reranker(o.Model).Name()}, nil
}

// reranker gives a cross-encoder by its name, the first for none, nil for one that there is not.
func (c *Collection) reranker(name string) Reranker {
	i := slices.IndexFunc(c.rerankers, func(r Reranker) bool { return name == "" || r.Name() == name })
	if i < 0 {
		return nil
	}
	return c.rerankers[i]
}

// rerank orders the first o.Candidates hits anew, by the logit that the cross-encoder gives to the query's text and the paper's; of equal ones the
// first stays first. Their Why.CrossEncoder is the logit, their Score its logistic, 0 to 1. Behind them come those whose texts the model cannot read, and
// then the other hits, each in the order in which they were, with scores below 0: -1/1000 for the first of them, -2/1000 for the second, and so
// on. So the scores descend, and none below 0 is the cross-encoder's. o has passed checkRerank. hits is not changed.
//
// Where the call's deadline is too near, the hits are given back as they are, with errLeftOut: the stage is left out.
func (c *Collection) rerank(ctx context.Context, query string, hits []Hit, o Rerank) ([]Hit, error) {
	n := min(o.Candidates, len(hits))
	if n == 0 {
		return hits, nil
	}
	texts := make([]string, n)
	for i := range texts {
		texts[i] = beginning(PaperText(&hits[i].Paper), MaxRerankBytes)
	}
	inTime, cancel := beforeDeadline(ctx)
	defer cancel()
	judged, err := c.reranker(o.Model).Score(inTime, beginning(query, MaxRerankBytes), texts)
	if err != nil {
		return hits, rerankError(ctx, inTime, err)
	}
	logits := make([]float32, n)
	for i := range logits {
		logits[i] = judged[i].Logit
	}
	return reordered(hits, logits), nil
}

// reranking is the stage of one search.
type reranking struct {
	Rerank
	scored map[uint64]float32 // logits, by ordinal; nil before the stage
}

// prepareRerank is the stage that a request asks for; nil for none.
func (c *Collection) prepareRerank(r SearchRequest) (*reranking, error) {
	if r.Rerank == nil {
		return nil, nil
	}
	readable := r.Input.Vector == nil && (r.Input.Examples == nil || r.Input.Examples.Text != nil)
	o, err := c.checkRerank(*r.Rerank, readable)
	return &reranking{Rerank: o}, err
}

// rerankFound orders what a search has found anew. Where the search begins again, since hits are too much alike, no pair is scored twice, nor are
// more than before: what comes new among the candidates stands behind those that have a logit.
func (c *Collection) rerankFound(ctx context.Context, r SearchRequest, l *looking, hits []Hit, res *SearchResult) ([]Hit, error) {
	o := l.order.rerank
	if o.scored != nil {
		logits := make([]float32, min(o.Candidates, len(hits)))
		for i := range logits {
			logit, ok := o.scored[hits[i].ordinal]
			if logits[i] = logit; !ok {
				logits[i] = float32(math.NaN())
			}
		}
		return reordered(hits, logits), nil
	}
	query, err := c.textOf(ctx, r)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	out, err := c.rerank(ctx, query, hits, o.Rerank)
	res.ended(ctx, c, StageRerank, begin)
	if errors.Is(err, errLeftOut) {
		res.LeftOut, l.order.rerank = append(res.LeftOut, StageRerank), nil
		return out, nil
	}
	o.scored = map[uint64]float32{}
	for i := range out {
		if logit := out[i].Why.CrossEncoder; logit != nil {
			o.scored[out[i].ordinal] = *logit
		}
	}
	return out, err
}

// textOf is the text of a query that has one: that of a paper is its title and abstract.
func (c *Collection) textOf(ctx context.Context, r SearchRequest) (string, error) {
	switch in := r.Input; {
	case in.Text != nil:
		return *in.Text, nil
	case in.Paper != nil:
		return PaperText(in.Paper), nil
	case in.Examples != nil:
		return *in.Examples.Text, nil
	}
	rec, err := c.record(ctx, r.Field+".paper_id", r.Input.PaperID, r.Which)
	return PaperText(&rec.Paper), err
}

// rerankError is a cross-encoder's error: errLeftOut where the reason is the deadline.
func rerankError(ctx, inTime context.Context, err error) error {
	deadline, ends := inTime.Deadline()
	var busy *BusyError
	switch {
	case ctx.Err() == context.Canceled: // nobody waits for the answer
		return ctx.Err()
	case inTime.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.As(err, &busy) && ends && time.Until(deadline) <= busy.Wait:
		return errLeftOut
	}
	return encodeError(err, func(int) string { return "rerank" })
}

// reordered puts the first hits, which have logits, in the order of these.
func reordered(hits []Hit, logits []float32) []Hit {
	out := slices.Clone(hits)
	scored := make([]Hit, 0, len(logits))
	var unread []Hit
	for i, logit := range logits {
		h := out[i]
		if logit != logit {
			unread = append(unread, h)
			continue
		}
		h.Why.CrossEncoder, h.Score = &logit, logistic(logit)
		scored = append(scored, h)
	}
	slices.SortStableFunc(scored, func(a, b Hit) int { return cmp.Compare(*b.Why.CrossEncoder, *a.Why.CrossEncoder) })
	behind := append(unread, out[len(logits):]...)
	for i := range behind {
		behind[i].Score = -float32(i+1) / 1000
	}
	return append(scored, behind...)
}

// logistic brings a logit to 0 to 1.
func logistic(logit float32) float32 { return float32(1 / (1 + math.Exp(-float64(logit)))) }

// beginning is a text's first bytes, at most n, up to a whole character.
func beginning(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// beforeDeadline is a context for a stage that an answer can do without. It ends before the call's deadline, so that there is time to answer without
// it: by a tenth of the time that is left, at most 100 ms.
func beforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, 100*time.Millisecond)))
}
