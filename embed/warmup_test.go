package embed

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"embedd/internal/native"
	"embedd/models"
)

// After warm-up short texts run together, and each vector is still the one that the text has alone, to the bit: for a pooled
// graph in int8 and in float32, and for one that is pooled here.
func TestTogetherAfterWarmUp(t *testing.T) {
	var texts []string
	for i, p := range lines[struct{ Title, Abstract string }](t, filepath.Join("..", "samples", "papers.jsonl"))[:60] {
		texts = append(texts, p.Title, strings.ToUpper(p.Title), p.Title[:len(p.Title)/2])
		if i%5 == 0 {
			texts = append(texts, p.Title+" "+p.Abstract)
		}
	}
	for _, id := range []string{"all-MiniLM-L6-v2", "all-MiniLM-L6-v2-fp32", "paraphrase-MiniLM-L3-v2"} {
		t.Run(id, func(t *testing.T) {
			alone, together := openModel(t, id, 1), openModel(t, id, 2)
			tuning, err := together.WarmUp(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f s: %v", tuning.Took.Seconds(), tuning)
			if tuning.Took > 10*time.Second || tuning.Slice <= 0 || tuning.Alone <= 0 {
				t.Errorf("tuning %+v", tuning)
			}
			if strings.Contains(tuning.Reason, "not the same") {
				if strings.HasPrefix(id, "all-MiniLM") { // a graph of our own
					t.Errorf("texts run alone: %s", tuning.Reason)
				}
				return // what others made may depend on neighbours on some machine, and then runs alone
			}
			if tuning.Budget == 0 { // as a machine may find it; the rest of the test wants batches
				t.Logf("texts run alone: %s", tuning.Reason)
				together.lanes.SetPlan(Plan{Budget: 256, Rows: 64}, 0)
			}
			want, err := alone.Encode(t.Context(), Bulk, Document, texts)
			if err != nil {
				t.Fatal(err)
			}
			got, err := together.Encode(t.Context(), Bulk, Document, texts)
			if err != nil {
				t.Fatal(err)
			}
			for i := range texts {
				if !slices.Equal(got[i].Vector, want[i].Vector) {
					t.Errorf("%.40q: another vector together than alone", texts[i])
				}
			}
			if n := testutil.ToFloat64(together.metrics.paddedTokens); n == 0 {
				t.Error("no text was padded: nothing ran together")
			}
		})
	}
}

// A graph whose vectors depend on the texts beside them is run one text at a time, whatever its speed.
func TestDynamicModelsRunAlone(t *testing.T) {
	e := open(t, 1)
	m := *e.manifest
	m.Precision = models.PrecisionInt8Dynamic
	e.manifest = &m
	tuning, err := e.WarmUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if tuning.Plan != (Plan{}) || !strings.Contains(tuning.String(), "int8-dynamic") {
		t.Errorf("%v", tuning)
	}
}

// A query that was asked before is answered from memory, with a vector of the caller's own; documents are not kept.
func TestQueriesAreKept(t *testing.T) {
	e := openWith(t, models.Default, func(o *Options) { o.CachedQueries = 2 })
	ask := func(role Role, text string) []float32 {
		t.Helper()
		enc, err := e.Encode(t.Context(), Interactive, role, []string{text})
		if err != nil {
			t.Fatal(err)
		}
		if enc[0].Tokens < 3 {
			t.Errorf("%q: %d tokens", text, enc[0].Tokens)
		}
		return enc[0].Vector
	}
	first := ask(Query, "graph neural networks")
	want := slices.Clone(first)
	clear(first)
	second := ask(Query, "graph neural networks")
	if !slices.Equal(second, want) {
		t.Error("the vector that is kept is not the first one's")
	}
	clear(second)
	if !slices.Equal(ask(Query, "graph neural networks"), want) {
		t.Error("a caller changed the vector that is kept")
	}
	ask(Document, "graph neural networks")
	for i := range 3 { // the first query is the oldest now, and is forgotten
		ask(Query, fmt.Sprint("query ", i))
	}
	ask(Query, "graph neural networks")
	if n := testutil.ToFloat64(e.metrics.cached); n != 2 {
		t.Errorf("%v answers from memory, want 2", n)
	}
}

// Vectors are cut only where the manifest says so, and are then what the first values of the whole ones are, at norm 1; their
// fingerprint is another, and explanations are about the cut vectors.
func TestDimension(t *testing.T) {
	whole := open(t, 1)
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.Open(native.Models(home), models.Default)
	if err != nil {
		t.Fatal(err)
	}
	o := &Options{Library: native.RuntimeLibrary(home), Dimension: 128}
	if _, err := Open(m, o); err == nil || !strings.Contains(err.Error(), "dimension 128") {
		t.Errorf("a model that was not trained for it: %v", err)
	}
	m.Dimensions = []int{64, 128}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	cut, err := Open(m, o)
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	if cut.Dimension() != 128 || cut.Fingerprint() == whole.Fingerprint() || len(cut.Fingerprint()) != 64 {
		t.Errorf("dimension %d, fingerprint %s", cut.Dimension(), cut.Fingerprint())
	}
	text := []string{"Graph neural networks pass messages. Galaxies rotate too fast."}
	a, err := whole.Encode(t.Context(), Bulk, Document, text)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cut.Encode(t.Context(), Bulk, Document, text)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(a[0].Vector[:128])
	if err := normalize(want); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b[0].Vector, want) {
		t.Error("the vector is not the first values at norm 1")
	}
	x, err := cut.explain(t, want, nil, Passage{Text: text[0]})
	if err != nil {
		t.Fatal(err)
	}
	if sum := x.Sentences[0].Share + x.Sentences[1].Share + x.Rest; x.Score < 1-1e-5 || sum < 1-1e-5 || sum > 1+1e-5 {
		t.Errorf("score %v with itself, shares add up to %v", x.Score, sum)
	}
}

// Many callers of one text encode it once; a full lane refuses and says for how long.
func TestLanesAreWiredIn(t *testing.T) {
	e := open(t, 1)
	if _, err := e.WarmUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("retrieval of related papers ", 100)
	var wg sync.WaitGroup
	var mu sync.Mutex
	busy := 0
	for i := range 200 {
		wg.Go(func() {
			_, err := e.Encode(t.Context(), Interactive, Query, []string{fmt.Sprint(i/2, long)})
			var about *BusyError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
			case errors.As(err, &about) && about.Wait > 0 && about.Limit == interactiveTokens:
				busy++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if busy == 0 || busy > 190 {
		t.Errorf("%d of 200 calls were refused", busy)
	}
	if n := testutil.ToFloat64(e.metrics.joined.WithLabelValues("interactive")); n == 0 {
		t.Error("no two of the same texts met")
	}
	if n := testutil.ToFloat64(e.metrics.refused.WithLabelValues("interactive", "full")); int(n) != busy {
		t.Errorf("%v refusals counted, %d seen", n, busy)
	}
}
