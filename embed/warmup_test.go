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
