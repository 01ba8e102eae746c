package collections

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"embedd/internal/retrieval"
	"embedd/internal/testkit"
)

// fake is an encoder without a model: a text has a direction that its hash gives.
type fake struct {
	model     string
	dimension int
}

func (f fake) Model() retrieval.Model {
	return retrieval.Model{ID: f.model, Fingerprint: strings.Repeat(fmt.Sprintf("%x", f.model[0]), 32), Dimension: f.dimension, MaxTokens: 8}
}

func (f fake) Encode(_ context.Context, _ retrieval.Lane, _ retrieval.Role, texts []string) ([]retrieval.Encoding, error) {
	out := make([]retrieval.Encoding, len(texts))
	for i, text := range texts {
		h := fnv.New64a()
		h.Write([]byte(f.model + text))
		r := rand.New(rand.NewPCG(h.Sum64(), 1))
		v, sum := make([]float32, f.dimension), 0.0
		for j := range v {
			v[j] = float32(r.NormFloat64())
			sum += float64(v[j]) * float64(v[j])
		}
		for j := range v {
			v[j] /= float32(math.Sqrt(sum))
		}
		out[i] = retrieval.Encoding{Vector: v}
	}
	return out, nil
}

func (fake) Sentences(context.Context, retrieval.Lane, []retrieval.Passage) ([][]retrieval.Part, error) {
	return nil, errors.New("is not asked for here")
}

func (fake) Passages(context.Context, retrieval.Lane, []retrieval.Passage, int) ([][]retrieval.Part, error) {
	return nil, errors.New("is not asked for here")
}

func (fake) Explain(context.Context, retrieval.Asked, []retrieval.Passage) ([]*retrieval.Explanation, error) {
	return nil, errors.New("is not asked for here")
}

// house is a data directory that is open.
type house struct {
	*Set
	dir      string
	usual    *retrieval.Collection
	encoders *Encoders[fake]
	step     func(at string) error
	options  func(name string) retrieval.Options // nil: the usual ones
	gone     func(name string)                   // nil: nobody is told
	log      *testkit.Buffer
}

// openHouse opens a data directory until close is called. Models are called a to z; others are not there.
func openHouse(dir string) (*house, error) { return (&house{dir: dir}).open() }

func (h *house) open() (*house, error) {
	dir := h.dir
	h.log = &testkit.Buffer{}
	h.step = func(string) error { return nil }
	h.encoders = NewEncoders(func(_ context.Context, model string, dimension int) (fake, error) {
		if len(model) != 1 {
			return fake{}, invalid("settings.model", "%q is not there", model)
		}
		if dimension == 0 {
			dimension = 16
		}
		return fake{model, dimension}, nil
	}, func(fake) error { return nil })
	quiet := slog.New(slog.DiscardHandler)
	about, there, err := ReadAbout(dir)
	if err != nil {
		return nil, err
	}
	if !there {
		about.Settings.Model = "a"
	}
	served, err := Serves(dir)
	if err != nil {
		return nil, err
	}
	if h.usual, err = retrieval.Open(context.Background(), served.Dir, fake{about.Settings.Model, 16}, &retrieval.Options{Name: Default, Log: quiet, KeepLog: served.KeepLog}); err != nil {
		return nil, err
	}
	h.Set, err = Open(context.Background(), dir, h.usual, about, Options{
		Log: slog.New(slog.NewTextHandler(h.log, nil)),
		Encoder: func(ctx context.Context, s Settings) (retrieval.Encoder, Settings, func() error, error) {
			if s.Model == "" {
				s.Model = "a"
			}
			e, release, err := h.encoders.Take(ctx, s.Model, s.Dimension)
			return e, s, release, err
		},
		Retrieval: func(name string, _ Settings) (o retrieval.Options) {
			if h.options != nil {
				o = h.options(name)
			}
			o.Log = quiet
			return o
		},
		Gone: h.gone,
		step: func(at string) error { return h.step(at) },
	})
	if err != nil {
		return nil, errors.Join(err, h.usual.Close())
	}
	return h, nil
}

