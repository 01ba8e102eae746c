package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// receiver is a collector of OpenTelemetry.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu  sync.Mutex
	got []*collector.ExportTraceServiceRequest
}

func (r *receiver) Export(ctx context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, req)
	return &collector.ExportTraceServiceResponse{}, nil
}

// startReceiver has the environment name a collector that runs until the test ends.
func startReceiver(t *testing.T) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, s := &receiver{}, grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	return r
}

func (r *receiver) spans() map[string]*spans.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]*spans.Span{}
	for _, req := range r.got {
		for _, rs := range req.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					all[s.GetName()] = s
				}
			}
		}
	}
	return all
}

func attributes(s *spans.Span) map[string]string {
	m := map[string]string{}
	for _, a := range s.GetAttributes() {
		m[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return m
}

// call sends a call with metadata through the interceptor, with a stage inside.
func call(t *testing.T, traces *Traces, method, traceparent string, outcome error) (inner context.Context) {
	t.Helper()
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", traceparent, "authorization", "xyzzy", "tracestate", "vendor=1"))
	_, _ = traces.Interceptor(ctx, "xyzzy", &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
		inner = ctx
		traces.Stage(ctx, "search", time.Now().Add(-time.Second))
		return nil, outcome
	})
	return inner
}

const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	sampledP = "00-" + traceID + "-b7ad6b7169203331-01"
	notP     = "00-" + traceID + "-b7ad6b7169203331-00"
)

func TestTraces(t *testing.T) {
	r := startReceiver(t)
	var out bytes.Buffer
	log := NewLog(&out, JSON, slog.LevelInfo)
	traces, err := StartTraces(t.Context(), "1.2.3", log)
	if err != nil {
		t.Fatal(err)
	}
	inner := call(t, traces, "/embedd.v1.SearchService/Search", sampledP, nil)
	log.WarnContext(inner, "slow call")
	call(t, traces, "/embedd.v1.SearchService/Related", sampledP, status.Error(codes.NotFound, "no xyzzy"))
	call(t, traces, "/embedd.v1.InfoService/GetInfo", sampledP, status.Error(codes.Internal, "xyzzy broke"))
	call(t, traces, "/embedd.v1.EncodeService/Encode", notP, nil) // the caller says no
	if err := traces.Close(); err != nil {
		t.Fatal(err)
	}
	all := r.spans()
	root, stage := all["embedd.v1.SearchService/Search"], all["search"]
	if root == nil || stage == nil || all["embedd.v1.EncodeService/Encode"] != nil || len(all) != 4 {
		t.Fatalf("spans: %v", all)
	}
	if got := fmt.Sprintf("%x", root.GetTraceId()); got != traceID {
		t.Errorf("trace %s, want the caller's", got)
	}
	if d := time.Duration(stage.GetEndTimeUnixNano() - stage.GetStartTimeUnixNano()); d < time.Second || d > 10*time.Second {
		t.Errorf("the stage took %v", d)
	}
	for name, want := range map[string][2]string{
		"embedd.v1.SearchService/Search": {"OK", ""}, "embedd.v1.SearchService/Related": {"NOT_FOUND", ""}, "embedd.v1.InfoService/GetInfo": {"INTERNAL", "INTERNAL"},
	} {
		a := attributes(all[name])
		if a["rpc.system.name"] != "grpc" || a["rpc.method"] != name || a["rpc.response.status_code"] != want[0] || a["error.type"] != want[1] {
			t.Errorf("%s has %v", name, a)
		}
	}
	for _, req := range r.got {
		if text := req.String(); strings.Contains(text, "xyzzy") {
			t.Errorf("what a client sent is in a span: %s", text)
		}
		if !strings.Contains(req.String(), "1.2.3") {
			t.Errorf("no version in %s", req.String())
		}
	}
	if !strings.Contains(out.String(), `"trace_id":"`+traceID+`"`) {
		t.Errorf("the log does not name the trace: %s", out.String())
	}
}

// Without a word of the caller one call in a hundred is traced.
func TestSampling(t *testing.T) {
	r := startReceiver(t)
	traces, err := StartTraces(t.Context(), "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const calls = 20000
	for i := range calls {
		_, _ = traces.Interceptor(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: fmt.Sprint("/m", i)}, func(context.Context, any) (any, error) { return nil, nil })
	}
	if err := traces.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(r.spans()); n < calls/200 || n > calls/50 {
		t.Errorf("%d of %d calls are traced", n, calls)
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	if _, err := StartTraces(t.Context(), "", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "4317") {
		t.Error(err)
	}
}

// No traces are no trouble.
func TestNoTraces(t *testing.T) {
	var traces *Traces
	traces.Stage(t.Context(), "search", time.Now())
	if err := errors.Join(traces.Close()); err != nil {
		t.Error(err)
	}
}
