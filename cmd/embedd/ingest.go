package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

const (
	// mostFlying is how many papers are sent and not answered for at most. Most often the server holds the stream back before.
	mostFlying = 10_000
	// streamAge is how long a stream is sent on: a server closes connections that are old.
	streamAge = 5 * time.Minute
)

// source is a paper and where it stood.
type source struct {
	paper    *embeddv1.Paper
	where    string // for messages
	file     string
	line     int     // 0 in a form without lines
	record   int     // in the file
	seen     int     // of all files, with those that were rejected
	number   int     // in the order of the file
	before   int     // papers that were done when its file began
	fraction float64 // of the file that was read with it
}

// ingest sends the papers that next gives until io.EOF, by as many streams as that takes: a stream ends when it is old, when the server has no room, and when it
// is restarted. The papers without an answer, and those that there was no room for, are sent again then, in the order of the file.
func (x *indexer) ingest(next func() (*source, error)) error {
	in := &ingestion{x: x, next: next}
	defer func() {
		x.first = x.seen
		for _, s := range in.again { // what has no answer is to be read again
			x.first = min(x.first, s.seen-1)
		}
	}()
	for {
		if err := x.e.ctx.Err(); err != nil { // interrupted between two streams
			return err
		}
		wait, err := in.stream()
		if err != nil {
			return err
		}
		if in.over && len(in.again) == 0 {
			return nil
		}
		if err := sleep(x.e.ctx, wait); err != nil {
			return err
		}
	}
}

// ingestion is what ingest knows of the papers of a file.
type ingestion struct {
	x    *indexer
	next func() (*source, error)
	n    int // papers read
	over bool

	again []*source // to be sent before others are read, in order
}

// attempt is one stream.
type attempt struct {
	in     *ingestion
	begin  time.Time
	stream grpc.BidiStreamingClient[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse]
	room   chan struct{} // has an entry for each paper that is flying
	ending atomic.Bool   // no more is to be sent
	shown  *source       // the last one that was stored; of who reads

	mu     sync.Mutex // guards what follows
	flying []*source  // sent, in order, without an answer
	again  []*source
	ids    map[string]bool // of again
	wait   time.Duration
}

// stream sends what is to be sent again, and then what next gives, and reads the results. It tells how long to wait before the next stream. The error is
// one that another stream would not mend.
func (in *ingestion) stream() (wait time.Duration, err error) {
	ctx, cancel := context.WithCancel(in.x.e.ctx)
	defer cancel()
	s, err := in.x.cl.papers.IngestPapers(ctx)
	if err != nil {
		return in.failed(err)
	}
	a := &attempt{in: in, begin: time.Now(), stream: s, room: make(chan struct{}, mostFlying), ids: map[string]bool{}}
	read := make(chan error, 1)
	go func() {
		err := a.read()
		a.ending.Store(true)
		cancel() // who sends need not wait
		read <- err
	}()
	rest, sendErr := a.send(ctx)
	err = <-read
	in.again = slices.Concat(a.again, a.flying)
	slices.SortFunc(in.again, func(a, b *source) int { return cmp.Compare(a.number, b.number) })
	in.again = append(in.again, rest...)
	if sendErr != nil {
		return 0, sendErr
	}
	var fatal *fatalError
	if errors.As(err, &fatal) {
		return 0, fatal.error
	}
	if err != nil {
		return in.failed(err)
	}
	return a.wait, nil
}

// failed tells how long to wait after a stream that has failed, or that another would fail too.
func (in *ingestion) failed(err error) (wait time.Duration, _ error) {
	if in.x.e.ctx.Err() != nil {
		return 0, in.x.e.ctx.Err()
	}
	if wait, again := in.x.unanswered(err); again {
		return wait, nil
	}
	if wait, busy := retryAfter(err); busy {
		in.x.busy(err, time.Now())
		return wait, nil
	}
	return 0, err
}

// send sends papers until there are none, or it is enough, and gives those of in.again that were not sent. Why the stream has ended is for who reads it.
func (a *attempt) send(ctx context.Context) (rest []*source, err error) {
	begin := time.Now()
	rest = a.in.again
	if a.stream.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Start{Start: &embeddv1.IngestStart{Mode: a.in.x.mode}}}) != nil {
		return rest, nil
	}
	for !a.ending.Load() && time.Since(begin) < streamAge {
		var s *source
		switch {
		case len(rest) > 0:
			s, rest = rest[0], rest[1:]
		case a.in.over:
			a.close()
			return nil, nil
		default:
			if s, err = a.in.next(); errors.Is(err, io.EOF) {
				a.in.over = true
				continue
			}
			if err != nil {
				a.close()
				return nil, err
			}
			s.number = a.in.n
			a.in.n++
		}
		select {
		case a.room <- struct{}{}:
		case <-ctx.Done():
			return append([]*source{s}, rest...), nil
		}
		a.mu.Lock()
		a.flying = append(a.flying, s)
		a.mu.Unlock()
		if a.stream.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: s.paper}}) != nil {
			return rest, nil
		}
	}
	a.close()
	return rest, nil
}

// close says that no more is sent. Whether that can be said is for who reads the stream.
func (a *attempt) close() { _ = a.stream.CloseSend() }

// fatalError ends all streams.
type fatalError struct{ error }

// read reads results until the stream ends.
func (a *attempt) read() error {
	if md, err := a.stream.Header(); err == nil && md != nil {
		a.in.x.reached()
	}
	for {
		res, err := a.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		a.in.x.answered()
		for _, r := range res.GetResults() {
			if err := a.result(r); err != nil {
				return &fatalError{err}
			}
		}
		if s := a.shown; s != nil { // results come by commits: half of one would make for a wrong pace
			a.in.x.show(s.before, s.fraction)
		}
	}
}

// result takes one result, which is that of the oldest paper that is flying. A paper that there was no room for is sent again, and so is what came
// after it with the same id: the later one of the file stays.
func (a *attempt) result(r *embeddv1.IngestResult) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.flying) == 0 {
		return errors.New("the server has answered for a paper that was not sent")
	}
	s := a.flying[0]
	a.flying = a.flying[1:]
	<-a.room
	x := a.in.x
	if refused := r.GetError(); refused != nil {
		st := status.FromProto(&spb.Status{Code: refused.GetCode(), Message: refused.GetMessage(), Details: refused.GetDetails()})
		switch st.Code() {
		case codes.InvalidArgument, codes.AlreadyExists, codes.NotFound:
			x.reject(s.rejection(refusedFor(st), s.paper))
			return nil
		case codes.ResourceExhausted, codes.Unavailable, codes.DeadlineExceeded:
			wait, _ := retryAfter(st.Err())
			a.wait = max(a.wait, wait, firstTry)
			x.busy(st.Err(), a.begin)
			a.ending.Store(true)
		default:
			return st.Err()
		}
	} else if !a.ids[s.paper.GetId()] {
		x.count(r.GetStored())
		a.shown = s
		return nil
	}
	a.again, a.ids[s.paper.GetId()] = append(a.again, s), true
	return nil
}
