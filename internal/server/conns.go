package server

import (
	"net"
	"sync"
)

// listener accepts as many connections at once as there are places, and closes the others at once.
type listener struct {
	net.Listener
	places places
	counts *counts
}

func limitListener(l net.Listener, limits Limits, c *counts) *listener {
	return &listener{Listener: l, places: places{most: limits.Connections, perAddress: limits.ConnectionsPerAddress}, counts: c}
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
			l.counts.conns.Add(1)
			return &conn{Conn: c, leave: sync.OnceFunc(func() { leave(); l.counts.conns.Add(-1) })}, nil
		}
		c.Close()
	}
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
