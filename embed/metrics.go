package embed

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"embedd/embed/lane"
)

// metrics count what the encoder does, under names that begin with embedd_encode_.
type metrics struct {
	calls                        *prometheus.CounterVec
	texts                        *prometheus.CounterVec
	tokens                       *prometheus.CounterVec
	stages                       *prometheus.HistogramVec
	rows, batch                  prometheus.Histogram
	busy                         prometheus.Counter
	truncated, cached            prometheus.Counter
	joined, dropped              *prometheus.CounterVec
	refused                      *prometheus.CounterVec
	tokenizeIn, queueIn, runIn   [2]prometheus.Observer // by lane
	realTokens, paddedTokens     prometheus.Counter
	queued, oldest, inFlight     *prometheus.Desc
	busySlots, slots, slotsSpeed *prometheus.Desc
	lanes                        *lane.Scheduler
}

// laneNames are the values of the label lane.
var laneNames = [2]string{lane.Interactive.String(), lane.Bulk.String()}

// newMetrics makes them; lanes is to be set.
func newMetrics() *metrics {
	const ns = "embedd_encode_"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: ns + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: ns + name, Help: help, Buckets: buckets})
	}
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(ns+name, help, labels, nil)
	}
	m := &metrics{
		calls:     counters("calls_total", "Calls of the encoder, by role and by what became of them: ok, invalid, busy, cancelled or error.", "role", "result"),
		texts:     counters("texts_total", "Texts of the calls that were answered, by role.", "role"),
		tokens:    counters("tokens_total", "Tokens that were run: those of texts, and those of padding.", "kind"),
		stages:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: ns + "duration_seconds", Help: "Time in a stage: tokenize and queue for each text, run for each batch.", Buckets: prometheus.ExponentialBuckets(2e-5, 2, 21)}, []string{"stage", "lane"}),
		rows:      histogram("batch_texts", "Texts of a batch.", prometheus.ExponentialBuckets(1, 2, 7)),
		batch:     histogram("batch_tokens", "Tokens of a batch, padding included.", prometheus.ExponentialBuckets(8, 2, 11)),
		busy:      counter("run_seconds_total", "Time that slots were running. Its rate, divided by the slots, is the share of time in which they were busy."),
		truncated: counter("truncated_total", "Texts that were longer than the model reads."),
		cached:    counter("cached_total", "Queries whose vector was kept from before."),
		joined:    counters("joined_total", "Texts that were in flight already for another call.", "lane"),
		dropped:   counters("dropped_total", "Queued texts that were not run because nobody waited any more.", "lane"),
		refused:   counters("refused_total", "Calls that were refused: the lane was full, or they would not begin before their deadline.", "lane", "reason"),
		queued:    gauge("queued_texts", "Texts that wait for a slot.", "lane"),
		oldest:    gauge("oldest_queued_seconds", "How long the oldest queued text has waited.", "lane"),
		inFlight:  gauge("inflight_tokens", "Tokens that are queued or running, and those that running calls have room for.", "lane"),
		busySlots: gauge("busy_slots", "Slots that run a batch."),
		slots:     gauge("slots", "Slots: batches that run at once."), slotsSpeed: gauge("slot_tokens_per_second", "Tokens that a slot reads in a second of running, as of late."),
	}
	for i, name := range laneNames {
		m.tokenizeIn[i] = m.stages.WithLabelValues("tokenize", name)
		m.queueIn[i] = m.stages.WithLabelValues("queue", name)
		m.runIn[i] = m.stages.WithLabelValues("run", name)
	}
	for _, name := range laneNames { // so that they are there before the first event
		m.joined.WithLabelValues(name)
		m.dropped.WithLabelValues(name)
		m.refused.WithLabelValues(name, "full")
		m.refused.WithLabelValues(name, "deadline")
	}
	m.realTokens, m.paddedTokens = m.tokens.WithLabelValues("text"), m.tokens.WithLabelValues("padding")
	return m
}

// Metrics are the model's, to be registered. They may be collected for as long as the process lives.
func (e *engine) Metrics() prometheus.Collector { return e.metrics }

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.texts, m.tokens, m.stages, m.rows, m.batch, m.busy, m.truncated, m.cached, m.joined, m.dropped, m.refused}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(to)
	}
	for _, d := range []*prometheus.Desc{m.queued, m.oldest, m.inFlight, m.busySlots, m.slots, m.slotsSpeed} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(to)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	load := m.lanes.Load()
	for i, name := range laneNames {
		gauge(m.queued, float64(load.Queued[i]), name)
		gauge(m.oldest, load.Oldest[i].Seconds(), name)
		gauge(m.inFlight, float64(load.Tokens[i]), name)
	}
	gauge(m.busySlots, float64(load.Busy))
	gauge(m.slots, float64(load.Slots))
	gauge(m.slotsSpeed, load.Speed)
}

// called counts a call about texts of a role.
func (m *metrics) called(role string, texts int, err error) {
	result := "error"
	var about *BusyError
	switch {
	case err == nil:
		result = "ok"
		m.texts.WithLabelValues(role).Add(float64(texts))
	case errors.Is(err, ErrBlank) || errors.Is(err, ErrTooLong):
		result = "invalid"
	case errors.As(err, &about):
		result = "busy"
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		result = "cancelled"
	}
	m.calls.WithLabelValues(role, result).Inc()
}

// observer is a lane.Observer that counts.
type observer struct{ *metrics }

func (o observer) Ran(l lane.Lane, texts, tokens, padded int, took time.Duration, waits []time.Duration) {
	o.rows.Observe(float64(texts))
	o.batch.Observe(float64(padded))
	o.realTokens.Add(float64(tokens))
	o.paddedTokens.Add(float64(padded - tokens))
	o.busy.Add(took.Seconds())
	o.runIn[l].Observe(took.Seconds())
	for _, wait := range waits {
		o.queueIn[l].Observe(wait.Seconds())
	}
}

func (o observer) Refused(l lane.Lane, late bool) {
	reason := "full"
	if late {
		reason = "deadline"
	}
	o.refused.WithLabelValues(laneNames[l], reason).Inc()
}

func (o observer) Dropped(l lane.Lane) { o.dropped.WithLabelValues(laneNames[l]).Inc() }
func (o observer) Joined(l lane.Lane)  { o.joined.WithLabelValues(laneNames[l]).Inc() }
