package retrieval

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
)

// How answers change by another model.

// Limits of a report.
const (
	// MaxReportPapers and MaxReportQueries are what may be compared.
	MaxReportPapers  = 5000
	MaxReportQueries = 5000
	// reportDepth hits are compared of each answer, reportChanges papers shown whose answers change the most.
	reportDepth   = 10
	reportChanges = 10
)

// MoveReport says how the answers of two models differ. Searches are exact, so that it is about the models and not about the index.
type MoveReport struct {
	// Papers that were searched with, chosen by chance. 0: the new model has not read all papers yet, and there is nothing to compare.
	Papers int
	// Overlap is the mean share of the 10 papers most alike that are the same. Same is the share of papers with all the same in the same order.
	Overlap, Same float64
	// Kendall is the mean of Kendall's tau-b of the two orders, over all papers that are in one of the two lists; those that are in one alone stand behind the
	// other one's last, side by side. -1 to 1; where nothing is in both it is below 0.
	Kendall float64
	// Changes are the papers whose answers change the most, the most first.
	Changes []AnswerChange
	// Queries are the answers to the queries that were asked for, in order.
	Queries []QueryAnswers
}

// AnswerChange is a paper, and what is most alike to it by both models.
type AnswerChange struct {
	Paper         Paper
	Overlap       float64
	Kendall       float64
	Before, After []Hit
}

// QueryAnswers are the ids of the papers that a text finds, best first, up to 10.
type QueryAnswers struct {
	// Old and New are by the one model; New is none where it has not read all papers yet.
	Old, New []string
	// Mapped is by the new model's vector of the text alone, mapped to the vectors that the old model has made of the papers; Bridged is by the sum of that and
	// the old model's, as searches across the models do for papers that have not come over. None where there is no bridge.
	Mapped, Bridged []string
}

// ReportMove compares the answers of a collection with those of another one under a newer model that has the same papers. complete: it has them all; bridge is
// nil where there is none. mode is that of the queries, Dense or Hybrid.
func ReportMove(ctx context.Context, old, new *Collection, bridge *Across, complete bool, papers int, queries []string, mode Mode) (*MoveReport, error) {
	switch {
	case papers < 0 || papers > MaxReportPapers:
		return nil, invalid("papers", "is %d; must be 0 to %d", papers, MaxReportPapers)
	case len(queries) > MaxReportQueries:
		return nil, invalid("queries", "has %d texts; the limit is %d", len(queries), MaxReportQueries)
	case mode != Dense && mode != Hybrid:
		return nil, invalid("mode", "is %s; must be dense or hybrid", mode)
	}
	report := &MoveReport{}
	if complete && papers > 0 {
		if err := report.comparePapers(ctx, old, new, papers); err != nil {
			return nil, err
		}
	}
	for i, text := range queries {
		answers, err := askBoth(ctx, old, new, bridge, complete, fmt.Sprintf("queries[%d]", i), text, mode)
		if err != nil {
			return nil, err
		}
		report.Queries = append(report.Queries, answers)
	}
	return report, nil
}

func (report *MoveReport) comparePapers(ctx context.Context, old, new *Collection, n int) error {
	ordinals, err := old.randomOrdinals(ctx, n)
	if err != nil {
		return err
	}
	var changes []AnswerChange
	for _, ordinal := range ordinals {
		change, there, err := compareAnswers(ctx, old, new, ordinal)
		if err != nil {
			return err
		}
		if !there { // it has gone meanwhile
			continue
		}
		report.Papers++
		report.Overlap += change.Overlap
		report.Kendall += change.Kendall
		if change.Overlap == 1 && change.Kendall > 1-1e-9 {
			report.Same++
		}
		changes = append(changes, change)
		slices.SortStableFunc(changes, func(a, b AnswerChange) int {
			return cmp.Or(cmp.Compare(a.Overlap, b.Overlap), cmp.Compare(a.Kendall, b.Kendall), strings.Compare(a.Paper.ID, b.Paper.ID))
		})
		changes = changes[:min(len(changes), reportChanges)]
	}
	for _, sum := range []*float64{&report.Overlap, &report.Kendall, &report.Same} {
		*sum /= float64(max(1, report.Papers))
	}
	report.Changes = changes
	return nil
}

