package embed

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"embedd/models"
)

// MaxTextBytes is the longest text that Encode takes, in bytes. Far more than any abstract: a text beyond it is a
// mistake of the caller, and tokenising it would cost more than encoding.
const MaxTextBytes = 1 << 20

// Errors of Encode, for errors.Is.
var (
	// ErrBlank: a text has nothing to encode.
	ErrBlank = errors.New("text is blank")
	// ErrTooLong: a text is longer than MaxTextBytes.
	ErrTooLong = fmt.Errorf("text is longer than %d bytes", MaxTextBytes)
	// ErrClosed: the encoder was closed.
	ErrClosed = errors.New("encoder is closed")
)

// TextError is an error about one text of a call.
type TextError struct {
	// Index of the text in the call.
	Index int
	Err   error
}

func (e *TextError) Error() string { return fmt.Sprintf("texts[%d]: %v", e.Index, e.Err) }

// Unwrap gives the cause: ErrBlank, ErrTooLong, or an error of the tokenizer or the graph.
func (e *TextError) Unwrap() error { return e.Err }

// Role is the side of a comparison that a text stands on. It chooses the prompt.
type Role uint8

const (
	// Document is a text to be found.
	Document Role = iota
	// Query is a text to find others with.
	Query
)

// Encoding is a text's vector and what the model read of the text.
type Encoding struct {
	// Vector has the model's dimension and norm 1.
	Vector []float32
	// Tokens is the number of tokens in the whole text, prompt and special tokens included.
	Tokens int
	// Truncated: Tokens is over the model's MaxTokens, and the rest is not in the vector.
	Truncated bool
}

// Options tune Open.
type Options struct {
	// Library is the path of ONNX Runtime's shared library. Required.
	Library string
	// Workers is how many Runs go on at once; 0 means one for each core that the process may use.
	Workers int
}

// Encoder turns texts into vectors. All methods may be called from many goroutines at once.
type Encoder struct {
	manifest  *models.Manifest
	tokenizer *tokenizer
	session   *session
	workers   int

	jobs chan *job
	done sync.WaitGroup // the workers

	// mu is held for reading by each call and for writing by Close, so that nothing is freed under a call.
	mu     sync.RWMutex
	closed bool
}

// job is one text on its way through a worker.
type job struct {
	ctx  context.Context
	ids  []uint32
	out  *Encoding
	err  error
	done *sync.WaitGroup
}

// Open loads a model: its files are checked against the manifest, the graph's output against the dimension.
func Open(m *models.Model, o *Options) (_ *Encoder, err error) {
	if o == nil || o.Library == "" {
		return nil, errors.New("embed: Options.Library is required")
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
	e := &Encoder{manifest: m.Manifest, workers: workers, jobs: make(chan *job)}
	if e.tokenizer, err = newTokenizer(vocabulary, m.MaxTokens); err != nil {
		return nil, fmt.Errorf("model %s: %w", m.ID, err)
	}
	if e.session, err = newSession(graph, m.Manifest); err != nil {
		return nil, errors.Join(fmt.Errorf("model %s: %w", m.ID, err), e.tokenizer.close())
	}
	if err := e.session.checkOutput(e.session.newBuffers(2)); err != nil {
		return nil, errors.Join(fmt.Errorf("model %s: %w", m.ID, err), e.session.close(), e.tokenizer.close())
	}
	for range workers {
		e.done.Add(1)
		go e.work()
	}
	return e, nil
}

// Manifest describes the model. It must not be changed.
func (e *Encoder) Manifest() *models.Manifest { return e.manifest }

// Encode returns a vector for each text, in order. A blank or over-long text is a *TextError and fails the call before
// anything is encoded. When ctx ends, texts that no worker has begun are dropped and ctx's error is returned.
func (e *Encoder) Encode(ctx context.Context, role Role, texts []string) ([]Encoding, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, ErrClosed
	}
	for i, text := range texts {
		if err := checkText(text); err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([]Encoding, len(texts))
	jobs := make([]job, len(texts))
	var pending sync.WaitGroup
	var failed error
	for i, text := range texts {
		ids, total, err := e.tokenize(role, text)
		if err != nil {
			failed = &TextError{Index: i, Err: err}
			break
		}
		out[i] = Encoding{Tokens: total, Truncated: total > e.manifest.MaxTokens}
		jobs[i] = job{ctx: ctx, ids: ids, out: &out[i], done: &pending}
		pending.Add(1)
		select {
		case e.jobs <- &jobs[i]:
			continue
		case <-ctx.Done():
			pending.Done()
			failed = context.Cause(ctx)
		}
		break
	}
	if failed != nil {
		cancel(failed) // what is queued is not worth running
	}
	pending.Wait()
	if failed != nil {
		return nil, failed
	}
	for i := range jobs {
		if err := jobs[i].err; err != nil {
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				return nil, err
			}
			return nil, &TextError{Index: i, Err: err}
		}
	}
	return out, nil
}

