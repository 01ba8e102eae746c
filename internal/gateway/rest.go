package gateway

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"embedd/internal/compat"
	rest "embedd/internal/gateway/rest/embedd/v1"
	embeddv1 "embedd/proto/embedd/v1"
)

// messages is how they are written: without what is not set. What nobody knows is refused, not passed over.
var messages = wholeJSON{runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{}, UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false}}}

// wholeJSON reads a body to its end: what comes after the message is refused too.
type wholeJSON struct{ runtime.JSONPb }

// StreamContentType implements runtime.StreamContentType: a stream is a message on each line.
func (*wholeJSON) StreamContentType(any) string { return "application/x-ndjson" }

// NewDecoder implements runtime.Marshaler.
func (j *wholeJSON) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		b, err := io.ReadAll(r) // the server has bounded it
		if err != nil || len(b) == 0 {
			return err
		}
		m, ok := v.(proto.Message)
		if !ok {
			return fmt.Errorf("%T is no message", v)
		}
		return j.UnmarshalOptions.Unmarshal(b, m)
	})
}

// restHandler answers the routes of the annotations.
func restHandler(conn grpc.ClientConnInterface) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &messages),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllCharacters), // ids have slashes, as they are or as %2F
		runtime.SetQueryParameterParser(strictQuery{}),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }), // the server takes them off the request itself
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
			WriteError(w, r, blame(err))
		}),
		runtime.WithRoutingErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
			noRoute(w, r, code)
		}),
		runtime.WithForwardResponseOption(tagged),
	)
	ctx := context.Background()
	if err := errors.Join(
		rest.RegisterPaperServiceHandlerClient(ctx, mux, embeddv1.NewPaperServiceClient(conn)),
		rest.RegisterSearchServiceHandlerClient(ctx, mux, embeddv1.NewSearchServiceClient(conn)),
		rest.RegisterEncodeServiceHandlerClient(ctx, mux, embeddv1.NewEncodeServiceClient(conn)),
		rest.RegisterInfoServiceHandlerClient(ctx, mux, embeddv1.NewInfoServiceClient(conn)),
		rest.RegisterAdminServiceHandlerClient(ctx, mux, embeddv1.NewAdminServiceClient(conn)),
		rest.RegisterCollectionServiceHandlerClient(ctx, mux, embeddv1.NewCollectionServiceClient(conn)),
		rest.RegisterMapServiceHandlerClient(ctx, mux, embeddv1.NewMapServiceClient(conn)),
		rest.RegisterJobServiceHandlerClient(ctx, mux, embeddv1.NewJobServiceClient(conn)),
		rest.RegisterMigrationServiceHandlerClient(ctx, mux, embeddv1.NewMigrationServiceClient(conn)),
	); err != nil {
		return nil, err
	}
	return conditional(mux), nil
}

// strictQuery refuses parameters that the request does not have: a filter with a typing error must not be no filter.
type strictQuery struct{ runtime.DefaultQueryParser }

// Parse implements runtime.QueryParameterParser.
func (q strictQuery) Parse(m proto.Message, values url.Values, path *utilities.DoubleArray) error {
	for name, all := range values {
		if slices.ContainsFunc(all, func(v string) bool { return !utf8.ValidString(v) }) {
			return fmt.Errorf("%.100q has a value that is not UTF-8", name)
		}
		if _, searches := m.(*embeddv1.SearchRequest); searches && name == "store" { // any page can have a browser send a GET
			return errors.New("store: changes what is stored, and a GET does not; send a POST")
		}
		if err := known(m.ProtoReflect().Descriptor(), name); err != nil {
			return err
		}
	}
	return q.DefaultQueryParser.Parse(m, values, path)
}

// known tells whether a message has the field that a parameter names, as query.text or min_cosine.
func known(d protoreflect.MessageDescriptor, name string) error {
	for part := range strings.SplitSeq(name, ".") {
		if d == nil {
			return fmt.Errorf("%.100q is not a parameter of this method; /openapi.json has those that are", name)
		}
		f := d.Fields().ByJSONName(part)
		if f == nil {
			f = d.Fields().ByTextName(part)
		}
		if f == nil {
			return fmt.Errorf("%.100q is not a parameter of this method; /openapi.json has those that are", name)
		}
		d = f.Message()
	}
	return nil
}

// longestBlame is how much is said of what could not be read, in bytes.
const longestBlame = 600

// unparsed is what the parser of parameters says of a value: it is meant for those who read Go.
var unparsed = regexp.MustCompile(`^parsing field "([^"]+)": (?:strconv\.Parse(Bool)?\w*: parsing )?(".*?")(?:: [a-z ]+| is not a valid value)$`)

