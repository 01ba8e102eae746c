package server

import (
	"context"
	"encoding/base64"
	"fmt"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

var outcomes = map[retrieval.Outcome]embeddv1.UpsertOutcome{
	retrieval.Created:   embeddv1.UpsertOutcome_UPSERT_OUTCOME_CREATED,
	retrieval.Updated:   embeddv1.UpsertOutcome_UPSERT_OUTCOME_UPDATED,
	retrieval.Unchanged: embeddv1.UpsertOutcome_UPSERT_OUTCOME_UNCHANGED,
}

// UpsertPapers implements PaperService.
func (s *Server) UpsertPapers(ctx context.Context, req *embeddv1.UpsertPapersRequest) (*embeddv1.UpsertPapersResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	if err := s.room(); err != nil {
		return nil, &retrieval.Error{Kind: retrieval.Exhausted, Message: err.Error(), RetryAfter: memoryWait, Err: err}
	}
	if n := len(req.GetPapers()); n > retrieval.MaxPapersPerCall { // before they are copied
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "papers", Message: fmt.Sprintf("has %d papers; the limit is %d in one call", n, retrieval.MaxPapersPerCall)}
	}
	papers := make([]retrieval.Paper, len(req.GetPapers()))
	for i, p := range req.GetPapers() {
		if papers[i], err = paperFromProto(fmt.Sprintf("papers[%d]", i), p); err != nil {
			return nil, err
		}
	}
	results, version, err := c.Upsert(ctx, papers)
	if err != nil {
		return nil, err
	}
	res := &embeddv1.UpsertPapersResponse{Results: make([]*embeddv1.UpsertResult, len(results)), IndexVersion: version}
	for i, r := range results {
		res.Results[i] = &embeddv1.UpsertResult{Id: r.ID, Outcome: outcomes[r.Outcome], TextUse: textUseToProto(r.TextUse)}
	}
	return res, nil
}

// GetPaper implements PaperService.
func (s *Server) GetPaper(ctx context.Context, req *embeddv1.GetPaperRequest) (*embeddv1.GetPaperResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	p, use, err := c.Get(ctx, req.GetId(), retrieval.Which{Scope: scopeOf(ctx)})
	if err != nil {
		return nil, err
	}
	paper, err := paperToProto(&p, embeddv1.PaperView_PAPER_VIEW_FULL)
	if err != nil {
		return nil, err
	}
	return &embeddv1.GetPaperResponse{Paper: paper, TextUse: textUseToProto(use)}, nil
}

// ListPapers implements PaperService. A page token is the last id of the page before, wrapped so that nobody builds
// on it.
func (s *Server) ListPapers(ctx context.Context, req *embeddv1.ListPapersRequest) (*embeddv1.ListPapersResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	if err := checkView(req.GetView()); err != nil {
		return nil, err
	}
	after, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
	if err != nil {
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "page_token", Message: "is not a next_page_token of this server", Err: err}
	}
	which, err := which(ctx, req.GetFilter())
	if err != nil {
		return nil, err
	}
	papers, next, err := c.List(ctx, string(after), intFromProto(req.PageSize), which)
	if err != nil {
		return nil, err
	}
	res := &embeddv1.ListPapersResponse{Papers: make([]*embeddv1.Paper, len(papers))}
	for i := range papers {
		if res.Papers[i], err = paperToProto(&papers[i], req.GetView()); err != nil {
			return nil, err
		}
	}
	res.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(next))
	return res, nil
}

// DeletePapers implements PaperService.
func (s *Server) DeletePapers(ctx context.Context, req *embeddv1.DeletePapersRequest) (*embeddv1.DeletePapersResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	deleted, missing, version, err := c.Delete(ctx, req.GetIds())
	if err != nil {
		return nil, err
	}
	return &embeddv1.DeletePapersResponse{Deleted: int64(deleted), NotFound: missing, IndexVersion: version}, nil
}
