package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"embedd/internal/admission"
	"embedd/internal/retrieval"
)

// register registers a service of our own. Each of its methods passes guard and the gate of its class, and a request that cannot be
// decoded is INVALID_ARGUMENT, with the field named.
func (s *Server) register(desc *grpc.ServiceDesc) error {
	d := *desc
	d.Methods = slices.Clone(desc.Methods)
	for i := range d.Methods {
		m := &d.Methods[i]
		r, err := ruleOf(d.ServiceName, m.MethodName)
		if err != nil {
			return err
		}
		m.Handler = s.guarded("/"+d.ServiceName+"/"+m.MethodName, r, m.Handler)
	}
	if err := s.registerStreams(&d); err != nil {
		return err
	}
	s.grpc.RegisterService(&d, s)
	s.registerInside(d)
	return nil
}

// guarded is a method behind guard and the gate of its class.
func (s *Server) guarded(method string, r rule, handle grpc.MethodHandler) grpc.MethodHandler {
	gate, limits := s.gates[r.class], s.limits.Classes[r.class]
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (res any, err error) {
		begin := time.Now()
		defer s.recovered(method, &err)
		ctx, err = s.guard(ctx, method)
		if err == nil {
			err = refusePacked(ctx)
		}
		if err != nil {
			return nil, s.failed(ctx, method, begin, nil, err)
		}
		var ticket admission.Ticket
		defer func() { ticket.Leave() }()
		enter := func() (err error) {
			ticket, err = gate.Enter(ctx)
			return refusal(err)
		}
		if limits.BeforeReading {
			if err := enter(); err != nil {
				return nil, s.failed(ctx, method, begin, nil, err)
			}
		}
		release := func() {}
		defer func() { release() }()
		res, err = handle(srv, ctx, func(v any) error {
			r := &request{message: v.(proto.Message), limit: limits.MessageBytes}
			came := s.intake.begin(ctx, false)
			err := decode(r)
			came(r.bytes)
			if err == nil {
				err = r.err
			}
			if err == nil {
				var kept func()
				if kept, err = s.intake.keep(r.weight); err == nil {
					release = kept
				}
			}
			if err == nil && !limits.BeforeReading {
				err = enter()
			}
			if err != nil {
				return s.failed(ctx, method, begin, nil, err)
			}
			return nil
		}, interceptor)
		if err != nil {
			return nil, err
		}
		a, err := s.intake.answer(ctx, res.(proto.Message))
		if err != nil {
			return nil, s.failed(ctx, method, begin, nil, err)
		}
		return a, nil
	}
}

// refusePacked refuses a request that is compressed. gRPC unpacks what some library in the program has registered a compressor for, up to
// the limit of the largest class: a small message would take much memory.
func refusePacked(ctx context.Context) error {
	stream, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
	if ok && stream.RecvCompress() != "" && stream.RecvCompress() != encoding.Identity {
		return status.Errorf(codes.Unimplemented, "the request is compressed with %.20q, and is not unpacked here; send it as it is", stream.RecvCompress())
	}
	return nil
}

// refusal is a gate's refusal in the words of package retrieval.
func refusal(err error) error {
	var full *admission.Error
	if errors.As(err, &full) {
		return &retrieval.Error{Kind: retrieval.Exhausted, Message: full.Error(), RetryAfter: full.Wait, Err: err}
	}
	return err
}
