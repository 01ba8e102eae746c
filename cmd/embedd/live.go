package main

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/status"

	"embedd/internal/collections"
	"embedd/internal/gateway"
	"embedd/internal/jobs"
	embeddv1 "embedd/proto/embedd/v1"
)

// live is what the status page shows of the moment: of the metrics, those that say how calls go.
type live struct {
	metrics prometheus.Gatherer
	info    embeddv1.InfoServiceClient
	began   time.Time
	set     atomic.Pointer[collections.Set] // once it is open
	runner  atomic.Pointer[jobs.Runner]     // the same

	mu      sync.Mutex
	at      time.Time
	last    liveStatus
	before  map[string]*dto.Metric // the durations of calls, by method and status
	counted time.Time              // when they were
}

// liveEvery is how often the metrics are looked at, however many ask.
const liveEvery = time.Second

// liveStatus is the answer. What is not known is absent.
type liveStatus struct {
	Calls []liveCalls `json:"calls"`
	// Recall of the index, as the last probe found it.
	Recall *float64 `json:"recall,omitempty"`
	Memory float64  `json:"memoryBytes,omitempty"`
	Uptime float64  `json:"uptimeSeconds"`
	// Jobs are those that are under way.
	Jobs []liveJob `json:"jobs"`
}

// liveJob is a job that is under way, of a collection.
type liveJob struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Stage string `json:"stage"`
	Done  int    `json:"done"`
	Total int    `json:"total"`
}

// liveCalls are those of a method since the last look.
type liveCalls struct {
	Method    string   `json:"method"`
	PerSecond float64  `json:"perSecond"`
	P50       *float64 `json:"p50Ms,omitempty"`
	P99       *float64 `json:"p99Ms,omitempty"`
	// Errors are calls that the server failed or refused, a second; those that asked for what is not there or cannot be are not among them.
	Errors float64 `json:"errors"`
}

func newLive(metrics prometheus.Gatherer, info embeddv1.InfoServiceClient) *live {
	return &live{metrics: metrics, info: info, began: time.Now()}
}

// ServeHTTP answers who may ask for the server's info.
func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := l.info.GetInfo(r.Context(), &embeddv1.GetInfoRequest{}); err != nil {
		gateway.WriteError(w, r, status.Convert(err))
		return
	}
	s, err := l.status(time.Now())
	if err != nil {
		gateway.WriteError(w, r, status.Convert(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(s) // a client that has gone
}

// jobs are those of all collections that are under way.
func (l *live) jobs() []liveJob {
	all := []liveJob{}
	set := l.set.Load()
	if set == nil {
		return all
	}
	for _, of := range set.List() {
		if of.Collection == nil {
			continue
		}
		if p := of.Collection.MapProgress(); p != nil {
			all = append(all, liveJob{Name: of.Name, Kind: "map", Stage: p.Stage, Done: p.Done, Total: p.Total})
		}
	}
	if r := l.runner.Load(); r != nil {
		for _, j := range r.List() {
			if j.State == jobs.Running || j.State == jobs.Queued {
				all = append(all, liveJob{Name: j.Spec.Collection, Kind: string(j.Spec.Kind), Stage: cmp.Or(j.Progress.Stage, string(j.State)), Done: j.Progress.Done, Total: j.Progress.Total})
			}
		}
	}
	return all
}

// status looks at the metrics.
func (l *live) status(now time.Time) (liveStatus, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.at) < liveEvery {
		return l.last, nil
	}
	families, err := l.metrics.Gather()
	if err != nil {
		return liveStatus{}, err
	}
	s := liveStatus{Calls: []liveCalls{}, Jobs: l.jobs(), Uptime: now.Sub(l.began).Seconds()}
	durations := map[string]*dto.Metric{}
	for _, f := range families {
		switch f.GetName() {
		case "grpc_server_call_duration_seconds":
			for _, m := range f.GetMetric() {
				durations[labelOf(m, "grpc_method")+" "+labelOf(m, "grpc_status")] = m
			}
		case "process_resident_memory_bytes":
			s.Memory = f.GetMetric()[0].GetGauge().GetValue()
		case "embedd_recall_probe_ratio":
			for _, m := range f.GetMetric() {
				if v := m.GetGauge().GetValue(); s.Recall == nil || v < *s.Recall {
					s.Recall = &v
				}
			}
		}
	}
	if l.before != nil {
		s.Calls = callsBetween(l.before, durations, now.Sub(l.counted).Seconds())
	}
	l.before, l.counted, l.at, l.last = durations, now, now, s
	return s, nil
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// faults are the statuses of calls that the server failed or refused.
var faults = []string{"INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "DATA_LOSS", "UNKNOWN"}

// callsBetween are the calls of two looks that lie so many seconds apart, those of the most first.
func callsBetween(before, after map[string]*dto.Metric, seconds float64) []liveCalls {
	type counts struct {
		all, bad uint64
		buckets  map[float64]uint64 // calls of so many seconds or fewer
	}
	by := map[string]*counts{}
	for name, m := range after {
		method, code, _ := strings.Cut(name, " ")
		now, was := m.GetHistogram(), before[name].GetHistogram()
		n := now.GetSampleCount() - was.GetSampleCount()
		if n == 0 {
			continue
		}
		c := by[method]
		if c == nil {
			c = &counts{buckets: map[float64]uint64{}}
			by[method] = c
		}
		c.all += n
		if slices.Contains(faults, code) {
			c.bad += n
		}
		for i, b := range now.GetBucket() {
			n := b.GetCumulativeCount()
			if was != nil {
				n -= was.GetBucket()[i].GetCumulativeCount()
			}
			c.buckets[b.GetUpperBound()] += n
		}
	}
	out := []liveCalls{}
	for method, c := range by {
		call := liveCalls{Method: method[strings.LastIndex(method, "/")+1:], PerSecond: float64(c.all) / seconds, Errors: float64(c.bad) / seconds}
		call.P50, call.P99 = quantile(c.buckets, c.all, 0.5), quantile(c.buckets, c.all, 0.99)
		out = append(out, call)
	}
	slices.SortFunc(out, func(a, b liveCalls) int {
		if a.PerSecond != b.PerSecond {
			if a.PerSecond > b.PerSecond {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Method, b.Method)
	})
	return out
}

// quantile is in ms, between the bounds of its bucket as far as its calls are; nil beyond the last bound.
func quantile(buckets map[float64]uint64, all uint64, q float64) *float64 {
	bounds := make([]float64, 0, len(buckets))
	for b := range buckets {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	want := q * float64(all)
	low, below := 0.0, 0.0
	for _, b := range bounds {
		n := float64(buckets[b])
		if n >= want && !math.IsInf(b, 1) {
			ms := 1000 * (low + (b-low)*(want-below)/max(1, n-below))
			return &ms
		}
		low, below = b, n
	}
	return nil
}
