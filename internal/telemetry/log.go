package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"
)

// MaxString is the longest string in a record of the log, in bytes, without the sign that there was more.
const MaxString = 256

// The keys that stack traces stand under are not cut: they are ours.
const stackKey = "stack"

// Formats of the log.
const (
	Text = "text"
	JSON = "json"
)

// NewLog is a log that writes records from level on to w.
func NewLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: replace}
	var h slog.Handler = slog.NewTextHandler(w, o)
	if format == JSON {
		h = slog.NewJSONHandler(w, o)
	}
	return slog.New(traced{newLimiter(h)})
}

// replace brings an attribute into the form of the package comment.
func replace(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case "error":
		a.Key = "err"
	case "took":
		a.Key = "duration_ms"
	}
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindDuration:
		a.Value = slog.Float64Value(float64(v.Duration()/time.Microsecond) / 1e3)
	case slog.KindString:
		if a.Key != stackKey {
			a.Value = slog.StringValue(cut(v.String()))
		}
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error:
			a.Value = slog.StringValue(cut(x.Error()))
		case fmt.Stringer:
			a.Value = slog.StringValue(cut(x.String()))
		case *slog.Source:
		default:
			a.Value = slog.StringValue(cut(fmt.Sprint(x)))
		}
	}
	return a
}

// cut shortens a string to MaxString bytes, between two characters.
func cut(s string) string {
	if len(s) <= MaxString {
		return s
	}
	n := MaxString
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// traced is a handler that names the trace that a record belongs to.
type traced struct{ slog.Handler }

// Handle implements slog.Handler.
func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", s.TraceID().String()), slog.String("span_id", s.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
