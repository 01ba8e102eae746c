package server

import (
	"context"
	"fmt"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// Compare implements SearchService.
func (s *Server) Compare(ctx context.Context, req *embeddv1.CompareRequest) (*embeddv1.CompareResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	r := retrieval.CompareRequest{Pairs: req.GetPairs(), Which: retrieval.Which{Scope: scopeOf(ctx)}}
	if r.Role, err = roleFromProto(req.GetRole()); err != nil {
		return nil, err
	}
	if r.Left, err = inputsFromProto("left", req.GetLeft()); err != nil {
		return nil, err
	}
	if r.Right, err = inputsFromProto("right", req.GetRight()); err != nil {
		return nil, err
	}
	x, err := c.Compare(ctx, r)
	if err != nil {
		return nil, err
	}
	return &embeddv1.CompareResponse{Scores: x.Scores, Rows: int32(x.Rows), Columns: int32(x.Columns)}, nil
}

func inputsFromProto(side string, all []*embeddv1.Input) ([]retrieval.Input, error) {
	out := make([]retrieval.Input, len(all))
	for i, in := range all {
		field := fmt.Sprintf("%s[%d]", side, i)
		switch in.GetKind().(type) {
		case *embeddv1.Input_Examples:
			return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: field + ".examples", Message: "is a reading list, which has no one vector; compare its papers one by one"}
		case nil:
			return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: field, Message: "is empty; set one of paper_id, text, vector, paper"}
		}
		var err error
		if out[i], err = inputFromProto(field, in); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// rerankFromProto is what a search asks of a cross-encoder; nil for nothing.
func rerankFromProto(r *embeddv1.Rerank) *retrieval.Rerank {
	if r == nil {
		return nil
	}
	return &retrieval.Rerank{Candidates: int(r.GetCandidates()), Model: r.GetModel()}
}

// rerankToProto is what a search was re-ranked by.
func rerankToProto(r *retrieval.Rerank) *embeddv1.Rerank {
	if r == nil {
		return nil
	}
	return &embeddv1.Rerank{Candidates: int32(r.Candidates), Model: r.Model}
}

// Rerank implements SearchService.
func (s *Server) Rerank(ctx context.Context, req *embeddv1.RerankRequest) (*embeddv1.RerankResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	scores, by, err := c.RerankTexts(ctx, retrieval.RerankRequest{Query: req.GetQuery(), Texts: req.GetTexts(), Model: req.GetReranker()})
	if err != nil {
		return nil, err
	}
	res := &embeddv1.RerankResponse{Scores: make([]*embeddv1.RerankScore, len(scores)), Reranker: by}
	for i, one := range scores {
		out := &embeddv1.RerankScore{Index: int32(one.Index), Score: one.Score}
		if one.Read() {
			out.Logit, out.TextUse = &one.Logit, textUseToProto(one.TextUse)
		}
		res.Scores[i] = out
	}
	return res, nil
}
