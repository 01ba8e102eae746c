package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"embedd/ann"
	"embedd/internal/collections"
	"embedd/internal/retrieval"
	"embedd/models"
)

// What the collections of a data directory have of the flags, and what each has of its own.

// of gives the flags for the collection that a data directory itself is, and what that is opened with. A directory that says what it was made with goes
// before flags that are left to their defaults; one that was given otherwise is refused.
func (f *engineFlags) of(dir string, o opening) (engineFlags, collections.About, error) {
	g := *f
	about, there, err := collections.ReadAbout(dir)
	if err != nil {
		return g, about, fmt.Errorf("data directory %s: %w; restore a backup", dir, err)
	}
	if !there {
		about.Settings = collections.Settings{Settings: retrieval.Settings{Dimension: f.Dimension}, Model: f.Model, M: f.M, EfConstruction: f.EfConstruction}
		if o.Neighbours != nil {
			about.Settings.Neighbours = *o.Neighbours
		}
		o.measured(&about.Settings)
		return g, about, nil
	}
	s := &about.Settings
	switch {
	case f.Model == models.Default || f.Model == s.Model:
	case slices.Contains(about.Formerly, f.Model): // a service is not to fail to start because of its own migration
		o.Log.Warn("--model names the model before a migration, and the other one is served; change the flag", "flag", f.Model, "served", s.Model, "migrated", about.Migrated)
	default:
		return g, about, madeOtherwise("model", f.Model, dir, cmp.Or(s.Model, "vectors of its own"))
	}
	neighbours := usualNeighbours
	if o.Neighbours != nil {
		neighbours = *o.Neighbours
	}
	for _, c := range []struct {
		flag               string
		given, usual, made int
		orServers          bool // 0 is that of the flag
	}{
		{"dimension", f.Dimension, 0, s.Dimension, false},
		{"m", f.M, usualM, s.M, true},
		{"ef-construction", f.EfConstruction, usualEfConstruction, s.EfConstruction, true},
		{"neighbours", neighbours, usualNeighbours, s.Neighbours, false},
	} {
		if c.given != c.usual && c.given != c.made && !(c.orServers && c.made == 0) {
			return g, about, madeOtherwise(c.flag, fmt.Sprint(c.given), dir, fmt.Sprint(c.made))
		}
	}
	g.Model, g.Dimension = s.Model, s.Dimension
	o.measured(s)
	return g, about, nil
}

func madeOtherwise(flag, given, dir, made string) error {
	return fmt.Errorf("--%s: is %s, and the collection in %s was made with %s; leave the flag out", flag, given, dir, made)
}

// measured puts the settings of a measurement in the place of a collection's, but for its dimension.
func (o *opening) measured(s *collections.Settings) {
	if o.Settings != nil {
		dimension := s.Dimension
		s.Settings = *o.Settings
		s.Dimension = dimension
	}
}

// isCollection tells whether a data directory is one of those that another one has. It has none itself: who deletes it would delete them.
func isCollection(dir string, about collections.About) bool {
	real, err := filepath.EvalSymlinks(dir)
	return err == nil && !about.Created.IsZero() && filepath.Base(filepath.Dir(real)) == "collections"
}

// retrievalOptions say how a collection is opened.
func (f *engineFlags) retrievalOptions(name string, s collections.Settings, o opening) retrieval.Options {
	memory, _ := ann.ParseMemory(f.IndexMemory) // openEngine has seen to it
	log := o.Log
	if name != collections.Default {
		log = log.With("collection", name)
	}
	out := retrieval.Options{
		Name: name, Settings: s.Retrieval(), Log: log, Observer: o.Observer, Reserve: o.Reserve, Map: o.Map,
		Index: ann.Options{M: cmp.Or(s.M, f.M), EfConstruction: cmp.Or(s.EfConstruction, f.EfConstruction), Memory: memory},
	}
	if o.OnWritable != nil {
		out.OnWritable = func(err error) { o.OnWritable(name, err) }
	}
	return out
}

// loaded is an encoder that is open.
type loaded struct {
	encoderOf
	proof *proof
}

// proof says whether an encoder was tried.
type proof struct{ done bool }

