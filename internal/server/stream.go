package server

import (
	"context"
	"errors"
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
			var w *watched // once it has begun
			defer func() {
				if err == nil {
					return
				}
				var req any
				if w != nil {
					req = w
				}
				err = s.failed(ctx, method, begin, req, err)
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
			work := ctx
			if ending, ok := stream.(endingStream); ok {
				work = ending.ServerStream.Context()
			}
			// A client that says nothing ends here, and what waits for it with it: RecvMsg returns when its context does.
			ctx, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			w = &watched{ServerStream: stream, ctx: ctx, fail: cancel, work: work, s: s, method: method, limit: limit, class: r.class}
			w.idle = time.AfterFunc(s.idle, func() { cancel(errIdle) })
			defer w.idle.Stop()
			w.ctx = context.WithValue(ctx, watchedKey{}, w)
			defer w.end()
			if err := handle(srv, w); err != nil {
				return err
			}
			s.ended(ctx, method, begin, w)
			return nil
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
	ctx    context.Context         // ends with the server too
	fail   context.CancelCauseFunc // of ctx
	work   context.Context         // of a piece of work that is to be finished when the server stops, and ends with the client
	lasts  bool                    // what has been done is answered though the server stops
	s      *Server
	method string
	class  embeddv1.Class
	limit  int
	idle   *time.Timer

	mu    sync.Mutex // guards what follows
	came  int        // messages
	name  string     // of the collection that it is about
	kept  []func()
	ended bool
}

type watchedKey struct{}

// watchedOf is the stream that a context is of.
func watchedOf(ctx context.Context) *watched {
	w, _ := ctx.Value(watchedKey{}).(*watched)
	return w
}

// about says which collection the stream is about, for the log.
func (w *watched) about(collection string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.name = collection
}

// GetCollection gives it: "" for the default one, or while nobody has said.
func (w *watched) GetCollection() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.name
}

// discount takes a message that brought no work off those that have come.
func (w *watched) discount() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.came--
}

// worked tells whether anything has come on the stream that may have been worked on.
func (w *watched) worked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.came > 0
}

// Context implements grpc.ServerStream.
func (w *watched) Context() context.Context { return w.ctx }

// RecvMsg implements grpc.ServerStream. It also ends with the server, and when the client has had nothing to say for long. An error that is
// unusable is of this message alone.
func (w *watched) RecvMsg(m any) error {
	arrived := make(chan error, 1)
	go func() {
		got, bad, err := w.receive(m.(proto.Message))
		if err == nil {
			w.keep(got.release)
		}
		if err == nil && bad != nil {
			err = unusable{bad}
		}
		arrived <- err
	}()
	select {
	case err := <-arrived:
		return err
	case <-w.ctx.Done():
		return context.Cause(w.ctx) // gRPC ends the receiving when the handler returns
	}
}

// keep has a message held until done.
func (w *watched) keep(release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		release()
		return
	}
	w.kept = append(w.kept, release)
}

// received is a message that has come: what it takes in memory, and that it is held until release.
type received struct {
	weight  int64
	release func()
}

// receive reads a message, which is counted until its release. bad is what is wrong with this message: others may follow. err ends the stream. Where the
// messages that are held take nearly all that they may it waits, and its client with it. It returns when a message has come, or the handler has returned:
// who must not wait for that looks for the end of ctx meanwhile.
func (w *watched) receive(m proto.Message) (got received, bad, err error) {
	defer w.s.recovered(w.method, &err) // it is in a goroutine of its own
	var body *incoming                  // over HTTP: what has come there is held already, and is taken whatever else is held
	if v, ok := w.ctx.Value(visitKey{}).(*visit); ok {
		body = v.stream
	}
	for w.s.intake.crowded() && !body.waits() {
		if err := sleep(w.ctx, 20*time.Millisecond); err != nil {
			return got, nil, err
		}
	}
	w.idle.Reset(w.s.idle)
	defer w.idle.Stop()
	r := &request{message: m, limit: w.limit}
	came := w.s.intake.begin(w.ctx, false)
	err = w.ServerStream.RecvMsg(r)
	came(r.bytes)
	if err != nil {
		return got, nil, err
	}
	body.taken()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return got, nil, context.Cause(w.ctx)
	}
	w.came++
	if r.err != nil {
		return received{release: func() {}}, r.err, nil
	}
	release, full := w.s.intake.keepAll(r.weight)
	if full != nil {
		return received{release: func() {}}, full, nil
	}
	return received{weight: r.weight, release: release}, nil, nil
}

// SendMsg implements grpc.ServerStream. m may be an *answer, which is counted already. It also ends with the server, unless the stream lasts, and when the
// client has read nothing for long; no other message can be sent then.
func (w *watched) SendMsg(m any) error {
	a, ok := m.(*answer)
	if !ok {
		var err error
		if a, err = w.s.intake.answer(w.ctx, m.(proto.Message)); err != nil {
			return err
		}
	}
	until := w.ctx
	if w.lasts {
		until = w.work
	}
	unread := time.NewTimer(w.s.idle)
	defer unread.Stop()
	sent := make(chan error, 1)
	go func() {
		var err error
		defer func() { sent <- err }()
		defer w.s.recovered(w.method, &err)
		err = w.ServerStream.SendMsg(a)
	}()
	select {
	case err := <-sent:
		return err
	case <-until.Done():
		return context.Cause(until) // gRPC ends the sending when the handler returns
	case <-unread.C:
		w.fail(errUnread)
		return errUnread
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

// end is done for good: the handler has returned.
func (w *watched) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.done()
}

// pay takes a piece of a stream's work off what its caller may do in a second, and waits where that is used up.
func (w *watched) pay() error {
	caller, ok := CallerOf(w.ctx)
	if !ok {
		return nil
	}
	b, rate, what := w.s.rateOf(caller, w.class)
	for {
		var refused *retrieval.Error
		err := w.s.rates.take(b, rate, what)
		if !errors.As(err, &refused) {
			return err
		}
		if err := sleep(w.ctx, refused.RetryAfter); err != nil {
			return err
		}
	}
}

// sleep waits, or gives the cause of the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// piece does a piece of the stream's work, which has its caller's share and a deadline, when there is room for it.
func (w *watched) piece(do func(ctx context.Context) error) error {
	leave, err := w.enter()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := within(w.ctx, w.s.limits.Classes[w.class].Deadline, "a piece of a stream")
	defer cancel()
	if err := do(ctx); err != nil {
		if ctx.Err() != nil && w.ctx.Err() == nil {
			return toStatus(ctx, err) // here the deadline is known
		}
		return err
	}
	return nil
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
		if err := sleep(w.ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// ended tells whether an error of RecvMsg is the client's having said all.
func ended(err error) bool { return err == io.EOF }
