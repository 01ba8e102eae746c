package retrieval

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// every is a search with one thing changed: each way to order an answer.
var every = map[string]func(*SearchRequest){
	"plain":    func(*SearchRequest) {},
	"dense":    func(r *SearchRequest) { r.Mode = Dense },
	"lexical":  func(r *SearchRequest) { r.Mode = Lexical },
	"rrf":      func(r *SearchRequest) { r.Fusion = RRF },
	"feedback": func(r *SearchRequest) { r.Feedback = &Feedback{} },
	"diverse":  func(r *SearchRequest) { r.Diversity = 0.4 },
	"grouped":  func(r *SearchRequest) { r.Group = &Group{Field: "venue", Hits: 3} },
	"by age":   func(r *SearchRequest) { r.HalfLife = ptr(3.0) },
	"cosine":   func(r *SearchRequest) { r.MinCosine = ptr(0.2) },
	"band":     func(r *SearchRequest) { r.MinBand = Related },
	"autocut":  func(r *SearchRequest) { r.Autocut = true },
	"all": func(r *SearchRequest) { // groups that leave enough of a pool: otherwise there is another one, and another order
		r.Feedback, r.Diversity, r.Group, r.HalfLife, r.MinCosine = &Feedback{Papers: 2}, 0.2, &Group{Field: "year", Hits: 9}, ptr(5.0), ptr(-0.5)
	},
	"average":  func(r *SearchRequest) { r.Input = list(Average) },
	"best":     func(r *SearchRequest) { r.Input = list(BestScore) },
	"sum":      func(r *SearchRequest) { r.Input = list(SumScores) },
	"sequence": func(r *SearchRequest) { r.Input = list(Sequence) },
	"examples and a text": func(r *SearchRequest) {
		text := r.Input.Text
		r.Input = list(Sequence)
		r.Input.Examples.Text = text
	},
}

func list(s Strategy) Input {
	example := func(i int) Example { return Example{Input: Input{PaperID: fmt.Sprintf("p%04d", i)}} }
	return Input{Examples: &Examples{Positive: []Example{example(3), example(77), example(300)}, Negative: []Example{example(500)}, Strategy: s}}
}

// dated are papers of random words, years and venues.
func dated(t *testing.T, n int) []Paper {
	all := words(t, n)
	for i := range all {
		all[i].Year, all[i].Venue = int32(2000+i*7%25), fmt.Sprintf("venue %d", i*i%11)
	}
	return all
}

// The answer for k is the beginning of that for more, however it is ordered, and pages are its parts.
func TestOrderAndPages(t *testing.T) {
	rng := testkit.Rand(t)
	c := open(t, t.TempDir(), newBag())
	all := dated(t, 1500)
	put(t, c, all...)
	for name, with := range every {
		t.Run(name, func(t *testing.T) {
			for range 4 {
				text := all[rng.IntN(len(all))].Title + " " + all[rng.IntN(len(all))].Title
				search := func(k int, page string) *SearchResult {
					t.Helper()
					r := SearchRequest{Input: Input{Text: &text}, K: &k, Exact: name != "lexical", Digest: digestOf(7), Page: page}
					with(&r)
					res, err := c.Search(t.Context(), r)
					if err != nil {
						t.Fatal(err)
					}
					return res
				}
				var longest []string
				for _, k := range []int{1, 3, 10, 100} {
					got := ids(search(k, "").Hits)
					if len(got) < len(longest) || !slices.Equal(got[:len(longest)], longest) {
						t.Fatalf("%q: the answer for %d is %v, and for less %v", text, k, got, longest)
					}
					if len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
						t.Fatalf("a paper is there twice: %v", got)
					}
					longest = got
				}
				var pages []string
				for page := ""; len(pages) < 100; {
					res := search(7, page)
					pages = append(pages, ids(res.Hits)...)
					if page = res.Next; page == "" {
						break
					}
				}
				if n := min(len(longest), len(pages)); n < len(longest) || !slices.Equal(pages[:n], longest) {
					t.Fatalf("%q: pages give\n%v, want\n%v", text, pages, longest)
				}
			}
		})
	}
}