// compareAnswers compares what is most alike to a paper by both; there is false where one of them has it not.
func compareAnswers(ctx context.Context, old, new *Collection, ordinal uint64) (change AnswerChange, there bool, err error) {
	if err := old.enter(); err != nil {
		return change, false, err
	}
	records, present, err := old.store.Records([]uint64{ordinal})
	old.leave()
	if err != nil {
		return change, false, storeError("read paper", err)
	}
	if !present[0] || old.gone(&records[0].Paper) {
		return change, false, nil
	}
	change.Paper = records[0].Paper
	k := reportDepth
	var lists [2][]string
	for i, c := range []*Collection{old, new} {
		res, err := c.Search(ctx, SearchRequest{Input: Input{PaperID: change.Paper.ID}, K: &k, Exact: true, Live: true, Basic: true, Mode: Dense})
		if err != nil && KindOf(err) == NotFound && ctx.Err() == nil {
			return change, false, nil
		}
		if err != nil {
			return change, false, err
		}
		for _, h := range res.Hits {
			lists[i] = append(lists[i], h.Paper.ID)
		}
		if i == 0 {
			change.Before = res.Hits
		} else {
			change.After = res.Hits
		}
	}
	change.Overlap, change.Kendall = overlap(lists[0], lists[1]), kendall(lists[0], lists[1])
	return change, true, nil
}

// overlap is the share of what two lists have in common; 1 where both are empty.
func overlap(a, b []string) float64 {
	if len(a) == 0 && len(b) == 0 {
		return 1
	}
	same := 0
	for _, id := range a {
		if slices.Contains(b, id) {
			same++
		}
	}
	return float64(same) / float64(max(len(a), len(b)))
}

// kendall is tau-b (Kendall, "The treatment of ties in ranking problems", Biometrika 1945) of two rankings of all that is in one of two lists; what is not in a
// list is behind its last, side by side. 1 for equal lists, 0 where it is not defined otherwise.
func kendall(a, b []string) float64 {
	all := slices.Concat(a, b)
	slices.Sort(all)
	all = slices.Compact(all)
	rank := func(list []string, id string) int {
		if at := slices.Index(list, id); at >= 0 {
			return at
		}
		return len(list)
	}
	var sum, ofA, ofB float64
	for i := range all {
		for j := range i {
			x := cmp.Compare(rank(a, all[i]), rank(a, all[j]))
			y := cmp.Compare(rank(b, all[i]), rank(b, all[j]))
			sum += float64(x * y)
			ofA += float64(x * x)
			ofB += float64(y * y)
		}
	}
	if slices.Equal(a, b) {
		return 1
	}
	if ofA == 0 || ofB == 0 {
		return 0
	}
	return sum / math.Sqrt(ofA*ofB)
}

// askBoth answers a text in the ways there are.
func askBoth(ctx context.Context, old, new *Collection, bridge *Across, complete bool, field, text string, mode Mode) (out QueryAnswers, err error) {
	k := reportDepth
	ask := func(c *Collection, as func(old []float32) ([]float32, error)) ([]string, error) {
		no := false
		res, err := c.Search(ctx, SearchRequest{
			Input: Input{Text: &text}, Field: field, K: &k, Exact: true, Basic: true, Mode: mode, NotAcross: true, SameWork: true, Sentences: &no, as: as,
		})
		if err != nil {
			return nil, err
		}
		ids := make([]string, len(res.Hits))
		for i := range res.Hits {
			ids[i] = res.Hits[i].Paper.ID
		}
		return ids, nil
	}
	if out.Old, err = ask(old, nil); err != nil {
		return out, err
	}
	if complete {
		if out.New, err = ask(new, nil); err != nil {
			return out, err
		}
	}
	if bridge == nil {
		return out, nil
	}
	enc, err := new.Encode(ctx, Bulk, Query, []string{text})
	if err != nil {
		return out, err
	}
	if out.Mapped, err = ask(old, func([]float32) ([]float32, error) { return bridge.fit.Apply(enc[0].Vector) }); err != nil {
		return out, err
	}
	out.Bridged, err = ask(old, func(was []float32) ([]float32, error) { return bridge.query(was, enc[0].Vector) })
	return out, err
}
