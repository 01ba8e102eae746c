package server

import (
	"context"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// intake bounds the memory that messages take: requests while they come, requests that have come while their calls last, and answers
// until their clients have read them. Each of the three has most bytes. A request that has come counts as what it takes when it is decoded.
//
// gRPC bounds one message, and not how many there are: a client may send a hundred requests on each of its connections, all of them up to
// their last byte, or ask for large answers and read none. So the bytes of each connection are counted. Where the requests that come
// are too many, calls of the connection that holds the most of them end, the one that has been coming for longest first: a request
// that is small, or that comes at once, is not for long among those. Calls that need no key end before all others. Where the answers are too
// many, the connection whose client has most of them to read is closed.
type intake struct {
	most int64

	kept    atomic.Int64 // bytes of requests that have come
	answers atomic.Int64 // bytes of answers
	unseen  atomic.Int64 // bytes that have come since the last look

	// Calls that were ended while their requests came; those that were refused for what was kept of requests, and of answers; connections
	// that were closed.
	cut, keptFull, answersFull, closed atomic.Uint64

	mu        sync.Mutex
	conns     map[*conn]struct{} // that requests come on
	listeners []*listener

	closing sync.Mutex // held while connections are chosen to be closed, so that none is closed for what another one has freed
}

const (
	// lookEvery so many bytes that have come, it is looked at how many there are.
	lookEvery = 1 << 20
	// small messages are not counted one by one: there are no more of them than calls.
	small = 16 << 10
	// messagesWait is when to try again.
	messagesWait = time.Second
	// messageHeader is what stands before each message at least, on the wire.
	messageHeader = 5
)

func newIntake(most int64) *intake { return &intake{most: most, conns: map[*conn]struct{}{}} }

// coming is a request while it comes.
type coming struct {
	at   int64 // conn.unfinished when it was first waited for
	open bool  // nobody knows whose it is
	end  func(*status.Status) error
}

// begin says that a call's request is waited for, until came, which is told how many bytes it had. open is whether it needs no key.
func (in *intake) begin(ctx context.Context, open bool) (came func(bytes int)) {
	stream, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ WriteStatus(*status.Status) error })
	if !ok {
		return func(int) {}
	}
	return in.coming(connOf(ctx), open, stream.WriteStatus)
}

// coming is begin for a request on a connection that end ends, nil for one inside of the process.
func (in *intake) coming(c *conn, open bool, end func(*status.Status) error) (came func(bytes int)) {
	if c == nil {
		return func(int) {}
	}
	r := &coming{c.unfinished(), open, end}
	in.mu.Lock()
	c.coming = append(c.coming, r)
	in.conns[c] = struct{}{}
	in.mu.Unlock()
	return func(bytes int) {
		in.mu.Lock()
		defer in.mu.Unlock()
		if bytes > 0 {
			c.finished.Add(int64(bytes) + messageHeader)
		}
		if i := slices.Index(c.coming, r); i >= 0 {
			in.remove(c, i)
		}
	}
}

// remove takes a request out of those that come. in.mu is held.
func (in *intake) remove(c *conn, i int) {
	if c.coming = slices.Delete(c.coming, i, i+1); len(c.coming) == 0 {
		delete(in.conns, c)
	}
}

// came counts n bytes that have come on a connection.
func (in *intake) came(n int) {
	if in.unseen.Add(int64(n)) >= lookEvery {
		in.unseen.Store(0)
		in.look()
	}
}

// look ends calls until what comes is no more than may come.
func (in *intake) look() {
	ended := in.tooMany()
	if len(ended) == 0 {
		return
	}
	in.cut.Add(uint64(len(ended)))
	st := status.Convert(toStatus(context.Background(), exhausted(messagesWait,
		"requests of more than %d MiB were coming at once, and this one has been coming for long; send less at once, or try again in %v", in.most>>20, messagesWait)))
	for _, r := range ended {
		r.end(st) // an error is of a call that has ended
	}
}

// held is what is held, at most, of the requests that come on a connection: all that has come since the first of them was waited for but what belongs to
// others that are complete, and not more than as many as they are can have. A stream may wait for its next message for long, while others of its
// connection bring much.
func (c *conn) held() int64 {
	if len(c.coming) == 0 {
		return 0
	}
	return min(c.unfinished()-c.coming[0].at, int64(len(c.coming))*MaxMessageBytes)
}

