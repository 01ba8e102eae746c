package server

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// paperFromProto copies a paper off the wire. nil becomes an empty paper, which retrieval refuses by its empty id.
func paperFromProto(field string, p *embeddv1.Paper) (retrieval.Paper, error) {
	out := retrieval.Paper{
		ID:       p.GetId(),
		Title:    p.GetTitle(),
		Abstract: p.GetAbstract(),
		Authors:  p.GetAuthors(),
		Year:     p.GetYear(),
		Venue:    p.GetVenue(),
		DOI:      p.GetDoi(),
		ArxivID:  p.GetArxivId(),
		URL:      p.GetUrl(),
	}
	if p.GetExpires() != nil {
		if err := p.GetExpires().CheckValid(); err != nil {
			return out, &retrieval.Error{Kind: retrieval.Invalid, Field: field + ".expires", Message: "is no time of the years 1 to 9999: " + err.Error(), Err: err}
		}
		out.Expires = p.GetExpires().AsTime()
	}
	if p.GetVector() != nil {
		if out.Vector = p.GetVector().GetValues(); out.Vector == nil {
			out.Vector = []float32{} // given, and empty
		}
	}
	if p.GetMetadata() != nil {
		text, err := appendStruct(nil, p.GetMetadata())
		if err != nil { // NaN, Inf, or a value of no kind
			return out, &retrieval.Error{Kind: retrieval.Invalid, Field: field + ".metadata", Message: "cannot be written as JSON: " + err.Error(), Err: err}
		}
		out.Metadata = text
	}
	return out, nil
}

// paperToProto copies as much of a paper onto the wire as the view asks for.
func paperToProto(p *retrieval.Paper, view embeddv1.PaperView) (*embeddv1.Paper, error) {
	out := &embeddv1.Paper{}
	return out, fillPaper(out, p, view)
}

// fillPaper is paperToProto for a message that is there.
func fillPaper(out *embeddv1.Paper, p *retrieval.Paper, view embeddv1.PaperView) error {
	if out.Id = p.ID; view == embeddv1.PaperView_PAPER_VIEW_ID {
		return nil
	}
	out.Title, out.Authors, out.Year, out.Venue = p.Title, p.Authors, p.Year, p.Venue
	out.Doi, out.ArxivId, out.Url = p.DOI, p.ArxivID, p.URL
	if !p.Expires.IsZero() {
		out.Expires = timestamppb.New(p.Expires)
	}
	if view != embeddv1.PaperView_PAPER_VIEW_FULL {
		return nil
	}
	out.Abstract = p.Abstract
	if len(p.Metadata) > 0 {
		var fields map[string]any
		if err := json.Unmarshal(p.Metadata, &fields); err != nil {
			return fmt.Errorf("metadata of paper %q: %w", p.ID, err)
		}
		s, err := structpb.NewStruct(fields)
		if err != nil {
			return fmt.Errorf("metadata of paper %q: %w", p.ID, err)
		}
		out.Metadata = s
	}
	return nil
}

// checkView refuses a view that this server does not know.
func checkView(view embeddv1.PaperView) error {
	if _, ok := embeddv1.PaperView_name[int32(view)]; !ok {
		return &retrieval.Error{Kind: retrieval.Invalid, Field: "view", Message: fmt.Sprintf("%d is not a PaperView", view)}
	}
	return nil
}

// hitsToProto makes the messages of the hits of an answer at once.
func hitsToProto(hits []retrieval.Hit, view embeddv1.PaperView) ([]*embeddv1.Hit, error) {
	out := make([]*embeddv1.Hit, len(hits))
	messages := make([]struct {
		embeddv1.Hit
		paper embeddv1.Paper
		why   embeddv1.Why
	}, len(hits))
	for i := range hits {
		h, m := &hits[i], &messages[i]
		if err := fillPaper(&m.paper, &h.Paper, view); err != nil {
			return nil, err
		}
		fillWhy(&m.why, &h.Why)
		m.Paper, m.Why, m.Score, m.Rank, m.Cosine, m.Bm25, m.Percentile = &m.paper, &m.why, h.Score, int32(i+1), h.Cosine, h.BM25, h.Percentile
		m.Band, m.SameWork, m.Explanation = bands[h.Band], h.SameWork, explanationToProto(h.Explanation)
		out[i] = &m.Hit
	}
	return out, nil
}

func fillWhy(out *embeddv1.Why, w *retrieval.Why) {
	out.DenseRank, out.LexicalRank, out.Sentence, out.Recency = int32(w.DenseRank), int32(w.LexicalRank), w.Sentence, w.Recency
	out.LikeEarlier, out.Group, out.CrossEncoder = w.LikeEarlier, w.Group, w.CrossEncoder
	out.Estimated = w.Estimated
	if w.Passage != nil {
		out.Passage = &embeddv1.Passage{Index: int32(w.Passage.Index), Text: w.Passage.Text}
	}
	if w.Example != nil {
		at := int32(*w.Example)
		out.Example = &at
	}
}