// Pages go on in the collection as it was: what comes meanwhile is on none, what goes is missing, and no hit is there twice.
func TestPagesWhileItChanges(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	all := words(t, 600)
	put(t, c, all...)
	text := all[0].Title
	whole, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, K: ptr(120), Mode: Dense, Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	want := ids(whole.Hits)
	r := SearchRequest{Input: Input{Text: &text}, K: ptr(20), Mode: Dense, Exact: true, Digest: digestOf(9)}
	var got []string
	version := uint64(0)
	for len(got) < 100 {
		res, err := c.Search(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if version == 0 {
			version = res.Version
		}
		if res.Version != version {
			t.Errorf("a page is of version %d, the first of %d", res.Version, version)
		}
		got = append(got, ids(res.Hits)...)
		if r.Page = res.Next; r.Page == "" {
			t.Fatalf("no page after %d hits", len(got))
		}
		put(t, c, paper(fmt.Sprintf("new%d", len(got)), text)) // would be first
		gone := want[len(got)+5]
		want = slices.Delete(want, len(got)+5, len(got)+6)
		if _, _, _, err := c.Delete(t.Context(), []string{gone}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want[:len(got)]) {
		t.Errorf("pages give\n%v, want\n%v", got, want[:len(got)])
	}
}

func TestPageTokens(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	other := open(t, t.TempDir(), newBag())
	put(t, c, words(t, 50)...)
	put(t, other, words(t, 50)...)
	r := SearchRequest{Input: Input{Text: ptr("w1 w2")}, K: ptr(5), Digest: digestOf(3)}
	first, err := c.Search(t.Context(), r)
	if err != nil || first.Next == "" {
		t.Fatal(first, err)
	}
	for name, try := range map[string]func() (*SearchResult, error){
		"of another request": func() (*SearchResult, error) {
			r := r
			r.Page, r.Digest = first.Next, digestOf(4)
			return c.Search(t.Context(), r)
		},
		"of another collection": func() (*SearchResult, error) { r := r; r.Page = first.Next; return other.Search(t.Context(), r) },
		"changed": func() (*SearchResult, error) {
			r := r
			r.Page = first.Next[:20] + "AAAA" + first.Next[24:]
			return c.Search(t.Context(), r)
		},
		"short": func() (*SearchResult, error) { r := r; r.Page = "AAAA"; return c.Search(t.Context(), r) },
		"long": func() (*SearchResult, error) {
			r := r
			r.Page = strings.Repeat("A", 1<<20)
			return c.Search(t.Context(), r)
		},
		"no base64": func() (*SearchResult, error) { r := r; r.Page = "?"; return c.Search(t.Context(), r) },
	} {
		if _, err := try(); KindOf(err) != Invalid || !strings.HasPrefix(err.Error(), "page_token: ") {
			t.Errorf("a token %s: %v", name, err)
		}
	}
	r.Page, r.K = first.Next, ptr(MaxK)
	if res, err := c.Search(t.Context(), r); err != nil || res.K != MaxK-5 || len(res.Hits) != 45 || res.Next != "" {
		t.Errorf("the last page of all that there can be: %v, %v", res, err)
	}
}

// Diversity against its definition, computed from the vectors.
func TestDiversityAgainstTruth(t *testing.T) {
	rng := testkit.Rand(t)
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	all := words(t, 180)
	put(t, c, all...)
	vectors := map[string][]float32{}
	for _, p := range all {
		e, err := enc.Encode(t.Context(), Bulk, Document, []string{p.Title})
		if err != nil {
			t.Fatal(err)
		}
		vectors[p.ID] = e[0].Vector
	}
	product := func(a, b string) (sum float64) {
		for i := range vectors[a] {
			sum += float64(vectors[a][i]) * float64(vectors[b][i])
		}
		return sum
	}
	for _, lambda := range []float64{0.1, 0.5, 1} {
		text := all[rng.IntN(len(all))].Title
		r := SearchRequest{Input: Input{Text: &text}, K: ptr(len(all)), Mode: Dense, Exact: true}
		plain, err := c.Search(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		pool := plain.Hits
		best, worst := float64(pool[0].Score), float64(pool[len(pool)-1].Score)
		r.Diversity, r.K = lambda, ptr(20)
		diverse, err := c.Search(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var chosen []string
		for i, h := range diverse.Hits {
			margin := func(x Hit) float64 {
				like := 0.0
				for j, id := range chosen {
					if p := product(x.Paper.ID, id); j == 0 || p > like {
						like = p
					}
				}
				return (1-lambda)*(float64(x.Score)-worst)/(best-worst) - lambda*like
			}
			most := math.Inf(-1)
			for _, x := range pool {
				if !slices.Contains(chosen, x.Paper.ID) {
					most = max(most, margin(x))
				}
			}
			if got := margin(h); got < most-1e-4 {
				t.Fatalf("λ %v: hit %d, %s, has the margin %v, another %v", lambda, i, h.Paper.ID, got, most)
			}
			chosen = append(chosen, h.Paper.ID)
		}
	}
}

// Strategies against their definitions, by the vectors of all papers.
func TestStrategiesAgainstTruth(t *testing.T) {
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	all := words(t, 300)
	put(t, c, all...)
	vector := func(text string) []float32 {
		e, err := enc.Encode(t.Context(), Bulk, Document, []string{text})
		if err != nil {
			t.Fatal(err)
		}
		return e[0].Vector
	}
	cos := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum
	}
	// Two papers that are liked, the second twice as much, a text, and one that is not.
	p1, p2, n1, text := vector(all[10].Title), vector(all[20].Title), vector(all[30].Title), vector("w1 w2")
	combine := func(parts ...any) []float32 {
		sum := make([]float64, len(p1))
		for i := 0; i < len(parts); i += 2 {
			for j, x := range parts[i+1].([]float32) {
				sum[j] += parts[i].(float64) * float64(x)
			}
		}
		if err := scaleTo1("", sum); err != nil {
			t.Fatal(err)
		}
		return narrow(sum)
	}
	liked := combine(2.0/3, p1, 4.0/3, p2, -1.0, n1)
	wants := map[Strategy]func(v []float32) float64{
		Average: func(v []float32) float64 { return cos(v, combine(1.0, liked, 3.0, text)) },
		BestScore: func(v []float32) float64 {
			best, worst := max(cos(v, p1)/3, cos(v, p2)*2/3, cos(v, text)), cos(v, n1)/3
			if worst > best {
				return -worst
			}
			return best
		},
		SumScores: func(v []float32) float64 { return (cos(v, p1) + 2*cos(v, p2) + 3*cos(v, text) - cos(v, n1)) / 7 },
		Sequence: func(v []float32) float64 {
			w := []float64{math.Exp(cos(v, p1)/0.1 - math.Ln2/5), 2 * math.Exp(cos(v, p2)/0.1), 3 * math.Exp(cos(v, text)/0.1)}
			return ((w[0]*cos(v, p1)+w[1]*cos(v, p2)+w[2]*cos(v, text))/(w[0]+w[1]+w[2]) - cos(v, n1)) / 2
		},
	}
	examples := &Examples{
		Positive: []Example{{Input: Input{PaperID: all[10].ID}}, {Input: Input{Text: &all[20].Title}, Weight: ptr(2.0)}},
		Negative: []Example{{Input: Input{Paper: &Paper{Title: all[30].Title}}}},
		Text:     ptr("w1 w2"), TextWeight: ptr(3.0),
	}
	for s, want := range wants {
		examples.Strategy = s
		res, err := c.Search(t.Context(), SearchRequest{Input: Input{Examples: examples}, Mode: Dense, Exact: true, K: ptr(20)})
		if err != nil {
			t.Fatal(err)
		}
		var best []float64
		for _, p := range all {
			if p.ID != all[10].ID { // which is stored and given by its id: read already
				best = append(best, want(vector(p.Title)))
			}
		}
		slices.Sort(best)
		slices.Reverse(best)
		for i, h := range res.Hits {
			if h.Paper.ID == all[10].ID {
				t.Errorf("strategy %d: an example is in the answer", s)
			}
			if got := want(vector(h.Paper.Title)); math.Abs(got-float64(h.Score)) > 1e-4 || math.Abs(got-best[i]) > 1e-4 {
				t.Errorf("strategy %d: hit %d, %s, has %v; by the definition it has %v, and the hit at this place %v", s, i, h.Paper.ID, h.Score, got, best[i])
			}
			v := vector(h.Paper.Title)
			if nearest := map[bool]int{true: 1, false: 0}[cos(v, p2) > cos(v, p1)]; h.Why.Example == nil || *h.Why.Example != nearest && math.Abs(cos(v, p2)-cos(v, p1)) > 1e-4 {
				t.Errorf("strategy %d: hit %d is said to be nearest to example %v", s, i, h.Why.Example)
			}
		}
	}
}

func TestAgeGroupsAndCut(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	now := int32(time.Now().Year())
	put(t, c,
		Paper{ID: "old", Title: "red fish", Year: now - 10, Venue: "A"}, Paper{ID: "new", Title: "red fish swim", Year: now, Venue: "A"},
		Paper{ID: "none", Title: "red fish", Venue: "B"}, Paper{ID: "far", Title: "blue sky", Year: now, Venue: "A"},
	)
	search := func(with func(*SearchRequest)) *SearchResult {
		t.Helper()
		r := SearchRequest{Input: Input{Text: ptr("red fish")}, Mode: Dense}
		with(&r)
		res, err := c.Search(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if got := ids(search(func(*SearchRequest) {}).Hits); !slices.Equal(got[:2], []string{"old", "none"}) {
		t.Errorf("without an age: %v", got)
	}
	got := search(func(r *SearchRequest) { r.HalfLife = ptr(5.0) })
	if want := []string{"new", "none", "old"}; !slices.Equal(ids(got.Hits)[:3], want) {
		t.Errorf("with a half-life: %v, want %v", ids(got.Hits), want)
	}
	for _, h := range got.Hits {
		if h.Paper.ID == "none" && (h.Why.Recency == nil || math.Abs(float64(*h.Why.Recency)-0.5) > 1e-6 || math.Abs(float64(h.Score)-0.5) > 1e-4) {
			t.Errorf("a paper without a date counts %v, has %v", h.Why.Recency, h.Score)
		}
		if h.Paper.ID == "old" && math.Abs(float64(*h.Why.Recency)-0.25) > 0.03 {
			t.Errorf("a paper of two half-lives counts %v", *h.Why.Recency)
		}
	}
	if got := ids(search(func(r *SearchRequest) { r.Group = &Group{Field: "venue"} }).Hits); !slices.Equal(got, []string{"old", "none"}) {
		t.Errorf("one of each venue: %v", got)
	}
	if got := ids(search(func(r *SearchRequest) { r.Autocut = true }).Hits); len(got) > 3 || slices.Contains(got, "far") {
		t.Errorf("autocut: %v", got)
	}
	if got := ids(search(func(r *SearchRequest) { r.MinCosine = ptr(0.99) }).Hits); !slices.Equal(got, []string{"old", "none"}) {
		t.Errorf("of a cosine of 0.99: %v", got)
	}
	if got := search(func(*SearchRequest) {}); got.Hits[0].Band != NoBand || got.Hits[0].Percentile != nil {
		t.Errorf("a band among four papers: %v", got.Hits[0])
	}
	_, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("red")}, MinBand: Strong})
	if KindOf(err) != FailedPrecondition {
		t.Errorf("a band is asked for of four papers: %v", err)
	}
}

// Bands are those of random pairs, and each hit is in the band of its cosine.
func TestBands(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	all := words(t, 800)
	put(t, c, all...)
	b, err := c.Bands()
	if err != nil || b == nil {
		t.Fatal(b, err)
	}
	if !(b.Mean < float64(b.Related) && b.Related < b.Strong && b.Deviation > 0) {
		t.Errorf("bands %+v", b)
	}
	res, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: all[0].ID}, K: ptr(500)})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Band]int{}
	for i, h := range res.Hits {
		seen[h.Band]++
		want := Weak
		if *h.Cosine >= b.Strong {
			want = Strong
		} else if *h.Cosine >= b.Related {
			want = Related
		}
		if h.Band != want || i > 0 && *h.Percentile > *res.Hits[i-1].Percentile {
			t.Errorf("hit %d with the cosine %v is in band %d, percentile %v", i, *h.Cosine, h.Band, *h.Percentile)
		}
	}
	for band, n := range map[Band]int{Strong: seen[Strong], Related: seen[Strong] + seen[Related]} {
		some, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: all[0].ID}, K: ptr(500), MinBand: band})
		if err != nil || !slices.Equal(ids(some.Hits), ids(res.Hits)[:n]) {
			t.Errorf("of band %d there are %d, want %d: %v", band, len(some.Hits), n, err)
		}
	}
}