// tooMany takes out the requests that are to end. Of several of a connection, each is taken to have its part of what is held.
func (in *intake) tooMany() (ended []*coming) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var sum int64
	held := map[*conn]int64{}
	for c := range in.conns {
		held[c] = c.held()
		sum += held[c]
	}
	for _, open := range []bool{true, false} {
		for sum > in.most {
			worst, at := in.worst(held, open)
			if worst == nil {
				break
			}
			left := held[worst] - held[worst]/int64(len(worst.coming))
			ended = append(ended, worst.coming[at])
			in.remove(worst, at)
			left = min(left, worst.held()) // since the first one of them may have been the one
			sum -= held[worst] - left
			if held[worst] = left; len(worst.coming) == 0 {
				delete(held, worst)
			}
		}
	}
	return ended
}

// worst is the connection with the most, of those on which there is a call that needs no key, or of all, and the oldest such call.
func (in *intake) worst(held map[*conn]int64, open bool) (worst *conn, at int) {
	for c, n := range held {
		i := slices.IndexFunc(c.coming, func(r *coming) bool { return r.open || !open })
		if i >= 0 && (worst == nil || n > held[worst]) {
			worst, at = c, i
		}
	}
	return worst, at
}

// keep counts a request that has come, and takes n bytes, until release. The only one may take more than there is for all.
func (in *intake) keep(n int64) (release func(), err error) {
	if n < small {
		return func() {}, nil
	}
	return in.keepAll(n)
}

// crowded tells whether the requests that are kept take so much that a stream waits before it brings more.
func (in *intake) crowded() bool { return in.kept.Load() > in.most/4*3 }

// keepAll is keep that counts small messages too: of a stream there are many.
func (in *intake) keepAll(n int64) (release func(), err error) {
	if sum := in.kept.Add(n); sum > in.most && sum > n {
		in.kept.Add(-n)
		in.keptFull.Add(1)
		return nil, exhausted(messagesWait, "the calls that run and wait have requests of %d MiB, the limit for all of them; send less at once, or try again in %v", in.most>>20, messagesWait)
	}
	return sync.OnceFunc(func() { in.kept.Add(-n) }), nil
}

// answer is a message on its way to a client.
type answer struct {
	message proto.Message
	bytes   int
	// Where it is counted: the connection, and what ends that.
	to      *conn
	release func()
}

// hold counts the answer until it is released, or nobody has it any more: gRPC drops some without a word.
func (a *answer) hold() {
	to, n := a.to, int64(a.bytes)
	to.hold(n)
	a.release = sync.OnceFunc(func() { to.hold(-n) })
	runtime.AddCleanup(a, func(release func()) { release() }, a.release)
}

// answer counts what a call answers. The connections of those who read slowest make room for it.
func (in *intake) answer(ctx context.Context, m proto.Message) (*answer, error) {
	a := &answer{message: m, bytes: proto.Size(m)}
	if a.bytes < small {
		return a, nil
	}
	a.to = connOf(ctx)
	if a.to == nil {
		return a, nil
	}
	a.hold()
	in.closing.Lock()
	defer in.closing.Unlock()
	for in.answers.Load() > in.most {
		if !in.closeSlowest(a.to) {
			a.release()
			in.answersFull.Add(1)
			return nil, exhausted(messagesWait, "answers of %d MiB wait until their clients have read them, the limit for all of them; read them, ask for less at once, or try again in %v", in.most>>20, messagesWait)
		}
	}
	return a, nil
}

// closeSlowest closes the connection whose client has most to read, unless that is the one that asks.
func (in *intake) closeSlowest(asks *conn) bool {
	slowest := in.slowest()
	if slowest == nil || slowest == asks || slowest.answers.Load() == 0 {
		return false
	}
	in.closed.Add(1)
	slowest.Close()
	return true
}

// pool gives back the bytes of an answer when they have been sent, or will not be.
type pool struct {
	*answer
	mem.BufferPool
}

// Put implements mem.BufferPool.
func (p pool) Put(b *[]byte) {
	p.release()
	p.BufferPool.Put(b)
}

// encode gives the bytes of an answer. gRPC calls it once for each.
func (a *answer) encode() (mem.BufferSlice, error) {
	o := proto.MarshalOptions{UseCachedSize: true}
	if mem.IsBelowBufferPoolingThreshold(a.bytes) {
		b, err := o.MarshalAppend(make([]byte, 0, a.bytes), a.message)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	p := mem.DefaultBufferPool()
	if a.to != nil {
		p = pool{a, p}
	}
	b := p.Get(a.bytes)
	if _, err := o.MarshalAppend((*b)[:0], a.message); err != nil {
		p.Put(b)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(b, p)}, nil
}

// connOf is the connection that a call came on.
func connOf(ctx context.Context) *conn {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	a, ok := p.Addr.(*connAddr)
	if !ok {
		return nil
	}
	return a.conn
}

// connAddr is the address of a connection's client, by which a call finds the connection.
type connAddr struct {
	net.Addr
	conn *conn
}
