package server

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// listener accepts as many connections at once as there are places, and closes the others at once.
type listener struct {
	net.Listener
	places places
	counts *counts
	intake *intake

	mu   sync.Mutex
	open map[*conn]struct{}
}

func limitListener(l net.Listener, limits Limits, c *counts, in *intake) *listener {
	limited := &listener{Listener: l, places: places{most: limits.Connections, perAddress: limits.ConnectionsPerAddress}, counts: c, intake: in, open: map[*conn]struct{}{}}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.listeners = append(in.listeners, limited)
	return limited
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		leave, why := l.places.enter(prefixOf(c.RemoteAddr()))
		switch why {
		case inAll:
			l.counts.connsFull.Add(1)
		case fromAddress:
			l.counts.connsAddress.Add(1)
		default:
			return l.count(c, leave), nil
		}
		c.Close()
	}
}

// count counts a connection until it is closed.
func (l *listener) count(accepted net.Conn, leave func()) *conn {
	c := &conn{Conn: accepted, all: l}
	c.addr = &connAddr{accepted.RemoteAddr(), c}
	c.leave = sync.OnceFunc(func() {
		c.forget() // before it is gone from those that could be closed
		leave()
		l.counts.conns.Add(-1)
		l.mu.Lock()
		delete(l.open, c)
		l.mu.Unlock()
	})
	l.counts.conns.Add(1)
	l.mu.Lock()
	l.open[c] = struct{}{}
	l.mu.Unlock()
	return c
}

// conn is a connection that is counted until it is closed, with what comes on it and what is to be sent.
type conn struct {
	net.Conn
	all   *listener
	addr  *connAddr
	leave func()

	read     atomic.Int64 // bytes that have come
	finished atomic.Int64 // of them, those of messages that are complete
	coming   []*coming    // the oldest first; under intake.mu

	mu      sync.Mutex
	answers atomic.Int64 // bytes that are to be sent; changed under mu
	gone    bool
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.addr }

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	c.all.intake.came(n)
	return n, err
}

// unfinished is how many bytes have come that belong to no message which is complete.
func (c *conn) unfinished() int64 { return c.read.Load() - c.finished.Load() }

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// hold counts n more bytes that are to be sent; fewer, where they have been, or will not be.
func (c *conn) hold(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		c.answers.Add(n)
		c.all.intake.answers.Add(n)
	}
}

// forget takes back what was to be sent on a connection that is closed: gRPC drops it, and does not always say so.
func (c *conn) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.all.intake.answers.Add(-c.answers.Swap(0))
}

// slowest is the connection whose client has most to read, of all listeners; nil where there is none.
func (in *intake) slowest() (slowest *conn) {
	in.mu.Lock()
	all := slices.Clone(in.listeners)
	in.mu.Unlock()
	for _, l := range all {
		l.mu.Lock()
		for c := range l.open {
			if slowest == nil || c.answers.Load() > slowest.answers.Load() {
				slowest = c
			}
		}
		l.mu.Unlock()
	}
	return slowest
}