// Of few papers all pairs are compared: whichever came first, and with whom, the bands are the same.
func TestBandsOfFewPapersHaveNoOrder(t *testing.T) {
	all := words(t, 300)
	var want Bands
	for round := range 3 {
		c := open(t, t.TempDir(), newBag())
		for some := range slices.Chunk(all, 300/(round+1)) {
			put(t, c, some...)
		}
		b, err := c.Bands()
		if err != nil || b == nil {
			t.Fatal(b, err)
		}
		if round == 0 {
			want = *b
		} else if b.Related != want.Related || b.Strong != want.Strong || math.Abs(b.Mean-want.Mean) > 1e-6 || math.Abs(b.Deviation-want.Deviation) > 1e-6 {
			t.Errorf("round %d: %+v, want %+v", round, *b, want)
		}
		slices.Reverse(all)
	}
}

// What a request may say of the order, and what is said of what it may not.
func TestOrderRefuses(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, paper("a", "red fish"), paper("b", "blue fish"))
	text := ptr("fish")
	scope, err := ParseFilter("", "year > 1")
	if err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]SearchRequest{
		"diversity: is NaN":                         {Diversity: math.NaN()},
		"diversity: is 1.5":                         {Diversity: 1.5},
		"half_life: is 0;":                          {HalfLife: ptr(0.0)},
		"half_life: is +Inf":                        {HalfLife: ptr(math.Inf(1))},
		"min_cosine: is 2":                          {MinCosine: ptr(2.0)},
		"min_cosine: is given, and the mode is lex": {MinCosine: ptr(0.0), Mode: Lexical},
		"min_band: is given, and the mode is lex":   {MinBand: Weak, Mode: Lexical},
		"min_band: is told by all papers":           {MinBand: Weak, Which: Which{Scope: scope}},
		"min_band: 9 is not":                        {MinBand: 9},
		"group_by.field: is empty":                  {Group: &Group{}},
		"group_by.hits: is 101":                     {Group: &Group{Field: "venue", Hits: 101}},
		"feedback.papers: is 11":                    {Feedback: &Feedback{Papers: 11}},
		"feedback.terms: is -1":                     {Feedback: &Feedback{Terms: -1}},
		"feedback.dense_weight: is 2":               {Feedback: &Feedback{DenseWeight: ptr(2.0)}},
		"feedback.term_weight: is NaN":              {Feedback: &Feedback{TermWeight: ptr(math.NaN())}},
		"feedback: is given, and the strategy":      {Feedback: &Feedback{}, Input: Input{Examples: &Examples{Positive: []Example{{Input: Input{PaperID: "a"}}}, Strategy: Sequence}}},
		"examples.positive: is empty":               {Input: Input{Examples: &Examples{}}},
		"examples.strategy: 9 is not":               {Input: Input{Examples: &Examples{Text: text, Strategy: 9}}},
		"examples.text_weight: is given":            {Input: Input{Examples: &Examples{Positive: []Example{{Input: Input{PaperID: "a"}}}, TextWeight: ptr(1.0)}}},
		"examples.text: is blank":                   {Input: Input{Examples: &Examples{Text: ptr(" ")}}},
		"examples: has 101 examples":                {Input: Input{Examples: &Examples{Positive: make([]Example, 101)}}},
		"examples.negative[0].weight: is 0":         {Input: Input{Examples: &Examples{Text: text, Negative: []Example{{Input: Input{PaperID: "a"}, Weight: ptr(0.0)}}}}},
		"examples.negative[0].input.paper_id: no p": {Input: Input{Examples: &Examples{Text: text, Negative: []Example{{Input: Input{PaperID: "zz"}}}}}},
		"examples: the examples cancel": {Input: Input{Examples: &Examples{
			Positive: []Example{{Input: Input{PaperID: "a"}}}, Negative: []Example{{Input: Input{PaperID: "a"}, Weight: ptr(1.0)}}, Strategy: SumScores,
		}}},
		"mode: is hybrid, which needs words": {Mode: Hybrid, Input: Input{Examples: &Examples{Positive: []Example{{Input: Input{PaperID: "a"}}}}}},
		"paper: title and abstract are both": {Input: Input{Paper: &Paper{ID: "x"}}},
	} {
		if r.Input.Examples == nil && r.Input.Paper == nil {
			r.Input.Text = text
		}
		if _, err := c.Search(t.Context(), r); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// A paper that is not known is searched with as it is; one that is known stands for what is stored, and is not in the answer.
func TestPaperThatMayNotBeKnown(t *testing.T) {
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	put(t, c, paper("a", "red fish"), paper("b", "red fish swim"), paper("c", "blue sky"))
	search := func(p Paper) []string {
		t.Helper()
		res, err := c.Search(context.Background(), SearchRequest{Input: Input{Paper: &p}})
		if err != nil {
			t.Fatal(err)
		}
		return ids(res.Hits)
	}
	before := enc.encoded.Load()
	if got := search(paper("a", "red fish")); !slices.Equal(got, []string{"b", "c"}) || enc.encoded.Load() != before {
		t.Errorf("a known paper: %v, %d texts encoded", got, enc.encoded.Load()-before)
	}
	if got := search(paper("new", "red fish")); !slices.Equal(got, []string{"a", "b", "c"}) || enc.encoded.Load() != before+1 {
		t.Errorf("a new paper: %v", got)
	}
	if got := search(Paper{Title: "red fish"}); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("a paper without an id: %v", got)
	}
	if got := search(paper("a", "blue sky")); !slices.Equal(got, []string{"c", "b"}) {
		t.Errorf("another text of a known paper: %v", got)
	}
}

// A search that leaves out what is too far ends, though there are papers beyond: what it is short of is farther still.
func TestTooFarEnds(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, words(t, 3000)...)
	put(t, c, Paper{ID: "x", Title: "red fish"}, Paper{ID: "y", Title: "red fish", DOI: "10.1000/1"}, Paper{ID: "z", Title: "red fish", DOI: "10.1000/1"})
	for _, mode := range []Mode{Dense, Hybrid} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		res, err := c.Search(ctx, SearchRequest{Input: Input{Text: ptr("red fish")}, Mode: mode, MinCosine: ptr(0.99), Exact: true})
		cancel()
		if err != nil || len(res.Hits) == 0 || len(res.Hits) > 3 {
			t.Errorf("%v: %v, %v", mode, res, err)
		}
	}
}

// digestOf stands for a request.
func digestOf(n uint64) func() uint64 { return func() uint64 { return n } }
