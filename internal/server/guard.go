package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"embedd/internal/access"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// A call passes, in this order:
//
//	limitTime  its deadline is cut to that of its class
//	guard      there is a rule for the method; its key is good; the key's role suffices; it does not come too often
//	gate       there is room for it (package admission)
//
// and nothing of its request has been read before guard has let it in. All that is refused is refused there: not in gRPC's tap, which
// would be cheaper, but leaves the timer of a refused call running for as long as the client has asked.

// limitTime gives a call the deadline of its class, before its request is read.
func (s *Server) limitTime(ctx context.Context, info *tap.Info) (context.Context, error) {
	r, ok := s.rules[info.FullMethodName]
	switch {
	case !ok, r.stream && (r.open || r.own): // a watch of the health lasts, and so does a stream of ours; its pieces have deadlines
		return ctx, nil
	case r.open:
		ctx, _ = within(ctx, s.open.firstMessage, "a call of the health")
		return ctx, nil
	}
	ctx, _ = within(ctx, s.limits.Classes[r.class].Deadline, article(r.class)+" call") // ends with the call's own context
	return ctx, nil
}

// within is a context that ends after limit at the latest.
func within(ctx context.Context, limit time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, &overtime{what, limit})
}

// overtime is the cause of the end of a call that had no deadline of its own, or a later one.
type overtime struct {
	what  string // the call
	limit time.Duration
}

func (e *overtime) Error() string {
	return fmt.Sprintf("the server gives %s %v; ask for less in one call", e.what, e.limit)
}

// article is a class's name in a sentence.
func article(c embeddv1.Class) string {
	name := className(c)
	if strings.ContainsAny(name[:1], "ae") {
		return "an " + name
	}
	return "a " + name
}

// className is a class's name in small letters.
func className(c embeddv1.Class) string {
	return strings.ToLower(strings.TrimPrefix(c.String(), "CLASS_"))
}

// guarded is the key, in the context, of what guard knows of a call.
type guarded struct{}

// Caller is who calls, as far as it is verified.
type Caller struct {
	// Key is nil where the server has no keys, and for a method that needs none.
	Key *access.Key
	// Address is that of the connection; of IPv6, its first 64 bits. Invalid inside of the process.
	Address netip.Prefix
}

// CallerOf gives who calls, for logs.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(guarded{}).(Caller)
	return c, ok
}

// guard decides whether a call may go on, before anything of its request is read. The context that it gives knows the caller, also of a
// call that it refuses, where the caller has a good key. What it decides by is the method, the key, and the
// address of the connection: no other header changes it.
func (s *Server) guard(ctx context.Context, method string) (context.Context, error) {
	r, ok := s.rules[method]
	if !ok { // gRPC has refused what is not registered before, and New what has no rule
		return ctx, status.Error(codes.PermissionDenied, "nobody may call this method")
	}
	c := Caller{Address: addressOf(ctx)}
	if r.open {
		return context.WithValue(ctx, guarded{}, c), nil
	}
	if s.keys != nil {
		var err error
		if c.Key, err = s.identify(ctx); err != nil {
			// Who tries keys is slowed down by address; who has a good one is not, whatever others do from there.
			s.counts.unauthenticated.Add(1)
			if err := s.rates.take(bucket{address: c.Address}, s.limits.Rate, "without a good key from one address"); err != nil {
				s.counts.limited.Add(1)
				return ctx, err
			}
			return ctx, err
		}
		if c.Key.Role < r.role {
			s.counts.denied.Add(1)
			return context.WithValue(ctx, guarded{}, c), status.Errorf(codes.PermissionDenied, "%s needs a key with the role %v; this one's is %v", strings.TrimPrefix(method, "/"), r.role, c.Key.Role)
		}
	}
	if err := s.limitVisit(ctx, c, r); err != nil {
		s.counts.limited.Add(1)
		return ctx, err
	}
	ctx, err := scope(context.WithValue(ctx, guarded{}, c), c.Key, r)
	if err != nil {
		s.counts.denied.Add(1)
	}
	return ctx, err
}

