package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"embedd/ann"
	"embedd/embed"
	"embedd/internal/collections"
	"embedd/internal/native"
	"embedd/internal/retrieval"
	"embedd/models"
)

// engineFlags say how a data directory is opened.
type engineFlags struct {
	Model          string   `help:"Id of the sentence encoder." default:"${model}" placeholder:"ID"`
	Dimension      int      `help:"Cut vectors to their first N values, where the model was trained for it; 0: all." default:"0" placeholder:"N"`
	Models         string   `help:"Folder of the models; default: models in the .embedd folder." placeholder:"DIR"`
	Library        string   `help:"ONNX Runtime's shared library; default: lib in the .embedd folder." placeholder:"FILE"`
	Provider       string   `help:"What computes the graph: cpu, openvino or cuda; the last two need a library that has them, see docs/models.md." enum:"cpu,openvino,cuda" default:"cpu"`
	Workers        int      `help:"Runs of a model at once; 0: one for each core." default:"0" placeholder:"N"`
	QueryCache     int      `help:"Vectors of queries that are kept for the next time; 0: none." default:"4096" placeholder:"N"`
	Reranker       []string `help:"Id of a cross-encoder that searches can be re-ranked by; may be given several times, the first is the usual one. See docs/search.md." placeholder:"ID"`
	M              int      `help:"HNSW: links of a new paper on each level of the graph." default:"${m}" placeholder:"N"`
	EfConstruction int      `help:"HNSW: candidates looked at for these links." default:"${ef}" placeholder:"N"`
	IndexMemory    string   `help:"What the index keeps of a vector beside its code: residual, what the code leaves; fast, float32; lean, float32 in a file. See docs/index.md." enum:"residual,fast,lean" default:"residual"`
}

// The ranges of HNSW's parameters are package ann's, to which 0 is the default.
const (
	minM, maxM        = collections.MinM, collections.MaxM
	maxEfConstruction = collections.MaxEfConstruction
)

// What flags are where they are not given; a collection that was made otherwise goes before them.
const (
	usualM              = 16
	usualEfConstruction = 200
	usualNeighbours     = 20
)

// check refuses parameters of the index that it cannot be made with. It is called before anything is opened.
func (f *engineFlags) check() error {
	switch {
	case f.M < minM || f.M > maxM:
		return fmt.Errorf("--m: is %d; must be %d to %d", f.M, minM, maxM)
	case f.EfConstruction < f.M || f.EfConstruction > maxEfConstruction:
		return fmt.Errorf("--ef-construction: is %d; must be %d (--m) to %d", f.EfConstruction, f.M, maxEfConstruction)
	case f.Dimension < 0:
		return fmt.Errorf("--dimension: is %d; must be 0 or more", f.Dimension)
	}
	return nil
}

// resolve fills the defaults that depend on where the .embedd folder is.
func (f *engineFlags) resolve() error {
	if f.QueryCache < 0 {
		return fmt.Errorf("--query-cache: is %d; must be 0 or more", f.QueryCache)
	}
	if f.Workers < 0 {
		return fmt.Errorf("--workers: is %d; must be 0 or more", f.Workers)
	}
	if f.Workers == 0 {
		f.Workers = runtime.GOMAXPROCS(0)
	}
	if f.Library != "" { // the loader looks for a bare name elsewhere
		path, err := filepath.Abs(f.Library)
		if err != nil {
			return err
		}
		f.Library = path
	}
	if f.Models != "" && f.Library != "" {
		return nil
	}
	home, err := native.Home()
	if err != nil {
		return err
	}
	if f.Models == "" {
		f.Models = native.Models(home)
	}
	if f.Library == "" {
		f.Library = native.RuntimeLibrary(home)
	}
	return nil
}

// engine is a data directory that is open: everything behind a door.
type engine struct {
	encoder    *embed.Encoder        // the default collection's; nil where its papers bring their own vectors
	scorers    []*embed.Scorer       // of all collections
	collection *retrieval.Collection // the default one
	settings   collections.Settings  // that it is open with
	set        *collections.Set      // all
	encoders   *collections.Encoders[loaded]
	models     string        // the folder
	release    func() error  // gives the encoder back
	tuning     *embed.Tuning // of the encoder; nil: not warmed up
}

// The stages of opening an engine.
const (
	stageModel       = "loading the model"
	stageStore       = "opening the store"
	stageIndex       = "catching up the index"
	stageCanary      = "testing the model"
	stageWarming     = "warming up"
	stageCollections = "opening the other collections"
)

// watcher is told how the opening of an engine goes on. Set is called in stageIndex, for papers, and in stageCollections.
type watcher interface {
	Stage(name string)
	Set(done, total int)
}

// nobody is a watcher.
type nobody struct{}

func (nobody) Stage(string) {}
func (nobody) Set(int, int) {}

// opening says how an engine is opened. The zero value is usable but for Log.
type opening struct {
	// Warm warms the encoder up, which pays from some hundred texts on.
	Warm bool
	// All opens all collections of the data directory, not the default one alone, and lets others be made.
	All bool
	// Jobs are done in this process, where somebody asks for them.
	Jobs bool
	Log  *slog.Logger
	// Watch and Observer may be nil.
	Watch    watcher
	Observer retrieval.Observer
	// Reserve and Ballast are retrieval's; the ballast is in the default collection's store, for all that are on its disk.
	Reserve uint64
	Ballast int64
	// OnWritable, where it is set, is told of each collection whether papers can be stored, Gone of one that is not open any more, or could not be opened.
	OnWritable func(collection string, err error)
	Gone       func(collection string)
	// Room is for migrations: see collections.
	Room func() error
	// Neighbours that the default collection keeps of each paper, where it was not made with settings of its own; nil: none.
	Neighbours *int
	// Map: maps are drawn behind the start, and anew after many changes.
	Map bool
	// Settings, where it is not nil, are what the default collection is made with, for measurements.
	Settings *retrieval.Settings
}

// openEngine verifies and loads the model, one of the user's own in a child first, opens the data directory, and encodes a canary.
func openEngine(ctx context.Context, flags *engineFlags, dir string, o opening) (_ *engine, err error) {
	watch := o.Watch
	if watch == nil {
		watch = nobody{}
	}
	watch.Stage(stageModel)
	if err := cmp.Or(flags.check(), flags.resolve()); err != nil {
		return nil, err
	}
	f, about, err := flags.of(dir, o)
	if err != nil {
		return nil, err
	}
	if _, err := ann.ParseMemory(f.IndexMemory); err != nil {
		return nil, fmt.Errorf("--index-memory: %w", err)
	}
	for _, id := range f.Reranker {
		if err := verifyOnce(ctx, &f, id, o.Log); err != nil {
			return nil, err
		}
	}
	en := &engine{encoders: f.encoders(o.Log), models: f.Models, settings: about.Settings}
	defer func() {
		if err != nil {
			err = errors.Join(err, en.Close())
		}
	}()
	encoder, taken, release, err := en.take(ctx, about.Settings)
	if err != nil {
		return nil, err
	}
	en.encoder, en.release = encoder.e, sync.OnceValue(release)
	if err := en.openRerankers(&f); err != nil {
		return nil, err
	}
	options := func(name string, s collections.Settings) retrieval.Options {
		r := f.retrievalOptions(name, s, o)
		r.Rerankers = en.rerankers()
		return r
	}
	watch.Stage(stageStore)
	served, err := collections.Serves(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w; restore a backup", dir, err)
	}
	own := options(collections.Default, about.Settings)
	own.Ballast, own.KeepLog = o.Ballast, served.KeepLog
	own.Progress = func(done, total int) {
		watch.Stage(stageIndex)
		watch.Set(done, total)
	}
	if en.collection, err = retrieval.Open(ctx, served.Dir, taken, &own); err != nil {
		return nil, err
	}
	watch.Stage(stageCanary)
	if err := en.canaries(ctx); err != nil {
		return nil, err
	}
	if o.Warm {
		watch.Stage(stageWarming)
		if err := en.warmUp(ctx); err != nil {
			return nil, err
		}
	}
	if en.encoder != nil {
		encoder.proof.done = true
	}
	if !o.All || isCollection(dir, about) {
		en.set = collections.Alone(en.collection, about)
		return en, nil
	}
	en.set, err = collections.Open(ctx, dir, en.collection, about, collections.Options{
		Log: o.Log, Encoder: f.encoderOf(en, o.Warm), Retrieval: options, Gone: o.Gone, Release: en.release, Room: o.Room, Remake: f.remake(o.Log),
		Opening: func(_ string, done, total int) {
			watch.Stage(stageCollections)
			watch.Set(done, total)
		},
	})
	if err != nil {
		return nil, err
	}
	return en, nil
}

// remake gives how vectors are turned where the one model is an adapter of the other, so that no text has to be read.
func (f *engineFlags) remake(log *slog.Logger) func(from, to collections.Settings) retrieval.Remake {
	return func(from, to collections.Settings) retrieval.Remake {
		matrix, err := f.matrix(from, to)
		if err != nil {
			log.Warn("a migration reads the texts, where it could turn vectors", "from", from.Model, "to", to.Model, "error", err)
		}
		if matrix == nil {
			return nil
		}
		return func(old []float32) ([]float32, error) {
			turned := make([]float32, len(old))
			return turned, models.Turn(turned, matrix, old)
		}
	}
}

