package embed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/daulet/tokenizers"

	"embedd/embed/lane"
	"embedd/models"
)

// Passage is a text whose sentences are told apart.
type Passage struct {
	// Text is valid UTF-8 without NUL.
	Text string
	// Breaks are places in Text, in bytes, where a sentence surely begins: a paper's abstract behind its title.
	Breaks []int
}

// Sentence is a part of a text and what it has to do with the other side.
type Sentence struct {
	// Begin and End are its place in the text, in bytes.
	Begin, End int
	// Share of the score, where Explanation.Shares says so.
	Share float64
	// Score is the cosine of the sentence's own vector and the other side's whole, -1 to 1; 0 for one that was not read.
	Score float64
	// Read: at least one of its tokens is within what the model reads.
	Read bool

	vector []float64
}

// Explanation says which sentences make two texts alike.
type Explanation struct {
	// Score is the cosine of the two vectors, as a search gives it.
	Score float64
	// Shares: the model takes the mean of its tokens, so that the score is a sum over tokens. The shares of the sentences and
	// Rest, that of prompt and special tokens, add up to it. Else the sentences were encoded each on its own.
	Shares bool
	Rest   float64
	// Sentences of the text, at most 64; the last takes the rest.
	Sentences []Sentence
	// Query are those of the query, where it is a passage, with their shares of the same score and QueryRest; and Best is the pair
	// of sentences, one of each text, that are most alike.
	Query     []Sentence
	QueryRest float64
	Best      *SentencePair
}

// SentencePair is two sentences by their index, and the cosine of their vectors.
type SentencePair struct {
	Query, Text int
	Score       float64
}

// Asked is what texts are explained against.
type Asked struct {
	// Vector has the encoder's dimension and norm 1.
	Vector []float32
	// Text is what was encoded in a role, nil where there is only the vector.
	Text *Passage
	Role Role
}

// Explain says, for each of some texts, which of its sentences make it alike to a query. With a model that takes the mean of its tokens
// each text is read once, the query's too, and a sentence's vector is the mean of its tokens as they stand in the text; with another,
// each sentence is encoded on its own. Texts are read beside each other, in the interactive lane: some ten are a good number. When ctx ends, the
// explanations that are not there yet are nil, and its error is returned.
func (e *Encoder) Explain(ctx context.Context, query Asked, texts []Passage) ([]*Explanation, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	if len(query.Vector) != e.dim {
		return nil, fmt.Errorf("the query's vector has %d values; the dimension is %d", len(query.Vector), e.dim)
	}
	read := e.readEach
	shares := e.session.states && e.manifest.Pooling == models.PoolingMean
	if shares {
		read = e.readWhole
	}
	// The query first: nothing is explained without it.
	readings, errs := make([]*reading, len(texts)+1), make([]error, len(texts)+1)
	var all sync.WaitGroup
	if query.Text != nil {
		all.Go(func() { readings[len(texts)], errs[len(texts)] = read(ctx, query.Role, *query.Text) })
	}
	for i, text := range texts {
		all.Go(func() { readings[i], errs[i] = read(ctx, Document, text) })
	}
	all.Wait()
	out := make([]*Explanation, len(texts))
	for i, err := range errs {
		if err != nil && !ended(err) {
			var about *TextError
			switch of := errors.As(err, &about); {
			case of && i == len(texts): // no text's fault
				return nil, fmt.Errorf("the query: %w", about.Err)
			case of:
				return nil, &TextError{Index: i, Err: about.Err}
			}
			return nil, err
		}
	}
	if query.Text != nil && readings[len(texts)] == nil {
		return out, errs[len(texts)]
	}
	for i, doc := range readings[:len(texts)] {
		if doc != nil {
			out[i] = query.explain(doc, readings[len(texts)], shares)
		}
	}
	return out, errors.Join(errs...)
}

// ended tells whether an error is the end of a context, or that a text would not have been read before it.
func ended(err error) bool {
	var busy *BusyError
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &busy) && busy.Left > 0
}

// explain compares what was made of a text with the query, of which other was made; nil where there is only its vector.
func (a *Asked) explain(doc, other *reading, shares bool) *Explanation {
	q := make([]float64, len(a.Vector))
	for i, v := range a.Vector {
		q[i] = float64(v)
	}
	x := &Explanation{Shares: shares, Score: dot(q, doc.vector)}
	x.Sentences, x.Rest = doc.against(q)
	if other != nil {
		x.Query, x.QueryRest = other.against(doc.vector)
		x.Best = bestPair(x.Query, x.Sentences)
	}
	return x
}

// reading is what the model makes of a passage.
type reading struct {
	vector    []float64 // of the whole, of norm 1
	sentences []Sentence
	// Of a mean: the sum of the tokens of each sentence and of the others, divided by the norm of the sum of all.
	parts [][]float64
	rest  []float64
}

// against gives the sentences with their scores and shares against another vector of norm 1.
func (r *reading) against(v []float64) (sentences []Sentence, rest float64) {
	for i, s := range r.sentences {
		if s.Read {
			s.Score = dot(s.vector, v)
		}
		if r.parts != nil {
			s.Share = dot(r.parts[i], v)
		}
		sentences = append(sentences, s)
	}
	if r.rest != nil {
		rest = dot(r.rest, v)
	}
	return sentences, rest
}

