package server

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"embedd/internal/retrieval"
)

// codeOf is the one table from kind of error to status code.
var codeOf = map[retrieval.Kind]codes.Code{
	retrieval.Invalid:            codes.InvalidArgument,
	retrieval.NotFound:           codes.NotFound,
	retrieval.AlreadyExists:      codes.AlreadyExists,
	retrieval.FailedPrecondition: codes.FailedPrecondition,
	retrieval.Late:               codes.DeadlineExceeded,
	retrieval.Unavailable:        codes.Unavailable,
	retrieval.Exhausted:          codes.ResourceExhausted,
	retrieval.DataLoss:           codes.DataLoss,
	retrieval.Internal:           codes.Internal,
}

// toStatus turns an error of package retrieval into a status. The field at fault is named in the message and, for
// programs, in a google.rpc.BadRequest detail; the time to wait is in a google.rpc.RetryInfo. The cause of an internal error is for the log,
// not for the client. The deadline that passed may be the server's own.
func toStatus(ctx context.Context, err error) error {
	var size *sizeError
	var over *overtime
	switch {
	case errors.As(context.Cause(ctx), &over) && (errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, over.Error())
	case errors.As(err, &size):
		return status.Error(codes.ResourceExhausted, size.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the call was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the call's deadline passed before the answer was ready")
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codeOf[retrieval.KindOf(err)]
	if code == codes.Internal {
		return status.Error(code, "internal error; the server's log says more")
	}
	st := status.New(code, err.Error())
	var e *retrieval.Error
	if !errors.As(err, &e) {
		return st.Err()
	}
	var detail protoadapt.MessageV1
	switch {
	case (e.Kind == retrieval.Invalid || e.Kind == retrieval.AlreadyExists || e.Kind == retrieval.NotFound) && e.Field != "":
		detail = &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: e.Field, Description: e.Message}}}
	case e.Kind == retrieval.Exhausted:
		detail = &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)}
	default:
		return st.Err()
	}
	if with, err := st.WithDetails(detail); err == nil {
		st = with
	}
	return st.Err()
}

// logUnary turns errors into statuses and logs: defects at error level, slow calls at warn, those for the audit at info, every other call
// at debug.
func (s *Server) logUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	begin := time.Now()
	res, err := handler(ctx, req)
	if err != nil {
		return nil, s.failed(ctx, info.FullMethod, begin, req, err)
	}
	took := time.Since(begin)
	audited := s.audit(ctx, info.FullMethod, took, codes.OK, req)
	if took >= s.slowAfter(info.FullMethod, req) {
		s.logCall(ctx, slog.LevelWarn, "slow call", info.FullMethod, took, codes.OK, nil, req)
	} else if !audited {
		s.logCall(ctx, slog.LevelDebug, "call", info.FullMethod, took, codes.OK, nil, req)
	}
	return res, nil
}

// failed logs the error of a call and gives its status. It is the only place where an error of a call is logged. req is nil where it was
// not read.
func (s *Server) failed(ctx context.Context, method string, begin time.Time, req any, err error) error {
	s.countSize(err)
	out, took := toStatus(ctx, err), time.Since(begin)
	level, message := slog.LevelDebug, "call failed"
	switch {
	case status.Code(out) == codes.Internal, status.Code(out) == codes.DataLoss:
		level = slog.LevelError
	case took >= s.slowAfter(method, req):
		level, message = slog.LevelWarn, "slow call"
	}
	s.audit(ctx, method, took, status.Code(out), req)
	s.logCall(ctx, level, message, method, took, status.Code(out), err, req)
	return out
}

// countSize counts a request that was too large.
func (s *Server) countSize(err error) {
	var size *sizeError
	if errors.As(err, &size) {
		s.counts.tooLong.Add(1)
	}
}

// recoverUnary turns a panic of a handler into an internal error, with its stack in the log.
func (s *Server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (res any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return handler(ctx, req)
}

// recoverStream does the same for streams of other people's services; those of ours are recovered where they pass the door (stream.go).
func (s *Server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return handler(srv, stream)
}

func (s *Server) recovered(method string, err *error) {
	if p := recover(); p != nil {
		s.log.Error("panic", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "internal error; the server's log says more")
	}
}