// matrix is that of an adapter of a model, by which its vectors, which are not cut, become those of the adapter; nil where there is none.
func (f *engineFlags) matrix(from, to collections.Settings) ([]float32, error) {
	if from.OwnVectors || to.OwnVectors || from.Sentences || from.Passages {
		return nil, nil
	}
	adapter, err := models.Open(f.Models, to.Model)
	if err != nil || adapter.Adapter == nil {
		return nil, err
	}
	base, err := models.Open(f.Models, from.Model)
	if err != nil || !adapter.Adapts(base.Fingerprint()) {
		return nil, err
	}
	for _, cut := range []int{from.Dimension, to.Dimension} {
		if cut != 0 && cut != base.Dimension {
			return nil, nil
		}
	}
	return adapter.Matrix()
}

// canaries tries the encoder and each cross-encoder.
func (en *engine) canaries(ctx context.Context) error {
	if en.encoder != nil {
		if err := en.encoder.Canary(ctx); err != nil {
			return err
		}
	}
	for _, s := range en.scorers {
		if err := s.Canary(ctx); err != nil {
			return fmt.Errorf("--reranker %s: %w", s.Manifest().ID, err)
		}
	}
	return nil
}

// warmUp warms the encoder up, and each cross-encoder.
func (en *engine) warmUp(ctx context.Context) (err error) {
	if en.encoder != nil {
		if en.tuning, err = en.encoder.WarmUp(ctx); err != nil {
			return err
		}
	}
	for _, s := range en.scorers {
		if _, err := s.WarmUp(ctx); err != nil {
			return fmt.Errorf("--reranker %s: %w", s.Manifest().ID, err)
		}
	}
	return nil
}

// openEncoder loads the model that the flags name. It is not warmed up.
func openEncoder(f *engineFlags) (*embed.Encoder, error) {
	m, err := models.Open(f.Models, f.Model)
	if err != nil {
		return nil, err
	}
	return embed.Open(m, &embed.Options{Library: f.Library, Provider: embed.Provider(f.Provider), Workers: f.Workers, Dimension: f.Dimension, CachedQueries: f.QueryCache})
}

// Close saves and closes the data directory, then frees the models. What is not open is passed over.
func (en *engine) Close() error {
	var errs []error
	if en.set != nil {
		errs = append(errs, en.set.Close())
	}
	if en.collection != nil {
		errs = append(errs, en.collection.Close())
	}
	for _, s := range en.scorers {
		errs = append(errs, s.Close())
	}
	if en.release != nil {
		errs = append(errs, en.release())
	}
	return errors.Join(errs...)
}

// dataDir is the data directory that was asked for, or without one that of the .embedd folder.
func dataDir(asked string) (string, error) {
	if asked != "" {
		return asked, nil
	}
	home, err := native.Home()
	if err != nil {
		return "", err
	}
	return native.Data(home), nil
}

// checkFolder refuses a data directory that is not there.
func checkFolder(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("--data: %w; make it with: embedd index --data %s FILE", err, shellWord(dir))
	}
	if !fi.IsDir() {
		return fmt.Errorf("--data: %s is not a folder", filepath.Clean(dir))
	}
	return nil
}

// checkDataDir refuses a folder that is no data directory, for commands that only read: opening it would make it one.
func checkDataDir(dir string) error {
	if err := checkFolder(dir); err != nil {
		return err
	}
	there, err := exists(dir)
	if err == nil && !there {
		err = fmt.Errorf("--data: the folder %s has no papers in it; is it another one? To make it a data directory: embedd index --data %s FILE", filepath.Clean(dir), shellWord(dir))
	}
	return err
}

// exists tells whether a data directory has papers, of the generation that it serves.
func exists(dir string) (bool, error) {
	served, err := collections.Serves(dir)
	if err != nil {
		return false, err
	}
	return retrieval.Exists(served.Dir)
}

// encoderOf is package embed's encoder in the words of package retrieval: the two do not know each other.
type encoderOf struct{ e *embed.Encoder }

func (x encoderOf) Encode(ctx context.Context, lane retrieval.Lane, role retrieval.Role, texts []string) ([]retrieval.Encoding, error) {
	encodings, err := x.e.Encode(ctx, laneOf(lane), roleIn(role), texts)
	if err != nil {
		return nil, encodeError(err)
	}
	out := make([]retrieval.Encoding, len(encodings))
	for i, enc := range encodings {
		out[i] = retrieval.Encoding{Vector: enc.Vector, TextUse: retrieval.TextUse{Tokens: enc.Tokens, Truncated: enc.Truncated}}
	}
	return out, nil
}

