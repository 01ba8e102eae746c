package collections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"embedd/internal/retrieval"
	"embedd/internal/testkit"
)

// both are a default collection and another one: what a migration does to files is not the same for the two.
var both = []string{Default, "side"}

// furnished is a house with some papers in a collection of that name.
func furnished(t *testing.T, name string) *house {
	h := mustOpen(t, t.TempDir())
	if name != Default {
		_, err := h.Create(t.Context(), name, Settings{Model: "a"})
		must(t, err)
	}
	h.put(t, name, "p1", "p2", "p3")
	return h
}

// titles are the papers of a collection: their titles by id.
func titles(t *testing.T, h *house, name string) map[string]string {
	t.Helper()
	c, err := h.Get(name)
	must(t, err)
	return titlesIn(t, c)
}

func titlesIn(t *testing.T, c *retrieval.Collection) map[string]string {
	t.Helper()
	out := map[string]string{}
	for after := ""; ; {
		papers, next, err := c.List(t.Context(), after, nil, retrieval.Which{})
		must(t, err)
		for _, p := range papers {
			out[p.ID] = p.Title
		}
		if after = next; next == "" {
			return out
		}
	}
}

// reaches waits until a migration is at a stage, and has all that there is.
func (h *house) reaches(t *testing.T, name string, stage Stage) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("the migration of %s is %s", name, stage), func() bool {
		i, err := h.Migration(name)
		must(t, err)
		if i.Failed != "" {
			t.Fatalf("the migration has failed: %s\n%s", i.Failed, h.log)
		}
		return i.Stage == stage && i.Behind == 0 && i.Moved == i.Papers
	})
}

// model is what a collection is served by.
func (h *house) model(t *testing.T, name string) string {
	t.Helper()
	i, err := h.Describe("name", name)
	must(t, err)
	if i.About.Settings.Model != i.Collection.Model().ID {
		t.Errorf("%s says that it has %s, and has %s", name, i.About.Settings.Model, i.Collection.Model().ID)
	}
	return i.Collection.Model().ID
}

// checkPair proves the invariants of both generations, and that they have the same papers.
func (h *house) checkPair(t *testing.T, name string) {
	t.Helper()
	m := h.state.Load().named[name].migration
	must(t, m.serving.collection.Check())
	must(t, m.other.collection.Check())
	x, y := titlesIn(t, m.serving.collection), titlesIn(t, m.other.collection)
	if fmt.Sprint(x) != fmt.Sprint(y) {
		t.Errorf("%s is served with %v, and the other generation has %v", name, x, y)
	}
}

