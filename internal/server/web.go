package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// The limits of HTTP connections that the others do not have.
const (
	webHeaders = 10 * time.Second // for the headers of a request to come
	webBody    = time.Minute      // for a body
	webIdle    = 2 * time.Minute  // between two requests
	webUnread  = time.Minute      // for a client to read a piece of an answer
	// maxRequests over HTTP are under way at once, and so many from one address: each takes some 70 kB before anything of it is looked at.
	maxRequests           = 2048
	maxRequestsPerAddress = 512
)

// visitHeaders are the headers of a request that calls see; no other changes anything.
var visitHeaders = []string{"Authorization", "X-Api-Key", "Origin", "Traceparent", "Tracestate"}

// ErrorWriter writes a status as the answer to an HTTP request, in the form that the client of the route expects.
type ErrorWriter func(http.ResponseWriter, *http.Request, *status.Status)

// ServeWeb answers HTTP on l by a handler, which calls the methods through [Server.Inside], until Stop, which lets what is under way end and waits for it. It closes l.
// Connections are counted and limited as those of gRPC are, bodies as its messages. Of a request whose key is not good no body is read; refuse tells its
// client so.
func (s *Server) ServeWeb(l net.Listener, handler http.Handler, refuse ErrorWriter) error {
	web := &http.Server{
		Handler:           s.visits(handler, refuse),
		ReadHeaderTimeout: webHeaders, IdleTimeout: webIdle, MaxHeaderBytes: maxHeaderBytes,
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: connWindow},
		Protocols: new(http.Protocols),
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // what clients do wrong
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if encrypted, ok := c.(*tls.Conn); ok {
				c = encrypted.NetConn()
			}
			return context.WithValue(ctx, webConnKey{}, c)
		},
	}
	web.Protocols.SetHTTP1(true)
	var listening net.Listener = limitListener(l, s.limits, s.counts, s.intake)
	if s.tls != nil {
		config := s.tls.Clone()
		config.NextProtos = []string{"h2", "http/1.1"}
		listening = tls.NewListener(listening, config)
		web.Protocols.SetHTTP2(true)
	} else {
		web.Protocols.SetUnencryptedHTTP2(true)
	}
	s.mu.Lock()
	if s.stopping.Err() != nil {
		s.mu.Unlock()
		return listening.Close()
	}
	s.webs = append(s.webs, web)
	s.mu.Unlock()
	if err := web.Serve(listening); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stopWeb lets what is under way over HTTP end for as long as grace.
func (s *Server) stopWeb(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	s.mu.Lock()
	webs := s.webs
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, web := range webs {
		all.Go(func() {
			if err := web.Shutdown(ctx); err != nil {
				s.log.Warn("calls over HTTP are cut, which have not ended in time", "error", err)
				_ = web.Close() // what it could say is of connections that are gone
			}
		})
	}
	all.Wait()
	for s.visitors.Load() > 0 { // requests whose connections were closed, and calls that were left
		time.Sleep(5 * time.Millisecond)
	}
}

type (
	webConnKey struct{}
	visitKey   struct{}
)

// visit is an HTTP request on its way to methods.
type visit struct {
	conn    *conn
	headers metadata.MD
	stream  *incoming   // the body, where it is of messages without end
	paid    atomic.Bool // a call was taken off the rate, and none has been made yet

	mu   sync.Mutex
	held []func()
	over bool
}

// address is where the request comes from.
func (v *visit) address() netip.Prefix {
	if v.conn == nil {
		return netip.Prefix{}
	}
	return prefixOf(v.conn.addr)
}

// keep has something held until the request has been answered.
func (v *visit) keep(release func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		release()
		return
	}
	v.held = append(v.held, release)
}

// end gives back what was held.
func (v *visit) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	for _, release := range v.held {
		release()
	}
	v.held = nil
}

// visits lets requests in: with the headers that count, and with bodies that have come, as far as they may.
func (s *Server) visits(next http.Handler, refuse ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.visitors.Add(1)
		defer s.visitors.Add(-1)
		v := &visit{headers: metadata.MD{}}
		v.conn, _ = r.Context().Value(webConnKey{}).(*conn)
		for _, name := range visitHeaders {
			if values := r.Header.Values(name); len(values) > 0 {
				v.headers[strings.ToLower(name)] = slices.Clone(values)
			}
		}
		ctx := context.WithValue(r.Context(), visitKey{}, v)
		defer v.end()
		leave, why := s.webPlaces.enter(v.address())
		if why != 0 {
			refuse(w, r, status.Convert(toStatus(ctx, exhausted(time.Second, "there are %d requests at once, or %d from this address, as many as there may be; wait for some to end", maxRequests, maxRequestsPerAddress))))
			return
		}
		defer leave()
		paced := &pacedWriter{ResponseWriter: w, control: http.NewResponseController(w)}
		r = r.WithContext(ctx)
		defer s.recoveredWeb(paced, r, refuse)
		if err := s.readBody(paced, r, v); err != nil {
			if r.ProtoMajor == 1 {
				w.Header().Set("Connection", "close") // what is left of the body is not read
			}
			refuse(paced, r, status.Convert(toStatus(ctx, err)))
			return
		}
		next.ServeHTTP(paced, r)
	})
}

