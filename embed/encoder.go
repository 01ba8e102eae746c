package embed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"embedd/embed/lane"
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

func (r Role) String() string {
	if r == Query {
		return "query"
	}
	return "document"
}

// Encoding is a text's vector and what the model read of the text.
type Encoding struct {
	// Vector has the model's dimension and norm 1.
	Vector []float32
	// Tokens is the number of tokens in the whole text, prompt and special tokens included.
	Tokens int
	// Truncated: Tokens is over the model's MaxTokens, and the rest is not in the vector.
	Truncated bool
}

// Lane says who waits for a call; see package lane.
type Lane = lane.Lane

const (
	// Interactive is for a text that someone waits for.
	Interactive = lane.Interactive
	// Bulk is for texts that come in numbers: they let interactive ones go first.
	Bulk = lane.Bulk
)

// BusyError refuses a call whose lane is full, or that would not begin before its deadline, and says how long to wait.
type BusyError = lane.BusyError

// Plan says how texts are put together into Runs; see package lane.
type Plan = lane.Plan

// Options tune Open.
type Options struct {
	// Library is the path of ONNX Runtime's shared library. Required.
	Library string
	// Workers is how many Runs go on at once; 0 means one for each core that the process may use.
	Workers int
	// Provider computes the graph; "" is CPU.
	Provider Provider
	// Dimension cuts vectors to their first values and brings them back to norm 1; 0 keeps all. It must be the model's dimension
	// or one of its manifest's Dimensions.
	Dimension int
	// CachedQueries is how many vectors of queries are kept, those used last, of queries of up to 1 KiB; 0 keeps none. A
	// vector takes its dimension times 4 bytes.
	CachedQueries int
}

// The most tokens in flight, for each worker: some seconds of work in the interactive lane, some tens of seconds in bulk.
const (
	interactiveTokens = 8 << 10
	bulkTokens        = 128 << 10
)

// maxCachedBytes is the longest query whose vector is kept.
const maxCachedBytes = 1 << 10

// Encoder turns texts into vectors. All methods may be called from many goroutines at once.
type Encoder struct {
	*engine
	dim     int                          // of the vectors that are given out
	queries *lru.Cache[string, Encoding] // nil: none are kept
	names   vocabulary
}

// Open loads a model: its files are checked against the manifest, the graph's output against the dimension. Until WarmUp
// each text is a Run of its own. A cross-encoder is an error: see OpenScorer.
func Open(m *models.Model, o *Options) (*Encoder, error) {
	if m.Task == models.TaskScore {
		return nil, fmt.Errorf("model %s is a cross-encoder: it scores pairs of texts and gives no vectors", m.ID)
	}
	var err error
	e := &Encoder{dim: m.Dimension, names: vocabulary{model: m}}
	if o.Dimension != 0 && o.Dimension != m.Dimension {
		if !slices.Contains(m.Dimensions, o.Dimension) {
			if len(m.Dimensions) == 0 {
				return nil, fmt.Errorf("dimension %d: model %s has %d, and was not trained to have its vectors cut", o.Dimension, m.ID, m.Dimension)
			}
			return nil, fmt.Errorf("dimension %d: model %s has %d, and can be cut to %v only", o.Dimension, m.ID, m.Dimension, m.Dimensions)
		}
		e.dim = o.Dimension
	}
	if o.CachedQueries > 0 {
		if e.queries, err = lru.New[string, Encoding](o.CachedQueries); err != nil {
			return nil, err
		}
	}
	if e.engine, err = openEngine(m, o); err != nil {
		return nil, err
	}
	return e, nil
}

// Dimension is the length of the vectors.
func (e *Encoder) Dimension() int { return e.dim }

