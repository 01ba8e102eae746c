// Package telemetry is what the process tells of itself beside its metrics: its log, and traces of its calls. It knows
// nothing of papers: what is told is named by who tells it.
//
// # The log
//
// Records of log/slog, as text or JSON, with these keys: time, level, msg, component, method, code, duration_ms, n, bytes, peer, err, and
// trace_id and span_id where a call is traced; a record may have others. [NewLog] sees to what must hold for every record, whoever writes it:
//
//   - durations are milliseconds, under duration_ms where they are called took; an error is err
//   - a string is cut at [MaxString] bytes: much of it came from outside
//   - warnings and errors that come again and again are written once, and then at most once a second, with a count
//
// No text, vector, key or metadata belongs in a record; that is for its writer to see to.
package telemetry
