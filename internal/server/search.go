package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	ask, err := askFromProto(req)
	if err != nil {
		return nil, err
	}
	ask.Input, ask.Field = in, field
	if ask.Which, err = which(ctx, req.GetFilter()); err != nil {
		return nil, err
	}
	if field != "" { // a search, of which there are pages
		ask.Digest = sync.OnceValue(func() uint64 { return digest(req, ownName(c)) })
	}
	var stored embeddv1.UpsertOutcome
	if req.GetStore() {
		if stored, err = s.storeQuery(ctx, c, ask); err != nil {
			return nil, err
		}
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

// askFromProto copies what a request says of the answer off the wire: all but the query, the filter, the collection, and whether to store.
func askFromProto(req *embeddv1.SearchRequest) (ask retrieval.SearchRequest, err error) {
	ask = retrieval.SearchRequest{
		K: intFromProto(req.K), Ef: intFromProto(req.Ef), Recall: req.Recall, Exact: req.GetExact(), DenseWeight: req.DenseWeight,
		Diversity: req.GetDiversity(), HalfLife: req.HalfLife, DateField: req.GetDateField(), MinCosine: req.MinCosine, Autocut: req.GetAutocut(),
		PublishedAfter: req.GetPublishedAfter(), PublishedBefore: req.GetPublishedBefore(), Page: req.GetPageToken(), Live: req.GetLive(),
		Basic: req.GetView() != embeddv1.PaperView_PAPER_VIEW_FULL, Rerank: rerankFromProto(req.GetRerank()), Exclude: req.GetExclude(), SameWork: req.GetSameWork(),
		Facets: facetsFromProto(req.GetFacets()), Sentences: req.Sentences, Explain: req.GetExplain(),
	}
	if err := checkView(req.GetView()); err != nil {
		return ask, err
	}
	if ask.Plan, err = plans.fromProto("plan", req.GetPlan()); err != nil {
		return ask, err
	}
	if ask.Mode, err = modes.fromProto("mode", req.GetMode()); err != nil {
		return ask, err
	}
	if ask.Fusion, err = fusions.fromProto("fusion", req.GetFusion()); err != nil {
		return ask, err
	}
	if ask.MinBand, err = bands.fromProto("min_band", req.GetMinBand()); err != nil {
		return ask, err
	}
	if f := req.GetFeedback(); f != nil {
		ask.Feedback = &retrieval.Feedback{Papers: int(f.GetPapers()), DenseWeight: f.DenseWeight, Terms: int(f.GetTerms()), TermWeight: f.TermWeight}
	}
	if g := req.GetGroupBy(); g != nil {
		ask.Group = &retrieval.Group{Field: g.GetField(), Hits: int(g.GetHits())}
	}
	return ask, nil
}

// digest stands for all of a search but what may change from page to page, in the collection of a name.
func digest(req *embeddv1.SearchRequest, collection string) uint64 {
	same := proto.CloneOf(req)
	same.Collection = collection
	same.K, same.View, same.Explain, same.PageToken, same.Facets, same.Store = nil, 0, false, "", nil, false
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(same)
	if err != nil { // it has been unmarshalled
		return 1
	}
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:])
}

// storeQuery stores the paper that is the query, where it is not known with this text. It is a write like another one: it takes a key that may,
// counts as one, waits with the others, and is in the audit log. Nothing is stored for a request that will be refused.
func (s *Server) storeQuery(ctx context.Context, c *retrieval.Collection, ask retrieval.SearchRequest) (embeddv1.UpsertOutcome, error) {
	p := ask.Input.Paper
	if p == nil {
		return 0, &retrieval.Error{Kind: retrieval.Invalid, Field: "store", Message: "is given, and the query is no paper with a title or an abstract; give one in query.paper"}
	}
	if caller, ok := CallerOf(ctx); ok {
		if caller.Key != nil && (caller.Key.Role < access.Write || ask.Which.Scope != nil) {
			s.counts.denied.Add(1)
			return 0, status.Error(codes.PermissionDenied, "store: the key may not write; leave store out, or use a key with the role write and no filter")
		}
		if err := s.limitRate(caller, rule{class: embeddv1.Class_CLASS_WRITE}); err != nil {
			s.counts.limited.Add(1)
			return 0, err
		}
	}
	if err := c.CheckSearch(ctx, ask); err != nil {
		return 0, err
	}
	if known, err := c.Knows(ctx, "query.paper", p, ask.Which); err != nil || known {
		return embeddv1.UpsertOutcome_UPSERT_OUTCOME_UNCHANGED, err
	}
	ticket, err := s.gates[embeddv1.Class_CLASS_WRITE].Enter(ctx)
	if err != nil {
		return 0, refusal(err)
	}
	defer ticket.Leave()
	if err := s.roomForPapers(); err != nil {
		return 0, err
	}
	results, _, err := c.Upsert(ctx, []retrieval.Paper{*p})
	if err != nil {
		return 0, renamed(err, func(field string) string { return strings.Replace(field, "papers[0]", "query.paper", 1) })
	}
	return outcomes[results[0].Outcome], nil
}

// stores tells whether a request is about a search that stores its query.
func stores(req any) bool {
	switch r := req.(type) {
	case *embeddv1.SearchRequest:
		return r.GetStore()
	case *embeddv1.SearchManyRequest:
		return slices.ContainsFunc(r.GetSearches(), func(one *embeddv1.SearchRequest) bool { return one.GetStore() })
	}
	return false
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
	const method = embeddv1.SearchService_SearchMany_FullMethodName
	begin := time.Now()
	answer, err := func() (answer *embeddv1.SearchResponse, err error) {
		defer s.recovered(method, &err) // it is in a goroutine of its own
		return s.Search(ctx, r)
	}()
	if err != nil {
		return &embeddv1.SearchManyResult{Result: &embeddv1.SearchManyResult_Error{Error: refusalToProto(ctx, s.failed(ctx, method, begin, r, err))}}
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
		return nil, renamed(err, recommendField)
	}
	r, err := s.search(ctx, in, "", &embeddv1.SearchRequest{
		K: req.K, View: req.GetView(), Filter: req.GetFilter(), Exclude: req.GetExclude(), Collection: req.GetCollection(),
	})
	if err != nil {
		return nil, renamed(err, recommendField)
	}
	return &embeddv1.RecommendResponse{Hits: r.GetHits(), Effective: r.GetEffective(), IndexVersion: r.GetIndexVersion(), Stages: r.GetStages()}, nil
}

// recommendField is what a field of a search is called in a RecommendRequest.
func recommendField(field string) string {
	field = strings.TrimPrefix(field, "query.")
	switch field {
	case "examples.strategy":
		return "strategy"
	case "examples":
		return "positive_ids"
	}
	return exampleField.ReplaceAllString(field, "${1}_ids$2")
}

// exampleField matches the field of an example.
var exampleField = regexp.MustCompile(`^examples\.(positive|negative)(\[\d+\])?(\..*)?$`)

// renamed is an error with its field as the caller knows it. It is a copy: others may hold the error too.
func renamed(err error, name func(field string) string) error {
	var about *retrieval.Error
	if !errors.As(err, &about) {
		return err
	}
	out := *about
	out.Field = name(about.Field)
	return &out
}

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