// Fingerprint stands for everything that changes a vector: see models.Manifest. Another provider than the CPU's rounds in another
// way, and OpenVINO rewrites graphs in int8 so that vectors differ in the third digit: its fingerprint is another.
func (e *Encoder) Fingerprint() string {
	f := e.manifest.FingerprintAt(e.dim)
	if e.provider != "" && e.provider != CPU {
		sum := sha256.Sum256([]byte(f + " by " + string(e.provider)))
		f = hex.EncodeToString(sum[:])
	}
	return f
}

// Encode returns a vector for each text, in order. A blank or over-long text is a *TextError and fails the call before
// anything is encoded; a call that the lane has no room or no time for is a *BusyError. When ctx ends, texts that are not
// running yet are dropped and ctx's error is returned.
func (e *Encoder) Encode(ctx context.Context, l Lane, role Role, texts []string) ([]Encoding, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	out, err := e.encode(ctx, l, role, texts)
	e.metrics.called(role.String(), len(texts), err)
	return out, err
}

func (e *Encoder) encode(ctx context.Context, l Lane, role Role, texts []string) ([]Encoding, error) {
	tokens := 0
	for i, text := range texts {
		if err := checkText(text); err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		tokens += e.guess(text)
	}
	if len(texts) == 0 {
		return nil, ctx.Err()
	}
	keep := e.queries != nil && role == Query && len(texts) == 1 && len(texts[0]) <= maxCachedBytes
	if keep {
		if enc, ok := e.queries.Get(texts[0]); ok {
			enc.Vector = slices.Clone(enc.Vector)
			e.metrics.cached.Inc()
			return []Encoding{enc}, nil
		}
	}
	out := make([]Encoding, len(texts))
	results, err := e.run(ctx, l, len(texts), tokens, func(i int) (lane.Text, error) {
		prompted := e.prompt(role) + texts[i]
		ids, total, err := e.tokenize(prompted, role)
		out[i] = Encoding{Tokens: total, Truncated: total > e.manifest.MaxTokens}
		return lane.Text{Key: prompted, IDs: ids}, err
	})
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		out[i].Vector = r.Vector
		if e.dim < len(r.Vector) {
			out[i].Vector = r.Vector[:e.dim:e.dim]
			if err := normalize(out[i].Vector); err != nil {
				return nil, &TextError{Index: i, Err: err}
			}
		}
		if out[i].Truncated {
			e.metrics.truncated.Inc()
		}
	}
	if keep {
		enc := out[0]
		enc.Vector = slices.Clone(enc.Vector)
		e.queries.Add(texts[0], enc)
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

// Dimensions are the lengths below Dimension that vectors may be cut to, ascending.
func (e *Encoder) Dimensions() []int {
	shorter := slices.Clone(e.manifest.Dimensions)
	return slices.DeleteFunc(shorter, func(n int) bool { return n >= e.dim })
}

// guess is about how many tokens a text has of those that the model reads, before they are counted.
func (e *Encoder) guess(text string) int { return min(e.manifest.MaxTokens, 2+len(text)/4) }

// prompt is what goes before a text in a role.
func (e *Encoder) prompt(role Role) string {
	if role == Query {
		return e.manifest.Prompts.Query
	}
	return e.manifest.Prompts.Document
}

// tokenize gives the ids that the model reads of a text that has its prompt, and how many the whole text has.
func (e *Encoder) tokenize(prompted string, role Role) (ids []uint32, total int, err error) {
	ids, total, err = e.tokenizer.encode(prompted)
	if err != nil {
		return nil, 0, err
	}
	if total == 2 && e.prompt(role) == "" { // the two special tokens around nothing
		return nil, 0, fmt.Errorf("%w: the tokenizer finds no word in it", ErrBlank)
	}
	return ids, total, nil
}

// Canary encodes one text and returns an error if the encoder does not work.
func (e *Encoder) Canary(ctx context.Context) error {
	_, err := e.Encode(ctx, Interactive, Query, []string{"related papers"})
	if err != nil {
		return fmt.Errorf("canary encode: %w", err)
	}
	return nil
}