func (h *house) close() error {
	err := errors.Join(h.Set.Close(), h.usual.Close())
	if n := len(h.encoders.Open()); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d encoders are open still", n))
	}
	return err
}

func mustOpen(t *testing.T, dir string) *house {
	t.Helper()
	h, err := openHouse(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// seen are the collections of a set, their models, papers and aliases, as a reader sees them; so equal sets are equal texts.
func (h *house) seen(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, of := range h.List() {
		fmt.Fprintf(&out, "%s %v model %s", of.Name, of.Aliases, of.About.Settings.Model)
		if of.Collection == nil {
			fmt.Fprintf(&out, " unavailable: %s\n", Reason(of.Err))
			continue
		}
		info, err := of.Collection.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, " %d papers\n", info.Papers)
	}
	return out.String()
}

func (h *house) put(t *testing.T, name string, ids ...string) {
	t.Helper()
	c, err := h.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	var papers []retrieval.Paper
	for _, id := range ids {
		papers = append(papers, retrieval.Paper{ID: id, Title: "paper " + id, Metadata: []byte(`{"topic <&>": "tests"}`)})
	}
	if _, _, err := c.Upsert(t.Context(), papers); err != nil {
		t.Fatal(err)
	}
}

func (h *house) create(t *testing.T, name string, s Settings) {
	t.Helper()
	if _, err := h.Create(t.Context(), name, s); err != nil {
		t.Fatal(err)
	}
}

// files are the names in a folder, those of a store left out.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "store" {
			return filepath.SkipDir
		}
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A data directory that nobody has made a collection in is as it was before there were any.
func TestADataDirectoryOfBefore(t *testing.T) {
	dir := t.TempDir()
	c, err := retrieval.Open(t.Context(), dir, fake{"a", 16}, &retrieval.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Upsert(t.Context(), []retrieval.Paper{{ID: "x", Title: "paper"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	h, err := openHouse(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := h.seen(t), "default [] model a 1 papers\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the files are %q, and were %q", after, before)
	}
}

// What is made is there after the next start, with its papers, its settings and its aliases; each is a data directory of its own.
func TestCollectionsStay(t *testing.T) {
	dir := t.TempDir()
	h, err := openHouse(dir)
	if err != nil {
		t.Fatal(err)
	}
	settings := Settings{Model: "b", M: 8, Settings: retrieval.Settings{Neighbours: 3, Fields: []retrieval.FieldSchema{{Name: "topic <&>", Type: "string", Repeated: true}}}}
	h.create(t, "other", settings)
	h.create(t, "third", Settings{})
	h.put(t, "", "x")
	h.put(t, "other", "y", "z")
	if before, err := h.SetAlias(t.Context(), "papers", "other"); before != "" || err != nil {
		t.Errorf("%q %v", before, err)
	}
	want := h.seen(t)
	about, err := h.Describe("name", "papers")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	at, own, err := Find(dir, "papers")
	if err != nil || own != "other" || at != filepath.Join(dir, "collections", "other") {
		t.Errorf("%q %q %v", at, own, err)
	}
	if names, err := Names(dir); err != nil || !slices.Equal(names, []string{"other", "third"}) {
		t.Errorf("%q %v", names, err)
	}
	if read, there, err := ReadAbout(at); err != nil || !there || !read.Created.Equal(about.About.Created) || fmt.Sprint(read.Settings) != fmt.Sprint(settings) {
		t.Errorf("%+v %v %v, want %+v", read, there, err, about.About)
	}
	c, err := retrieval.Open(t.Context(), at, fake{"b", 16}, &retrieval.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Check(), c.Close()); err != nil {
		t.Error(err)
	}
	again := mustOpen(t, dir)
	if got := again.seen(t); got != want {
		t.Errorf("after a start:\n%s\nwant\n%s", got, want)
	}
}

func TestAliases(t *testing.T) {
	h := mustOpen(t, t.TempDir())
	h.create(t, "one", Settings{})
	h.create(t, "two", Settings{})
	own := func(called string) string {
		c, err := h.Get(called)
		if err != nil {
			t.Fatal(err)
		}
		return c.Name()
	}
	for _, c := range []struct {
		alias, own, before string
	}{{"papers", "one", ""}, {"papers", "two", "one"}, {"papers", "two", "two"}, {Default, "one", ""}, {"old", Default, ""}} {
		if before, err := h.SetAlias(t.Context(), c.alias, c.own); before != c.before || err != nil {
			t.Errorf("%s -> %s: %q %v, want %q", c.alias, c.own, before, err, c.before)
		}
		if got := own(c.alias); got != c.own {
			t.Errorf("%s is %s, want %s", c.alias, got, c.own)
		}
	}
	if got := own(""); got != "one" {
		t.Errorf("calls without a collection ask %s, want one", got)
	}
	for _, c := range []struct {
		alias, own string
		kind       retrieval.Kind
		field      string
	}{
		{"Papers", "one", retrieval.Invalid, "alias"},
		{"", "one", retrieval.Invalid, "alias"},
		{"two", "one", retrieval.FailedPrecondition, "alias"},
		{"one", "one", retrieval.Invalid, "alias"},
		{Default, Default, retrieval.Invalid, "alias"},
		{"x", "papers", retrieval.FailedPrecondition, "collection"},
		{"x", "nosuch", retrieval.NotFound, "collection"},
		{"x", "../one", retrieval.NotFound, "collection"},
	} {
		var e *retrieval.Error
		if _, err := h.SetAlias(t.Context(), c.alias, c.own); !errors.As(err, &e) || e.Kind != c.kind || e.Field != c.field {
			t.Errorf("%q -> %q: %v, want %v of %s", c.alias, c.own, err, c.kind, c.field)
		}
	}
	if _, err := h.Delete(t.Context(), "one"); retrieval.KindOf(err) != retrieval.FailedPrecondition || !strings.Contains(err.Error(), "default") {
		t.Errorf("deleting what an alias stands for: %v", err)
	}
	if err := h.DeleteAlias(t.Context(), Default); err != nil {
		t.Error(err)
	}
	if got := own(""); got != Default {
		t.Errorf("calls without a collection ask %s again, want default", got)
	}
	if err := h.DeleteAlias(t.Context(), Default); retrieval.KindOf(err) != retrieval.NotFound || err == nil {
		t.Errorf("an alias that is not there: %v", err)
	}
}

func TestWhatCannotBeMade(t *testing.T) {
	h := mustOpen(t, t.TempDir())
	h.create(t, "one", Settings{})
	if _, err := h.SetAlias(t.Context(), "alias", "one"); err != nil {
		t.Fatal(err)
	}
	own := func(s retrieval.Settings) Settings { s.OwnVectors = true; return Settings{Settings: s} }
	fields := func(f ...retrieval.FieldSchema) Settings { return Settings{Settings: retrieval.Settings{Fields: f}} }
	for _, c := range []struct {
		name     string
		settings Settings
		kind     retrieval.Kind
		field    string
	}{
		{"One", Settings{}, retrieval.Invalid, "name"},
		{"-one", Settings{}, retrieval.Invalid, "name"},
		{"", Settings{}, retrieval.Invalid, "name"},
		{"..", Settings{}, retrieval.Invalid, "name"},
		{"a/b", Settings{}, retrieval.Invalid, "name"},
		{strings.Repeat("a", 64), Settings{}, retrieval.Invalid, "name"},
		{"one", Settings{}, retrieval.AlreadyExists, "name"},
		{"alias", Settings{}, retrieval.FailedPrecondition, "name"},
		{Default, Settings{}, retrieval.AlreadyExists, "name"},
		{"x", Settings{Model: "nosuch"}, retrieval.Invalid, "settings.model"},
		{"x", Settings{M: 1}, retrieval.Invalid, "settings.m"},
		{"x", Settings{M: 129}, retrieval.Invalid, "settings.m"},
		{"x", Settings{M: 64, EfConstruction: 32}, retrieval.Invalid, "settings.ef_construction"},
		{"x", Settings{EfConstruction: 4097}, retrieval.Invalid, "settings.ef_construction"},
		{"x", Settings{Settings: retrieval.Settings{Neighbours: 101}}, retrieval.Invalid, "settings.neighbours"},
		{"x", Settings{Settings: retrieval.Settings{Neighbours: -1}}, retrieval.Invalid, "settings.neighbours"},
		{"x", Settings{Settings: retrieval.Settings{Dimension: -1}}, retrieval.Invalid, "settings.dimension"},
		{"x", own(retrieval.Settings{}), retrieval.Invalid, "settings.dimension"},
		{"x", own(retrieval.Settings{Dimension: 8, Sentences: true}), retrieval.Invalid, "settings.sentences"},
		{"x", Settings{Settings: retrieval.Settings{Passages: true, Neighbours: 5}}, retrieval.Invalid, "settings.passages"},
		{"x", fields(retrieval.FieldSchema{Name: "", Type: "string"}), retrieval.Invalid, "settings.fields[0].name"},
		{"x", fields(retrieval.FieldSchema{Name: "a\n", Type: "string"}), retrieval.Invalid, "settings.fields[0].name"},
		{"x", fields(retrieval.FieldSchema{Name: "a", Type: "mixed"}), retrieval.Invalid, "settings.fields[0].type"},
		{"x", fields(retrieval.FieldSchema{Name: "a", Type: "date"}, retrieval.FieldSchema{Name: "a", Type: "date"}), retrieval.Invalid, "settings.fields[1].name"},
	} {
		var e *retrieval.Error
		if _, err := h.Create(t.Context(), c.name, c.settings); !errors.As(err, &e) || e.Kind != c.kind || e.Field != c.field {
			t.Errorf("%q %+v: %v, want %v of %s", c.name, c.settings, err, c.kind, c.field)
		}
	}
	for i := len(h.List()); i < Max; i++ {
		h.create(t, fmt.Sprint("n", i), Settings{})
	}
	if _, err := h.Create(t.Context(), "x", Settings{}); retrieval.KindOf(err) != retrieval.FailedPrecondition {
		t.Errorf("one more than there may be: %v", err)
	}
	if n := len(h.encoders.Open()); n != 1 {
		t.Errorf("%d encoders are open for one model", n)
	}
}

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	h := mustOpen(t, dir)
	h.create(t, "one", Settings{Model: "b"})
	h.put(t, "one", "x", "y")
	c, err := h.Get("one")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(h.encoders.Open()); n != 1 {
		t.Errorf("%d encoders are open, want that of one", n)
	}
	for called, kind := range map[string]retrieval.Kind{Default: retrieval.FailedPrecondition, "nosuch": retrieval.NotFound, "../one": retrieval.NotFound, "": retrieval.NotFound} {
		if _, err := h.Delete(t.Context(), called); err == nil || retrieval.KindOf(err) != kind {
			t.Errorf("%q: %v, want %v", called, err, kind)
		}
	}
	if papers, err := h.Delete(t.Context(), "one"); papers != 2 || err != nil {
		t.Errorf("%d %v, want 2 papers", papers, err)
	}
	if _, _, err := c.Get(t.Context(), "x", retrieval.Which{}); retrieval.KindOf(err) != retrieval.NotFound || !strings.Contains(err.Error(), "collection") {
		t.Errorf("a call that comes late: %v, want NOT_FOUND of the collection", err)
	}
	if _, err := h.Get("one"); retrieval.KindOf(err) != retrieval.NotFound || err == nil {
		t.Errorf("%v", err)
	}
	if n := len(h.encoders.Open()); n != 0 {
		t.Errorf("%d encoders are open, and nobody uses one", n)
	}
	if left := files(t, filepath.Join(dir, folder)); len(left) > 0 {
		t.Errorf("there are %q", left)
	}
	h.create(t, "one", Settings{}) // the name is free
	if got, want := h.seen(t), "default [] model a 0 papers\none [] model a 0 papers\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A collection that cannot be opened keeps nobody from the others, and can be deleted.
func TestACollectionThatCannotBeOpened(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, at string)
		why  string
	}{
		"its file is changed": {func(t *testing.T, at string) {
			path := filepath.Join(at, retrieval.AboutName)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), `"neighbours":5`, `"neighbours":6`, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "damaged"},
		"its file is gone":  {func(t *testing.T, at string) { must(t, os.Remove(filepath.Join(at, retrieval.AboutName))) }, "cannot be opened"},
		"its store is gone": {func(t *testing.T, at string) { must(t, os.RemoveAll(filepath.Join(at, "store"))) }, "damaged"},
		"another has it open": {func(t *testing.T, at string) {
			c, err := retrieval.Open(t.Context(), at, fake{"b", 16}, &retrieval.Options{Log: slog.New(slog.DiscardHandler)})
			must(t, err)
			t.Cleanup(func() { c.Close() })
		}, "another process"},
		"it is a link": {func(t *testing.T, at string) {
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			must(t, os.Rename(at, elsewhere))
			must(t, os.Symlink(elsewhere, at))
		}, "cannot be opened"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h, err := openHouse(dir)
			must(t, err)
			h.create(t, "bad", Settings{Model: "b", Settings: retrieval.Settings{Neighbours: 5}})
			h.create(t, "good", Settings{})
			h.put(t, "bad", "x")
			h.put(t, "good", "y")
			must(t, h.close())
			c.harm(t, filepath.Join(dir, folder, "bad"))
			h = mustOpen(t, dir)
			if _, err := h.Get("good"); err != nil {
				t.Error(err)
			}
			_, err = h.Get("bad")
			if retrieval.KindOf(err) != retrieval.Unavailable || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), dir) {
				t.Errorf("%v, want UNAVAILABLE because it is %s, without a path", err, c.why)
			}
			if !strings.Contains(h.log.String(), "bad") {
				t.Errorf("the log says nothing of it: %s", h.log)
			}
			if _, err := h.SetAlias(t.Context(), "papers", "bad"); retrieval.KindOf(err) != retrieval.Unavailable {
				t.Errorf("an alias for it: %v", err)
			}
			_, err = h.Delete(t.Context(), "bad")
			if inUse := c.why == "another process"; inUse != (retrieval.KindOf(err) == retrieval.FailedPrecondition && err != nil) {
				t.Errorf("deleting it: %v", err)
			}
		})
	}
}

