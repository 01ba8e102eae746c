package embed

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"embedd/embed/lane"
	"embedd/models"
)

// engine is a loaded model: what an Encoder and a Scorer have in common.
type engine struct {
	manifest  *models.Manifest
	provider  Provider
	tokenizer *tokenizer
	session   *session
	workers   int
	buffers   []*buffers // by slot
	lanes     *lane.Scheduler
	metrics   *metrics

	// mu is held for reading by each call and for writing by Close, so that nothing is freed under a call.
	mu     sync.RWMutex
	closed bool
}

func openEngine(m *models.Model, o *Options) (*engine, error) {
	if o == nil || o.Library == "" {
		return nil, errors.New("embed: Options.Library is required")
	}
	if !o.Provider.known() {
		return nil, fmt.Errorf("provider: is %q; supported are %v", o.Provider, Providers)
	}
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if err := initEnvironment(o.Library); err != nil {
		return nil, err
	}
	vocabulary, err := m.ReadFile(m.Files.Tokenizer)
	if err != nil {
		return nil, err
	}
	graph, err := m.ReadFile(m.Files.Model)
	if err != nil {
		return nil, err
	}
	e := &engine{manifest: m.Manifest, provider: o.Provider, workers: workers, metrics: newMetrics()}
	if e.tokenizer, err = newTokenizer(vocabulary, m.MaxTokens); err != nil {
		return nil, fmt.Errorf("model %s: %w", m.ID, err)
	}
	if e.session, err = newSession(graph, m.Manifest, o.Provider); err != nil {
		return nil, errors.Join(fmt.Errorf("model %s: %w", m.ID, err), e.tokenizer.close())
	}
	for range workers {
		b := &buffers{}
		e.session.reserve(b, maxBudget/leastTokens, max(m.MaxTokens, maxBudget))
		e.buffers = append(e.buffers, b)
	}
	e.lanes = lane.New(lane.Options{
		Slots: workers, Limits: [2]int{workers * interactiveTokens, workers * bulkTokens},
		Run: func(slot int, batch []lane.Text, out []lane.Result) error {
			return e.session.results(e.buffers[slot], batch, out)
		},
		Observer: observer{e.metrics},
	})
	e.metrics.lanes = e.lanes
	return e, nil
}

// run sends texts through a lane and gives their results, none of which is an error. tokens is about how many they have in
// all; text makes each of them.
func (e *engine) run(ctx context.Context, l Lane, texts, tokens int, text func(i int) (lane.Text, error)) ([]lane.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	call, err := e.lanes.Begin(ctx, l, texts, tokens)
	if err != nil {
		return nil, err
	}
	defer call.End()
	for i := range texts {
		begin := time.Now()
		t, err := text(i)
		if err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		e.metrics.tokenizeIn[l].Observe(time.Since(begin).Seconds())
		if err := call.Add(i, t); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			break // the text at fault is found below
		}
	}
	results, err := call.Wait()
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		if r.Err != nil {
			return nil, &TextError{Index: i, Err: r.Err}
		}
	}
	return results, nil
}

// Manifest describes the model. It must not be changed.
func (e *engine) Manifest() *models.Manifest { return e.manifest }

// enter begins a call, which ends with leave.
func (e *engine) enter() error {
	e.mu.RLock()
	if e.closed {
		e.mu.RUnlock()
		return ErrClosed
	}
	return nil
}

func (e *engine) leave() { e.mu.RUnlock() }

// Close waits for running calls, then frees the model. Calls after it return ErrClosed.
func (e *engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.lanes.Close()
	return errors.Join(e.session.close(), e.tokenizer.close())
}
