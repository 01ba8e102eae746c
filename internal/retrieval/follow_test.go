package retrieval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// newModel is the encoder of another model than newBag's.
func newModel() *bag {
	return &bag{model: Model{ID: "bag-v2", Fingerprint: strings.Repeat("c", 64), Dimension: 48, MaxTokens: 8}}
}

// all gives the papers of a collection by their ids.
func all(t *testing.T, c *Collection) map[string]Paper {
	t.Helper()
	out := map[string]Paper{}
	for after := ""; ; {
		papers, next, err := c.List(t.Context(), after, nil, Which{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range papers {
			out[p.ID] = p
		}
		if after = next; next == "" {
			return out
		}
	}
}

// same fails where two collections have not the same papers, with all that is stored of them.
func same(t *testing.T, a, b *Collection) {
	t.Helper()
	x, y := all(t, a), all(t, b)
	for id, p := range x {
		if q, there := y[id]; !there || !reflect.DeepEqual(p, q) {
			t.Errorf("%s is %+v in the one, %+v (%v) in the other", id, p, q, there)
		}
	}
	for id := range y {
		if _, there := x[id]; !there {
			t.Errorf("%s is in the other one alone", id)
		}
	}
}

// follow opens a collection under another model, and a follower that brings it to c.
func follow(t *testing.T, c *Collection, clock *clock, after uint64) (*Collection, *Follower) {
	t.Helper()
	to := openAt(t, t.TempDir(), newModel(), clock)
	f, err := c.Follow(to, after, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return to, f
}

// A collection is copied while papers are written, deleted and expire; then it is caught up with, and its place is taken while the writes wait. They go on
// in the other one, which is followed back. At each of these points both have the same papers, and no write has failed.
func TestFollowUnderWrites(t *testing.T) {
	rng := testkit.Rand(t)
	clock := newClock()
	from := openAt(t, t.TempDir(), newBag(), clock)
	for i := range 300 {
		put(t, from, paper(fmt.Sprintf("p%03d", i), fmt.Sprintf("some words number%d", i)))
	}
	after := from.store.Revision()
	from.KeepLog(&after)
	to, f := follow(t, from, clock, 0)
	f.Start(after)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	var writes atomic.Int64
	seeds := []uint64{rng.Uint64(), rng.Uint64(), rng.Uint64()}
	for _, seed := range seeds {
		writers.Go(func() {
			for i := seed; ctx.Err() == nil; i = i*6364136223846793005 + 1442695040888963407 {
				id := fmt.Sprintf("p%03d", i>>33%400)
				var err error
				switch i >> 20 % 6 {
				case 0:
					_, _, _, err = from.Delete(t.Context(), []string{id})
				case 1:
					_, _, err = from.UpdateMetadata(t.Context(), []MetadataUpdate{{ID: id, Paper: Paper{Year: int32(1 + i>>40%2000)}, Mask: []string{"year"}}})
					if err != nil && KindOf(err) == NotFound {
						err = nil
					}
				case 2:
					p := paper(id, fmt.Sprintf("words that go number%d", i>>50))
					p.Expires = clock.now().Add(time.Duration(1+i>>45%100) * time.Minute)
					_, _, err = from.Upsert(t.Context(), []Paper{p})
				default:
					p := paper(id, fmt.Sprintf("other words number%d", i>>50))
					p.Metadata = json.RawMessage(fmt.Sprintf(`{"n":%d}`, i>>55))
					_, _, err = from.Upsert(t.Context(), []Paper{p})
				}
				if err != nil {
					t.Errorf("a write failed: %v", err)
					return
				}
				writes.Add(1)
			}
		})
	}
	step := func(f *Follower, hold *Collection, then func()) {
		t.Helper()
		for range 3 {
			clock.advance(10 * time.Minute)
			if err := f.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		release, err := hold.HoldWrites(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if err := f.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		same(t, from, to)
		then()
	}
	if err := f.Sample(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	if err := f.Copy(t.Context(), 0, func(after uint64) { last = after }); err != nil || last == 0 {
		t.Fatalf("copied up to %d: %v", last, err)
	}
	var back *Follower
	step(f, from, func() {
		var err error
		if back, err = to.Follow(from, to.store.Revision(), nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(back.Close)
		back.Trust()
		from.MoveTo(to)
	})
	before := writes.Load()
	testkit.Eventually(t, "writes go on in the other collection", func() bool { return writes.Load() > before+100 })
	step(back, to, func() { // and back
		from.MoveTo(nil)
		to.MoveTo(from)
		f.Start(from.store.Revision())
		f.Trust()
	})
	before = writes.Load()
	testkit.Eventually(t, "writes go on where they began", func() bool { return writes.Load() > before+100 })
	stop()
	writers.Wait()
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, from, to)
	if refused := f.Refused(); len(refused) > 0 {
		t.Errorf("papers were not taken: %v", refused)
	}
	for _, c := range []*Collection{from, to} {
		settle(t, c)
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	}
	if err := to.Check(); err != nil {
		t.Error(err)
	}
}

// What was removed while nobody watched, or more than is kept, is found by comparing the ids of both.
func TestFollowComparesAfterAStart(t *testing.T) {
	clock := newClock()
	from := openAt(t, t.TempDir(), newBag(), clock)
	for i := range 50 {
		put(t, from, paper(fmt.Sprintf("p%02d", i), fmt.Sprintf("words number%d", i)))
	}
	to, f := follow(t, from, clock, 0)
	if err := f.CatchUp(t.Context()); err != nil { // the whole log
		t.Fatal(err)
	}
	same(t, from, to)
	at := f.Revision()
	f.Close()
	if _, _, _, err := from.Delete(t.Context(), []string{"p03", "p49"}); err != nil {
		t.Fatal(err)
	}
	put(t, from, paper("p10", "quite another text"), paper("p77", "one more"))
	again, err := from.Follow(to, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, from, to)
	if _, err := from.Follow(to, at+1000, nil); KindOf(err) != DataLoss {
		t.Errorf("a follower that is ahead: %v", err)
	}
}

// A paper that the new model cannot read is named, and leaves the others alone.
func TestFollowNamesWhatItCannotBring(t *testing.T) {
	clock := newClock()
	from := openAt(t, t.TempDir(), newBag(), clock)
	put(t, from, paper("good", "words"), paper("bad", "unreadable"), paper("fine", "more words"))
	related(t, from, "good", 1) // somebody searches: papers are encoded one by one
	to := openAt(t, t.TempDir(), picky{newModel()}, clock)
	f, err := from.Follow(to, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Copy(t.Context(), 0, func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	if got := f.Refused(); len(got) != 1 || !strings.Contains(got["bad"], "no word that the model knows") {
		t.Errorf("refused: %v", got)
	}
	if from, to := f.Counts(); from != 3 || to != 2 {
		t.Errorf("%d papers, %d brought over", from, to)
	}
	put(t, from, paper("bad", "readable"))
	if err := f.CatchUp(t.Context()); err != nil || len(f.Refused()) > 0 {
		t.Errorf("the paper has another text: %v, %v", err, f.Refused())
	}
}

// picky is an encoder that does not know a word.
type picky struct{ *bag }

func (p picky) Encode(ctx context.Context, lane Lane, role Role, texts []string) ([]Encoding, error) {
	for i, text := range texts {
		if strings.Contains(text, "unreadable") {
			return nil, &TextError{Index: i, Blank: true, Err: errors.New("no word")}
		}
	}
	return p.bag.Encode(ctx, lane, role, texts)
}

// Where the new vectors are made of the old ones nothing is encoded, and the rest of what is stored stays.
func TestFollowRemakes(t *testing.T) {
	clock := newClock()
	from := openAt(t, t.TempDir(), newBag(), clock)
	put(t, from, paper("a", "one text of more words than eight which are too many"), paper("b", "two"))
	enc := newBag()
	enc.model.ID, enc.model.Fingerprint = "turned", strings.Repeat("d", 64)
	to := openAt(t, t.TempDir(), enc, clock)
	f, err := from.Follow(to, 0, func(old []float32) ([]float32, error) {
		out := make([]float32, len(old))
		for i, x := range old {
			out[i] = -x
		}
		return out, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Copy(t.Context(), 0, func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	same(t, from, to)
	if n := enc.encoded.Load(); n > 0 {
		t.Errorf("%d texts were encoded", n)
	}
	for _, id := range []string{"a", "b"} {
		before, _, err := from.vectorOf("id", id)
		after, _, err2 := to.vectorOf("id", id)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		for i := range before {
			if after[i] != -before[i] {
				t.Fatalf("%s: value %d is %v, was %v", id, i, after[i], before[i])
			}
		}
		_, use, err := from.Get(t.Context(), id, Which{})
		_, use2, err2 := to.Get(t.Context(), id, Which{})
		if err != nil || err2 != nil || use != use2 {
			t.Errorf("%s: %+v, %+v, %v, %v", id, use, use2, err, err2)
		}
	}
}

// The change log is kept for a follower, whatever the index's snapshots need.
func TestLogIsKeptForAFollower(t *testing.T) {
	dir, clock := t.TempDir(), newClock()
	from := openAt(t, dir, newBag(), clock)
	put(t, from, paper("a", "one"))
	after := from.store.Revision()
	from.KeepLog(&after)
	for i := range 5 {
		put(t, from, paper(fmt.Sprint("p", i), "words"))
		if err := from.saveSnapshot(); err != nil {
			t.Fatal(err)
		}
	}
	to, f := follow(t, from, clock, after)
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(all(t, to)); n != 5 {
		t.Errorf("%d papers came, want the 5 after revision %d", n, after)
	}
	from.KeepLog(nil)
	put(t, from, paper("q", "words"))
	for range 2 {
		put(t, from, paper("r", fmt.Sprint("words", from.store.Revision())))
		if err := from.saveSnapshot(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := from.Delete(t.Context(), []string{"p0"}); err != nil {
		t.Fatal(err)
	}
	_, _ = f.removed.Take() // as if it had been removed by another process
	f.Start(after)
	if _, _, err := f.changed(from.store.Revision()); err == nil {
		t.Error("the log is kept for nobody")
	}
	if err := f.CatchUp(t.Context()); err != nil { // and nothing is lost by that
		t.Fatal(err)
	}
	same(t, from, to)
}

// Writes that wait end with their contexts, and a hold ends with its own.
func TestHoldWrites(t *testing.T) {
	c := openAt(t, t.TempDir(), newBag(), newClock())
	release, err := c.HoldWrites(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := c.Upsert(ctx, []Paper{paper("a", "one")}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write while writes are held: %v", err)
	}
	if _, err := c.HoldWrites(t.Context()); err == nil {
		t.Error("they are held twice")
	}
	release()
	release()
	put(t, c, paper("a", "one"))
	done, err := c.writes.admit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.HoldWrites(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("held while a write is under way: %v", err)
	}
	done()
	put(t, c, paper("b", "two"))
}

// A search across two models compares what has come over by the new one, and the rest by both; with all that has come over it is the new model's own answer.
func TestSearchAcross(t *testing.T) {
	clock := newClock()
	from := openAt(t, t.TempDir(), newBag(), clock)
	var papers []Paper
	for i := range 600 {
		p := paper(fmt.Sprintf("p%03d", i), fmt.Sprintf("topic%d kind%d sort%d", i%20, i%7, i%11))
		p.Year = int32(2000 + i%3)
		papers = append(papers, p)
	}
	put(t, from, papers...)
	to, f := follow(t, from, clock, 0)
	if _, err := f.FitAcross(t.Context()); KindOf(err) != FailedPrecondition {
		t.Fatalf("fitted on nothing: %v", err)
	}
	if err := f.Sample(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
	a, err := f.FitAcross(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.Pairs+a.Loss.Pairs != 300 || !(a.Loss.Cosine > 0.3) {
		t.Errorf("fitted on %d pairs, lost %+v", a.Pairs, a.Loss)
	}
	text := "topic3 kind2"
	k := 30
	filter, err := ParseFilter("filter", "year = 2001")
	if err != nil {
		t.Fatal(err)
	}
	search := func(c *Collection, mode Mode, w Which) *SearchResult {
		t.Helper()
		res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, K: &k, Mode: mode, Which: w, Exact: mode != Lexical})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := search(from, Dense, Which{}); res.Across != nil {
		t.Error("a search goes across before it is told to")
	}
	from.SetAcross(a)
	for _, w := range []Which{{}, {Filter: filter}} {
		res := search(from, Dense, w)
		if res.Across == nil || res.Across.Model != "bag-v2" || len(res.Hits) != k {
			t.Fatalf("across: %+v, %d hits", res.Across, len(res.Hits))
		}
		estimated := 0
		for _, h := range res.Hits {
			ordinal, err := to.store.Ordinal(h.Paper.ID)
			if there := err == nil; there == h.Why.Estimated {
				t.Errorf("%s has come over: %v; its cosine is estimated: %v", h.Paper.ID, there, h.Why.Estimated)
			} else if there { // the truth, from what is stored
				v, err := to.store.Vector(ordinal)
				enc, err2 := to.encoder.Encode(t.Context(), Bulk, Query, []string{text})
				if err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
				if truth := dots(enc[0].Vector, [][]float32{v})[0]; math.Abs(truth-float64(*h.Cosine)) > 1e-3 {
					t.Errorf("%s: cosine %v, want %v", h.Paper.ID, *h.Cosine, truth)
				}
			}
			if h.Why.Estimated {
				estimated++
			}
			if h.Band != NoBand || h.Percentile != nil {
				t.Errorf("%s has a band, which is of one model", h.Paper.ID)
			}
			if w.Filter != nil && h.Paper.Year != 2001 {
				t.Errorf("%s does not meet the filter", h.Paper.ID)
			}
		}
		if estimated != res.Across.Estimated || estimated == 0 || estimated == k {
			t.Errorf("%d hits are estimated, said are %d", estimated, res.Across.Estimated)
		}
	}
	if res := search(from, Hybrid, Which{}); res.Across == nil {
		t.Error("a hybrid search does not go across")
	}
	if res := search(from, Lexical, Which{}); res.Across != nil {
		t.Error("a search by words goes across")
	}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, want := search(from, Dense, Which{}), search(to, Dense, Which{})
	for i := range want.Hits {
		if got.Hits[i].Score != want.Hits[i].Score {
			t.Errorf("hit %d: %s %v, the new model has %s %v", i, got.Hits[i].Paper.ID, got.Hits[i].Score, want.Hits[i].Paper.ID, want.Hits[i].Score)
		}
	}
	if got.Across.Estimated != 0 {
		t.Errorf("%d are estimated where all have come over", got.Across.Estimated)
	}
}

// Papers without a title that could be asked for have a bridge all the same.
func TestFitAcrossWithoutTitles(t *testing.T) {
	from := openAt(t, t.TempDir(), newBag(), newClock())
	for i := range 300 {
		put(t, from, Paper{ID: fmt.Sprintf("p%03d", i), Abstract: fmt.Sprintf("topic%d kind%d", i%20, i%7)})
	}
	to, f := follow(t, from, newClock(), 0)
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := f.FitAcross(t.Context())
	if err != nil || a.to != to || !(a.line.Slope > 0) {
		t.Errorf("%+v, %v", a, err)
	}
}
