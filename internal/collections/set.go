package collections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"embedd/internal/retrieval"
)

// Options say how collections are opened.
type Options struct {
	// Log is told of collections that cannot be opened, and of those made and removed. Default: slog.Default().
	Log *slog.Logger
	// Encoder gives the encoder of settings, and the settings with what they leave to the default collection. release gives it back.
	Encoder func(ctx context.Context, s Settings) (e retrieval.Encoder, complete Settings, release func() error, err error)
	// Retrieval gives how a collection is opened: all but its name and settings.
	Retrieval func(name string, s Settings) retrieval.Options
	// Gone, where it is set, is told of a collection that was removed, or could not be made or opened: what Retrieval's options were told of its
	// disk is about nothing any more.
	Gone func(name string)
	// Release gives back the encoder of the default collection that Open is given, once that is not served any more. It may be called where the caller
	// has done so, and the other way round.
	Release func() error
	// Remake, where it is set, gives how a vector of the model of from becomes one of that of to without reading the text; nil where it does not: the one place in
	// which a migration is told to encode nothing.
	Remake func(from, to Settings) retrieval.Remake
	// Room, where it is set, returns nil, or why papers must not be added for want of memory: a migration waits then.
	Room func() error
	// Opening, where it is set, is told before each collection that a start opens, of so many.
	Opening func(name string, done, total int)

	// step, for tests, is called before each change on the disk. Its error is that of the change.
	step func(at string) error
}

// Set are the collections of a data directory. All methods may be called from many goroutines at once.
type Set struct {
	root *os.Root // the data directory; nil: there is one collection, and there may be no other
	o    Options
	log  *slog.Logger

	// change is held by who changes what there is, on the disk and in state.
	change sync.Mutex
	closed bool // guarded by change
	state  atomic.Pointer[state]
}

// state is what there is at a moment. It does not change.
type state struct {
	// usual is what calls without a name ask; nil where it cannot be used.
	usual   *retrieval.Collection
	named   map[string]*entry // by their own names
	aliases map[string]string // the own name that each stands for
}

// entry is a collection. It does not change.
type entry struct {
	name       string
	about      About
	collection *retrieval.Collection // nil: it cannot be used
	err        error                 // why
	release    func() error          // gives its encoder back
	owned      bool                  // the set closes it
	filed      bool                  // its file says what it was made with
	migration  *migration            // nil: none is under way
}

// Alone is a set of one collection, which is the default one whatever it is called. There are no others, and none can be made.
func Alone(c *retrieval.Collection, about About) *Set {
	s := &Set{log: slog.Default()}
	s.state.Store(newState(map[string]*entry{Default: {name: Default, about: about, collection: c}}, nil))
	return s
}

func newState(named map[string]*entry, aliases map[string]string) *state {
	st := &state{named: named, aliases: aliases}
	if e := st.find(Default); e != nil {
		st.usual = e.collection
	}
	return st
}

// find gives the collection of a name or an alias; nil where there is none.
func (st *state) find(name string) *entry {
	if own, ok := st.aliases[name]; ok {
		return st.named[own]
	}
	return st.named[name]
}

// Get gives the collection that calls ask for by a name or an alias, "" for the default. The error names the field collection.
func (s *Set) Get(name string) (*retrieval.Collection, error) {
	st := s.state.Load()
	if name == "" && st.usual != nil {
		return st.usual, nil
	}
	e := st.find(cmp.Or(name, Default))
	if e == nil {
		return nil, notFound("collection", name)
	}
	if e.collection == nil {
		return nil, &retrieval.Error{Kind: retrieval.Unavailable, Field: "collection", Message: fmt.Sprintf("%q cannot be used: %s", e.name, Reason(e.err)), Err: e.err}
	}
	return e.collection, nil
}

func notFound(field, name string) *retrieval.Error {
	return &retrieval.Error{Kind: retrieval.NotFound, Field: field, Message: fmt.Sprintf("there is no collection %.80q", name)}
}

// Reason is why a collection cannot be opened, in words for who asks for it: without paths, which the log has.
func Reason(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, retrieval.ErrInUse):
		return "another process has it open"
	case retrieval.KindOf(err) == retrieval.DataLoss, errors.Is(err, errDamaged):
		return "it is damaged; the server's log says what"
	case errors.Is(err, errModel):
		return "its model cannot be used; the server's log says why"
	}
	return "it cannot be opened; the server's log says why"
}

// errModel is in the error of a collection whose model cannot be opened.
var errModel = errors.New("its model cannot be used")

// Info is a collection of a set.
type Info struct {
	// Name is its own.
	Name    string
	Aliases []string // in order
	About   About
	// Collection is nil where it cannot be used; Err says why.
	Collection *retrieval.Collection
	Err        error
}

func (st *state) info(e *entry) Info {
	i := Info{Name: e.name, About: e.about, Collection: e.collection, Err: e.err}
	for alias, own := range st.aliases {
		if own == e.name {
			i.Aliases = append(i.Aliases, alias)
		}
	}
	slices.Sort(i.Aliases)
	return i
}

// List gives all collections in the order of their names.
func (s *Set) List() []Info {
	st := s.state.Load()
	var all []Info
	for _, name := range slices.Sorted(maps.Keys(st.named)) {
		all = append(all, st.info(st.named[name]))
	}
	return all
}

// Describe gives the collection of a name or an alias. field is the request's.
func (s *Set) Describe(field, name string) (Info, error) {
	st := s.state.Load()
	e := st.find(cmp.Or(name, Default))
	if e == nil {
		return Info{}, notFound(field, name)
	}
	return st.info(e), nil
}

// closers are how many collections are closed at once: each saves its index.
const closers = 4

// Close closes all collections but the default one that Open was given, which is the caller's, and gives their encoders back. There are no changes any more.
func (s *Set) Close() error {
	s.change.Lock()
	defer s.change.Unlock()
	if s.closed || s.root == nil {
		return nil
	}
	s.closed = true
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	turns := make(chan struct{}, closers)
	for _, e := range s.state.Load().named {
		if e.migration != nil {
			if err := e.migration.close(); err != nil {
				errs = append(errs, fmt.Errorf("migration of %s: %w", e.name, err))
			}
		}
		if !e.owned || e.collection == nil {
			continue
		}
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			err := e.close()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(append(errs, s.root.Close())...)
}

// gone tells that a collection is not open.
func (s *Set) gone(name string) {
	if s.o.Gone != nil {
		s.o.Gone(name)
	}
}

func (e *entry) close() error {
	if err := errors.Join(e.collection.Close(), e.release()); err != nil {
		return fmt.Errorf("collection %s: %w", e.name, err)
	}
	return nil
}

// publish makes a change seen. change is held.
func (s *Set) publish(edit func(named map[string]*entry, aliases map[string]string)) {
	st := s.state.Load()
	named, aliases := maps.Clone(st.named), maps.Clone(st.aliases)
	if aliases == nil {
		aliases = map[string]string{}
	}
	edit(named, aliases)
	s.state.Store(newState(named, aliases))
}
