package embed

import (
	"context"
	"fmt"
	"strconv"

	"embedd/embed/lane"
	"embedd/models"
)

// Pair is two texts that a cross-encoder compares.
type Pair struct {
	Query, Text string
}

// Scored is a pair's score and what the model read of the pair.
type Scored struct {
	// Score is what the model's classifier gives, without an activation: any number, more is nearer. Only scores of one model
	// can be compared.
	Score float32
	// Tokens is the number of tokens in the whole pair, special tokens included.
	Tokens int
	// Truncated: Tokens is over the model's MaxTokens; the longer of the two texts was cut first.
	Truncated bool
}

// Scorer scores pairs of texts with a cross-encoder: both texts are read together, which is finer than comparing two vectors
// and costs a Run for each pair (Nogueira and Cho, 2019, arXiv:1901.04085). All methods may be called from many goroutines at
// once.
type Scorer struct{ *engine }

// OpenScorer loads a cross-encoder. A model that gives vectors is an error: see Open.
func OpenScorer(m *models.Model, o *Options) (*Scorer, error) {
	if m.Task != models.TaskScore {
		return nil, fmt.Errorf("model %s gives vectors; scoring pairs needs a cross-encoder", m.ID)
	}
	e, err := openEngine(m, o)
	if err != nil {
		return nil, err
	}
	return &Scorer{e}, nil
}

// Score returns a score for each pair, in order, under the rules of Encoder.Encode: a *TextError names the pair.
func (s *Scorer) Score(ctx context.Context, l Lane, pairs []Pair) ([]Scored, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	out, err := s.score(ctx, l, pairs)
	s.metrics.called("pair", len(pairs), err)
	return out, err
}

// Knows tells whether the model knows a word of a text. A pair with a text of which it knows none is ErrBlank.
func (s *Scorer) Knows(text string) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	if checkText(text) != nil {
		return false, nil
	}
	_, n, err := s.tokenizer.encode(text)
	return n > 2, err // beside the two special tokens
}

// Canary scores one pair and returns an error if the model does not work.
func (s *Scorer) Canary(ctx context.Context) error {
	_, err := s.Score(ctx, Interactive, []Pair{{Query: "related papers", Text: "similar articles"}})
	if err != nil {
		return fmt.Errorf("canary score: %w", err)
	}
	return nil
}

func (s *Scorer) score(ctx context.Context, l Lane, pairs []Pair) ([]Scored, error) {
	tokens := 0
	for i, p := range pairs {
		for _, text := range []string{p.Query, p.Text} {
			if err := checkText(text); err != nil {
				return nil, &TextError{Index: i, Err: err}
			}
		}
		tokens += min(s.manifest.MaxTokens, 3+(len(p.Query)+len(p.Text))/4)
	}
	if len(pairs) == 0 {
		return nil, ctx.Err()
	}
	out := make([]Scored, len(pairs))
	results, err := s.run(ctx, l, len(pairs), tokens, func(i int) (lane.Text, error) {
		p := pairs[i]
		ids, second, total, err := s.tokenizer.encodePair(p)
		out[i] = Scored{Tokens: total, Truncated: total > s.manifest.MaxTokens}
		// The length keeps pairs apart that are equal when joined.
		return lane.Text{Key: strconv.Itoa(len(p.Query)) + " " + p.Query + p.Text, IDs: ids, Second: second}, err
	})
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		out[i].Score = r.Vector[0]
		if out[i].Truncated {
			s.metrics.truncated.Inc()
		}
	}
	return out, nil
}

// encodePair gives the ids that the model reads of a pair, the place of the second text's first, and how many the whole pair
// has. A pair that is too long loses tokens at the end of the longer text, then of both, as the Hugging Face tokenizers'
// strategy longest_first does.
func (t *tokenizer) encodePair(p Pair) (ids []uint32, second, total int, err error) {
	one, n1, err := t.encode(p.Query)
	if err != nil {
		return nil, 0, 0, err
	}
	two, n2, err := t.encode(p.Text)
	if err != nil {
		return nil, 0, 0, err
	}
	if n1 == 2 || n2 == 2 { // the two special tokens around nothing
		return nil, 0, 0, fmt.Errorf("%w: the tokenizer finds no word in one of the pair", ErrBlank)
	}
	first, last := one[0], one[len(one)-1]
	one, two = one[1:len(one)-1], two[1:len(two)-1]
	k1, k2 := longestFirst(len(one), len(two), t.max-3)
	ids = append(append(append(ids, first), one[:k1]...), last)
	second = len(ids)
	return append(append(ids, two[:k2]...), last), second, n1 + n2 - 1, nil
}

// longestFirst is how many of two texts' tokens are kept so that they are at most n together.
func longestFirst(a, b, n int) (keptA, keptB int) {
	if a+b <= n {
		return a, b
	}
	if a > b {
		keptB, keptA = longestFirst(b, a, n)
		return keptA, keptB
	}
	if a > n {
		b = a
	} else {
		b = max(a, n-a)
	}
	if a+b > n {
		a = n / 2
		b = a + n%2
	}
	return a, b
}
