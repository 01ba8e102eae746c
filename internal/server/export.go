package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// ExportPapers implements PaperService. It reads what it sends next when the client has taken what was sent before; nothing of the collection is
// held meanwhile.
func (s *Server) ExportPapers(req *embeddv1.ExportPapersRequest, stream grpc.ServerStreamingServer[embeddv1.ExportPapersResponse]) error {
	ctx := stream.Context()
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return err
	}
	if err := checkView(req.GetView()); err != nil {
		return err
	}
	view := req.GetView()
	if view == embeddv1.PaperView_PAPER_VIEW_UNSPECIFIED {
		view = embeddv1.PaperView_PAPER_VIEW_FULL
	}
	which, err := which(ctx, req.GetFilter())
	if err != nil {
		return err
	}
	var export *retrieval.Export
	err = piece(ctx, func() (err error) {
		export, err = c.Export(ctx, which, req.GetVectors())
		return err
	})
	if err != nil {
		return err
	}
	defer export.Close()
	for {
		var papers []retrieval.Exported
		err := piece(ctx, func() (err error) {
			papers, err = export.Next(ctx)
			return err
		})
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		res, err := exportedToProto(papers, view)
		if err != nil {
			return err
		}
		if err := stream.Send(res); err != nil { // see watched.SendMsg
			return err
		}
	}
}

// piece does a piece of the work of a stream, when there is room for it.
func piece(ctx context.Context, do func() error) error {
	leave, err := watchedOf(ctx).enter()
	if err != nil {
		return err
	}
	defer leave()
	return do()
}

func exportedToProto(papers []retrieval.Exported, view embeddv1.PaperView) (*embeddv1.ExportPapersResponse, error) {
	res := &embeddv1.ExportPapersResponse{Papers: make([]*embeddv1.Paper, len(papers))}
	for i := range papers {
		p, err := paperToProto(&papers[i].Paper, view)
		if err != nil {
			return nil, err
		}
		if papers[i].Vector != nil {
			p.Vector = &embeddv1.Vector{Values: papers[i].Vector}
		}
		res.Papers[i] = p
	}
	return res, nil
}