// recoveredWeb turns a panic on the way of a request into an internal error, with its stack in the log; where an answer has begun, that is cut off.
func (s *Server) recoveredWeb(w *pacedWriter, r *http.Request, refuse ErrorWriter) {
	switch p := recover(); {
	case p == nil:
		return
	case p != http.ErrAbortHandler:
		s.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
		if w.until.IsZero() {
			refuse(w, r, status.New(codes.Internal, "internal error; the server's log says more"))
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// streamed tells whether a body is of messages without end: of a method that takes such, in a form that has them. Every other body is read before anything is
// made of it, whatever its type says.
func (s *Server) streamed(r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	return s.rules[r.URL.Path].requests && (strings.HasPrefix(kind, "application/connect+") || strings.HasPrefix(kind, "application/grpc"))
}

// isText tells whether a body is JSON, or may be taken for it.
func isText(r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	return strings.Contains(kind, "json") || !strings.HasPrefix(kind, "application/grpc") && !strings.HasSuffix(kind, "proto")
}

// readBody reads the body of a request whose key is good, and counts it.
func (s *Server) readBody(w *pacedWriter, r *http.Request, v *visit) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > MaxMessageBytes {
		return &sizeError{"has", r.ContentLength, MaxMessageBytes}
	}
	if err := s.knock(r.Context(), v); err != nil {
		return err
	}
	if s.streamed(r) {
		v.stream = s.incomingOf(r, w, v)
		r.Body = v.stream
		return nil
	}
	if packed := r.Header.Get("Content-Encoding"); packed != "" && packed != "identity" {
		return status.Errorf(codes.Unimplemented, "the request is compressed with %.20q, and is not unpacked here; send it as it is", packed)
	}
	_ = w.control.SetReadDeadline(time.Now().Add(webBody)) // where it cannot be set, the connection is of HTTP/2, and the call's deadline counts
	var cut atomic.Pointer[status.Status]
	end := func(st *status.Status) error {
		cut.Store(st)
		return w.control.SetReadDeadline(time.Now())
	}
	came := s.intake.coming(v.conn, false, end)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxMessageBytes))
	came(len(body))
	var large *http.MaxBytesError
	switch {
	case cut.Load() != nil:
		return cut.Load().Err()
	case errors.As(err, &large):
		return &sizeError{"has more than", MaxMessageBytes, MaxMessageBytes}
	case err != nil:
		return status.Error(codes.InvalidArgument, "the body did not come whole; send it again")
	}
	_ = w.control.SetReadDeadline(time.Time{})
	takes := weightShare / 2 * int64(len(body)) // it is weighed where it is decoded
	if isText(r) {
		if takes = weightOfJSON(body); checkWeight(takes) != nil {
			return checkWeight(takes)
		}
	}
	release, err := s.intake.keep(takes)
	if err != nil {
		return err
	}
	v.keep(release)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return nil
}

// knock is guard's look at the key and the rate, for a request whose method is not known yet: to read and to decode a body is work, whatever comes of it. Guard
// looks at the key again, and takes no other call off the rate for the first of the request's.
func (s *Server) knock(ctx context.Context, v *visit) error {
	ctx = metadata.NewIncomingContext(ctx, v.headers)
	if v.conn != nil {
		ctx = peer.NewContext(ctx, &peer.Peer{Addr: v.conn.addr})
	}
	c := Caller{Address: addressOf(ctx)}
	if s.keys != nil {
		var err error
		if c.Key, err = s.identify(ctx); err != nil {
			s.counts.unauthenticated.Add(1)
			if late := s.rates.take(bucket{address: c.Address}, s.limits.Rate, "without a good key from one address"); late != nil {
				s.counts.limited.Add(1)
				return late
			}
			return err
		}
	}
	if err := s.limitRate(c, rule{class: embeddv1.Class_CLASS_SEARCH}); err != nil {
		s.counts.limited.Add(1)
		return err
	}
	v.paid.Store(true)
	return nil
}

// pacedWriter gives a client so long to read each piece of an answer.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	until   time.Time
}

// Write implements http.ResponseWriter.
func (w *pacedWriter) Write(b []byte) (int, error) {
	w.pace()
	return w.ResponseWriter.Write(b)
}

// FlushError implements what http.ResponseController looks for.
func (w *pacedWriter) FlushError() error {
	w.pace()
	return w.control.Flush()
}

// Flush implements http.Flusher.
func (w *pacedWriter) Flush() { _ = w.FlushError() } // the next Write says so too

// Unwrap is for http.ResponseController.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *pacedWriter) pace() {
	now := time.Now()
	if w.until.Sub(now) < webUnread/2 {
		w.until = now.Add(webUnread)
		_ = w.control.SetWriteDeadline(w.until) // always can be, of net/http's own writers
	}
}
