package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// traffic is all the writers of a ledger at work, until the server ends or is told to.
type traffic struct {
	s       *server
	ending  atomic.Bool // the server is being killed or stopped: calls may fail from now on
	stop    context.CancelFunc
	writers sync.WaitGroup

	mu  sync.Mutex
	err error // calls that failed before
}

func (l *ledger) write(s *server) *traffic {
	t := &traffic{s: s}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	for _, w := range l.writers {
		t.writers.Go(func() {
			for ctx.Err() == nil {
				switch err := w.send(s, w.next()); {
				case err == nil:
					w.done()
				case status.Code(err) == codes.ResourceExhausted: // refused at the door: surely nothing of it has happened
					w.sent = nil
					time.Sleep(10 * time.Millisecond)
				default:
					t.failed(w, err)
					return
				}
			}
		})
	}
	return t
}

// send makes a call. It has no deadline: the server answers, or it ends.
func (w *writer) send(s *server, c *call) error {
	if c.remove {
		_, err := s.papers.DeletePapers(context.Background(), &embeddv1.DeletePapersRequest{Ids: c.ids})
		return err
	}
	req := &embeddv1.UpsertPapersRequest{}
	for _, id := range c.ids {
		req.Papers = append(req.Papers, w.ledger.paper(id, c.then[id]))
	}
	_, err := s.papers.UpsertPapers(context.Background(), req)
	return err
}

// failed notes a call that failed. It may where the server was being ended, and nowhere else.
func (t *traffic) failed(w *writer, err error) {
	if t.ending.Load() {
		return
	}
	select {
	case <-t.s.done: // by itself: at a failpoint, or the one who waits for it will tell
		return
	case <-time.After(2 * time.Second): // the connection goes a moment before the process
	}
	if t.ending.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = errors.Join(t.err, fmt.Errorf("writer %d: %+v: %w", w.number, w.sent, err))
}

// rest lets each writer end its call.
func (t *traffic) rest() error {
	t.stop()
	t.writers.Wait()
	return t.err
}

// cutOff kills the server in the middle of the writers' calls.
func (t *traffic) cutOff() error {
	t.ending.Store(true)
	t.s.kill()
	return t.rest()
}
