package server

import (
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// start gives a server without a collection and a connection to it.
func start(t *testing.T) (*Server, *grpc.ClientConn) {
	t.Helper()
	s, err := New(Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Stop(time.Second)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, conn
}

// Who watches health is told of the drain at once, and does not keep the server from stopping.
func TestWatchersOfHealthDoNotHoldTheStop(t *testing.T) {
	s, conn := start(t)
	s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() grpc_health_v1.HealthCheckResponse_ServingStatus {
		t.Helper()
		res, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return res.GetStatus()
	}
	if got := next(); got != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("health is %v", got)
	}
	s.Drain()
	if got := next(); got != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("health is %v after Drain", got)
	}
	// A call is still answered, if only to say that the server has no collection.
	if _, err := embeddv1.NewInfoServiceClient(conn).GetInfo(t.Context(), &embeddv1.GetInfoRequest{}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "starting") {
		t.Errorf("a call after Drain: %v", err)
	}
	begin := time.Now()
	s.Stop(20 * time.Second)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want UNAVAILABLE", err)
	}
}

// Calls are counted by the methods that there are, whatever clients call.
func TestCallMetrics(t *testing.T) {
	s, conn := start(t)
	ctx := t.Context()
	_, _ = embeddv1.NewInfoServiceClient(conn).GetInfo(ctx, &embeddv1.GetInfoRequest{})
	for _, method := range []string{"/no.such.Service/Method", "/embedd.v1.InfoService/NoSuchMethod"} {
		if err := conn.Invoke(ctx, method, &embeddv1.GetInfoRequest{}, &embeddv1.GetInfoResponse{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(s.Metrics()); err != nil {
		t.Fatal(err)
	}
	// The server's end of a call may come after the client's.
	var count map[string]uint64
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if count = callCounts(t, registry); count["duration embedd.v1.InfoService/GetInfo UNAVAILABLE"] == 1 {
			break
		}
	}
	for name, want := range map[string]uint64{
		"started embedd.v1.InfoService/GetInfo": 1, "started other": 2, "started grpc.health.v1.Health/Check": 0,
		"duration embedd.v1.InfoService/GetInfo UNAVAILABLE": 1,
	} {
		if got, there := count[name]; got != want || !there {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	for name := range count {
		if strings.Contains(name, "no.such") || strings.Contains(name, "NoSuch") {
			t.Errorf("a name that a client made up is a label: %s", name)
		}
	}
}

// callCounts are the counts of calls by method and status.
func callCounts(t *testing.T, from prometheus.Gatherer) map[string]uint64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, f := range families {
		short := strings.TrimPrefix(f.GetName(), "grpc_server_call_")
		if short != "started_total" && short != "duration_seconds" {
			continue
		}
		short, _, _ = strings.Cut(short, "_")
		for _, m := range f.GetMetric() {
			name, n := short, uint64(m.GetCounter().GetValue())
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				n = h.GetSampleCount()
			}
			counts[name] = n
		}
	}
	return counts
}

func TestCanonicalCodes(t *testing.T) {
	for code, want := range map[codes.Code]string{codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unauthenticated: "UNAUTHENTICATED", codes.Internal: "INTERNAL"} {
		if got := canonical(code); got != want {
			t.Errorf("%v is %s, want %s", code, got, want)
		}
	}
}