// Who was told that the disk of a collection takes no papers is told when the collection is not open in the end: it would be waited for.
func TestACollectionThatIsNotOpenHasNoDisk(t *testing.T) {
	full, links := map[string]error{}, 0
	h := &house{
		dir: t.TempDir(),
		options: func(name string) retrieval.Options {
			o := retrieval.Options{Reserve: 1 << 62, OnWritable: func(err error) { full[name] = err }}
			o.Index.M = links
			return o
		},
		gone: func(name string) { delete(full, name) },
	}
	_, err := h.open()
	must(t, err)
	h.step = func(at string) error {
		if at != "name it" {
			return nil
		}
		if full["new"] == nil {
			t.Error("the disk is full, and nobody is told")
		}
		return errors.New("the disk is broken")
	}
	if _, err := h.Create(t.Context(), "new", Settings{}); err == nil || len(full) > 0 {
		t.Errorf("making it: %v; the disks of %v are full", err, full)
	}
	h.step = func(string) error { return nil }
	h.create(t, "one", Settings{})
	if full["one"] == nil {
		t.Errorf("the disk of a collection that is open: %v", full)
	}
	must(t, h.close())
	links = 1000 // with which no index can be made
	_, err = h.open()
	must(t, err)
	if _, err := h.Get("one"); err == nil || len(full) > 0 {
		t.Errorf("opening it: %v; the disks of %v are full", err, full)
	}
	must(t, h.close())
}

