package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// openCalls are the calls that are going on of methods that need no key. Whoever makes them is not known, and what they send is held while
// it comes: so there are few at once, and a request that does not come ends its call.
type openCalls struct {
	places
	firstMessage time.Duration
}

func newOpenCalls() *openCalls {
	return &openCalls{places{most: maxOpen, perAddress: maxOpenPerAddress}, firstMessage}
}

// let lets a call in.
func (o *openCalls) let(ctx context.Context) (leave func(), err error) {
	leave, why := o.enter(addressOf(ctx))
	switch why {
	case inAll:
		return nil, exhausted(time.Second, "there are %d calls of the health, as many as there may be at once; end some", o.most)
	case fromAddress:
		return nil, exhausted(time.Second, "there are %d calls of the health from this address, as many as there may be at once; end some, or watch with one", o.perAddress)
	}
	return leave, nil
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
			leave, err := s.open.let(ctx)
			if err != nil {
				return nil, s.failed(ctx, method, begin, nil, err)
			}
			defer leave()
			return handle(srv, ctx, func(v any) error {
				r := &request{message: v.(proto.Message), limit: maxHealthBytes}
				came := s.intake.begin(ctx, true)
				err := decode(r)
				came(r.bytes)
				if err != nil || r.err == nil {
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
			leave, err := s.open.let(stream.Context())
			if err != nil {
				return s.failed(stream.Context(), method, begin, nil, err)
			}
			defer leave()
			err = handle(srv, &promptStream{ServerStream: stream, patience: s.open.firstMessage, intake: s.intake})
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
	patience time.Duration
	intake   *intake
	came     bool
}

// RecvMsg implements grpc.ServerStream.
func (s *promptStream) RecvMsg(m any) error {
	if s.came {
		return s.ServerStream.RecvMsg(m)
	}
	s.came = true
	received := make(chan error, 1)
	go func() {
		r := &request{message: m.(proto.Message), limit: maxHealthBytes} // a watch keeps the name for as long as it lasts
		came := s.intake.begin(s.Context(), true)
		err := s.ServerStream.RecvMsg(r)
		came(r.bytes)
		if err == nil {
			err = r.err
		}
		received <- err
	}()
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case err := <-received:
		return err
	case <-timer.C:
		return status.Errorf(codes.DeadlineExceeded, "the request did not come within %v", s.patience)
	}
}
