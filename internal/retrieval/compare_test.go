package retrieval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"embedd/internal/testkit"
)

func ofText(s string) Input          { return Input{Text: &s} }
func ofID(id string) Input           { return Input{PaperID: id} }
func ofVector(v []float32) Input     { return Input{Vector: v} }
func ofPaper(id, title string) Input { return Input{Paper: &Paper{ID: id, Title: title}} }

// Each with each is what the cosine of the vectors is, summed up slowly; the order of the two makes no difference to the bit, pairs are of the same
// bits, and a thing is 1 with itself.
func TestCompare(t *testing.T) {
	r := testkit.Rand(t)
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	var things []Input
	var vectors [][]float32
	text := func() string {
		return fmt.Sprintf("%c %c %c", 'a'+r.IntN(20), 'a'+r.IntN(20), 'a'+r.IntN(20))
	}
	vectorOf := func(text string) []float32 {
		e, err := enc.Encode(t.Context(), Bulk, Document, []string{text})
		if err != nil {
			t.Fatal(err)
		}
		return e[0].Vector
	}
	for i := range 40 {
		s, id := text(), fmt.Sprint("paper ", i)
		switch i % 5 {
		case 0:
			put(t, c, paper(id, s))
			things = append(things, ofID(id))
		case 1:
			things = append(things, ofText(s))
		case 2:
			v := vectorOf(s)
			for j := range v {
				v[j] *= 7
			}
			things = append(things, ofVector(v))
		case 3: // not stored
			things = append(things, ofPaper(id, s))
		case 4: // stored, with the same text, or with another
			stored := s
			if i%2 == 0 {
				stored = text()
			}
			put(t, c, paper(id, stored))
			things = append(things, ofPaper(id, s))
		}
		vectors = append(vectors, vectorOf(s))
	}
	all, err := c.Compare(t.Context(), CompareRequest{Left: things})
	if err != nil {
		t.Fatal(err)
	}
	n := len(things)
	if all.Rows != n || all.Columns != n || len(all.Scores) != n*n {
		t.Fatalf("%d rows, %d columns, %d scores", all.Rows, all.Columns, len(all.Scores))
	}
	at := func(i, j int) float32 { return all.Scores[i*n+j] }
	for i := range n {
		if math.Abs(float64(at(i, i))-1) > 1e-6 {
			t.Errorf("%d with itself: %v", i, at(i, i))
		}
		for j := range n {
			var want float64
			for k, x := range vectors[i] {
				want += float64(x) * float64(vectors[j][k])
			}
			if math.Abs(float64(at(i, j))-want) > 1e-6 || at(i, j) != at(j, i) {
				t.Fatalf("%d with %d: %v, the other way round %v, want %v", i, j, at(i, j), at(j, i), want)
			}
		}
	}
	left, right := things[:15], things[10:]
	some, err := c.Compare(t.Context(), CompareRequest{Left: left, Right: right})
	if err != nil {
		t.Fatal(err)
	}
	if some.Rows != 15 || some.Columns != 30 {
		t.Fatalf("%d rows, %d columns", some.Rows, some.Columns)
	}
	for i := range left {
		for j := range right {
			if some.Scores[i*30+j] != at(i, 10+j) {
				t.Fatalf("%d with %d differs beside others", i, 10+j)
			}
		}
	}
	pairs, err := c.Compare(t.Context(), CompareRequest{Left: left, Right: right[:15], Pairs: true})
	if err != nil {
		t.Fatal(err)
	}
	if pairs.Rows != 15 || pairs.Columns != 1 || len(pairs.Scores) != 15 {
		t.Fatalf("%d rows, %d columns", pairs.Rows, pairs.Columns)
	}
	for i, s := range pairs.Scores {
		if s != at(i, 10+i) {
			t.Errorf("pair %d: %v, want %v", i, s, at(i, 10+i))
		}
	}
}

// laned notes the lane and the number of texts of calls.
type laned struct {
	*bag
	calls []string
}

func (l *laned) Encode(ctx context.Context, lane Lane, role Role, texts []string) ([]Encoding, error) {
	l.calls = append(l.calls, fmt.Sprint(lane, role, len(texts)))
	return l.bag.Encode(ctx, lane, role, texts)
}