// prove encodes a canary, and warms the encoder up where that is asked for, once. Only one calls it at a time: a start, or a change of the set.
func (l loaded) prove(ctx context.Context, warm bool) error {
	if l.proof.done {
		return nil
	}
	if err := l.e.Canary(ctx); err != nil {
		return err
	}
	if warm {
		if _, err := l.e.WarmUp(ctx); err != nil {
			return err
		}
	}
	l.proof.done = true
	return nil
}

// encoders keeps the encoders of the collections.
func (f engineFlags) encoders(log *slog.Logger) *collections.Encoders[loaded] {
	open := func(ctx context.Context, model string, dimension int) (loaded, error) {
		g := f
		g.Model, g.Dimension = model, dimension
		if err := verifyOnce(ctx, &g, model, log); err != nil {
			return loaded{}, err
		}
		e, err := openEncoder(&g)
		return loaded{encoderOf{e}, &proof{}}, err
	}
	return collections.NewEncoders(open, func(l loaded) error { return l.e.Close() })
}

// take gives the encoder of settings, to be given back by release; without one where the papers bring their own vectors.
func (en *engine) take(ctx context.Context, s collections.Settings) (l loaded, e retrieval.Encoder, release func() error, err error) {
	if s.OwnVectors {
		return l, nil, func() error { return nil }, nil
	}
	if l, release, err = en.encoders.Take(ctx, s.Model, en.cut(s)); err != nil {
		return l, nil, nil, err
	}
	return l, l, release, nil
}

// cut is the dimension of settings, 0 where it is all that the model has: encoders are shared by it.
func (en *engine) cut(s collections.Settings) int {
	if m, err := models.Open(en.models, s.Model); err == nil && m.Dimension == s.Dimension {
		return 0
	}
	return s.Dimension // whoever opens it says what is wrong
}

// encoderOf gives the encoder of a collection that is made or opened beside the default one, proved, and its settings with the model named.
func (f engineFlags) encoderOf(en *engine, warm bool) func(context.Context, collections.Settings) (retrieval.Encoder, collections.Settings, func() error, error) {
	return func(ctx context.Context, s collections.Settings) (retrieval.Encoder, collections.Settings, func() error, error) {
		s, err := f.complete(s)
		if err != nil {
			return nil, s, nil, err
		}
		l, e, release, err := en.take(ctx, s)
		if err != nil {
			return nil, s, nil, err
		}
		if e != nil {
			if err := l.prove(ctx, warm); err != nil {
				return nil, s, nil, errors.Join(err, release())
			}
		}
		return e, s, release, nil
	}
}

// complete names the model that settings leave to the default collection, and refuses what it cannot do.
func (f engineFlags) complete(s collections.Settings) (collections.Settings, error) {
	if m, ef := cmp.Or(s.M, f.M), cmp.Or(s.EfConstruction, f.EfConstruction); ef < m {
		return s, wrongSetting("ef_construction", "is %d; must be %d (m) to %d", ef, m, maxEfConstruction)
	}
	if s.OwnVectors {
		return s, nil
	}
	s.Model = cmp.Or(s.Model, f.Model)
	if s.Model == "" {
		return s, wrongSetting("model", "is missing; the default collection has none")
	}
	m, err := models.Open(f.Models, s.Model)
	switch {
	case errors.Is(err, models.ErrMissing):
		if _, unknown := models.Find(s.Model); unknown == nil {
			return s, wrongSetting("model", "%q is not there yet; bring it, where the server is, with: embedd models pull %s", s.Model, s.Model)
		}
		return s, wrongSetting("model", "%.100q is not there; embedd models list shows those that are, and those that embedd models pull brings", s.Model)
	case err != nil:
		return s, wrongSetting("model", "%v", err)
	case m.Task == models.TaskScore:
		return s, wrongSetting("model", "%s is a cross-encoder: it scores pairs of texts and gives no vectors", m.ID)
	case s.Dimension != 0 && s.Dimension != m.Dimension && !slices.Contains(m.Dimensions, s.Dimension):
		return s, wrongSetting("dimension", "is %d; vectors of %s have %d values, and can be cut to %v only", s.Dimension, m.ID, m.Dimension, m.Dimensions)
	}
	return s, nil
}

func wrongSetting(name, format string, a ...any) error {
	return &retrieval.Error{Kind: retrieval.Invalid, Field: "settings." + name, Message: fmt.Sprintf(format, a...)}
}
