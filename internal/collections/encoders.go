package collections

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"embedd/internal/retrieval"
)

// Encoders are the open encoders. Each is opened once, for all collections that have it, and closed when none has it any more. All methods
// may be called from many goroutines at once.
type Encoders[E retrieval.Encoder] struct {
	open  func(ctx context.Context, model string, dimension int) (E, error)
	close func(E) error

	opening sync.Mutex // held while one is opened or closed, which takes seconds: one after the other
	mu      sync.Mutex // guards what follows, for moments
	shared  map[encoderKey]*sharedEncoder[E]
}

type encoderKey struct {
	model     string
	dimension int
}

type sharedEncoder[E any] struct {
	encoder E
	users   int
}

// NewEncoders keeps encoders that are opened and closed as these functions do it.
func NewEncoders[E retrieval.Encoder](open func(ctx context.Context, model string, dimension int) (E, error), close func(E) error) *Encoders[E] {
	return &Encoders[E]{open: open, close: close, shared: map[encoderKey]*sharedEncoder[E]{}}
}

// Take gives the encoder of a model whose vectors are cut to a dimension, 0 for all, and opens it where nobody has it. release gives it back;
// it is called once.
func (x *Encoders[E]) Take(ctx context.Context, model string, dimension int) (e E, release func() error, err error) {
	x.opening.Lock()
	defer x.opening.Unlock()
	key := encoderKey{model, dimension}
	x.mu.Lock()
	s := x.shared[key]
	if s != nil {
		s.users++
	}
	x.mu.Unlock()
	if s == nil {
		if e, err = x.open(ctx, model, dimension); err != nil {
			return e, nil, err
		}
		s = &sharedEncoder[E]{e, 1}
		x.mu.Lock()
		x.shared[key] = s
		x.mu.Unlock()
	}
	return s.encoder, func() error { return x.release(key) }, nil
}

func (x *Encoders[E]) release(key encoderKey) error {
	x.opening.Lock()
	defer x.opening.Unlock()
	x.mu.Lock()
	s := x.shared[key]
	s.users--
	if s.users > 0 {
		x.mu.Unlock()
		return nil
	}
	delete(x.shared, key)
	x.mu.Unlock()
	return x.close(s.encoder)
}

// Open gives the encoders that are open, in the order of their models.
func (x *Encoders[E]) Open() (all []E) {
	x.mu.Lock()
	keys := make([]encoderKey, 0, len(x.shared))
	for k := range x.shared {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b encoderKey) int {
		return cmp.Or(cmp.Compare(a.model, b.model), cmp.Compare(a.dimension, b.dimension))
	})
	for _, k := range keys {
		all = append(all, x.shared[k].encoder)
	}
	x.mu.Unlock()
	return all
}
