package server

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// incoming is the body of a stream of requests over HTTP: messages without end, each behind a byte of flags and four of its length. What comes is counted
// message by message, as that of other bodies is; one that has come is held until the method takes it, and counts it itself.
type incoming struct {
	io.ReadCloser
	ctx     context.Context
	control *http.ResponseController
	intake  *intake
	conn    *conn

	head  []byte // of the message that comes, as far as it has come
	left  int64  // bytes of it that have not come
	size  int64
	came  func(int)
	slow  *time.Timer
	ended atomic.Pointer[status.Status] // why reading was ended

	mu   sync.Mutex // guards what follows
	held []func()   // of the messages that have come and were not taken, the oldest first
	over bool
}

// frameHead is what stands before each message.
const frameHead = 5

func (s *Server) incomingOf(r *http.Request, w *pacedWriter, v *visit) *incoming {
	f := &incoming{ReadCloser: r.Body, ctx: r.Context(), control: w.control, intake: s.intake, conn: v.conn}
	v.keep(f.end)
	return f
}

// Read implements io.Reader.
func (f *incoming) Read(b []byte) (int, error) {
	for len(f.head) == 0 && f.intake.crowded() {
		if err := sleep(f.ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
	n, err := f.ReadCloser.Read(b)
	if st := f.ended.Load(); st != nil {
		err = st.Err()
	}
	for rest := b[:n]; len(rest) > 0; {
		took, wrong := f.take(rest)
		if wrong != nil {
			f.stop()
			return 0, toStatus(f.ctx, wrong)
		}
		rest = rest[took:]
	}
	if err != nil {
		f.stop()
	}
	return n, err
}

// take counts bytes of one message: as many as it tells.
func (f *incoming) take(b []byte) (n int, err error) {
	if len(f.head) == 0 {
		f.begin()
	}
	if missing := frameHead - len(f.head); missing > 0 {
		n = min(missing, len(b))
		if f.head = append(f.head, b[:n]...); len(f.head) < frameHead {
			return n, nil
		}
		f.size = int64(binary.BigEndian.Uint32(f.head[1:]))
		if f.left = f.size; f.size > MaxMessageBytes {
			return n, &sizeError{"has", f.size, MaxMessageBytes}
		}
	} else {
		n = int(min(f.left, int64(len(b))))
		f.left -= int64(n)
	}
	if f.left > 0 {
		return n, nil
	}
	size := f.size
	f.stop()
	for {
		release, full := f.intake.keepAll(weightShare / 2 * size)
		if full == nil {
			f.hold(release)
			return n, nil
		}
		if err := sleep(f.ctx, 20*time.Millisecond); err != nil { // a stream waits for room
			return n, err
		}
	}
}

// begin says that a message comes.
func (f *incoming) begin() {
	end := func(st *status.Status) error {
		f.ended.Store(st)
		return f.control.SetReadDeadline(time.Now())
	}
	f.came = f.intake.coming(f.conn, false, end)
	late := status.Newf(codes.DeadlineExceeded, "a message did not come whole within %v; send it again", webBody)
	f.slow = time.AfterFunc(webBody, func() { _ = end(late) }) // of a stream that has ended
}

// stop says that none comes.
func (f *incoming) stop() {
	if f.came == nil {
		return
	}
	f.slow.Stop()
	f.came(int(f.size - f.left))
	f.came, f.head, f.size, f.left = nil, f.head[:0], 0, 0
}

// hold keeps a message counted.
func (f *incoming) hold(release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		release()
		return
	}
	f.held = append(f.held, release)
}

// waits tells whether a message has come that was not taken.
func (f *incoming) waits() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.held) > 0
}

// taken gives back what is held for the oldest message.
func (f *incoming) taken() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.held) > 0 {
		f.held[0]()
		f.held = f.held[1:]
	}
}

// end gives back what is held when the request has been answered.
func (f *incoming) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	for _, release := range f.held {
		release()
	}
	f.held = nil
}
