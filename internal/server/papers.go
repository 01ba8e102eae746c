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
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := s.roomForPapers(); err != nil {
		return nil, err
	}
	if n := len(req.GetPapers()); n > retrieval.MaxPapersPerCall { // before they are copied
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "papers", Message: fmt.Sprintf("has %d papers; the limit is %d in one call", n, retrieval.MaxPapersPerCall)}
	}
	mode, err := writeMode("mode", req.GetMode())
	if err != nil {
		return nil, err
	}
	papers := make([]retrieval.Paper, len(req.GetPapers()))
	for i, p := range req.GetPapers() {
		if papers[i], err = paperFromProto(fmt.Sprintf("papers[%d]", i), p); err != nil {
			return nil, err
		}
	}
	results, version, err := c.Write(ctx, papers, mode)
	if err != nil {
		return nil, err
	}
	res := &embeddv1.UpsertPapersResponse{Results: make([]*embeddv1.UpsertResult, len(results)), IndexVersion: version}
	for i, r := range results {
		res.Results[i] = resultToProto(&r)
	}
	return res, nil
}

func resultToProto(r *retrieval.UpsertResult) *embeddv1.UpsertResult {
	return &embeddv1.UpsertResult{Id: r.ID, Outcome: outcomes[r.Outcome], TextUse: textUseToProto(r.TextUse)}
}

// writeMode is a mode of writing; none is UPSERT.
func writeMode(field string, m embeddv1.WriteMode) (retrieval.WriteMode, error) {
	if m == embeddv1.WriteMode_WRITE_MODE_UNSPECIFIED {
		return retrieval.WriteAny, nil
	}
	return writeModes.fromProto(field, m)
}

// UpdateMetadata implements PaperService.
func (s *Server) UpdateMetadata(ctx context.Context, req *embeddv1.UpdateMetadataRequest) (*embeddv1.UpdateMetadataResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if n := len(req.GetUpdates()); n > retrieval.MaxPapersPerCall { // before they are copied
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "updates", Message: fmt.Sprintf("has %d updates; the limit is %d in one call", n, retrieval.MaxPapersPerCall)}
	}
	updates := make([]retrieval.MetadataUpdate, len(req.GetUpdates()))
	for i, u := range req.GetUpdates() {
		updates[i] = retrieval.MetadataUpdate{ID: u.GetId(), Mask: u.GetUpdateMask().GetPaths()}
		if updates[i].Paper, err = paperFromProto(fmt.Sprintf("updates[%d].paper", i), u.GetPaper()); err != nil {
			return nil, err
		}
	}
	results, version, err := c.UpdateMetadata(ctx, updates)
	if err != nil {
		return nil, err
	}
	res := &embeddv1.UpdateMetadataResponse{Results: make([]*embeddv1.UpsertResult, len(results)), IndexVersion: version}
	for i, r := range results {
		res.Results[i] = resultToProto(&r)
	}
	return res, nil
}

// GetPaper implements PaperService.
func (s *Server) GetPaper(ctx context.Context, req *embeddv1.GetPaperRequest) (*embeddv1.GetPaperResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	scope := retrieval.Which{Scope: scopeOf(ctx)}
	p, use, err := c.Get(ctx, req.GetId(), scope)
	if err != nil {
		return nil, err
	}
	aliases, same, pending, err := c.Versions(ctx, &p, scope)
	if err != nil {
		return nil, err
	}
	paper, err := paperToProto(&p, embeddv1.PaperView_PAPER_VIEW_FULL)
	if err != nil {
		return nil, err
	}
	return &embeddv1.GetPaperResponse{Paper: paper, TextUse: textUseToProto(use), Aliases: aliases, SameWork: same, SameWorkPending: pending}, nil
}

// ListPapers implements PaperService. A page token is the last id of the page before, wrapped so that nobody builds
// on it.
func (s *Server) ListPapers(ctx context.Context, req *embeddv1.ListPapersRequest) (*embeddv1.ListPapersResponse, error) {
	c, err := s.collectionOf(ctx, req)
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
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if req.GetFilter() != "" {
		return deleteWhere(ctx, c, req)
	}
	remove := c.Delete
	if req.GetDryRun() {
		remove = c.CountIDs
	}
	deleted, missing, version, err := remove(ctx, req.GetIds())
	if err != nil {
		return nil, err
	}
	return &embeddv1.DeletePapersResponse{Deleted: int64(deleted), NotFound: missing, IndexVersion: version}, nil
}

// deleteWhere removes, or counts, the papers that meet the filter of a request.
func deleteWhere(ctx context.Context, c *retrieval.Collection, req *embeddv1.DeletePapersRequest) (*embeddv1.DeletePapersResponse, error) {
	if len(req.GetIds()) > 0 {
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "filter", Message: "is given beside ids; give one of them"}
	}
	which, err := which(ctx, req.GetFilter())
	if err != nil {
		return nil, err
	}
	deleted, version, err := c.DeleteWhere(ctx, which, req.GetDryRun())
	if err != nil {
		return nil, err
	}
	return &embeddv1.DeletePapersResponse{Deleted: int64(deleted), IndexVersion: version}, nil
}
