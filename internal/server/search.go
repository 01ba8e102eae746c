package server

import (
	"context"

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
	return &embeddv1.RelatedResponse{Hits: r.GetHits(), Effective: r.GetEffective(), IndexVersion: r.GetIndexVersion()}, nil
}

// asSearch is the search, by what the request calls otherwise, that a request for related papers stands for.
func asSearch(r *embeddv1.RelatedRequest) *embeddv1.SearchRequest {
	return &embeddv1.SearchRequest{
		K: r.K, Ef: r.Ef, Recall: r.Recall, Exact: r.GetExact(), Plan: r.GetPlan(), View: r.GetView(), Filter: r.GetFilter(),
		Mode: r.GetMode(), Fusion: r.GetFusion(), DenseWeight: r.DenseWeight,
	}
}

// search answers a request about an input, which came from a field of it.
func (s *Server) search(ctx context.Context, in retrieval.Input, field string, req *embeddv1.SearchRequest) (*embeddv1.SearchResponse, error) {
	c, err := s.ready()
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
	r, err := c.Search(ctx, retrieval.SearchRequest{
		Input: in, Field: field, K: intFromProto(req.K), Ef: intFromProto(req.Ef), Recall: req.Recall, Exact: req.GetExact(), Plan: plan, Which: which,
		Mode: mode, Fusion: fusion, DenseWeight: req.DenseWeight,
	})
	if err != nil {
		return nil, err
	}
	hits, err := hitsToProto(r.Hits, req.GetView())
	if err != nil {
		return nil, err
	}
	res := &embeddv1.SearchResponse{Hits: hits, Effective: effectiveToProto(r), IndexVersion: r.Version}
	if r.TextUse != nil {
		res.TextUse = textUseToProto(*r.TextUse)
	}
	return res, nil
}

// Explain implements SearchService.
func (s *Server) Explain(ctx context.Context, req *embeddv1.ExplainRequest) (*embeddv1.ExplainResponse, error) {
	c, err := s.ready()
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

func explanationToProto(x *retrieval.Explanation) *embeddv1.Explanation {
	out := &embeddv1.Explanation{
		Score: x.Score, Shares: x.Shares, Sentences: sentencesToProto(x.Sentences), Rest: x.Rest,
		QuerySentences: sentencesToProto(x.Query), QueryRest: x.QueryRest,
	}
	if len(x.Query) > 0 {
		out.Best = &embeddv1.SentencePair{QuerySentence: int32(x.BestQuery), Sentence: int32(x.Best), Score: x.BestScore}
	}
	return out
}

func sentencesToProto(all []retrieval.Sentence) []*embeddv1.Sentence {
	var out []*embeddv1.Sentence
	for _, s := range all {
		out = append(out, &embeddv1.Sentence{Text: s.Text, Field: s.Field, Share: s.Share, Score: s.Score, Read: s.Read})
	}
	return out
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
	default:
		return retrieval.Input{}, &retrieval.Error{Kind: retrieval.Invalid, Field: field, Message: "is empty; set one of paper_id, text, vector"}
	}
}
