package server

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// ahead is how many requests of a stream are worked on at once, or done and waiting until those before them are: one more than can be encoded at
// once, so that the encoder has always one to go on with.
var ahead = runtime.GOMAXPROCS(0) + 1

// encodeRetry is the longest time until a piece that the encoder had no room for is tried again.
const encodeRetry = time.Second

// EncodeStream implements EncodeService. Requests are encoded a few at once and answered in their order: one goroutine receives, one works on
// each request, and this one sends. Where the client does not read, or the encoder has no room, nothing is received.
func (s *Server) EncodeStream(stream grpc.BidiStreamingServer[embeddv1.EncodeStreamRequest, embeddv1.EncodeStreamResponse]) (err error) {
	w := watchedOf(stream.Context())
	e := &encodeStream{s: s, w: w, answers: make(chan chan *answer, ahead-1)} // and the one that this goroutine waits for
	defer func() {
		if err != nil {
			w.fail(err) // what is under way is not wanted any more
		}
		e.working.Wait()
	}()
	e.working.Add(1)
	go e.receive()
	for next := range e.answers {
		select {
		case a := <-next:
			if err := stream.SendMsg(a); err != nil {
				return err
			}
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
	return e.failed
}

// encodeStream is a stream of texts on its way.
type encodeStream struct {
	s       *Server
	w       *watched
	answers chan chan *answer // in the order of the requests; each gets one, or none where the stream has ended
	working sync.WaitGroup
	failed  error // of receiving; to be read when answers is closed
	first   *string
}

// receive begins the work on each request.
func (e *encodeStream) receive() {
	defer e.working.Done()
	defer close(e.answers)
	defer e.s.recovered(e.w.method, &e.failed)
	for {
		req := &embeddv1.EncodeStreamRequest{}
		err := e.w.RecvMsg(req)
		var bad unusable
		if err != nil && !errors.As(err, &bad) {
			if !ended(err) {
				e.failed = err
			}
			return
		}
		release := e.w.take()
		if err == nil {
			err = e.sameCollection(req.GetRequest())
		}
		next := make(chan *answer, 1)
		select {
		case e.answers <- next:
		case <-e.w.ctx.Done():
			release()
			e.failed = context.Cause(e.w.ctx)
			return
		}
		e.working.Add(1)
		go e.work(req.GetRequest(), err, release, next)
	}
}

// sameCollection refuses a request about another collection than the first one's.
func (e *encodeStream) sameCollection(req *embeddv1.EncodeRequest) error {
	name := req.GetCollection()
	if e.first == nil {
		e.first = &name
		e.w.about(name)
	}
	if name != *e.first {
		return &retrieval.Error{Kind: retrieval.Invalid, Field: "collection", Message: "is another than that of the stream's first request; use a stream for each"}
	}
	return nil
}

// work answers one request, which may have been refused already.
func (e *encodeStream) work(req *embeddv1.EncodeRequest, refused error, release func(), next chan<- *answer) {
	defer e.working.Done()
	defer release()
	begin := time.Now()
	res, err := &embeddv1.EncodeResponse{}, refused
	if err == nil {
		res, err = e.encode(req)
	}
	if e.w.ctx.Err() != nil {
		return // nobody waits for it
	}
	var a *answer
	if err == nil {
		out := &embeddv1.EncodeStreamResponse{Result: &embeddv1.EncodeStreamResponse_Response{Response: res}}
		a, err = e.s.intake.answer(e.w.ctx, out) // counted from now on, though those before it may not be done
	}
	if err != nil {
		refused := refusalToProto(e.w.ctx, e.s.failed(e.w.ctx, e.w.method, begin, req, err))
		out := &embeddv1.EncodeStreamResponse{Result: &embeddv1.EncodeStreamResponse_Error{Error: refused}}
		a = &answer{message: out, bytes: proto.Size(out)}
	}
	next <- a
}

// encode encodes as soon as there is room: what there is no room for holds the stream back, and is not refused.
func (e *encodeStream) encode(req *embeddv1.EncodeRequest) (_ *embeddv1.EncodeResponse, err error) {
	defer e.s.recovered(e.w.method, &err)
	if err := e.w.pay(); err != nil {
		return nil, err
	}
	for {
		var res *embeddv1.EncodeResponse
		err := e.w.piece(func(ctx context.Context) (err error) {
			res, err = e.s.Encode(ctx, req)
			return err
		})
		var full *retrieval.Error
		if !errors.As(err, &full) || full.Kind != retrieval.Exhausted {
			return res, err
		}
		if sleep(e.w.ctx, min(encodeRetry, max(full.RetryAfter, time.Millisecond))) != nil {
			return nil, err
		}
	}
}
