package embed

import (
	"context"
	"time"
)

// Speed is how fast one slot reads a text of a length.
type Speed struct {
	// Tokens is the length, special tokens included.
	Tokens int
	// Run is the shortest time of a Run of one such text.
	Run time.Duration
}

// The lengths of Speeds begin with shortestSpeed, and each is measured at most speedRounds times.
const (
	shortestSpeed = 16
	speedRounds   = 20
)

// Speeds measures Runs of one text of 16, 32, 64 … tokens, and of all that the model reads, for about as long as most.
// Lengths that there is no time for are left out. It is to be called while nothing else runs.
func (e *engine) Speeds(ctx context.Context, most time.Duration) ([]Speed, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	w, err := e.newWarmUp()
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(most)
	var all []Speed
	for _, tokens := range doublings(w.maxTokens) {
		// Attention makes twice the length up to four times the work, and the first Run makes the runtime's memory.
		if n := len(all); n > 0 && time.Now().Add(8*all[n-1].Run).After(end) {
			break
		}
		s := shape{1, tokens}
		for range 2 {
			if err := w.measure(s); err != nil {
				return nil, err
			}
		}
		all = append(all, Speed{Tokens: tokens, Run: w.best[s]})
	}
	for range speedRounds {
		for i, s := range all {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if time.Now().Add(s.Run).After(end) {
				return all, nil
			}
			if err := w.measure(shape{1, s.Tokens}); err != nil {
				return nil, err
			}
			all[i].Run = w.best[shape{1, s.Tokens}]
		}
	}
	return all, nil
}

// doublings are 16, 32, 64 … below most, and most.
func doublings(most int) []int {
	var all []int
	for n := shortestSpeed; n < most; n *= 2 {
		all = append(all, n)
	}
	return append(all, most)
}
