package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"embedd/internal/access"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// Search implements SearchService.
func (s *Server) Search(ctx context.Context, req *embeddv1.SearchRequest) (*embeddv1.SearchResponse, error) {
	in, err := inputFromProto("query", req.GetQuery())
	if err != nil {
		return nil, err
	}
	return s.search(ctx, in, "query", req)
}

// Related implements SearchService.
func (s *Server) Related(ctx context.Context, req *embeddv1.RelatedRequest) (*embeddv1.RelatedResponse, error) {
	r, err := s.search(ctx, retrieval.Input{PaperID: req.GetId()}, "", asSearch(req))
	if err != nil {
		return nil, err
	}
	return &embeddv1.RelatedResponse{Hits: r.GetHits(), Effective: r.GetEffective(), IndexVersion: r.GetIndexVersion(), Stages: r.GetStages()}, nil
}

// asSearch is the search, by what the request calls otherwise, that a request for related papers stands for.
func asSearch(r *embeddv1.RelatedRequest) *embeddv1.SearchRequest {
	return &embeddv1.SearchRequest{
		K: r.K, Ef: r.Ef, Recall: r.Recall, Exact: r.GetExact(), Plan: r.GetPlan(), View: r.GetView(), Filter: r.GetFilter(),
		Mode: r.GetMode(), Fusion: r.GetFusion(), DenseWeight: r.DenseWeight, Exclude: r.GetExclude(), SameWork: r.GetSameWork(), Live: r.GetLive(),
		Collection: r.GetCollection(),
	}
}

// search answers a request about an input, which came from a field of it.
func (s *Server) search(ctx context.Context, in retrieval.Input, field string, req *embeddv1.SearchRequest) (*embeddv1.SearchResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := checkView(req.GetView()); err != nil {
		return nil, err
	}
	plan, err := plans.fromProto("plan", req.GetPlan())
	if err != nil {
		return nil, err
	}
	mode, err := modes.fromProto("mode", req.GetMode())
	if err != nil {
		return nil, err
	}
	fusion, err := fusions.fromProto("fusion", req.GetFusion())
	if err != nil {
		return nil, err
	}
	which, err := which(ctx, req.GetFilter())
	if err != nil {
		return nil, err
	}
	band, err := bands.fromProto("min_band", req.GetMinBand())
	if err != nil {
		return nil, err
	}
	var stored embeddv1.UpsertOutcome
	if req.GetStore() {
		if stored, err = s.storeQuery(ctx, c, in.Paper, which); err != nil {
			return nil, err
		}
	}
	ask := retrieval.SearchRequest{
		Input: in, Field: field, K: intFromProto(req.K), Ef: intFromProto(req.Ef), Recall: req.Recall, Exact: req.GetExact(), Plan: plan, Which: which,
		Mode: mode, Fusion: fusion, DenseWeight: req.DenseWeight, Diversity: req.GetDiversity(), HalfLife: req.HalfLife, DateField: req.GetDateField(),
		MinCosine: req.MinCosine, MinBand: band, Autocut: req.GetAutocut(), Page: req.GetPageToken(),
		Live: req.GetLive(), Basic: req.GetView() != embeddv1.PaperView_PAPER_VIEW_FULL, Rerank: rerankFromProto(req.GetRerank()), Exclude: req.GetExclude(), SameWork: req.GetSameWork(),
		Sentences: req.Sentences, Explain: req.GetExplain(),
	}
	if field != "" { // a search, of which there are pages
		ask.Digest = digest(req, ownName(c))
	}
	if f := req.GetFeedback(); f != nil {
		ask.Feedback = &retrieval.Feedback{Papers: int(f.GetPapers()), DenseWeight: f.DenseWeight, Terms: int(f.GetTerms()), TermWeight: f.TermWeight}
	}
	if g := req.GetGroupBy(); g != nil {
		ask.Group = &retrieval.Group{Field: g.GetField(), Hits: int(g.GetHits())}
	}
	r, err := c.Search(ctx, ask)
	if err != nil {
		return nil, err
	}
	hits, err := hitsToProto(r.Hits, req.GetView())
	if err != nil {
		return nil, err
	}
	res := &embeddv1.SearchResponse{
		Hits: hits, Effective: effectiveToProto(r), IndexVersion: r.Version, Stages: stagesToProto(r.Stages), NextPageToken: r.Next, Stored: stored,
		Facets: facetsToProto(r.Facets),
	}
	res.Effective.Collection = calledOtherwise(req, c)
	for _, stage := range r.LeftOut {
		res.LeftOut = append(res.LeftOut, string(stage))
	}
	if r.TextUse != nil {
		res.TextUse = textUseToProto(*r.TextUse)
	}
	return res, nil
}