// Equal texts are encoded once, few of them in the lane of those who wait; stored papers are not encoded.
func TestCompareEncodesWhatItMust(t *testing.T) {
	enc := &laned{bag: newBag()}
	c := open(t, t.TempDir(), enc)
	put(t, c, paper("a", "alpha"))
	numbered := func(n int) (out []Input) {
		for i := range n {
			out = append(out, ofText(fmt.Sprint("text ", i)))
		}
		return out
	}
	for _, k := range []struct {
		name string
		r    CompareRequest
		want []string
	}{
		{"stored", CompareRequest{Left: []Input{ofID("a"), ofPaper("a", "alpha"), ofVector(make32(1))}}, nil},
		{"equal", CompareRequest{Left: []Input{ofText("x"), ofText("x"), ofID("a")}, Right: []Input{ofText("x")}}, []string{fmt.Sprint(Interactive, Document, 1)}},
		{"roles", CompareRequest{Left: []Input{ofText("x"), ofPaper("a", "x")}, Role: Query}, []string{fmt.Sprint(Interactive, Document, 1), fmt.Sprint(Interactive, Query, 1)}},
		{"few", CompareRequest{Left: numbered(16)}, []string{fmt.Sprint(Interactive, Document, 16)}},
		{"many", CompareRequest{Left: numbered(17)}, []string{fmt.Sprint(Bulk, Document, 17)}},
	} {
		enc.calls = nil
		if _, err := c.Compare(t.Context(), k.r); err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		if fmt.Sprint(enc.calls) != fmt.Sprint(k.want) {
			t.Errorf("%s: encoded %v, want %v", k.name, enc.calls, k.want)
		}
	}
}

// make32 is a vector of the bag's dimension.
func make32(x float32) []float32 {
	v := make([]float32, 32)
	v[0] = x
	return v
}

func TestCompareRefuses(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, paper("a", "alpha"), Paper{ID: "b", Title: "beta", Year: 2020})
	one := []Input{ofID("a")}
	scope, err := ParseFilter("", "year = 2020")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		r     CompareRequest
		kind  Kind
		field string
	}{
		{CompareRequest{}, Invalid, "left"},
		{CompareRequest{Left: make([]Input, MaxTextsPerCall+1)}, Invalid, "left"},
		{CompareRequest{Left: one, Right: make([]Input, MaxTextsPerCall+1)}, Invalid, "right"},
		{CompareRequest{Left: one, Pairs: true}, Invalid, "right"},
		{CompareRequest{Left: one, Right: []Input{ofID("a"), ofID("a")}, Pairs: true}, Invalid, "right"},
		{CompareRequest{Left: []Input{{}}}, Invalid, "left[0].paper_id"},
		{CompareRequest{Left: []Input{ofID("a"), ofID("nobody")}}, NotFound, "left[1].paper_id"},
		{CompareRequest{Left: one, Right: []Input{ofText(" ")}}, Invalid, "right[0].text"},
		{CompareRequest{Left: one, Right: []Input{ofText("\u200b")}}, Invalid, "right[0].text"},
		{CompareRequest{Left: one, Right: []Input{ofText(strings.Repeat("x", MaxTextBytes+1))}}, Invalid, "right[0].text"},
		{CompareRequest{Left: []Input{ofVector(make([]float32, 3))}}, Invalid, "left[0].vector"},
		{CompareRequest{Left: []Input{ofVector(make32(0))}}, Invalid, "left[0].vector"},
		{CompareRequest{Left: []Input{ofVector(make32(float32(math.NaN())))}}, Invalid, "left[0].vector"},
		{CompareRequest{Left: []Input{{Examples: &Examples{}}}}, Invalid, "left[0].examples"},
		{CompareRequest{Left: []Input{ofPaper("x", "")}}, Invalid, "left[0].paper"},
		// Beyond the scope there is nothing.
		{CompareRequest{Left: one, Which: Which{Scope: scope}}, NotFound, "left[0].paper_id"},
	} {
		_, err := c.Compare(t.Context(), k.r)
		var e *Error
		if !errors.As(err, &e) || e.Kind != k.kind || e.Field != k.field {
			t.Errorf("%v, want kind %d of %s", err, k.kind, k.field)
		}
	}
	// A paper that is beyond the scope is as one that is not stored: it is encoded.
	x, err := c.Compare(t.Context(), CompareRequest{Left: []Input{ofID("b")}, Right: []Input{ofPaper("a", "beta")}, Which: Which{Scope: scope}})
	if err != nil || math.Abs(float64(x.Scores[0])-1) > 1e-6 {
		t.Errorf("%v, %v", x, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Compare(ctx, CompareRequest{Left: one}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