// blame says of what could not be read that it is the client's, in words of ours.
func blame(err error) *status.Status {
	st := status.Convert(err)
	if st.Code() != codes.InvalidArgument || len(st.Details()) > 0 {
		return st
	}
	text := strings.ReplaceAll(st.Message(), "\u00a0", " ") // protojson changes its spaces now and then, so that nobody relies on them
	if what, ok := strings.CutPrefix(text, "proto: "); ok {
		text = "the request cannot be read: " + what
	}
	if m := unparsed.FindStringSubmatch(text); m != nil {
		switch {
		case strings.HasSuffix(text, "is not a valid value"):
			text = m[1] + ": " + m[3] + " is none of its values; /openapi.json has them"
		case m[2] != "":
			text = m[1] + ": " + m[3] + " is neither true nor false"
		default:
			text = m[1] + ": " + m[3] + " is no number that fits"
		}
	}
	if len(text) > longestBlame { // it may quote a value of any length
		text = strings.ToValidUTF8(text[:longestBlame], "") + "…"
	}
	return status.New(codes.InvalidArgument, text)
}

// WriteError writes a status as HTTP knows it, with its message and details as JSON; for a route of a dialect, in that, and for a method by its name, in the
// protocol of the request.
func WriteError(w http.ResponseWriter, r *http.Request, st *status.Status) {
	if compat.WriteError(w, r, st) {
		return
	}
	if strings.HasPrefix(r.URL.Path, "/embedd.v1.") && connectErrors.IsSupported(r) {
		retryAfter(w, st)
		_ = connectErrors.Write(w, r, connectError(st.Err())) // a client that has gone
		return
	}
	code := runtime.HTTPStatusFromCode(st.Code())
	if !retryAfter(w, st) && st.Code() == codes.ResourceExhausted {
		code = http.StatusRequestEntityTooLarge // what has room at no time
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if st.Code() == codes.Unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="embedd"`)
	}
	body := bodyOf(st)
	w.WriteHeader(code)
	_, _ = w.Write(body) // a client that has gone
}

// bodyOf is a status as JSON. What it quotes of a request may be no text.
func bodyOf(st *status.Status) []byte {
	p := st.Proto()
	p.Message = strings.ToValidUTF8(p.GetMessage(), "\ufffd")
	body, err := protojson.Marshal(p)
	if err != nil { // a detail that nobody knows
		p.Details = nil
		body, _ = protojson.Marshal(p) // has nothing that could fail
	}
	return body
}

// retryAfter tells an HTTP client when to come again, where that helps.
func retryAfter(w http.ResponseWriter, st *status.Status) (helps bool) {
	for _, detail := range st.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			seconds := int64(retry.GetRetryDelay().AsDuration().Seconds() + 0.999)
			w.Header().Set("Retry-After", strconv.FormatInt(max(1, seconds), 10))
			helps = true
		}
	}
	return helps
}

// noRoute says that there is nothing at a path, or not by that method.
func noRoute(w http.ResponseWriter, r *http.Request, code int) {
	st := status.Newf(codes.NotFound, "there is nothing at %.200q; the routes are in /openapi.json", r.URL.Path)
	switch code {
	case http.StatusMethodNotAllowed:
		st = status.Newf(codes.Unimplemented, "%.20s is not a method of %.200q; the routes are in /openapi.json", r.Method, r.URL.Path)
	case http.StatusBadRequest:
		st = status.Newf(codes.InvalidArgument, "%.200q is not a path", r.URL.Path)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	body := bodyOf(st)
	w.WriteHeader(code)
	_, _ = w.Write(body) // a client that has gone
}

// tagged gives an answer the tag by which its client may ask whether it has changed. How long the answer took does not change it.
func tagged(_ context.Context, w http.ResponseWriter, m proto.Message) error {
	if m == nil {
		return nil
	}
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache") // may be kept by the client, and is asked for again
	h.Add("Vary", "Authorization, X-Api-Key, Origin")
	if c, ok := w.(*conditionalWriter); ok {
		if stages := m.ProtoReflect().Descriptor().Fields().ByName("stages"); stages != nil {
			bare := m.ProtoReflect().New()
			m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				if f != stages {
					bare.Set(f, v)
				}
				return true
			})
			m = bare.Interface()
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return fmt.Errorf("tag: %w", err)
		}
		c.tag(b)
	}
	return nil
}

// conditional answers 304 where the client of a GET has what it would get.
func conditional(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead { // net/http leaves the body out
			get := *r
			get.Method, r = http.MethodGet, &get
		}
		if r.Method != http.MethodGet || streams[r.URL.Path] {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(&conditionalWriter{ResponseWriter: w, has: r.Header.Get("If-None-Match")}, r)
	})
}

type conditionalWriter struct {
	http.ResponseWriter
	has       string
	unchanged bool
}

// tag is called before anything is written.
func (w *conditionalWriter) tag(b []byte) {
	tag := tagOf(b)
	w.Header().Set("ETag", tag)
	for has := range strings.SplitSeq(w.has, ",") {
		if has = strings.TrimSpace(has); has == tag || has == "*" {
			w.unchanged = true
		}
	}
}

// tagOf is a tag for what is the same where b is; it may be sent packed in several ways.
func tagOf(b []byte) string {
	return `W/"` + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, xxhash.Sum64(b))) + `"`
}

// WriteHeader implements http.ResponseWriter.
func (w *conditionalWriter) WriteHeader(code int) {
	if w.unchanged && code == http.StatusOK {
		w.Header().Del("Content-Type")
		code = http.StatusNotModified
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *conditionalWriter) Write(b []byte) (int, error) {
	if w.unchanged {
		w.WriteHeader(http.StatusOK)
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *conditionalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