// checkText refuses what cannot become a vector, as far as can be seen before tokenising.
func checkText(text string) error {
	if len(text) > MaxTextBytes {
		return fmt.Errorf("%w: it has %d", ErrTooLong, len(text))
	}
	if strings.TrimSpace(text) == "" {
		return ErrBlank
	}
	return nil
}

// tokenize gives the ids that the model reads of a text in a role, and how many the whole text has.
func (e *Encoder) tokenize(role Role, text string) (ids []uint32, total int, err error) {
	prompt := e.manifest.Prompts.Document
	if role == Query {
		prompt = e.manifest.Prompts.Query
	}
	ids, total, err = e.tokenizer.encode(prompt + text)
	if err != nil {
		return nil, 0, err
	}
	if prompt == "" && total == 2 { // the two special tokens around nothing
		return nil, 0, fmt.Errorf("%w: the tokenizer finds no word in it", ErrBlank)
	}
	return ids, total, nil
}

// work is one worker: a text at a time until the jobs end.
func (e *Encoder) work() {
	defer e.done.Done()
	b := e.session.newBuffers(e.manifest.MaxTokens)
	for j := range e.jobs {
		j.err = e.encodeOne(b, j)
		j.done.Done()
	}
}

func (e *Encoder) encodeOne(b *buffers, j *job) error {
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	v, err := e.session.vector(b, j.ids)
	if err != nil {
		return err
	}
	j.out.Vector = v
	return nil
}

// Canary encodes one text and returns an error if the encoder does not work.
func (e *Encoder) Canary(ctx context.Context) error {
	_, err := e.Encode(ctx, Query, []string{"related papers"})
	if err != nil {
		return fmt.Errorf("canary encode: %w", err)
	}
	return nil
}

// Bare measures the limit: the time that the session alone takes for texts that are tokenised beforehand, run one at a
// time by as many goroutines as there are workers, without pooling, queue or results.
func (e *Encoder) Bare(ctx context.Context, texts []string) (time.Duration, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return 0, ErrClosed
	}
	tokens := make(chan []uint32, len(texts))
	for i, text := range texts {
		ids, _, err := e.tokenize(Document, text)
		if err != nil {
			return 0, &TextError{Index: i, Err: err}
		}
		tokens <- ids
	}
	close(tokens)
	errs := make([]error, e.workers)
	memory := make([]*buffers, e.workers)
	for w := range memory {
		memory[w] = e.session.newBuffers(e.manifest.MaxTokens)
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for w := range e.workers {
		wg.Go(func() {
			for ids := range tokens {
				if errs[w] = ctx.Err(); errs[w] != nil {
					return
				}
				if _, errs[w] = e.session.run(memory[w], ids); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin), errors.Join(errs...)
}

// Close waits for running calls, then frees the model. Calls after it return ErrClosed.
func (e *Encoder) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	close(e.jobs)
	e.done.Wait()
	return errors.Join(e.session.close(), e.tokenizer.close())
}
