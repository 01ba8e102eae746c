package retrieval

import (
	"context"
	"fmt"
	"math"
	"time"

	"embedd/ann/vec"
	"embedd/internal/store"
)

// Sentences that are kept: each title and each sentence of an abstract is encoded on its own when a paper is written, and its vector is stored in
// a byte a value beside the paper's. A search then scores the best anew by what their best sentence has.

// usesSentences tells whether a search re-scores by sentences.
func (c *Collection) usesSentences(r *SearchRequest, l *looking) (bool, error) {
	switch {
	case r.Sentences == nil:
		return c.settings.Sentences && l.mode != Lexical && r.Input.Text != nil, nil
	case !*r.Sentences:
		return false, nil
	case !c.settings.Sentences:
		return false, &Error{Kind: FailedPrecondition, Field: "sentences", Message: "is set, and the collection keeps no sentences; make one that does"}
	case l.mode == Lexical:
		return false, invalid("sentences", "is set, and the mode is lexical; sentences re-score by their cosines, in a dense or a hybrid search")
	case r.Input.Examples.forEach():
		return false, invalid("sentences", "is set, and the strategy of the examples looks for none in particular; use average or sum_scores")
	}
	return true, nil
}

// hasSentences tells whether a stored paper has the sentences that it should have: one that was rescued from a damaged store may not.
func (c *Collection) hasSentences(ordinal uint64) bool {
	if !c.settings.Sentences || c.settings.OwnVectors {
		return true
	}
	there, err := c.store.HasSentences(ordinal)
	return err != nil || there // what cannot be read now is not made worse
}

// encodeSentences fills the sentences of some of the papers, where the collection keeps them.
func (u *upsert) encodeSentences(ctx context.Context, which []int) error {
	if !u.c.settings.Sentences || u.c.settings.OwnVectors {
		return nil
	}
	texts := make([]Passage, len(which))
	for j, i := range which {
		texts[j] = passageOf(&u.papers[i])
	}
	begin := time.Now()
	all, err := u.c.encoder.Sentences(ctx, Bulk, texts)
	u.c.observe(ctx, OpUpsert, StageSentences, begin)
	if err != nil {
		return encodeError(err, func(j int) string { return fmt.Sprintf("papers[%d]", which[j]) })
	}
	for j, i := range which {
		u.writes[i].Sentences = codesOf(all[j])
	}
	return nil
}

// maxSentenceCode is the largest code: a vector's largest value has it.
const maxSentenceCode = math.MaxInt8

// codesOf puts the vectors of sentences into a byte a value.
func codesOf(parts []Part) *store.Sentences {
	x := &store.Sentences{}
	for _, p := range parts {
		var most float32
		for _, v := range p.Vector {
			most = max(most, v, -v)
		}
		scale := most / maxSentenceCode
		x.Places = append(x.Places, [2]uint32{uint32(p.Begin), uint32(p.End)})
		x.Scales = append(x.Scales, scale)
		for _, v := range p.Vector {
			x.Codes = append(x.Codes, byte(int8(math.Round(float64(v/scale)))))
		}
	}
	return x
}

// wideQuery is a vector in 16 bits a value, padded to what the kernels take.
type wideQuery struct {
	values []int16
	scale  float32
	dim    int
}

func widen(v []float32) wideQuery {
	q := wideQuery{values: make([]int16, (len(v)+vec.Block-1)/vec.Block*vec.Block), dim: len(v)}
	var most float32
	for _, x := range v {
		most = max(most, x, -x)
	}
	if most == 0 {
		return q
	}
	// The largest value is such that no product with a row can be beyond 32 bits.
	q.scale = most / float32(min(math.MaxInt16, math.MaxInt32/(maxSentenceCode*len(v))))
	for i, x := range v {
		q.values[i] = int16(math.Round(float64(x / q.scale)))
	}
	return q
}

// widenCodes is the vector of a sentence in 16 bits a value.
func widenCodes(x *store.Sentences, i, dim int) wideQuery {
	q := wideQuery{values: make([]int16, (dim+vec.Block-1)/vec.Block*vec.Block), dim: dim, scale: x.Scales[i]}
	for j, code := range x.Codes[i*dim:][:dim] {
		q.values[j] = int16(int8(code))
	}
	return q
}

// scores are the cosines of a query and sentences.
func (q *wideQuery) scores(x *store.Sentences) []float32 {
	n, stride := x.Len(), len(q.values)
	rows := x.Codes
	if stride != q.dim {
		rows = make([]byte, n*stride)
		for i := range n {
			copy(rows[i*stride:], x.Codes[i*q.dim:][:q.dim])
		}
	}
	ids, dots, out := make([]uint32, n), make([]int32, n), make([]float32, n)
	for i := range ids {
		ids[i] = uint32(i)
	}
	vec.DotWide(q.values, rows, ids, dots)
	for i, dot := range dots {
		out[i] = min(1, max(-1, float32(dot)*q.scale*x.Scales[i]))
	}
	return out
}

// bestSentences gives, for each of some papers, the cosine of a query's vector and the sentence that is nearest to it; NaN for a paper that has
// none, or is not stored any more.
func (c *Collection) bestSentences(ctx context.Context, query []float32, ordinals []uint64) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all, err := c.store.Sentences(ordinals)
	if err != nil {
		return nil, storeError("read sentences", err)
	}
	q := widen(query)
	best := make([]float32, len(ordinals))
	for i, x := range all {
		best[i] = unknown
		if x == nil {
			continue
		}
		for _, score := range q.scores(x) {
			if best[i] != best[i] || score > best[i] {
				best[i] = score
			}
		}
	}
	return best, nil
}