// bestPair is the pair of sentences with the highest cosine, nil if nothing was read of one side.
func bestPair(query, text []Sentence) *SentencePair {
	var best *SentencePair
	for i, a := range query {
		for j, b := range text {
			if !a.Read || !b.Read {
				continue
			}
			if score := dot(a.vector, b.vector); best == nil || score > best.Score {
				best = &SentencePair{i, j, score}
			}
		}
	}
	return best
}

// readWhole reads a passage in a role in one Run and shares its tokens out among the sentences.
func (e *Encoder) readWhole(ctx context.Context, role Role, p Passage) (*reading, error) {
	if err := checkText(p.Text); err != nil {
		return nil, &TextError{Err: err}
	}
	prompt := e.prompt(role)
	var begins []int
	results, err := e.run(ctx, Interactive, 1, e.guess(p.Text), func(int) (lane.Text, error) {
		ids, at, err := e.tokenizer.places(prompt + p.Text)
		begins = at
		return lane.Text{Key: prompt + p.Text, IDs: ids, Whole: true}, err
	})
	if err != nil {
		return nil, err
	}
	dim := e.dim
	r := &reading{rest: make([]float64, dim)}
	all := make([]float64, dim)
	for _, place := range split(p.Text, p.Breaks) {
		r.sentences = append(r.sentences, Sentence{Begin: place[0], End: place[1]})
		r.parts = append(r.parts, make([]float64, dim))
	}
	at := 0
	for t, begin := range begins {
		to := r.rest
		if begin -= len(prompt); begin >= 0 {
			for at < len(r.sentences) && begin >= r.sentences[at].End {
				at++
			}
			if at < len(r.sentences) {
				to = r.parts[at]
				r.sentences[at].Read = true
			}
		}
		for j, x := range results[0].Tokens[t*e.session.dim:][:dim] {
			to[j] += float64(x)
			all[j] += float64(x)
		}
	}
	norm := math.Sqrt(dot(all, all))
	scale := func(v []float64, by float64) {
		for j := range v {
			v[j] /= by
		}
	}
	scale(all, norm)
	scale(r.rest, norm)
	r.vector = all
	for i := range r.sentences {
		scale(r.parts[i], norm)
		if s := &r.sentences[i]; s.Read {
			s.vector = append([]float64(nil), r.parts[i]...)
			scale(s.vector, math.Sqrt(dot(s.vector, s.vector)))
		}
	}
	return r, nil
}

// readEach encodes a passage in a role, and each of its sentences.
func (e *Encoder) readEach(ctx context.Context, role Role, p Passage) (*reading, error) {
	r := &reading{}
	texts := []string{p.Text}
	var of []int // the sentence of each text but the first
	for i, place := range split(p.Text, p.Breaks) {
		r.sentences = append(r.sentences, Sentence{Begin: place[0], End: place[1]})
		text := p.Text[place[0]:place[1]]
		switch _, _, err := e.tokenize(e.prompt(role)+text, role); {
		case errors.Is(err, ErrBlank): // not read
		case err != nil:
			return nil, &TextError{Err: err}
		default:
			texts, of = append(texts, text), append(of, i)
		}
	}
	encodings, err := e.encode(ctx, Interactive, role, texts)
	if err != nil {
		return nil, err
	}
	for i, enc := range encodings {
		v := make([]float64, len(enc.Vector))
		for j, x := range enc.Vector {
			v[j] = float64(x)
		}
		if i == 0 {
			r.vector = v
		} else {
			s := &r.sentences[of[i-1]]
			s.vector, s.Read = v, true
		}
	}
	return r, nil
}

// places gives the ids that the model reads of a text, and where in the text each token begins, in bytes; -1 for special
// tokens.
func (t *tokenizer) places(text string) (ids []uint32, begins []int, err error) {
	text = clean(text)
	if len(text) >= longText {
		t.gate <- struct{}{}
		defer func() { <-t.gate }()
		long, err := t.long()
		if err != nil {
			return nil, nil, fmt.Errorf("tokenizer: %w", err)
		}
		if long != nil {
			text = text[:long.head(text, t.max)]
		}
	}
	enc, err := t.t.EncodeWithOptionsErr(text, true, tokenizers.WithReturnOffsets(), tokenizers.WithReturnSpecialTokensMask())
	if err != nil {
		return nil, nil, fmt.Errorf("tokenizer: %w", err)
	}
	if n := len(enc.IDs); n < 3 || len(enc.Offsets) != n || len(enc.SpecialTokensMask) != n {
		return nil, nil, fmt.Errorf("%w: the tokenizer finds no word in it", ErrBlank)
	}
	for i, id := range enc.IDs {
		if i == t.max-1 && len(enc.IDs) > t.max { // cut as in encode: the last is the final special token
			return append(ids, enc.IDs[len(enc.IDs)-1]), append(begins, -1), nil
		}
		begin := -1
		if enc.SpecialTokensMask[i] == 0 {
			begin = int(enc.Offsets[i][0])
		}
		ids, begins = append(ids, id), append(begins, begin)
	}
	return ids, begins, nil
}

func dot(a, b []float64) float64 {
	var sum float64
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}
