package retrieval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// Texts are scored as a search scores papers: the best first, equal ones in their order, and those that cannot be read last.
func TestRerankTexts(t *testing.T) {
	j := &judge{name: "judge", logits: map[string]float32{"good": 2, "bad": -3, "?": nan, "fine": 2}}
	c, err := Open(t.Context(), t.TempDir(), newBag(), &Options{Rerankers: []Reranker{j, &reader{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, c)
	got, by, err := c.RerankTexts(t.Context(), RerankRequest{Query: "what", Texts: []string{"?", "bad", "good", "fine"}})
	if err != nil || by != "judge" || j.query != "what" {
		t.Fatalf("%v, %q, %v", got, by, err)
	}
	var order []int
	for _, s := range got {
		order = append(order, s.Index)
		want := float32(1 / (1 + math.Exp(-float64(s.Logit))))
		if !s.Read() {
			want = 0
		}
		if s.Score != want {
			t.Errorf("%+v, want score %v", s, want)
		}
	}
	if !slices.Equal(order, []int{2, 3, 1, 0}) {
		t.Errorf("order %v", order)
	}
	long := strings.Repeat("x", 101)
	got, by, err = c.RerankTexts(t.Context(), RerankRequest{Query: "what", Texts: []string{"a", long}, Model: "reader"})
	if err != nil || by != "reader" || !got[0].Truncated || got[0].Tokens != 101 || got[1].Truncated {
		t.Errorf("%+v, %q, %v", got, by, err)
	}
	many := slices.Repeat([]string{"good"}, MaxRerankTexts)
	if got, _, err := c.RerankTexts(t.Context(), RerankRequest{Query: "what", Texts: many}); err != nil || len(got) != MaxRerankTexts || got[MaxRerankTexts-1].Index != MaxRerankTexts-1 {
		t.Errorf("%d scores, %v", len(got), err)
	}
}

// Each thing that can be wrong with a request is said by the name of its field.
func TestRerankTextsRefuses(t *testing.T) {
	c, err := Open(t.Context(), t.TempDir(), newBag(), &Options{Rerankers: []Reranker{&judge{name: "judge", before: func(ctx context.Context) error {
		return &BusyError{Wait: time.Second, Err: errors.New("full")}
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, c)
	none := open(t, t.TempDir(), newBag())
	defer shut(t, none)
	for _, k := range []struct {
		name string
		c    *Collection
		r    RerankRequest
		kind Kind
		want string
	}{
		{"no texts", c, RerankRequest{Query: "q"}, Invalid, "texts: is empty; must have 1 to 100"},
		{"too many", c, RerankRequest{Query: "q", Texts: make([]string, 101)}, Invalid, "texts: has 101 texts; the limit is 100"},
		{"no query", c, RerankRequest{Texts: []string{"a"}}, Invalid, "query: is blank"},
		{"a long query", c, RerankRequest{Query: strings.Repeat("a", MaxRerankBytes+1), Texts: []string{"a"}}, Invalid, "query: has 65537 bytes; the limit is 65536"},
		{"a blank text", c, RerankRequest{Query: "q", Texts: []string{"a", "b", "c", " "}}, Invalid, "texts[3]: is blank"},
		{"a NUL", c, RerankRequest{Query: "q", Texts: []string{"a\x00"}}, Invalid, "texts[0]: contains a NUL"},
		{"a long text", c, RerankRequest{Query: "q", Texts: []string{strings.Repeat("a", MaxTextBytes+1)}}, Invalid, "texts[0]: has 262145 bytes"},
		{"another model", c, RerankRequest{Query: "q", Texts: []string{"a"}, Model: "x"}, Invalid, `reranker: "x" is not a cross-encoder of the server, which has: judge`},
		{"busy", c, RerankRequest{Query: "q", Texts: []string{"a"}}, Exhausted, "full"},
		{"none", none, RerankRequest{Query: "q", Texts: []string{"a"}}, FailedPrecondition, "start it with --reranker"},
		{"none, by name", none, RerankRequest{Query: "q", Texts: []string{"a"}, Model: "x"}, FailedPrecondition, "start it with --reranker"},
	} {
		if _, _, err := k.c.RerankTexts(t.Context(), k.r); KindOf(err) != k.kind || !strings.Contains(fmt.Sprint(err), k.want) {
			t.Errorf("%s: %v, want %q", k.name, err, k.want)
		}
	}
}