// identify gives the key of a call. The key is in the header authorization, as a bearer token, or in x-api-key, and in no other place.
func (s *Server) identify(ctx context.Context) (*access.Key, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	given := slices.Concat(md["authorization"], md["x-api-key"])
	if len(given) != 1 {
		if len(given) == 0 {
			return nil, status.Error(codes.Unauthenticated, "there is no key; send one in the header authorization, as: Bearer embedd_...")
		}
		return nil, status.Errorf(codes.Unauthenticated, "there are %d keys; send one, in authorization or in x-api-key", len(given))
	}
	secret := given[0]
	if len(md["authorization"]) == 1 {
		scheme, rest, _ := strings.Cut(secret, " ")
		if !strings.EqualFold(scheme, "bearer") {
			return nil, status.Error(codes.Unauthenticated, "authorization is not of the form: Bearer embedd_...")
		}
		secret = rest
	}
	key, err := s.keys().Find(secret, time.Now())
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	if key.Publishable() {
		if origin := md["origin"]; len(origin) != 1 || !slices.Contains(key.Origins, origin[0]) {
			return nil, status.Error(codes.Unauthenticated, "the key is not for this origin; it is good for pages of the origins that it was made with")
		}
	}
	return key, nil
}

// limitVisit is limitRate, but for the first call of a request over HTTP whose body was read: that is paid for, if it is no write.
func (s *Server) limitVisit(ctx context.Context, c Caller, r rule) error {
	v, ok := ctx.Value(visitKey{}).(*visit)
	if !ok || !v.paid.Swap(false) {
		return s.limitRate(c, r)
	}
	if r.class != embeddv1.Class_CLASS_WRITE {
		return nil
	}
	b, _, _ := s.rateOf(c, embeddv1.Class_CLASS_SEARCH)
	s.rates.give(b)
	return s.limitRate(c, r)
}

// limitRate takes one call off what the caller may call.
func (s *Server) limitRate(c Caller, r rule) error {
	b, rate, what := s.rateOf(c, r.class)
	return s.rates.take(b, rate, what)
}

// rateOf is what calls of a class are counted for, how many there may be in a second, and what they are called.
func (s *Server) rateOf(c Caller, class embeddv1.Class) (b bucket, rate float64, what string) {
	rate, what = s.limits.Rate, "calls"
	if class == embeddv1.Class_CLASS_WRITE {
		rate, what = s.limits.WriteRate, "writes"
	}
	b = bucket{write: class == embeddv1.Class_CLASS_WRITE}
	switch {
	case c.Key == nil:
		b.address = c.Address
		return b, rate, what + " from one address"
	case c.Key.Publishable():
		b.key, b.address = c.Key.ID, c.Address
		return b, publishableRate, what + " with a publishable key from one address"
	default:
		b.key = c.Key.ID
		return b, rate, what + " with one key"
	}
}

// addressOf is the address that a call comes from: of IPv6 its first 64 bits, which are what one customer of a provider has.
func addressOf(ctx context.Context) netip.Prefix {
	if p, ok := peer.FromContext(ctx); ok {
		return prefixOf(p.Addr)
	}
	return netip.Prefix{}
}

func prefixOf(a net.Addr) netip.Prefix {
	if of, ok := a.(*connAddr); ok {
		a = of.Addr
	}
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // invalid for an invalid address
	return p
}

// guardUnary guards the methods that are not registered by register: those of other people's services.
func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if _, ok := CallerOf(ctx); !ok {
		var err error
		if ctx, err = s.guard(ctx, info.FullMethod); err != nil {
			return nil, err
		}
	}
	return handler(ctx, req)
}

// guardStream guards streams, before their first message is read.
func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	begin := time.Now()
	ctx, err := s.guard(stream.Context(), info.FullMethod)
	if err != nil {
		return s.failed(ctx, info.FullMethod, begin, nil, err)
	}
	return handler(srv, guardedStream{stream, ctx})
}

// guardedStream is a stream with what guard knows.
type guardedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s guardedStream) Context() context.Context { return s.ctx }

// exhausted refuses a call for now.
func exhausted(wait time.Duration, format string, a ...any) error {
	return &retrieval.Error{Kind: retrieval.Exhausted, Message: fmt.Sprintf(format, a...), RetryAfter: wait}
}
