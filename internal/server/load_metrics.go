package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"embedd/internal/admission"
)

// serverMetrics are several collectors.
type serverMetrics []prometheus.Collector

// Describe implements prometheus.Collector.
func (m serverMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, c := range m {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (m serverMetrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range m {
		c.Collect(to)
	}
}

// loadMetrics are what Load says, asked for at each scrape.
type loadMetrics struct{ s *Server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("embedd_"+name, help, labels, nil)
}

var (
	inflight     = desc("inflight_requests", "Calls that run, by the class of work.", "class")
	queueLength  = desc("queue_length", "Calls that wait until they may run.", "class")
	queueWait    = desc("queue_wait_seconds", "How long calls have waited until they could run or were refused, of those that had to wait.", "class")
	admitted     = desc("admitted_requests_total", "Calls that were let in, at once or after they had waited.", "class")
	shed         = desc("shed_total", "Calls that were not let in: full, as many waited as may; slow, it waited for as long as it may; late, its deadline was nearer than the answer; cancelled, it ended while it waited.", "class", "reason")
	connections  = desc("connections", "Connections that are open.")
	connsRefused = desc("connections_refused_total", "Connections that were closed at once: connections, there were as many as may be; connections_per_address, as many from one address.", "reason")
	authFailures = desc("auth_failures_total", "Calls that may not be made: unauthenticated, without a good key; permission_denied, with one whose role does not suffice or whose filter is not for that method.", "reason")
	rateLimited  = desc("rate_limited_total", "Calls that came too often, those without a good key among them.")
	messageBytes = desc("message_bytes", "Bytes of messages of 16 KiB and more: request, of calls that run and wait; answer, until their clients have read them.", "kind")
	messagesFull = desc("messages_refused_total", "Calls that ended because messages took too much memory: request_coming, while the request came; request_kept, when it had come; answer_kept, with its answer. And connections that were closed, answer_unread: their clients had most answers to read.", "reason")
	tooLarge     = desc("requests_too_large_total", "Calls whose request has more bytes than its class may, on the wire or in memory.")
)

// Describe implements prometheus.Collector.
func (loadMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inflight, queueLength, queueWait, admitted, shed, connections, connsRefused, authFailures, rateLimited, tooLarge, messageBytes, messagesFull} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m loadMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	load := m.s.Load()
	for class, l := range load.Classes {
		gauge(inflight, float64(l.Running), class)
		gauge(queueLength, float64(l.Waiting), class)
		to <- prometheus.MustNewConstHistogram(queueWait, l.Waited, l.WaitTime.Seconds(), waitBuckets(&l), class)
		counter(admitted, l.Admitted, class)
		for why, n := range l.Refused {
			counter(shed, n, class, admission.Reason(why).String())
		}
		counter(shed, l.Cancelled, class, "cancelled")
	}
	gauge(connections, float64(load.Connections))
	for _, reason := range []string{"connections", "connections_per_address"} {
		counter(connsRefused, load.Refused[reason], reason)
	}
	for _, reason := range []string{"unauthenticated", "permission_denied"} {
		counter(authFailures, load.Refused[reason], reason)
	}
	counter(rateLimited, load.Refused["rate"])
	counter(tooLarge, load.Refused["message_bytes"])
	gauge(messageBytes, float64(load.RequestBytes), "request")
	gauge(messageBytes, float64(load.AnswerBytes), "answer")
	for _, reason := range []string{"request_coming", "request_kept", "answer_kept", "answer_unread"} {
		counter(messagesFull, load.Refused[reason], reason)
	}
}

// waitBuckets has, for each bound in seconds, how many waited no longer.
func waitBuckets(l *admission.Load) map[float64]uint64 {
	buckets, n := make(map[float64]uint64, len(admission.WaitBounds)), uint64(0)
	for i, bound := range admission.WaitBounds {
		n += l.Waits[i]
		buckets[bound.Seconds()] = n
	}
	return buckets
}
