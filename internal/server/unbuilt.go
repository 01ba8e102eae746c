package server

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// What is in the contract and not built yet. This file goes when it is empty.

var errUnbuilt = status.Error(codes.Unimplemented, "is not built yet")

func (s *Server) IngestPapers(grpc.BidiStreamingServer[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse]) error {
	return errUnbuilt
}

func (s *Server) UpdateMetadata(context.Context, *embeddv1.UpdateMetadataRequest) (*embeddv1.UpdateMetadataResponse, error) {
	return nil, errUnbuilt
}