// Damaged aliases end the start: calls without a collection would ask another one than before.
func TestDamagedAliases(t *testing.T) {
	dir := t.TempDir()
	h, err := openHouse(dir)
	must(t, err)
	h.create(t, "one", Settings{})
	_, err = h.SetAlias(t.Context(), Default, "one")
	must(t, err)
	must(t, h.close())
	path := filepath.Join(dir, aliasesName)
	text, err := os.ReadFile(path)
	must(t, err)
	for _, bad := range []string{"", "{}", string(text) + "{}", strings.Replace(string(text), "one", "two", 1), strings.Replace(string(text), `"format":1`, `"format":2`, 1), string(text[:len(text)/2]), strings.Repeat(" ", retrieval.MaxAboutBytes) + string(text)} {
		must(t, os.WriteFile(path, []byte(bad), 0o644))
		if h, err := openHouse(dir); err == nil {
			t.Errorf("%.60q was read", bad)
			must(t, h.close())
		} else if !strings.Contains(err.Error(), aliasesName) {
			t.Errorf("%.60q: %v, want the file named", bad, err)
		}
	}
	must(t, os.WriteFile(path, text, 0o644))
	if got := mustOpen(t, dir).seen(t); !strings.Contains(got, "one [default]") {
		t.Errorf("%q", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyTree copies a data directory as it lies on the disk.
func copyTree(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	must(t, filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // a temporary file of the store's
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		in, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(to, rel))
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	}))
	return to
}