func stagesToProto(stages []retrieval.StageTime) []*embeddv1.StageTime {
	out := make([]*embeddv1.StageTime, len(stages))
	messages := make([]struct {
		embeddv1.StageTime
		took durationpb.Duration
	}, len(stages))
	for i, s := range stages {
		m := &messages[i]
		m.took.Seconds, m.took.Nanos = int64(s.Took/time.Second), int32(s.Took%time.Second)
		m.Stage, m.Took = string(s.Stage), &m.took
		out[i] = &m.StageTime
	}
	return out
}

func effectiveToProto(r *retrieval.SearchResult) *embeddv1.Effective {
	e := &embeddv1.Effective{
		K: int32(r.K), Ef: int32(min(r.Ef, math.MaxInt32)), Exact: r.Exact, Plan: plans[r.Plan], Filter: r.Filter.String(), Mode: modes[r.Mode], Fusion: fusions[r.Fusion], Sentences: r.Sentences,
	}
	if r.Mode == retrieval.Hybrid {
		e.DenseWeight = &r.DenseWeight
	}
	if f := r.Feedback; f != nil {
		e.Feedback = &embeddv1.Feedback{Papers: int32(f.Papers), DenseWeight: f.DenseWeight, Terms: int32(f.Terms), TermWeight: f.TermWeight}
	}
	if m := r.Materialised; m != nil {
		e.Materialised = &embeddv1.Materialised{IndexVersion: m.Version, Computed: timestamppb.New(m.At)}
	}
	if a := r.Across; a != nil {
		e.Across = &embeddv1.AcrossModels{Model: a.Model, Estimated: int32(a.Estimated)}
	}
	e.Strategy, e.Rerank = strategies[r.Strategy], rerankToProto(r.Rerank)
	return e
}

// words are those of an enumeration here and on the wire.
type words[T comparable, W interface {
	comparable
	protoreflect.Enum
}] map[T]W

// fromProto refuses a word that this server does not know.
func (all words[T, W]) fromProto(field string, wire W) (T, error) {
	var none T
	if all[none] == wire { // as nearly all requests say
		return none, nil
	}
	for word, w := range all {
		if w == wire {
			return word, nil
		}
	}
	return none, &retrieval.Error{Kind: retrieval.Invalid, Field: field, Message: fmt.Sprintf("%d is not a %s", wire.Number(), wire.Descriptor().Name())}
}

var (
	plans = words[retrieval.Plan, embeddv1.Plan]{
		retrieval.Auto:  embeddv1.Plan_PLAN_UNSPECIFIED,
		retrieval.Graph: embeddv1.Plan_PLAN_GRAPH,
		retrieval.Scan:  embeddv1.Plan_PLAN_SCAN,
	}
	modes = words[retrieval.Mode, embeddv1.Mode]{
		retrieval.UsualMode: embeddv1.Mode_MODE_UNSPECIFIED,
		retrieval.Dense:     embeddv1.Mode_MODE_DENSE,
		retrieval.Lexical:   embeddv1.Mode_MODE_LEXICAL,
		retrieval.Hybrid:    embeddv1.Mode_MODE_HYBRID,
	}
	writeModes = words[retrieval.WriteMode, embeddv1.WriteMode]{
		retrieval.WriteAny:   embeddv1.WriteMode_WRITE_MODE_UPSERT,
		retrieval.InsertOnly: embeddv1.WriteMode_WRITE_MODE_INSERT,
		retrieval.UpdateOnly: embeddv1.WriteMode_WRITE_MODE_UPDATE,
	}
	fusions = words[retrieval.Fusion, embeddv1.Fusion]{
		retrieval.UsualFusion: embeddv1.Fusion_FUSION_UNSPECIFIED,
		retrieval.Convex:      embeddv1.Fusion_FUSION_CONVEX,
		retrieval.RRF:         embeddv1.Fusion_FUSION_RRF,
	}
	bands = words[retrieval.Band, embeddv1.Band]{
		retrieval.NoBand:  embeddv1.Band_BAND_UNSPECIFIED,
		retrieval.Weak:    embeddv1.Band_BAND_WEAK,
		retrieval.Related: embeddv1.Band_BAND_RELATED,
		retrieval.Strong:  embeddv1.Band_BAND_STRONG,
	}
	strategies = words[retrieval.Strategy, embeddv1.Strategy]{
		retrieval.UsualStrategy: embeddv1.Strategy_STRATEGY_UNSPECIFIED,
		retrieval.Average:       embeddv1.Strategy_STRATEGY_AVERAGE,
		retrieval.BestScore:     embeddv1.Strategy_STRATEGY_BEST_SCORE,
		retrieval.SumScores:     embeddv1.Strategy_STRATEGY_SUM_SCORES,
		retrieval.Sequence:      embeddv1.Strategy_STRATEGY_SEQUENCE,
	}
)

func textUseToProto(u retrieval.TextUse) *embeddv1.TextUse {
	return &embeddv1.TextUse{TokenCount: int32(u.Tokens), Truncated: u.Truncated}
}

// intFromProto keeps the difference between absent and 0.
func intFromProto(v *int32) *int {
	if v == nil {
		return nil
	}
	n := int(*v)
	return &n
}