// digest stands for all of a search but what may change from page to page, in the collection of a name. It is never 0.
func digest(req *embeddv1.SearchRequest, collection string) uint64 {
	same := proto.CloneOf(req)
	same.Collection = collection
	same.K, same.View, same.Explain, same.PageToken, same.Facets, same.Store = nil, 0, false, "", nil, false
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(same)
	if err != nil { // it has been unmarshalled
		return 1
	}
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:]) | 1
}

// storeQuery stores the paper that is the query, where it is not known with this text.
func (s *Server) storeQuery(ctx context.Context, c *retrieval.Collection, p *retrieval.Paper, w retrieval.Which) (embeddv1.UpsertOutcome, error) {
	if p == nil {
		return 0, &retrieval.Error{Kind: retrieval.Invalid, Field: "store", Message: "is given, and the query is no paper with a title or an abstract; give one in query.paper"}
	}
	if caller, ok := CallerOf(ctx); ok && caller.Key != nil && (caller.Key.Role < access.Write || w.Scope != nil) {
		return 0, status.Error(codes.PermissionDenied, "store: the key may not write; leave store out, or use a key with the role write and no filter")
	}
	if err := s.room(); err != nil {
		return 0, &retrieval.Error{Kind: retrieval.Exhausted, Message: err.Error(), RetryAfter: memoryWait, Err: err}
	}
	known, err := c.Knows(ctx, "query.paper", p, w)
	if err != nil || known {
		return embeddv1.UpsertOutcome_UPSERT_OUTCOME_UNCHANGED, err
	}
	results, _, err := c.Upsert(ctx, []retrieval.Paper{*p})
	if err != nil {
		var about *retrieval.Error
		if errors.As(err, &about) {
			about.Field = strings.Replace(about.Field, "papers[0]", "query.paper", 1)
		}
		return 0, err
	}
	return outcomes[results[0].Outcome], nil
}

// SearchMany implements SearchService.
func (s *Server) SearchMany(ctx context.Context, req *embeddv1.SearchManyRequest) (*embeddv1.SearchManyResponse, error) {
	all := req.GetSearches()
	if n := len(all); n < 1 || n > retrieval.MaxSearchesPerCall {
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "searches", Message: fmt.Sprintf("has %d searches; must have 1 to %d", n, retrieval.MaxSearchesPerCall)}
	}
	hits := 0
	for i, r := range all {
		k := retrieval.DefaultK
		if r.K != nil {
			k = int(r.GetK())
		}
		if hits += max(0, k); hits > retrieval.MaxHitsPerCall {
			return nil, &retrieval.Error{
				Kind: retrieval.Invalid, Field: fmt.Sprintf("searches[%d].k", i),
				Message: fmt.Sprintf("is %d, with which the searches ask for more than %d hits together; send fewer in one call", k, retrieval.MaxHitsPerCall),
			}
		}
	}
	res := &embeddv1.SearchManyResponse{Results: make([]*embeddv1.SearchManyResult, len(all))}
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(len(all), runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(all); i = int(next.Add(1)) - 1 {
				res.Results[i] = s.searchOne(ctx, all[i])
			}
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil { // every answer would say so
		return nil, err
	}
	return res, nil
}

// searchOne is one search of several.
func (s *Server) searchOne(ctx context.Context, r *embeddv1.SearchRequest) *embeddv1.SearchManyResult {
	answer, err := func() (answer *embeddv1.SearchResponse, err error) {
		defer s.recovered("SearchMany", &err) // it is in a goroutine of its own
		return s.Search(ctx, r)
	}()
	if err != nil {
		return &embeddv1.SearchManyResult{Result: &embeddv1.SearchManyResult_Error{Error: refusalToProto(ctx, err)}}
	}
	return &embeddv1.SearchManyResult{Result: &embeddv1.SearchManyResult_Response{Response: answer}}
}

// refusalToProto is the error of one thing of several.
func refusalToProto(ctx context.Context, err error) *embeddv1.Refusal {
	st := status.Convert(toStatus(ctx, err)).Proto()
	return &embeddv1.Refusal{Code: st.GetCode(), Message: st.GetMessage(), Details: st.GetDetails()}
}

