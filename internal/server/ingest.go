package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// The papers of a stream are gathered into commits, two of which are under way at once, and more papers are read meanwhile: so much is held of a stream,
// and no more.
const (
	// A commit has ingestPapers, or papers that take ingestBytes, at most; it is made without more of them when none has come for ingestPause. Who
	// sends sees by its results how far it is: with 256 that was every ten seconds on a slow machine.
	ingestPapers = 64
	ingestBytes  = 4 << 20
	ingestPause  = 20 * time.Millisecond
	// ingestWait is the longest that a paper waits for others.
	ingestWait = 200 * time.Millisecond
	// ingestAhead is what papers may take that wait for their commit.
	ingestAhead = 8 << 20
	// ingestPatience is how long papers wait for room, in memory, on the disk or for the encoder, before they are refused.
	ingestPatience = 10 * time.Second
	// ingestRetry is how often it is looked whether there is room again.
	ingestRetry = 500 * time.Millisecond
)

// IngestPapers implements PaperService.
func (s *Server) IngestPapers(stream grpc.BidiStreamingServer[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse]) error {
	if _, err := s.ready(); err != nil {
		return err
	}
	// So that a client knows that it is talked to, long before the first result.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	in := &ingestion{s: s, w: watchedOf(stream.Context()), came: make(chan *ingested, ingestPapers), freed: make(chan struct{}, 1), unread: make(chan struct{})}
	in.w.lasts = true
	go in.read()
	defer in.close()
	begun, failed := make(chan *ingestCommit), make(chan error, 1)
	go func() {
		err := in.answer(stream, begun)
		if err != nil {
			close(in.unread)
		}
		failed <- err
	}()
	gathered := in.commits(begun, failed)
	return cmp.Or(<-failed, gathered)
}

// ingestCommit is one commit on its way.
type ingestCommit struct {
	batch []*ingested
	first int64           // the number of its first paper
	ids   map[string]bool // of its papers
	done  chan struct{}   // closed when what follows is set
	// results, in order, or why there are none.
	results []*embeddv1.IngestResult
	err     error
}

// commits begins commits until the papers end, or the results cannot be sent. The next is begun while the one before is under way, so that the encoder has
// work while another thing is written; not where they have a paper in common.
func (in *ingestion) commits(begun chan<- *ingestCommit, failed chan error) error {
	defer close(begun)
	var last *ingestCommit
	for {
		next, ended, err := in.gather()
		if len(next.batch) > 0 {
			if last != nil && shares(last.ids, next.ids) {
				<-last.done
			}
			go in.store(next)
			select {
			case begun <- next:
			case err := <-failed:
				<-next.done
				failed <- err
				return nil
			}
			last = next
		}
		if ended || err != nil {
			return err
		}
	}
}

func shares(a, b map[string]bool) bool {
	for id := range b {
		if a[id] {
			return true
		}
	}
	return false
}

