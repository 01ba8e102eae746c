package server

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// openCalls are the calls that are going on of methods that need no key. Whoever makes them is not known, and what they send is held while
// it comes: so there are few at once, and a request that does not come ends its call.
type openCalls struct {
	perAddress int // at most

	mu    sync.Mutex
	total int
	of    map[netip.Prefix]int
}

// enter lets a call from an address in. leave must be called at its end.
func (o *openCalls) enter(from netip.Prefix) (leave func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.total >= maxOpen || o.of[from] >= o.perAddress {
		return nil, exhausted(time.Second, "there are %d calls of the health from this address, of %d at once, and %d in all, of %d; end some, or watch with one", o.of[from], o.perAddress, o.total, maxOpen)
	}
	if o.of == nil {
		o.of = map[netip.Prefix]int{}
	}
	o.total++
	o.of[from]++
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.total--
		if o.of[from]--; o.of[from] == 0 {
			delete(o.of, from)
		}
	}), nil
}

// registerOpen registers a service of other people's whose methods need no key. Its calls pass openCalls before anything of their request
// is read.
func (s *Server) registerOpen(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = slices.Clone(desc.Methods)
	for i := range d.Methods {
		m := &d.Methods[i]
		method, handle := "/"+d.ServiceName+"/"+m.MethodName, m.Handler
		m.Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			begin := time.Now()
			leave, err := s.open.enter(addressOf(ctx))
			if err != nil {
				return nil, s.failed(ctx, method, begin, nil, err)
			}
			defer leave()
			ctx, cancel := context.WithTimeout(ctx, firstMessage)
			defer cancel()
			return handle(srv, ctx, func(v any) error {
				r := &request{message: v, limit: maxHealthBytes}
				if err := decode(r); err != nil || r.err == nil {
					return err
				}
				return s.failed(ctx, method, begin, nil, r.err)
			}, interceptor)
		}
	}
	d.Streams = slices.Clone(desc.Streams)
	for i := range d.Streams {
		st := &d.Streams[i]
		method, handle := "/"+d.ServiceName+"/"+st.StreamName, st.Handler
		st.Handler = func(srv any, stream grpc.ServerStream) error {
			begin := time.Now()
			leave, err := s.open.enter(addressOf(stream.Context()))
			if err != nil {
				return s.failed(stream.Context(), method, begin, nil, err)
			}
			defer leave()
			err = handle(srv, &promptStream{ServerStream: stream})
			var size *sizeError
			if errors.As(err, &size) {
				return s.failed(stream.Context(), method, begin, nil, err)
			}
			return err
		}
	}
	s.grpc.RegisterService(&d, impl)
}

// promptStream is a stream whose first message must come soon. What waits for it is not cut off: the stream's end is, by the handler's
// return.
type promptStream struct {
	grpc.ServerStream
	came bool
}

// RecvMsg implements grpc.ServerStream.
func (s *promptStream) RecvMsg(m any) error {
	if s.came {
		return s.ServerStream.RecvMsg(m)
	}
	s.came = true
	received := make(chan error, 1)
	go func() {
		r := &request{message: m, limit: maxHealthBytes} // a watch keeps the name for as long as it lasts
		err := s.ServerStream.RecvMsg(r)
		if err == nil {
			err = r.err
		}
		received <- err
	}()
	timer := time.NewTimer(firstMessage)
	defer timer.Stop()
	select {
	case err := <-received:
		return err
	case <-timer.C:
		return status.Errorf(codes.DeadlineExceeded, "the request did not come within %v", firstMessage)
	}
}
