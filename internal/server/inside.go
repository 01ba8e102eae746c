package server

import (
	"context"
	"fmt"
	"net"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Calls that come over HTTP (web.go) do not go through gRPC's transport, which would take as long as the search: they are made inside of the
// process, with the messages as they are, through the same guard, gates, limits, log and metrics.

// Inside is a channel to the methods for a handler of [Server.ServeWeb]: its calls are those of the HTTP request whose context they have. A message that is
// given to it, or comes from it, must not be changed afterwards.
func (s *Server) Inside() grpc.ClientConnInterface { return s.inside }

// openInside makes the channel.
func (s *Server) openInside(outermost grpc.UnaryServerInterceptor) {
	unary := []grpc.UnaryServerInterceptor{s.logUnary, s.recoverUnary, s.guardUnary}
	if outermost != nil {
		unary = append([]grpc.UnaryServerInterceptor{outermost}, unary...)
	}
	s.inside = new(inprocgrpc.Channel).
		WithServerUnaryInterceptor(chainUnary(unary)).
		WithServerStreamInterceptor(chainStream([]grpc.StreamServerInterceptor{s.visitStream, s.recoverStream, s.guardStream, s.endStream})).
		WithServerStatsHandler(s.calls).
		WithCloner(handOver{})
}

// registerInside registers a service of ours, whose methods are behind guard and gates already, inside.
func (s *Server) registerInside(desc grpc.ServiceDesc) {
	methods := make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		method, handle := "/"+desc.ServiceName+"/"+m.MethodName, m.Handler
		m.Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			s.visitors.Add(1) // a call may outlast the request that it is for, if that is given up
			defer s.visitors.Add(-1)
			ctx, v := visiting(ctx)
			ctx, cancel := within(ctx, s.limits.Classes[s.rules[method].class].Deadline, article(s.rules[method].class)+" call")
			defer cancel()
			res, err := handle(srv, ctx, decode, interceptor)
			if a, ok := res.(*answer); ok && a.release != nil {
				v.keep(a.release)
			}
			return res, err
		}
		methods[i] = m
	}
	desc.Methods = methods
	s.inside.RegisterService(&desc, s)
}

// visiting is the context of a call from inside as that of a call from outside: who calls and with what headers is what web.go has seen, and
// nothing else.
func visiting(ctx context.Context) (context.Context, *visit) {
	v, ok := inprocgrpc.ClientContext(ctx).Value(visitKey{}).(*visit)
	if !ok {
		v = &visit{} // nobody: has no key
	}
	var address net.Addr = &net.UnixAddr{}
	if v.conn != nil {
		address = v.conn.addr
	}
	ctx = metadata.NewIncomingContext(context.WithValue(ctx, visitKey{}, v), v.headers)
	return peer.NewContext(ctx, &peer.Peer{Addr: address}), v
}

// visitStream does for streams what registerInside does for calls.
func (s *Server) visitStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	s.visitors.Add(1)
	defer s.visitors.Add(-1)
	ctx, _ := visiting(stream.Context())
	return handler(srv, guardedStream{stream, ctx})
}

// handOver passes messages between the two sides of the channel: of a call as they are, of a stream as copies, since its handlers may write
// the next message over the last one.
type handOver struct{}

// Copy implements inprocgrpc.Cloner.
func (handOver) Copy(out, in any) error {
	if a, ok := in.(*answer); ok {
		in = a.message
	}
	from, ok := in.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", in)
	}
	switch to := out.(type) {
	case *request:
		to.take(from)
	case proto.Message:
		shallow(to, from)
	default:
		return fmt.Errorf("%T is no message", out)
	}
	return nil
}

// Clone implements inprocgrpc.Cloner.
func (handOver) Clone(in any) (any, error) {
	if a, ok := in.(*answer); ok {
		in = a.message
	}
	m, ok := in.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", in)
	}
	return proto.Clone(m), nil
}

// shallow gives one message the fields of another.
func shallow(to, from proto.Message) {
	proto.Reset(to)
	into := to.ProtoReflect()
	from.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		into.Set(f, v)
		return true
	})
}

// take is decode for a message that is decoded already.
func (r *request) take(from proto.Message) {
	if r.bytes = proto.Size(from); r.bytes > r.limit {
		r.err = &sizeError{"has", int64(r.bytes), int64(r.limit)}
		return
	}
	r.weight = weightShare / 2 * int64(r.bytes) // who has decoded it has weighed it
	shallow(r.message, from)
}

// chainUnary is several interceptors as one, the first outside.
func chainUnary(all []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		for i := len(all) - 1; i >= 0; i-- {
			around, inner := all[i], handler
			handler = func(ctx context.Context, req any) (any, error) { return around(ctx, req, info, inner) }
		}
		return handler(ctx, req)
	}
}

// chainStream is the same for streams.
func chainStream(all []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		for i := len(all) - 1; i >= 0; i-- {
			around, inner := all[i], handler
			handler = func(srv any, stream grpc.ServerStream) error { return around(srv, stream, info, inner) }
		}
		return handler(srv, stream)
	}
}
