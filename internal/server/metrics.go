package server

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// callMetrics count calls under the names of gRFC A66 as Prometheus writes them. It is a stats.Handler: unlike an interceptor it
// sees the calls that never reach a handler, and the bytes on the wire. The library that does the same goes by way of OpenTelemetry's
// metrics and their exporter.
//
// A method that the server does not have is "other": names that clients make up would be series without end. gRPC does not tell of the
// end of a call to one.
type callMetrics struct {
	started        *prometheus.CounterVec
	duration       *prometheus.HistogramVec
	sent, received *prometheus.HistogramVec
	methods        map[string]string // by "/service/method"; set before the server serves
}

const otherMethod = "other"

// The buckets that A66 recommends: seconds, every second of its bounds, and bytes.
var (
	callSeconds = []float64{.0001, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100}
	callBytes   = []float64{1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26}
)

func newCallMetrics() *callMetrics {
	const ns = "grpc_server_call_"
	labels := []string{"grpc_method", "grpc_status"}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: ns + name, Help: help, Buckets: buckets}, labels)
	}
	return &callMetrics{
		started:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + "started_total", Help: "Calls that have begun."}, labels[:1]),
		duration: histogram("duration_seconds", "Time from the beginning of a call to its end.", callSeconds),
		sent:     histogram("sent_total_compressed_message_size_bytes", "Bytes of the messages sent in a call, as on the wire.", callBytes),
		received: histogram("rcvd_total_compressed_message_size_bytes", "Bytes of the messages received in a call, as on the wire.", callBytes),
		methods:  map[string]string{},
	}
}

// know tells the methods that there are, which are counted from 0 on.
func (m *callMetrics) know(services map[string]grpc.ServiceInfo) {
	for service, info := range services {
		for _, method := range info.Methods {
			name := service + "/" + method.Name
			m.methods["/"+name] = name
			m.started.WithLabelValues(name)
		}
	}
	m.started.WithLabelValues(otherMethod)
}

func (m *callMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.started, m.duration, m.sent, m.received}
}

// Describe implements prometheus.Collector.
func (m *callMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (m *callMetrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(to)
	}
}

// callKey is the key of a *callSize in a context.
type callKey struct{}

// callSize is one call on its way. A stream is read and written at the same time.
type callSize struct {
	method         string
	began          time.Time
	sent, received atomic.Int64
}

// TagRPC implements stats.Handler.
func (m *callMetrics) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	method, known := m.methods[info.FullMethodName]
	if !known {
		method = otherMethod
	}
	m.started.WithLabelValues(method).Inc()
	return context.WithValue(ctx, callKey{}, &callSize{method: method})
}

// HandleRPC implements stats.Handler.
func (m *callMetrics) HandleRPC(ctx context.Context, event stats.RPCStats) {
	call, ok := ctx.Value(callKey{}).(*callSize)
	if !ok {
		return
	}
	switch e := event.(type) {
	case *stats.Begin:
		call.began = e.BeginTime // of a call from inside the end does not tell
	case *stats.InPayload:
		call.received.Add(int64(e.CompressedLength))
	case *stats.OutPayload:
		call.sent.Add(int64(e.CompressedLength))
	case *stats.End:
		code := canonical(status.Code(e.Error))
		m.duration.WithLabelValues(call.method, code).Observe(time.Since(call.began).Seconds())
		m.sent.WithLabelValues(call.method, code).Observe(float64(call.sent.Load()))
		m.received.WithLabelValues(call.method, code).Observe(float64(call.received.Load()))
	}
}

// TagConn implements stats.Handler.
func (*callMetrics) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (*callMetrics) HandleConn(context.Context, stats.ConnStats) {}

// canonical is a code as the protocol's specification writes it: INVALID_ARGUMENT.
func canonical(c codes.Code) string { return rpccode.Code(c).String() }