// A collection moves to another model, back, and again, while it is read and written: no call fails, no write is lost, and at the end the old one is gone.
func TestMigrationUnderLoad(t *testing.T) {
	for _, name := range both {
		t.Run(name, func(t *testing.T) {
			h := furnished(t, name)
			ctx, stop := context.WithCancel(t.Context())
			var load sync.WaitGroup
			var calls atomic.Int64
			written := map[string]string{"p1": "p1", "p2": "p2", "p3": "p3"}
			for id, title := range titles(t, h, name) {
				written[id] = title
			}
			load.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					c, err := h.Get(name)
					if err != nil {
						t.Error(err)
						return
					}
					id := fmt.Sprintf("w%d", i%50)
					if i%7 == 6 {
						_, _, _, err = c.Delete(t.Context(), []string{id})
						delete(written, id)
					} else {
						p := retrieval.Paper{ID: id, Title: fmt.Sprintf("title %d", i)}
						_, _, err = c.Upsert(t.Context(), []retrieval.Paper{p})
						written[id] = p.Title
					}
					if err != nil {
						t.Errorf("write: %v", err)
						return
					}
					calls.Add(1)
				}
			})
			for range 2 {
				load.Go(func() {
					for ctx.Err() == nil {
						c, err := h.Get(name)
						if err != nil {
							t.Error(err)
							return
						}
						text := "title"
						if _, err = c.Search(t.Context(), retrieval.SearchRequest{Input: retrieval.Input{Text: &text}}); err == nil {
							_, err = c.Search(t.Context(), retrieval.SearchRequest{Input: retrieval.Input{PaperID: "p1"}})
						}
						if err != nil {
							t.Errorf("read: %v", err)
							return
						}
						calls.Add(1)
					}
				})
			}
			goOn := func() {
				before := calls.Load()
				testkit.Eventually(t, "calls go on", func() bool { return calls.Load() > before+20 })
			}
			if _, err := h.StartMigration(t.Context(), name, "b", 0, true); err != nil {
				t.Fatal(err)
			}
			following := func() {
				testkit.Eventually(t, "it follows", func() bool { i, err := h.Migration(name); must(t, err); return i.Stage == Following })
			}
			following()
			for range 3 {
				i, err := h.Swap(t.Context(), name, false)
				must(t, err)
				if i.Stage != Swapped || h.model(t, name) != "b" || i.Held <= 0 || i.Held > holdMost {
					t.Errorf("swapped: %+v", i)
				}
				goOn()
				i, err = h.RollBack(t.Context(), name)
				must(t, err)
				if i.Stage != Following || h.model(t, name) != "a" {
					t.Errorf("rolled back: %+v", i)
				}
				goOn()
			}
			_, err := h.Swap(t.Context(), name, false)
			must(t, err)
			goOn()
			stop()
			load.Wait()
			h.reaches(t, name, Swapped)
			h.checkPair(t, name)
			must(t, h.Finish(t.Context(), name))
			if got := titles(t, h, name); fmt.Sprint(got) != fmt.Sprint(written) {
				t.Errorf("the papers are\n%v, written were\n%v", got, written)
			}
			if len(h.Migrations()) != 0 {
				t.Error("the migration is not at its end")
			}
			must(t, h.close())
			for _, gone := range []string{"store", migrationName} {
				if _, err := os.Stat(filepath.Join(h.dir, homeOf(name), gone)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s of generation 0: %v", gone, err)
				}
			}
			_, err = h.open()
			must(t, err)
			if got := titles(t, h, name); fmt.Sprint(got) != fmt.Sprint(written) || h.model(t, name) != "b" {
				t.Errorf("after a start the papers of %s are\n%v, written were\n%v", h.model(t, name), got, written)
			}
			// And on to a third one, from a generation that is not the first.
			if _, err := h.StartMigration(t.Context(), name, "c", 0, false); err != nil {
				t.Fatal(err)
			}
			following()
			_, err = h.Swap(t.Context(), name, false)
			must(t, err)
			must(t, h.Finish(t.Context(), name))
			if got := titles(t, h, name); fmt.Sprint(got) != fmt.Sprint(written) || h.model(t, name) != "c" {
				t.Errorf("the papers of %s are\n%v, written were\n%v", h.model(t, name), got, written)
			}
		})
	}
}

// The process may be killed before each change on the disk. Whatever was served then is served after the start, with all that was written; the migration goes on
// to its end from there.
func TestKilledDuringAMigration(t *testing.T) {
	for _, name := range both {
		t.Run(name, func(t *testing.T) {
			type moment struct {
				at, dir string
				papers  map[string]string
			}
			var mu sync.Mutex
			var moments []moment
			h := furnished(t, name)
			papers := titles(t, h, name)
			put := func(id string) {
				h.put(t, name, id)
				mu.Lock()
				defer mu.Unlock()
				papers = titles(t, h, name)
			}
			must(t, h.close())
			stepping := func(at string) error {
				mu.Lock()
				defer mu.Unlock()
				to := filepath.Join(t.TempDir(), "copy")
				testkit.CopyStill(t, to, h.dir)
				moments = append(moments, moment{at, to, papers})
				return nil
			}
			_, err := h.open()
			must(t, err)
			h.step = stepping
			_, err = h.StartMigration(t.Context(), name, "b", 0, false)
			must(t, err)
			h.reaches(t, name, Following)
			_, err = h.Swap(t.Context(), name, false)
			must(t, err)
			put("w1")
			h.reaches(t, name, Swapped)
			_, err = h.RollBack(t.Context(), name)
			must(t, err)
			put("w2")
			_, err = h.Swap(t.Context(), name, false)
			must(t, err)
			put("w3")
			must(t, h.Finish(t.Context(), name))
			_, err = h.StartMigration(t.Context(), name, "c", 0, false)
			must(t, err)
			must(t, h.Cancel(t.Context(), name))
			stages := map[Stage]int{}
			for _, m := range moments {
				again := mustOpen(t, m.dir)
				if got := titles(t, again, name); fmt.Sprint(got) != fmt.Sprint(m.papers) {
					t.Errorf("killed before %q: the papers are %v, want %v", m.at, got, m.papers)
				}
				if i, err := again.Migration(name); err == nil {
					stages[i.Stage]++
					if i.Stage == Swapped {
						again.reaches(t, name, Swapped)
						again.checkPair(t, name)
						must(t, again.Finish(t.Context(), name))
					} else {
						again.reaches(t, name, Following)
						again.checkPair(t, name)
						must(t, again.Cancel(t.Context(), name))
					}
				}
				if got := titles(t, again, name); fmt.Sprint(got) != fmt.Sprint(m.papers) {
					t.Errorf("killed before %q, and ended: the papers are %v, want %v", m.at, got, m.papers)
				}
				c, err := again.Get(name)
				must(t, err)
				must(t, c.Check())
				if all, err := generationsOf(again.root, homeOf(name)); err != nil || len(all) > 1 {
					t.Errorf("killed before %q: generations %v are left: %v", m.at, all, err)
				}
				must(t, again.close())
			}
			if stages[Swapped] == 0 || stages[Swapped] == len(moments) {
				t.Errorf("%d moments, by stage %v", len(moments), stages)
			}
			t.Logf("%d moments, %v", len(moments), stages)
		})
	}
}

