package embed

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"embedd/embed/lane"
	"embedd/models"
)

// The shapes that warm-up measures, and for how long.
const warmUpTime = 800 * time.Millisecond

// leastTokens is a word and a bit between special tokens: no batch has more texts than fit in as short ones.
const leastTokens = 4

// maxBudget is the largest budget that is tried: beyond it a batch leaves a core's cache.
const maxBudget = 256

var (
	warmUpBudgets = []int{64, 128, maxBudget}
	warmUpLengths = []int{16, 32, 64}
)

// Tuning is what WarmUp found.
type Tuning struct {
	Plan
	// TokensPerSecond is how fast one slot reads texts of 16, 32 and 64 tokens under the plan, and Alone one text a Run; the
	// mean over the lengths.
	TokensPerSecond, Alone float64
	// Slice is the longest Run that there can be: a text that takes all the tokens that the model reads.
	Slice time.Duration
	// Reason says why each text runs alone, where that is so.
	Reason string
	Took   time.Duration
}

func (t *Tuning) String() string {
	s := fmt.Sprintf("a slot reads %.0f tokens/s one text a Run, a Run takes at most %.1f ms", t.Alone, t.Slice.Seconds()*1e3)
	if t.Budget == 0 {
		return s + "; texts run alone: " + t.Reason
	}
	return s + fmt.Sprintf(", %.0f tokens/s with up to %d texts and %d tokens a Run", t.TokensPerSecond, t.Rows, t.Budget)
}

// WarmUp chooses how texts are put together, by trying it out for less than two seconds, and brings the runtime's memory to
// its height. Texts are only put together where their vectors are the same to the bit as alone, on this machine. Under load
// it would measure the load.
func (e *engine) WarmUp(ctx context.Context) (*Tuning, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	begin := time.Now()
	if err := e.tokenizer.prepare(); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	w, err := e.newWarmUp()
	if err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	t, err := w.tune(ctx, e.manifest.Precision == models.PrecisionInt8Dynamic)
	if err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	if err := w.fillMemory(e.workers, t.Plan); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	debug.FreeOSMemory() // the files that the model was loaded from
	t.Took = time.Since(begin)
	e.lanes.SetPlan(t.Plan, t.Alone)
	return t, nil
}