// changes are the changes that are cut short in the next two tests, and what is seen before and after each.
var changes = []struct {
	name          string
	do            func(t *testing.T, h *house) error
	before, after string
	bare          bool // in a data directory that has no others
}{
	{"create the first", func(t *testing.T, h *house) error { _, err := h.Create(t.Context(), "new", Settings{}); return err },
		"default [] model a 0 papers\n", "default [] model a 0 papers\nnew [] model a 0 papers\n", true},
	{"set the first alias", func(t *testing.T, h *house) error { _, err := h.SetAlias(t.Context(), "papers", Default); return err },
		"default [] model a 0 papers\n", "default [papers] model a 0 papers\n", true},
	{"create", func(t *testing.T, h *house) error {
		_, err := h.Create(t.Context(), "new", Settings{Model: "b"})
		return err
	},
		"default [] model a 1 papers\none [papers] model b 2 papers\ntwo [] model a 0 papers\n", "default [] model a 1 papers\nnew [] model b 0 papers\none [papers] model b 2 papers\ntwo [] model a 0 papers\n", false},
	{"delete", func(t *testing.T, h *house) error { _, err := h.Delete(t.Context(), "two"); return err },
		"default [] model a 1 papers\none [papers] model b 2 papers\ntwo [] model a 0 papers\n", "default [] model a 1 papers\none [papers] model b 2 papers\n", false},
	{"move an alias", func(t *testing.T, h *house) error { _, err := h.SetAlias(t.Context(), "papers", "two"); return err },
		"default [] model a 1 papers\none [papers] model b 2 papers\ntwo [] model a 0 papers\n", "default [] model a 1 papers\none [] model b 2 papers\ntwo [papers] model a 0 papers\n", false},
	{"delete an alias", func(t *testing.T, h *house) error { return h.DeleteAlias(t.Context(), "papers") },
		"default [] model a 1 papers\none [papers] model b 2 papers\ntwo [] model a 0 papers\n", "default [] model a 1 papers\none [] model b 2 papers\ntwo [] model a 0 papers\n", false},
}