// Each change on the disk may fail: then what was served is served, and the same can be done again.
func TestADiskThatFailsInAMigration(t *testing.T) {
	broken := errors.New("the disk is broken")
	type op struct {
		name string
		do   func(h *house, name string) error
	}
	start := op{"start", func(h *house, name string) error {
		_, err := h.StartMigration(context.Background(), name, "b", 0, false)
		return err
	}}
	swap := op{"swap", func(h *house, name string) error { _, err := h.Swap(context.Background(), name, false); return err }}
	back := op{"roll back", func(h *house, name string) error { _, err := h.RollBack(context.Background(), name); return err }}
	finish := op{"finish", func(h *house, name string) error { return h.Finish(context.Background(), name) }}
	cancel := op{"cancel", func(h *house, name string) error { return h.Cancel(context.Background(), name) }}
	for _, name := range both {
		for _, c := range []struct {
			before []op
			op     op
			model  [2]string // before and after
		}{
			{nil, start, [2]string{"a", "a"}},
			{[]op{start}, swap, [2]string{"a", "b"}},
			{[]op{start, swap}, back, [2]string{"b", "a"}},
			{[]op{start, swap}, finish, [2]string{"b", "b"}},
			{[]op{start}, cancel, [2]string{"a", "a"}},
		} {
			t.Run(name+" "+c.op.name, func(t *testing.T) {
				for fails, past := 0, false; !past; fails++ {
					h := furnished(t, name)
					want := titles(t, h, name)
					for _, o := range c.before {
						must(t, o.do(h, name))
						if o.name == "start" {
							h.reaches(t, name, Following)
						}
					}
					var n atomic.Int64
					if len(c.before) > 0 { // nobody else is at the disk
						h.step = func(string) error { return nil }
					}
					var on atomic.Bool
					on.Store(true)
					if c.op.name == "start" {
						h.step = func(string) error {
							if on.Load() && n.Add(1) == int64(fails+1) {
								return broken
							}
							return nil
						}
					} else {
						must(t, h.close())
						_, err := h.open()
						must(t, err)
						if c.op.name == "swap" {
							h.reaches(t, name, Following)
						}
						h.step = func(string) error {
							if on.Load() && n.Add(1) == int64(fails+1) {
								return broken
							}
							return nil
						}
					}
					err := c.op.do(h, name)
					on.Store(false)
					past = n.Load() <= int64(fails)
					model := c.model[1]
					if err != nil {
						model = c.model[0]
						if !errors.Is(err, broken) {
							t.Errorf("step %d: %v", fails, err)
						}
					}
					if got := h.model(t, name); got != model {
						t.Errorf("step %d, %v: served by %s, want %s", fails, err, got, model)
					}
					h.put(t, name, "more")
					if err != nil {
						if err := c.op.do(h, name); err != nil {
							t.Errorf("step %d, again: %v", fails, err)
						}
					}
					want["more"] = titles(t, h, name)["more"]
					if got := titles(t, h, name); fmt.Sprint(got) != fmt.Sprint(want) || h.model(t, name) != c.model[1] {
						t.Errorf("step %d: the papers of %s are %v, want %v", fails, h.model(t, name), got, want)
					}
					must(t, h.close())
					_, err = h.open()
					must(t, err)
					if got := titles(t, h, name); fmt.Sprint(got) != fmt.Sprint(want) || h.model(t, name) != c.model[1] {
						t.Errorf("step %d, after a start: the papers of %s are %v, want %v", fails, h.model(t, name), got, want)
					}
					must(t, h.close())
					_, err = h.open() // for the end of the test
					must(t, err)
				}
			})
		}
	}
}

