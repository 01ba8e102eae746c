package server

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// Streams of our own services last for as long as their clients like, so that they take no place at a gate: each piece of their work does, by
// enter. Their messages are decoded, weighed and counted as those of other calls, those of requests until done.

// The streams at once, in all and from one address.
const (
	maxStreamCalls           = 256
	maxStreamCallsPerAddress = 32
	// streamIdle ends a stream whose client has nothing to say for so long.
	streamIdle = 5 * time.Minute
)

// registerStreams has the streams of a service pass the door.
func (s *Server) registerStreams(d *grpc.ServiceDesc) error {
	d.Streams = slices.Clone(d.Streams)
	for i := range d.Streams {
		st := &d.Streams[i]
		r, err := ruleOf(d.ServiceName, st.StreamName)
		if err != nil {
			return err
		}
		method, handle, limit := "/"+d.ServiceName+"/"+st.StreamName, st.Handler, s.limits.Classes[r.class].MessageBytes
		st.Handler = func(srv any, stream grpc.ServerStream) (err error) {
			begin := time.Now()
			ctx := stream.Context()
			defer func() {
				if err != nil {
					err = s.failed(ctx, method, begin, nil, err)
				}
			}()
			defer s.recovered(method, &err)
			if err := refusePacked(ctx); err != nil {
				return err
			}
			leave, why := s.streams.enter(addressOf(ctx))
			switch why {
			case inAll:
				return exhausted(time.Second, "there are %d streams, as many as there may be at once; end some", s.streams.most)
			case fromAddress:
				return exhausted(time.Second, "there are %d streams from this address, as many as there may be at once; end some", s.streams.perAddress)
			}
			defer leave()
			// A client that says nothing ends here, and what waits for it with it: RecvMsg returns when its context does.
			ctx, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			w := &watched{ServerStream: stream, ctx: ctx, end: cancel, s: s, method: method, limit: limit, class: r.class}
			w.idle = time.AfterFunc(streamIdle, func() { cancel(errIdle) })
			defer w.idle.Stop()
			w.ctx = context.WithValue(ctx, watchedKey{}, w)
			defer w.done()
			return handle(srv, w)
		}
	}
	return nil
}

var (
	errIdle   = exhausted(time.Second, "nothing came on the stream for %v; begin another one when there is something to send", streamIdle)
	errUnread = exhausted(time.Second, "nothing was read of the stream's answers for %v; begin another one, and read them", streamIdle)
)

// unusable is the error of a message that has come and cannot be used: one that is too large, or cannot be decoded. The stream can go on.
type unusable struct{ error }

func (e unusable) Unwrap() error { return e.error }

// watched is a stream whose messages are counted.
type watched struct {
	grpc.ServerStream
	ctx    context.Context
	end    context.CancelCauseFunc // of ctx
	s      *Server
	method string
	class  embeddv1.Class
	limit  int
	idle   *time.Timer

	mu   sync.Mutex
	kept []func()
}

type watchedKey struct{}

// watchedOf is the stream that a context is of.
func watchedOf(ctx context.Context) *watched {
	w, _ := ctx.Value(watchedKey{}).(*watched)
	return w
}

// Context implements grpc.ServerStream.
func (w *watched) Context() context.Context { return w.ctx }

// RecvMsg implements grpc.ServerStream. It also ends with the server, and when the client has had nothing to say for long. An error that is
// unusable is of this message alone.
func (w *watched) RecvMsg(m any) error {
	w.idle.Reset(streamIdle)
	defer w.idle.Stop()
	r := &request{message: m.(proto.Message), limit: w.limit}
	received := make(chan error, 1)
	go func() {
		came := w.s.intake.begin(w.ctx, false)
		err := w.ServerStream.RecvMsg(r)
		came()
		received <- err
	}()
	var err error
	select {
	case err = <-received:
	case <-w.ctx.Done():
		return context.Cause(w.ctx) // gRPC ends the receiving when the handler returns
	}
	if err == nil && r.err != nil {
		err = unusable{r.err}
	}
	if err != nil {
		return err
	}
	release, err := w.s.intake.keep(r.weight)
	if err != nil {
		return unusable{err}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, release)
	return nil
}

// SendMsg implements grpc.ServerStream. m may be an *answer, which is counted already. It also ends with the server, and when the client has
// read nothing for long; no other message can be sent then.
func (w *watched) SendMsg(m any) error {
	a, ok := m.(*answer)
	if !ok {
		var err error
		if a, err = w.s.intake.answer(w.ctx, m.(proto.Message)); err != nil {
			return err
		}
	}
	unread := time.AfterFunc(streamIdle, func() { w.end(errUnread) })
	defer unread.Stop()
	sent := make(chan error, 1)
	go func() { sent <- w.ServerStream.SendMsg(a) }()
	select {
	case err := <-sent:
		return err
	case <-w.ctx.Done():
		return context.Cause(w.ctx) // gRPC ends the sending when the handler returns
	}
}

// take gives who works on the messages received until now, while others come, what says that they are not held any more.
func (w *watched) take() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.kept
	w.kept = nil
	return func() {
		for _, release := range kept {
			release()
		}
	}
}

// done says that the messages received until now are not held any more.
func (w *watched) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, release := range w.kept {
		release()
	}
	w.kept = nil
}

// enter lets a piece of a stream's work through the gate of its class, as soon as there is room; leave says that it is done. A stream is not
// refused for want of room, it waits: its client is held back by gRPC's flow control meanwhile.
func (w *watched) enter() (leave func(), err error) {
	gate := w.s.gates[w.class]
	for {
		ctx, cancel := within(w.ctx, w.s.limits.Classes[w.class].Deadline, "a piece of a stream")
		ticket, err := gate.Enter(ctx)
		cancel()
		if err == nil {
			return ticket.Leave, nil
		}
		if refused := refusal(err); retrieval.KindOf(refused) != retrieval.Exhausted && w.ctx.Err() == nil {
			return nil, refused
		}
		select {
		case <-w.ctx.Done():
			return nil, context.Cause(w.ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ended tells whether an error of RecvMsg is the client's having said all.
func ended(err error) bool { return err == io.EOF }