// furnish gives a data directory with two collections and an alias, or with none.
func furnish(t *testing.T, bare bool) *house {
	h := mustOpen(t, t.TempDir())
	if bare {
		return h
	}
	h.create(t, "one", Settings{Model: "b"})
	h.create(t, "two", Settings{})
	h.put(t, "", "x")
	h.put(t, "one", "y", "z")
	_, err := h.SetAlias(t.Context(), "papers", "one")
	must(t, err)
	return h
}

// rubbish are the names in the folder of the collections that are none's.
func rubbish(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(filepath.Join(dir, folder))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, err)
	for _, e := range entries {
		if !nameForm.MatchString(e.Name()) && e.Name() != filepath.Base(aliasesName) {
			names = append(names, e.Name())
		}
	}
	return names
}

// The process may be killed before each change on the disk: a start finds all of what was being done, or nothing, and no rubbish. A deletion that
// had begun is completed.
func TestKilledWhileItChanges(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			h := furnish(t, c.bare)
			type moment struct{ at, dir string }
			var moments []moment
			h.step = func(at string) error {
				moments = append(moments, moment{at, copyTree(t, h.dir)})
				return nil
			}
			must(t, c.do(t, h))
			h.step = func(string) error { return nil }
			moments = append(moments, moment{"the end", copyTree(t, h.dir)})
			if got := h.seen(t); got != c.after {
				t.Errorf("at once:\n%swant\n%s", got, c.after)
			}
			done := false
			for _, m := range moments {
				again, err := openHouse(m.dir)
				if err != nil {
					t.Errorf("killed before %q: %v", m.at, err)
					continue
				}
				switch got := again.seen(t); {
				case got == c.after:
					done = true
				case got != c.before:
					t.Errorf("killed before %q:\n%swant\n%sor\n%s", m.at, got, c.before, c.after)
				case done:
					t.Errorf("killed before %q: it is undone, and was done before", m.at)
				}
				for _, of := range again.List() {
					if err := of.Collection.Check(); err != nil {
						t.Errorf("killed before %q: %s: %v", m.at, of.Name, err)
					}
				}
				if left := rubbish(t, m.dir); len(left) > 0 {
					t.Errorf("killed before %q: there are %q", m.at, left)
				}
				must(t, again.close())
			}
			if !done || len(moments) < 2 {
				t.Errorf("%d moments, done %v", len(moments), done)
			}
			t.Logf("%d moments", len(moments))
		})
	}
}