// answer sends the results of commits, in order. After an error it sends no more.
func (in *ingestion) answer(stream grpc.BidiStreamingServer[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse], begun <-chan *ingestCommit) (err error) {
	defer in.s.recovered(in.w.method, &err)
	for c := range begun {
		<-c.done
		err := c.err
		if err == nil {
			err = stream.Send(&embeddv1.IngestPapersResponse{Results: c.results})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ingestion is one IngestPapers.
type ingestion struct {
	s    *Server
	w    *watched
	c    *retrieval.Collection // set before the first commit
	mode retrieval.WriteMode

	came chan *ingested // closed at the end of the stream
	why  error          // of the end, set before; nil: the client has said all
	held atomic.Int64   // what is held of the stream takes
	// freed has an entry where something of held has gone.
	freed chan struct{}
	// unread is closed when results cannot be sent any more.
	unread chan struct{}

	next  *ingested // has come, and belongs to the next commit
	index int64     // of the next paper
}

// ingested is a message of a stream: one paper, what is wrong with it, or the beginning.
type ingested struct {
	start   *embeddv1.IngestStart
	paper   *embeddv1.Paper
	bad     error
	weight  int64
	release func()
}

// read reads the stream until its end, as far ahead as may be.
func (in *ingestion) read() {
	defer close(in.came)
	for first := true; ; first = false {
		x, err := in.receive(first)
		if err != nil {
			if !ended(err) {
				in.why = err
			}
			return
		}
		select {
		case in.came <- x:
		case <-in.w.ctx.Done():
			x.release()
			in.why = context.Cause(in.w.ctx)
			return
		}
	}
}

// close drops what has come and is not stored. The reading ends with the stream, which does when the handler has returned.
func (in *ingestion) close() {
	if in.next != nil {
		in.drop(in.next)
	}
	go func() {
		for x := range in.came {
			in.drop(x)
		}
	}()
}

// receive reads one message. One that is no message of this stream ends it.
func (in *ingestion) receive(first bool) (*ingested, error) {
	for in.held.Load() >= ingestAhead {
		select {
		case <-in.freed:
		case <-in.w.ctx.Done():
			return nil, context.Cause(in.w.ctx)
		}
	}
	m := &embeddv1.IngestPapersRequest{}
	got, bad, err := in.w.receive(m)
	if err != nil {
		return nil, err
	}
	x := &ingested{start: m.GetStart(), paper: m.GetPaper(), bad: bad, weight: got.weight, release: got.release}
	in.held.Add(x.weight)
	switch {
	case bad != nil && first: // it may have said how all others are to be stored
		err = bad
	case bad != nil, x.paper != nil:
	case x.start == nil:
		err = &retrieval.Error{Kind: retrieval.Invalid, Field: "message", Message: "is empty; a message of this stream is a paper, or the start of the stream"}
	case !first:
		err = &retrieval.Error{Kind: retrieval.Invalid, Field: "start", Message: "comes after other messages; it is the first message of a stream, or there is none"}
	}
	if err != nil {
		in.drop(x)
	}
	return x, err
}

// drop says that a message is not held any more.
func (in *ingestion) drop(x *ingested) {
	x.release()
	in.held.Add(-x.weight)
	select {
	case in.freed <- struct{}{}:
	default:
	}
}

// gather gives the papers of the next commit. Of two with one id the second belongs to the commit after. last: there are no more; err is why, nil
// where the client has said all.
func (in *ingestion) gather() (c *ingestCommit, last bool, err error) {
	c = &ingestCommit{first: in.index, ids: map[string]bool{}, done: make(chan struct{})}
	var weight int64
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var begin time.Time // when the first paper came
	for len(c.batch) < ingestPapers && weight < ingestBytes {
		x := in.next
		in.next = nil
		if x == nil {
			if len(c.batch) > 0 && time.Since(begin) > ingestWait {
				break
			}
			if x, last = in.take(len(c.batch) > 0, timer); x == nil {
				break
			}
		}
		if len(c.batch) == 0 {
			begin = time.Now()
		}
		if x.start != nil {
			in.drop(x)
			in.w.discount()
			if in.mode, err = writeMode("start.mode", x.start.GetMode()); err != nil {
				return c, true, err
			}
			in.w.about(x.start.GetCollection())
			if in.c, err = in.s.collectionOf(in.w.ctx, x.start); err != nil {
				return c, true, err
			}
			continue
		}
		if in.c == nil { // nothing was said
			if in.c, err = in.s.collectionOf(in.w.ctx, (*embeddv1.IngestStart)(nil)); err != nil {
				in.drop(x)
				return c, true, err
			}
		}
		if x.bad == nil && c.ids[x.paper.GetId()] {
			in.next = x
			break
		}
		c.ids[x.paper.GetId()] = true
		c.batch, weight = append(c.batch, x), weight+x.weight
		in.index++
	}
	select {
	case <-in.unread: // the other end says why
		return c, true, nil
	case <-in.w.ctx.Done():
		return c, true, context.Cause(in.w.ctx)
	default:
	}
	if last {
		err = in.why
	}
	return c, last, err
}

// take gives the next message; none at the end of the stream, and, where others wait for it, when it does not come soon.
func (in *ingestion) take(others bool, timer *time.Timer) (x *ingested, last bool) {
	select {
	case x, ok := <-in.came: // without a look at the clock
		return x, !ok
	default:
	}
	var soon <-chan time.Time
	if others {
		timer.Reset(ingestPause)
		soon = timer.C
	}
	select {
	case x, ok := <-in.came:
		return x, !ok
	case <-in.unread:
		return nil, true
	case <-in.w.ctx.Done():
		return nil, true
	case <-soon:
		return nil, false
	}
}

// store makes a commit.
func (in *ingestion) store(c *ingestCommit) {
	defer close(c.done)
	defer func() {
		for _, x := range c.batch {
			in.drop(x)
		}
	}()
	defer in.s.recovered(in.w.method, &c.err)
	c.results, c.err = in.results(c)
}

// results stores the papers of a commit and gives their results. The error ends the stream: no result is known then.
func (in *ingestion) results(c *ingestCommit) ([]*embeddv1.IngestResult, error) {
	batch := c.batch
	if err := in.w.pay(); err != nil {
		return nil, err
	}
	ctx, cancel := within(in.w.work, in.s.limits.Classes[in.w.class].Deadline+ingestPatience, "a commit of a stream")
	defer cancel()
	results := make([]*embeddv1.IngestResult, len(batch))
	var papers []retrieval.Paper
	var places []int // in the batch
	refuse := func(at int, err error) {
		results[at].Result = &embeddv1.IngestResult_Error{Error: refusalToProto(ctx, err)}
	}
	for i, x := range batch {
		results[i] = &embeddv1.IngestResult{Index: c.first + int64(i), Id: x.paper.GetId()}
		if x.bad != nil {
			in.s.countSize(x.bad)
			refuse(i, x.bad)
			continue
		}
		p, err := paperFromProto("", x.paper)
		if err != nil {
			_, err = paperFromProto(fmt.Sprintf("papers[%d]", results[i].Index), x.paper)
			refuse(i, err)
			continue
		}
		papers, places = append(papers, p), append(places, i)
	}
	if len(papers) == 0 {
		return results, nil
	}
	stored, refused, version, err := in.write(ctx, papers)
	switch {
	case err == nil:
	case in.w.work.Err() != nil, in.w.ctx.Err() != nil && errors.Is(err, context.Cause(in.w.ctx)), retrieval.KindOf(err) == retrieval.Unavailable:
		return nil, err
	default:
		in.log(ctx, err)
	}
	for j, at := range places {
		switch {
		case err != nil:
			refuse(at, err)
		case refused[j] != nil:
			in.log(ctx, refused[j])
			refuse(at, renumbered(refused[j], j, results[at].Index))
		default:
			results[at].Result, results[at].IndexVersion = &embeddv1.IngestResult_Stored{Stored: resultToProto(&stored[j])}, version
		}
	}
	return results, nil
}

// write writes papers as soon as there is room for them. The error, where it is about the want of it, is that of the last try.
func (in *ingestion) write(ctx context.Context, papers []retrieval.Paper) (results []retrieval.UpsertResult, refused []error, version uint64, err error) {
	for begin := time.Now(); ; {
		results, refused, version, err = in.try(ctx, papers)
		var full *retrieval.Error
		if !errors.As(err, &full) || full.Kind != retrieval.Exhausted || time.Since(begin) >= in.s.patience {
			return results, refused, version, err
		}
		if e := sleep(in.w.ctx, min(max(full.RetryAfter, time.Millisecond), ingestRetry)); e != nil {
			return nil, nil, 0, e
		}
	}
}

// try writes papers, in their turn.
func (in *ingestion) try(ctx context.Context, papers []retrieval.Paper) ([]retrieval.UpsertResult, []error, uint64, error) {
	leave, err := in.w.enter()
	if err != nil {
		return nil, nil, 0, err
	}
	defer leave()
	if err := in.s.roomForPapers(); err != nil {
		return nil, nil, 0, err
	}
	return in.c.Ingest(ctx, papers, in.mode)
}

// roomForPapers returns nil, or why papers must not be added for want of memory.
func (s *Server) roomForPapers() error {
	if err := s.room(); err != nil {
		return &retrieval.Error{Kind: retrieval.Exhausted, Message: err.Error(), RetryAfter: memoryWait, Err: err}
	}
	return nil
}

// renumbered is an error about papers[from] of a commit as one about papers[to] of the stream.
func renumbered(err error, from int, to int64) error {
	return renamed(err, func(field string) string {
		if rest, ok := strings.CutPrefix(field, fmt.Sprintf("papers[%d]", from)); ok {
			return fmt.Sprintf("papers[%d]%s", to, rest)
		}
		return field
	})
}

// log logs an error that is a defect: of a call, the door would.
func (in *ingestion) log(ctx context.Context, err error) {
	if code := status.Code(toStatus(ctx, err)); code == codes.Internal || code == codes.DataLoss {
		in.s.log.Error("papers of a stream were not stored", "error", err)
	}
}