func (x encoderOf) Sentences(ctx context.Context, lane retrieval.Lane, texts []retrieval.Passage) ([][]retrieval.Part, error) {
	return partsOf(x.e.Sentences(ctx, laneOf(lane), passagesOf(texts)))
}

func (x encoderOf) Passages(ctx context.Context, lane retrieval.Lane, texts []retrieval.Passage, most int) ([][]retrieval.Part, error) {
	return partsOf(x.e.Passages(ctx, laneOf(lane), passagesOf(texts), most))
}

// partsOf is what package embed has made of parts of texts in the words of package retrieval.
func partsOf(all [][]embed.Part, err error) ([][]retrieval.Part, error) {
	if err != nil {
		return nil, encodeError(err)
	}
	out := make([][]retrieval.Part, len(all))
	for i, parts := range all {
		for _, p := range parts {
			out[i] = append(out[i], retrieval.Part(p))
		}
	}
	return out, nil
}

// laneOf and roleIn are lanes and roles in the words of package embed.
func laneOf(lane retrieval.Lane) embed.Lane {
	if lane == retrieval.Bulk {
		return embed.Bulk
	}
	return embed.Interactive
}

func roleIn(role retrieval.Role) embed.Role {
	if role == retrieval.Query {
		return embed.Query
	}
	return embed.Document
}

func (x encoderOf) Explain(ctx context.Context, query retrieval.Asked, texts []retrieval.Passage) ([]*retrieval.Explanation, error) {
	all, err := x.e.Explain(ctx, embed.Asked{Vector: query.Vector, Text: (*embed.Passage)(query.Text), Role: roleIn(query.Role)}, passagesOf(texts))
	if all == nil && err != nil {
		return nil, encodeError(err)
	}
	out := make([]*retrieval.Explanation, len(all))
	for i, explained := range all {
		if explained != nil {
			out[i] = explanationOf(explained)
		}
	}
	return out, encodeError(err)
}

// explanationOf is package embed's explanation in the words of package retrieval.
func explanationOf(x *embed.Explanation) *retrieval.Explanation {
	sentences := func(all []embed.Sentence) (out []retrieval.Sentence) {
		for _, s := range all {
			out = append(out, retrieval.Sentence{Begin: s.Begin, End: s.End, Share: s.Share, Score: s.Score, Read: s.Read})
		}
		return out
	}
	out := &retrieval.Explanation{
		Score: x.Score, Shares: x.Shares, Sentences: sentences(x.Sentences), Rest: x.Rest,
		Query: sentences(x.Query), QueryRest: x.QueryRest,
	}
	if b := x.Best; b != nil {
		out.Pair, out.BestQuery, out.Best, out.BestScore = true, b.Query, b.Text, b.Score
	}
	return out
}

func passagesOf(texts []retrieval.Passage) []embed.Passage {
	out := make([]embed.Passage, len(texts))
	for i, text := range texts {
		out[i] = embed.Passage(text)
	}
	return out
}

// Tokenize implements retrieval.Tokenizer.
func (x encoderOf) Tokenize(ctx context.Context, role retrieval.Role, texts []string) ([]retrieval.Tokens, error) {
	all, err := x.e.Tokenize(ctx, roleIn(role), texts)
	if err != nil {
		return nil, encodeError(err)
	}
	out := make([]retrieval.Tokens, len(all))
	for i, t := range all {
		out[i] = retrieval.Tokens{IDs: t.IDs, Tokens: t.Names, TextUse: retrieval.TextUse{Tokens: t.Total, Truncated: t.Truncated}}
	}
	return out, nil
}

// encodeError is package embed's error in the words of package retrieval.
func encodeError(err error) error {
	var busy *embed.BusyError
	if errors.As(err, &busy) {
		return &retrieval.BusyError{Wait: busy.Wait, Err: err}
	}
	var about *embed.TextError
	if errors.As(err, &about) {
		return &retrieval.TextError{Index: about.Index, Blank: errors.Is(err, embed.ErrBlank), Err: err}
	}
	return err
}

func (x encoderOf) Model() retrieval.Model {
	m := x.e.Manifest()
	return retrieval.Model{
		ID: m.ID, Fingerprint: x.e.Fingerprint(), Dimension: x.e.Dimension(), Dimensions: x.e.Dimensions(), MaxTokens: m.MaxTokens,
		Pooling: string(m.Pooling), Precision: string(m.Precision), License: m.License,
	}
}