// Each change on the disk may fail: then nothing has changed, or all has, in the process as after a start; and the same can be done again.
func TestADiskThatFails(t *testing.T) {
	broken := errors.New("the disk is broken")
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			for fails := 0; ; fails++ {
				h := furnish(t, c.bare)
				n := 0
				h.step = func(string) error {
					if n++; n == fails+1 {
						return broken
					}
					return nil
				}
				err := c.do(t, h)
				h.step = func(string) error { return nil }
				want := c.after
				if err != nil {
					want = c.before
				}
				if got := h.seen(t); got != want {
					t.Errorf("step %d, %v:\n%swant\n%s", fails, err, got, want)
				}
				copied := copyTree(t, h.dir)
				again, e := openHouse(copied)
				must(t, e)
				if got := again.seen(t); got != want {
					t.Errorf("step %d, %v, after a start:\n%swant\n%s", fails, err, got, want)
				}
				if left := rubbish(t, copied); len(left) > 0 {
					t.Errorf("step %d: there are %q", fails, left)
				}
				must(t, again.close())
				if err != nil {
					if !errors.Is(err, broken) {
						t.Errorf("step %d: %v", fails, err)
					}
					if err := c.do(t, h); err != nil {
						t.Errorf("step %d, again: %v", fails, err)
					}
					if got := h.seen(t); got != c.after {
						t.Errorf("step %d, again:\n%swant\n%s", fails, got, c.after)
					}
				}
				if n <= fails {
					if fails == 0 {
						t.Error("nothing was done on the disk")
					}
					return
				}
			}
		})
	}
}