// fillMemory runs the largest batches of a plan in as many slots at once, a few times and for a part of a second, which brings the
// runtime's memory to its height.
func (w *warmUp) fillMemory(slotCount int, p Plan) error {
	largest := []shape{{1, w.maxTokens}}
	if p.Budget > 0 {
		tokens := max(2, min(w.maxTokens, p.Budget/2))
		largest = append(largest, shape{p.Budget / tokens, tokens}, shape{p.Rows, p.Budget / p.Rows})
	}
	var slots errgroup.Group
	begin := time.Now()
	for range slotCount {
		slots.Go(func() error {
			var memory buffers
			for round := 0; round < 5 && (round == 0 || time.Since(begin) < warmUpTime/2); round++ {
				for _, s := range largest {
					if err := w.session.run(&memory, w.batch(s, 0), s.tokens); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return slots.Wait()
}

// warmUp is one on its way.
type warmUp struct {
	session   *session
	ids       []uint32 // of some words
	maxTokens int
	memory    buffers
	best      map[shape]time.Duration
}

type shape struct{ rows, tokens int }

func (e *engine) newWarmUp() (*warmUp, error) {
	ids, _, err := e.tokenizer.encode("The neighbours of a paper are found by comparing sentence vectors of titles and abstracts, 1,234 of them.")
	if err != nil {
		return nil, err
	}
	return &warmUp{session: e.session, ids: ids, maxTokens: e.manifest.MaxTokens, best: map[shape]time.Duration{}}, nil
}

// batch makes up texts of a shape, the last of them shorter by cut.
func (w *warmUp) batch(s shape, cut int) []lane.Text {
	all := make([]lane.Text, s.rows)
	for row := range all {
		for i := range s.tokens {
			all[row].IDs = append(all[row].IDs, w.ids[(row*5+i*3)%len(w.ids)])
		}
	}
	last := &all[s.rows-1]
	last.IDs = last.IDs[:s.tokens-cut]
	return all
}

func (w *warmUp) tune(ctx context.Context, dynamic bool) (*Tuning, error) {
	longest := shape{1, w.maxTokens}
	for range 2 { // the first makes the runtime's memory
		if err := w.measure(longest); err != nil {
			return nil, err
		}
	}
	t := &Tuning{Slice: w.best[longest]}
	reason, err := w.dependent()
	if err != nil {
		return nil, err
	}
	if dynamic {
		reason = "the model's precision is " + string(models.PrecisionInt8Dynamic)
	}
	if t.Reason = reason; reason != "" {
		w.alone(t)
		return t, nil
	}
	var shapes []shape
	for _, tokens := range w.lengths() {
		shapes = append(shapes, shape{1, tokens})
		for _, budget := range warmUpBudgets {
			if s := (shape{budget / tokens, tokens}); s.rows > 1 {
				shapes = append(shapes, s)
			}
		}
	}
	for end := time.Now().Add(warmUpTime); ; {
		for _, s := range shapes {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := w.measure(s); err != nil {
				return nil, err
			}
		}
		if time.Now().After(end) {
			break
		}
	}
	w.choose(t)
	return t, nil
}

// lengths are those that are measured: what the model reads bounds them.
func (w *warmUp) lengths() []int {
	return slices.DeleteFunc(slices.Clone(warmUpLengths), func(n int) bool { return n > w.maxTokens })
}

// measure runs a shape once and keeps its shortest time.
func (w *warmUp) measure(s shape) error {
	batch := w.batch(s, 0)
	begin := time.Now()
	if err := w.session.run(&w.memory, batch, s.tokens); err != nil {
		return err
	}
	took := time.Since(begin)
	if best, ok := w.best[s]; !ok || took < best {
		w.best[s] = took
	}
	return nil
}

// speed is the mean over the lengths of the tokens read in a second under a budget; 0 is one text a Run.
func (w *warmUp) speed(budget int) float64 {
	var sum float64
	lengths := w.lengths()
	for _, tokens := range lengths {
		s := shape{max(1, budget/tokens), tokens}
		sum += float64(s.rows*s.tokens) / w.best[s].Seconds()
	}
	return sum / float64(len(lengths))
}

// alone leaves each text to run alone.
func (w *warmUp) alone(t *Tuning) {
	t.Plan = Plan{}
	t.Alone = float64(w.maxTokens) / t.Slice.Seconds()
	t.TokensPerSecond = t.Alone
}

// choose takes the smallest budget within 3 % of the best, if it gains as much over one text a Run.
func (w *warmUp) choose(t *Tuning) {
	t.Alone = w.speed(0)
	best := 0.0
	for _, budget := range warmUpBudgets {
		best = max(best, w.speed(budget))
	}
	if best < 1.03*t.Alone {
		t.TokensPerSecond, t.Reason = t.Alone, "putting them together gains nothing on this machine"
		return
	}
	for _, budget := range warmUpBudgets {
		if speed := w.speed(budget); speed >= 0.97*best {
			t.Plan = Plan{Budget: budget, Rows: budget / leastTokens}
			t.TokensPerSecond = speed
			return
		}
	}
}

// dependent compares vectors of texts that are put together and padded with those of each alone, and says so if a bit is
// different.
func (w *warmUp) dependent() (reason string, err error) {
	for _, s := range []shape{{2, 9}, {3, 16}, {4, 33}, {7, 21}, {16, 16}} {
		if s.tokens > w.maxTokens {
			continue
		}
		batch := w.batch(s, 5)
		together := make([]lane.Result, s.rows)
		if err := w.session.results(&w.memory, batch, together); err != nil {
			return "", err
		}
		for row := range batch {
			alone := make([]lane.Result, 1)
			if err := w.session.results(&w.memory, batch[row:row+1], alone); err != nil {
				return "", err
			}
			if !slices.Equal(alone[0].Vector, together[row].Vector) {
				return fmt.Sprintf("a text's vector is not the same to the bit alone and beside others (%d texts of %d tokens)", s.rows, s.tokens), nil
			}
		}
	}
	return "", nil
}
