package compat

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// dialect is how a family of routes speaks of errors.
type dialect struct {
	// body is a failure as the clients of the dialect read it. It may change the status.
	body func(f *failure) any
}

// answer answers a request of a route: what is written as JSON, nil for nothing, or why not.
type answer func(r *http.Request) (any, *failure)

// failure is why a request is not answered.
type failure struct {
	// status is the one of HTTP.
	status int
	// field is the one of the request at fault, empty if none is; message says what is wrong with it.
	field, message string
	// kind is what the dialect calls such failures, where the status does not say so.
	kind string
	// retry is when to come again, in seconds; 0: it is not known.
	retry int
	// allow is the method that there is, where it is the method that is wrong.
	allow string
	// keyed: a key was given.
	keyed bool
}

// text is what is wrong, with the field.
func (f *failure) text() string {
	if f.field == "" {
		return f.message
	}
	return f.field + ": " + f.message
}

// wrong is a failure that is the client's: of a field, or of none.
func wrong(field, format string, a ...any) *failure {
	return &failure{status: http.StatusBadRequest, field: field, message: fmt.Sprintf(format, a...)}
}

// statuses are those of HTTP for codes; of what is not here, and of those that are no client's business, 500.
var statuses = map[codes.Code]int{
	codes.InvalidArgument: http.StatusBadRequest, codes.FailedPrecondition: http.StatusBadRequest, codes.OutOfRange: http.StatusBadRequest,
	codes.Unauthenticated: http.StatusUnauthorized, codes.PermissionDenied: http.StatusForbidden, codes.NotFound: http.StatusNotFound,
	codes.AlreadyExists: http.StatusConflict, codes.Unimplemented: http.StatusNotImplemented, codes.Unavailable: http.StatusServiceUnavailable,
	codes.DeadlineExceeded: http.StatusGatewayTimeout, codes.Canceled: 499,
}

// failed is the error of a call, with the field as the dialect calls it.
func failed(err error, rename func(field string) string) *failure {
	st := status.Convert(err)
	f := &failure{status: statuses[st.Code()], message: st.Message()}
	if f.status == 0 {
		f.status = http.StatusInternalServerError
	}
	if st.Code() == codes.ResourceExhausted { // too large, unless there is a time after which it is not too much any more
		f.status = http.StatusRequestEntityTooLarge
	}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.RetryInfo:
			f.status, f.retry = http.StatusTooManyRequests, max(1, int(d.GetRetryDelay().AsDuration().Seconds()+0.999))
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				f.field, f.message = v.GetField(), v.GetDescription()
			}
		}
	}
	if rename != nil && f.field != "" {
		f.field = rename(f.field)
	}
	return f
}

// renamer gives fields other names, each with what stands behind it: an index.
func renamer(names map[string]string) func(string) string {
	return func(field string) string {
		head, index, indexed := strings.Cut(field, "[")
		name, ok := names[head]
		if !ok {
			return field
		}
		if indexed {
			return name + "[" + index
		}
		return name
	}
}

// serve is a route that has one method.
func serve(in *dialect, method string, a answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
			in.refuse(w, r, &failure{status: http.StatusMethodNotAllowed, message: fmt.Sprintf("%.20s is not a method of %.200s; use %s", r.Method, r.URL.Path, method), allow: method})
			return
		}
		res, f := a(r)
		if f != nil {
			in.refuse(w, r, f)
			return
		}
		h := w.Header()
		if method == http.MethodGet {
			h.Set("Cache-Control", "private, no-cache")
			h.Add("Vary", "Authorization, X-Api-Key, Origin")
		}
		if res == nil {
			return
		}
		b, err := json.Marshal(res)
		if err != nil { // a number that JSON does not have
			in.refuse(w, r, &failure{status: http.StatusInternalServerError, message: "internal error"})
			return
		}
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(b) // a client that has gone
	})
}

// refuse writes a failure.
func (d *dialect) refuse(w http.ResponseWriter, r *http.Request, f *failure) {
	f.keyed = r.Header.Get("Authorization") != "" || r.Header.Get("X-Api-Key") != ""
	b, err := json.Marshal(d.body(f))
	if err != nil { // it is made of texts
		b = []byte("{}")
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if f.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="embedd"`)
	}
	if f.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(f.retry))
	}
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(b) // a client that has gone
}

// WriteError writes the status of a request that came to no route, since its key or its body was refused before, in the dialect of the route's
// clients. It tells whether the path is one of this package; of others nothing is written.
func WriteError(w http.ResponseWriter, r *http.Request, st *status.Status) bool {
	in := dialectOf(r.URL.Path)
	if in == nil {
		return false
	}
	in.refuse(w, r, failed(st.Err(), nil))
	return true
}

// dialectOf is the dialect of a path; nil for none.
func dialectOf(path string) *dialect {
	switch path {
	case "/v1/embeddings", "/v1/models":
		return openAI
	case "/embed", "/similarity", "/rerank", "/tokenize", "/info", "/health":
		return inference
	case "/v1/rerank", "/v2/rerank":
		return cohere
	}
	switch {
	case strings.HasPrefix(path, "/v1/models/"):
		return openAI
	case strings.HasPrefix(path, "/recommendations/"):
		return scholar
	}
	return nil
}
