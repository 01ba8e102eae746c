package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc"

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
	s.grpc.RegisterService(&d, s)
	return nil
}

// guarded is a method behind guard and the gate of its class.
func (s *Server) guarded(method string, r rule, handle grpc.MethodHandler) grpc.MethodHandler {
	gate, limits := s.gates[r.class], s.limits.Classes[r.class]
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (res any, err error) {
		begin := time.Now()
		defer s.recovered(method, &err)
		ctx, err = s.guard(ctx, method)
		if err != nil {
			return nil, s.failed(ctx, method, begin, err)
		}
		var ticket admission.Ticket
		defer func() { ticket.Leave() }()
		enter := func() (err error) {
			ticket, err = gate.Enter(ctx)
			return refusal(err)
		}
		if limits.BeforeReading {
			if err := enter(); err != nil {
				return nil, s.failed(ctx, method, begin, err)
			}
		}
		return handle(srv, ctx, func(v any) error {
			r := &request{message: v, limit: limits.MessageBytes}
			if err := decode(r); err != nil {
				return s.failed(ctx, method, begin, err)
			}
			if r.err == nil && !limits.BeforeReading {
				r.err = enter()
			}
			if r.err != nil {
				return s.failed(ctx, method, begin, r.err)
			}
			return nil
		}, interceptor)
	}
}

// refusal is a gate's refusal in the words of package retrieval.
func refusal(err error) error {
	var full *admission.Error
	if errors.As(err, &full) {
		return &retrieval.Error{Kind: retrieval.Exhausted, Message: full.Error(), RetryAfter: full.Wait, Err: err}
	}
	return err
}