// What a migration refuses, it refuses before anything has changed.
func TestMigrationRefusals(t *testing.T) {
	h := furnished(t, "side")
	ctx := t.Context()
	_, err := h.Create(ctx, "own", Settings{Settings: retrieval.Settings{OwnVectors: true, Dimension: 4}})
	must(t, err)
	_, err = h.SetAlias(ctx, "other", "side")
	must(t, err)
	refuse := func(what string, err error, want string) {
		t.Helper()
		var said *retrieval.Error
		if !errors.As(err, &said) || !strings.Contains(said.Field+": "+said.Message, want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	start := func(name, model string) error { _, err := h.StartMigration(ctx, name, model, 0, false); return err }
	refuse("unknown", start("none", "b"), `name: there is no collection "none"`)
	refuse("alias", start("other", "b"), `name: is an alias of "side"`)
	refuse("own vectors", start("own", "b"), "no model to migrate from")
	refuse("no model", start("side", ""), "model: is missing")
	refuse("same model", start("side", "a"), "model: a is what the collection has already")
	refuse("no such model", start("side", "nothing"), `model: "nothing" is not there`)
	swap := func() error { _, err := h.Swap(ctx, "side", false); return err }
	refuse("swap of nothing", swap(), `no migration of "side" is under way`)
	must(t, start("side", "b"))
	refuse("twice", start("side", "c"), "a migration of the collection to b is under way")
	_, err = h.Delete(ctx, "side")
	refuse("delete", err, "a migration of the collection to b is under way")
	refuse("finish", h.Finish(ctx, "side"), "swap first, or cancel")
	_, err = h.RollBack(ctx, "side")
	refuse("roll back", err, "there is nothing to roll back")
	h.reaches(t, "side", Following)
	must(t, swap())
	refuse("swap twice", swap(), "served by b already")
	refuse("cancel", h.Cancel(ctx, "side"), "roll back first, or finish")
	must(t, h.Finish(ctx, "side"))
	// A program that knows no generations reads files of the form 1 alone.
	text, err := os.ReadFile(filepath.Join(h.dir, "collections", "side", retrieval.AboutName))
	must(t, err)
	if !strings.HasPrefix(string(text), `{"format":2,`) {
		t.Errorf("the file is %s", text)
	}
	// Calls by the alias are answered by the new model.
	c, err := h.Get("other")
	must(t, err)
	if c.Model().ID != "b" {
		t.Errorf("the alias is answered by %s", c.Model().ID)
	}
}

// A migration whose model has gone does not keep the collection from being served, and can be cancelled.
func TestMigrationWithoutItsModel(t *testing.T) {
	h := furnished(t, "side")
	_, err := h.StartMigration(t.Context(), "side", "b", 0, false)
	must(t, err)
	must(t, h.close())
	name := filepath.Join(h.dir, "collections", "side", migrationName)
	text, err := os.ReadFile(name)
	must(t, err)
	must(t, os.WriteFile(name, []byte(strings.Replace(string(text), `"to":1`, `"to":9`, 1)), 0o600))
	_, err = h.open()
	must(t, err)
	if i, err := h.Describe("name", "side"); err != nil || i.Collection != nil || !strings.Contains(Reason(i.Err), "damaged") {
		t.Errorf("a damaged file: %+v, %v", i, err)
	}
	must(t, h.close())
	must(t, os.WriteFile(name, text, 0o600))
	must(t, os.Rename(filepath.Join(h.dir, "collections", "side", generations, "1"), filepath.Join(h.dir, "elsewhere")))
	_, err = h.open()
	must(t, err)
	i, err := h.Migration("side")
	must(t, err)
	if i.Failed == "" {
		t.Error("nothing is wrong")
	}
	h.put(t, "side", "p9")
	_, err = h.Swap(t.Context(), "side", false)
	if err == nil {
		t.Error("swapped to nothing")
	}
	must(t, h.Cancel(t.Context(), "side"))
	if len(titles(t, h, "side")) != 4 {
		t.Error("papers are lost")
	}
}