// Recommend implements SearchService.
func (s *Server) Recommend(ctx context.Context, req *embeddv1.RecommendRequest) (*embeddv1.RecommendResponse, error) {
	examples := func(ids []string) (all []*embeddv1.Example) {
		for _, id := range ids {
			all = append(all, &embeddv1.Example{Input: &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: id}}})
		}
		return all
	}
	in, err := inputFromProto("query", &embeddv1.Input{Kind: &embeddv1.Input_Examples{Examples: &embeddv1.Examples{
		Positive: examples(req.GetPositiveIds()), Negative: examples(req.GetNegativeIds()), Strategy: req.GetStrategy(),
	}}})
	if err != nil {
		return nil, err
	}
	r, err := s.search(ctx, in, "", &embeddv1.SearchRequest{
		K: req.K, View: req.GetView(), Filter: req.GetFilter(), Exclude: req.GetExclude(), Collection: req.GetCollection(),
	})
	if err != nil {
		var about *retrieval.Error
		if errors.As(err, &about) { // by the names that it has in this request
			about.Field = exampleField.ReplaceAllString(about.Field, "${1}_ids$2")
		}
		return nil, err
	}
	return &embeddv1.RecommendResponse{Hits: r.GetHits(), Effective: r.GetEffective(), IndexVersion: r.GetIndexVersion(), Stages: r.GetStages()}, nil
}

// exampleField matches the field of an example.
var exampleField = regexp.MustCompile(`^(?:query\.)?examples\.(positive|negative)(\[\d+\])?(\..*)?$`)

// Explain implements SearchService.
func (s *Server) Explain(ctx context.Context, req *embeddv1.ExplainRequest) (*embeddv1.ExplainResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	in, err := inputFromProto("query", req.GetQuery())
	if err != nil {
		return nil, err
	}
	x, err := c.Explain(ctx, retrieval.ExplainRequest{Input: in, Field: "query", PaperID: req.GetId(), Which: retrieval.Which{Scope: scopeOf(ctx)}})
	if err != nil {
		return nil, err
	}
	return &embeddv1.ExplainResponse{Explanation: explanationToProto(x)}, nil
}

// inputFromProto refuses an input that holds nothing.
func inputFromProto(field string, in *embeddv1.Input) (retrieval.Input, error) {
	switch kind := in.GetKind().(type) {
	case *embeddv1.Input_PaperId:
		return retrieval.Input{PaperID: kind.PaperId}, nil
	case *embeddv1.Input_Text:
		return retrieval.Input{Text: &kind.Text}, nil
	case *embeddv1.Input_Vector:
		v := kind.Vector.GetValues()
		if v == nil {
			v = []float32{} // a vector, if one of no values
		}
		return retrieval.Input{Vector: v}, nil
	case *embeddv1.Input_Paper:
		p, err := paperFromProto(field+".paper", kind.Paper)
		return retrieval.Input{Paper: &p}, err
	case *embeddv1.Input_Examples:
		e, err := examplesFromProto(field+".examples", kind.Examples)
		return retrieval.Input{Examples: e}, err
	default:
		return retrieval.Input{}, &retrieval.Error{Kind: retrieval.Invalid, Field: field, Message: "is empty; set one of paper_id, text, vector, paper, examples"}
	}
}

// examplesFromProto refuses examples that hold nothing, or other examples, before they are copied.
func examplesFromProto(field string, e *embeddv1.Examples) (*retrieval.Examples, error) {
	strategy, err := strategies.fromProto(field+".strategy", e.GetStrategy())
	if err != nil {
		return nil, err
	}
	out := &retrieval.Examples{Strategy: strategy, TextWeight: e.TextWeight}
	if text := e.GetText(); text != "" {
		out.Text = &text
	}
	for _, side := range []struct {
		name string
		from []*embeddv1.Example
		to   *[]retrieval.Example
	}{{"positive", e.GetPositive(), &out.Positive}, {"negative", e.GetNegative(), &out.Negative}} {
		if n := len(side.from); n > retrieval.MaxExamples {
			return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: field + "." + side.name, Message: fmt.Sprintf("has %d examples; the limit is %d, positive and negative together", n, retrieval.MaxExamples)}
		}
		for i, x := range side.from {
			at := fmt.Sprintf("%s.%s[%d].input", field, side.name, i)
			if x.GetInput().GetExamples() != nil {
				return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: at, Message: "is a reading list itself; give a paper, a text or a vector"}
			}
			in, err := inputFromProto(at, x.GetInput())
			if err != nil {
				return nil, err
			}
			*side.to = append(*side.to, retrieval.Example{Input: in, Weight: x.Weight})
		}
	}
	return out, nil
}
