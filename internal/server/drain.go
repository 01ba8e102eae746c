package server

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Drain turns health to NOT_SERVING for good, which those who watch it are told at once. Calls are answered as before: a
// client that has not heard of it yet is not to see an error. Stop comes next.
func (s *Server) Drain() { s.health.Shutdown() }

// endStream lets a stream know that the server stops. GracefulStop waits for streams as it does for calls, and a client that
// watches health has one open for as long as it lives.
func (s *Server) endStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	err := handler(srv, endingStream{stream, ctx})
	if err != nil && s.stopping.Err() != nil && stream.Context().Err() == nil {
		return status.Error(codes.Unavailable, "the server is stopping; try another one, or again")
	}
	return err
}

// endingStream is a stream whose context also ends with the server.
type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }
