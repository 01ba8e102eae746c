package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// sampled is the share of calls that are traced where neither the caller nor OTEL_TRACES_SAMPLER says otherwise.
	sampled = 0.01
	// shutdownTimeout is how long spans get to be sent at the end.
	shutdownTimeout = 3 * time.Second
)

// Traces sends spans of calls, and of their stages, to a collector of OpenTelemetry over gRPC. A nil *Traces sends none. A span has the
// method, the status and times, and nothing of what was asked or answered.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// StartTraces sets the sending up as OpenTelemetry's environment variables say: OTEL_EXPORTER_OTLP_ENDPOINT (http://localhost:4317 by
// default), _HEADERS, _CERTIFICATE and so on, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES. A collector that cannot be reached costs
// spans, and lines in the log.
func StartTraces(ctx context.Context, version string, log *slog.Logger) (*Traces, error) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "grpc" {
			return nil, fmt.Errorf("%s is %s; traces are sent by grpc only: give the collector's gRPC endpoint, whose port is usually 4317", name, p)
		}
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces are not sent", "component", "traces", "error", err)
	}))
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "embedd"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)}
	if os.Getenv("OTEL_TRACES_SAMPLER") == "" {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(sampled))))
	}
	t := &Traces{provider: sdktrace.NewTracerProvider(options...)}
	t.tracer = t.provider.Tracer("embedd")
	return t, nil
}

// Close sends what is left, for a few seconds at most.
func (t *Traces) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err) // the log is where it belongs: a server does not fail by it
	}
	return nil
}

// Interceptor makes a span of each unary call, in the trace that the caller names by traceparent, if it does.
func (t *Traces) Interceptor(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = propagation.TraceContext{}.Extract(ctx, carrier(md))
	}
	method := info.FullMethod[min(1, len(info.FullMethod)):] // of a method that there is
	ctx, span := t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", method)))
	defer span.End()
	res, err := handler(ctx, req)
	code := rpccode.Code(status.Code(err)).String()
	span.SetAttributes(attribute.String("rpc.response.status_code", code))
	switch status.Code(err) {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss: // the server's fault
		span.SetStatus(otelcodes.Error, "")
		span.SetAttributes(attribute.String("error.type", code))
	}
	return res, err
}

// Stage adds a span of something that began at begin and ends now to the call of ctx, if that is traced.
func (t *Traces) Stage(ctx context.Context, name string, begin time.Time) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return
	}
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(begin))
	span.End()
}

// carrier is a call's metadata as OpenTelemetry reads it.
type carrier metadata.MD

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string {
	if v := metadata.MD(c).Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set implements propagation.TextMapCarrier; nothing is sent on.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string {
	var keys []string
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}
