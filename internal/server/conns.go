package server

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// listener accepts so many connections at once, in all and from one address, and closes the others at once.
type listener struct {
	net.Listener
	most, perAddress int
	counts           *counts

	mu   sync.Mutex
	open int
	by   map[netip.Prefix]int
}

func limitListener(l net.Listener, limits Limits, c *counts) *listener {
	return &listener{Listener: l, most: limits.Connections, perAddress: limits.ConnectionsPerAddress, counts: c, by: map[netip.Prefix]int{}}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := prefixOf(c.RemoteAddr())
		if counter := l.enter(address); counter != nil {
			counter.Add(1)
			c.Close()
			continue
		}
		return &conn{Conn: c, leave: sync.OnceFunc(func() { l.leave(address) })}, nil
	}
}

// enter counts a connection, or gives the counter of why there is no room for it.
func (l *listener) enter(address netip.Prefix) (refused *atomic.Uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.open >= l.most:
		return &l.counts.connsFull
	case l.perAddress > 0 && address.IsValid() && l.by[address] >= l.perAddress:
		return &l.counts.connsAddress
	}
	l.open++
	l.by[address]++
	l.counts.conns.Add(1)
	return nil
}

func (l *listener) leave(address netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.by[address]--; l.by[address] == 0 {
		delete(l.by, address)
	}
	l.counts.conns.Add(-1)
}

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