// Calls go on while collections are made and deleted and aliases move: each ends well, or with NOT_FOUND where its collection has gone. One that
// an alias stands for never goes.
func TestChangesBesideCalls(t *testing.T) {
	h := mustOpen(t, t.TempDir())
	seed := testkit.Rand(t).Uint64()
	h.create(t, "a0", Settings{})
	h.put(t, "a0", "x")
	_, err := h.SetAlias(t.Context(), Default, "a0")
	must(t, err)
	var stop atomic.Bool
	var calls, gone atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(g)))
			for !stop.Load() {
				called := []string{"", "a0", "a1", "a2", "a3"}[r.IntN(5)]
				c, err := h.Get(called)
				if err == nil {
					text := "paper x"
					_, err = c.Search(t.Context(), retrieval.SearchRequest{Input: retrieval.Input{Text: &text}, Field: "query"})
				}
				switch {
				case err == nil:
					calls.Add(1)
				case retrieval.KindOf(err) == retrieval.NotFound && (called != "" || err.(*retrieval.Error).Field == "collection"):
					gone.Add(1) // the alias moves on before its collection goes, and a call may have been given it before
				default:
					t.Errorf("%q: %v", called, err)
				}
			}
		})
	}
	const rounds = 12
	for i := 1; i <= rounds; i++ {
		from, to := fmt.Sprint("a", (i-1)%4), fmt.Sprint("a", i%4)
		h.create(t, to, Settings{Model: string(rune('a' + i%3))})
		h.put(t, to, "x")
		_, err := h.SetAlias(t.Context(), Default, to)
		must(t, err)
		if n, err := h.Delete(t.Context(), from); n != 1 || err != nil {
			t.Errorf("%d %v", n, err)
		}
	}
	stop.Store(true)
	wg.Wait()
	if calls.Load() == 0 {
		t.Error("no call was answered")
	}
	t.Logf("%d calls, %d found nothing", calls.Load(), gone.Load())
	for _, of := range h.List() {
		must(t, of.Collection.Check())
	}
}

// An encoder is opened once for all that have it, and closed by the last.
func TestEncodersAreShared(t *testing.T) {
	opened, closed := map[string]int{}, map[string]int{}
	failing := true
	x := NewEncoders(func(_ context.Context, model string, dimension int) (fake, error) {
		if failing {
			return fake{}, errors.New("is not there")
		}
		opened[fmt.Sprint(model, dimension)]++
		return fake{model, dimension}, nil
	}, func(f fake) error { closed[fmt.Sprint(f.model, f.dimension)]++; return nil })
	if _, _, err := x.Take(t.Context(), "a", 8); err == nil {
		t.Error("it was opened")
	}
	failing = false
	var release []func() error
	for _, key := range []fake{{"a", 8}, {"a", 8}, {"a", 16}, {"b", 8}, {"a", 8}} {
		e, r, err := x.Take(t.Context(), key.model, key.dimension)
		if e != key || err != nil {
			t.Errorf("%v %v, want %v", e, err, key)
		}
		release = append(release, r)
	}
	want := map[string]int{"a8": 1, "a16": 1, "b8": 1}
	if !maps.Equal(opened, want) || len(closed) > 0 || len(x.Open()) != 3 {
		t.Errorf("opened %v, closed %v", opened, closed)
	}
	for _, r := range release[:4] {
		must(t, r())
	}
	if want := map[string]int{"a16": 1, "b8": 1}; !maps.Equal(closed, want) || len(x.Open()) != 1 {
		t.Errorf("closed %v, want %v", closed, want)
	}
	must(t, release[4]())
	if !maps.Equal(closed, want) || len(x.Open()) != 0 {
		t.Errorf("closed %v, want %v", closed, want)
	}
}
