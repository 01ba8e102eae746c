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
	w := watchedOf(ctx)
	w.about(req.GetCollection())
	err = w.piece(func(ctx context.Context) (err error) {
		export, err = c.Export(ctx, which, req.GetVectors())
		return err
	})
	if err != nil {
		return err
	}
	defer export.Close()
	for {
		if err := w.pay(); err != nil {
			return err
		}
		var papers []retrieval.Exported
		err := w.piece(func(ctx context.Context) (err error) {
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
