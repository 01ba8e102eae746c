package gateway

import (
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/CAFxX/httpcompression"
	"github.com/rs/cors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"embedd/internal/compat"
	"embedd/internal/feed"
	"embedd/internal/pages"
	"embedd/internal/widget"
	embeddv1 "embedd/proto/embedd/v1"
)

// Options are what New needs.
type Options struct {
	// Conn makes the calls, each with the context of the HTTP request that it is for.
	Conn grpc.ClientConnInterface
	// AllowOrigin tells whether scripts of pages of an origin, as https://example.org, may read answers. nil: none may but those of the server's own.
	AllowOrigin func(origin string) bool
	// Hosts are the names by which the server may be called, without ports; nil: any. Where there are no keys, a page of anyone's could otherwise give its own
	// name this machine's address, and read what is there (DNS rebinding).
	Hosts []string
	// Live answers /status/live, for the status page; nil: nothing does.
	Live http.Handler
	// Weigh and WeighJSON refuse messages that would take too much memory when they are decoded.
	Weigh     func(b []byte, d protoreflect.MessageDescriptor) error
	WeighJSON func(b []byte) error
}

// New is the handler of everything that is reached over HTTP.
func New(o Options) (http.Handler, error) {
	rest, err := restHandler(o.Conn)
	if err != nil {
		return nil, err
	}
	calls := connectHandler(o)
	others := http.NewServeMux()
	others.HandleFunc("GET /openapi.json", serveOpenAPI)
	if o.Live != nil {
		others.Handle("GET /status/live", o.Live)
	}
	compat.Register(others, o.Conn)
	feed.Register(others, o.Conn, WriteError)
	widget.Register(others, o.Conn)
	pages.Register(others, o.Conn, WriteError)
	others.Handle("GET /v1/jobs/{id}/files/{name}", jobFiles{embeddv1.NewJobServiceClient(o.Conn)})
	routes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not one mux for all: it would clean the paths, and ids have slashes that stand side by side.
		r = compat.Whole(r)
		switch _, pattern := others.Handler(r); {
		case strings.HasPrefix(r.URL.Path, "/embedd.v1."):
			calls.ServeHTTP(w, r)
		case pattern != "" && pattern != "/":
			others.ServeHTTP(w, r)
		default:
			rest.ServeHTTP(w, r)
		}
	})
	compress, err := httpcompression.DefaultAdapter(httpcompression.MinSize(1400)) // what goes into one packet as it is, stays as it is
	if err != nil {
		return nil, err
	}
	return safe(hosts(o.Hosts, crossOrigin(o.AllowOrigin, sameSite(o.AllowOrigin, packable(compress(routes), routes))))), nil
}

// safe has browsers take answers for what they are.
func safe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// compressions are the answers that are compressed at once. Each takes some MiB until its client has read it, whoever that is; there may be as many answers as
// there may be connections, times 128.
const compressions = 16

// packable compresses answers, but those that are streams: a stream's pieces are to come when they are there. Where as many are compressed as may be, another goes
// as it is.
func packable(compressed, plain http.Handler) http.Handler {
	places := make(chan struct{}, compressions)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") == "" || isStream(r) {
			plain.ServeHTTP(w, r)
			return
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			compressed.ServeHTTP(w, r)
		default:
			w.Header().Add("Vary", "Accept-Encoding")
			plain.ServeHTTP(w, r)
		}
	})
}

// streams are the routes whose answers come in pieces.
var streams = map[string]bool{"/v1/papers:export": true, "/v1/map:compute": true, "/v1/jobs/{id}:watch": true, "/v1/jobs/{id}/files/{name}": true}

// variable is a part of a route that stands for anything.
var variable = regexp.MustCompile(`\\\{\w+\\\}`)

// streamPaths matches the paths of these routes.
var streamPaths = func() *regexp.Regexp {
	var all []string
	for route := range streams {
		all = append(all, variable.ReplaceAllString(regexp.QuoteMeta(route), "[^/]+"))
	}
	return regexp.MustCompile("^(?:" + strings.Join(all, "|") + ")$")
}()

// isStream tells whether a request is for an answer that comes in pieces.
func isStream(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/connect+") || strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") ||
		streamPaths.MatchString(r.URL.Path)
}

// hosts refuses requests for other names.
func hosts(names []string, next http.Handler) http.Handler {
	if names == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			if host = name; strings.Contains(name, ":") {
				host = "[" + name + "]"
			}
		}
		if !slices.Contains(names, strings.ToLower(host)) {
			WriteError(w, r, status.Newf(codes.PermissionDenied, "%.100q is not a name of this server; it has no keys and is for this machine alone; where it is meant to be reached by that name, start it with --http-host", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameSite refuses requests that may change something and come from a page of another site, unless its origin is allowed: a browser sends those without
// asking, and where there are no keys nothing else tells them from others.
func sameSite(allow func(string) bool, next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header.Get("Origin"); origin == "" || allow == nil || !allow(origin) {
			if err := protection.Check(r); err != nil {
				WriteError(w, r, status.Newf(codes.PermissionDenied, "the page that sends this is of another origin, %.100q; where its scripts are meant to, start the server with --cors-origin", r.Header.Get("Origin")))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// exposed are the headers of answers that scripts of other origins may read.
var exposed = []string{"ETag", "Retry-After", "Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"}

// crossOrigin lets pages of other origins read answers, those that allow names alone. No cookie is ever meant: who calls is told by a key.
func crossOrigin(allow func(string) bool, next http.Handler) http.Handler {
	if allow == nil {
		return next
	}
	return crossOriginRules(allow).Handler(next)
}

// Refuser writes refusals of requests that New's handler has not seen: pages that may read answers may read these too.
func (o *Options) Refuser() func(http.ResponseWriter, *http.Request, *status.Status) {
	if o.AllowOrigin == nil {
		return WriteError
	}
	rules := crossOriginRules(o.AllowOrigin)
	return func(w http.ResponseWriter, r *http.Request, st *status.Status) {
		rules.HandlerFunc(w, r) // writes headers alone
		WriteError(w, r, st)
	}
}

func crossOriginRules(allow func(string) bool) *cors.Cors {
	return cors.New(cors.Options{
		AllowOriginFunc: allow,
		AllowedMethods:  []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "X-Api-Key", "Content-Type", "If-None-Match", "Connect-Protocol-Version", "Connect-Timeout-Ms", "Grpc-Timeout",
			"X-Grpc-Web", "X-User-Agent", "Traceparent", "Tracestate"},
		ExposedHeaders: exposed,
		MaxAge:         7200,
	})
}
