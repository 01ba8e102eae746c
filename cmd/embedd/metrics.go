package main

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"embedd/embed"
	"embedd/internal/admin"
	"embedd/internal/certs"
	"embedd/internal/collections"
	"embedd/internal/jobs"
	"embedd/internal/memory"
	"embedd/internal/retrieval"
	"embedd/internal/server"
	"embedd/internal/telemetry"
)

// registry has the server's metrics. A room that counts gives a prometheus.Collector from a method Metrics, as embed's encoder and the
// gRPC server do, and a line of startMetrics or engineMetrics adds it; or, where the room is not to know of Prometheus, it has a method
// that gives figures, which a collector of this file asks for at each scrape, as indexCollector does. Names begin with embedd_, except those of
// gRPC's own. A label has few values, all of them the program's but for the names of collections and models, which an operator chooses. What never moves is not registered. docs/operations.md has the table,
// and a test holds dashboard and alerts against what is here.
type registry struct{ *prometheus.Registry }

// newRegistry has the metrics of the Go runtime and the process.
func newRegistry() *registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &registry{r}
}

// startMetrics are there from the first moment of the start.
func startMetrics(s *server.Server, state *admin.State, o *observer, ends func() certs.Ends, g *memory.Guard) []prometheus.Collector {
	return []prometheus.Collector{s.Metrics(), startCollector{state}, o, certCollector(ends), memoryCollector{g}}
}

// engineMetrics are there once the data directory is open.
func engineMetrics(en *engine) []prometheus.Collector {
	return []prometheus.Collector{encoderCollector{en.encoders}, indexCollector{en.set}, figuresCollector{en.set}, storageCollector{en.set}, buildInfo(en.collection.Model().Fingerprint)}
}

func (r *registry) add(cs ...prometheus.Collector) error {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// handler answers /metrics.
func (r *registry) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)})
}

// buildInfo says what runs.
func buildInfo(fingerprint string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "embedd_build_info", Help: "1, with what the program is made of and the model that it runs.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit(), "go_version": runtime.Version(), "runtime_version": embed.RuntimeVersion(), "model_fingerprint": fingerprint},
	})
	g.Set(1)
	return g
}

// commit is the commit that the program was built from, with a + where there were changes; "" where the build did not note it.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				changed = "+"
			}
		}
	}
	return revision + changed
}

// observer counts the stages of searches and writes, and has them traced.
type observer struct {
	search, write *prometheus.HistogramVec
	traces        *telemetry.Traces // nil: none
}

func newObserver() *observer {
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 14) // to 4 seconds
	o := &observer{
		search: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "embedd_search_duration_seconds", Help: "Time in a stage of a search: encode, of texts and of papers that are not stored; search, in the index; words, in that of words; fetch, of the papers; sentences, by which the best are scored anew; rerank, by a cross-encoder; explain, of hits; facets, counting.", Buckets: buckets}, []string{"stage"}),
		write:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "embedd_write_duration_seconds", Help: "Time in a stage of an upsert, which an update is too, or delete: encode, of texts that are new; sentences and passages, of these, where they are kept; commit, to the store, synced, and to the index.", Buckets: buckets}, []string{"op", "stage"}),
	}
	for _, stage := range []retrieval.Stage{retrieval.StageEncode, retrieval.StageSearch, retrieval.StageWords, retrieval.StageFetch, retrieval.StageSentences, retrieval.StageRerank, retrieval.StageExplain, retrieval.StageFacets} { // so that they are there before the first
		o.search.WithLabelValues(string(stage))
	}
	for _, stage := range []retrieval.Stage{retrieval.StageEncode, retrieval.StageSentences, retrieval.StagePassages} {
		o.write.WithLabelValues(string(retrieval.OpUpsert), string(stage))
	}
	for _, op := range []retrieval.Op{retrieval.OpUpsert, retrieval.OpDelete} {
		o.write.WithLabelValues(string(op), string(retrieval.StageCommit))
	}
	return o
}

// Observe implements retrieval.Observer.
func (o *observer) Observe(ctx context.Context, op retrieval.Op, stage retrieval.Stage, begin time.Time) {
	took := time.Since(begin).Seconds()
	o.traces.Stage(ctx, string(stage), begin)
	if op == retrieval.OpSearch {
		o.search.WithLabelValues(string(stage)).Observe(took)
	} else {
		o.write.WithLabelValues(string(op), string(stage)).Observe(took)
	}
}

// Describe implements prometheus.Collector.
func (o *observer) Describe(ch chan<- *prometheus.Desc) { o.search.Describe(ch); o.write.Describe(ch) }

// Collect implements prometheus.Collector.
func (o *observer) Collect(ch chan<- prometheus.Metric) { o.search.Collect(ch); o.write.Collect(ch) }

// gauge sends a figure of the moment.
func gauge(ch chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// startCollector says how long the stages of the start took.
type startCollector struct{ state *admin.State }

var startSeconds = prometheus.NewDesc("embedd_startup_duration_seconds", "Time in a stage of the start, so far while it goes on.", []string{"stage"}, nil)

// Describe implements prometheus.Collector.
func (startCollector) Describe(ch chan<- *prometheus.Desc) { ch <- startSeconds }

// Collect implements prometheus.Collector.
func (c startCollector) Collect(ch chan<- prometheus.Metric) {
	stages, _, _ := c.state.Start()
	for _, s := range stages {
		gauge(ch, startSeconds, s.Seconds, s.Name)
	}
}

// openCollections are those that can be used.
func openCollections(set *collections.Set) (open []collections.Info) {
	for _, of := range set.List() {
		if of.Collection != nil {
			open = append(open, of)
		}
	}
	return open
}

// jobCollector counts the jobs when it is asked.
type jobCollector struct{ runner *jobs.Runner }

var jobCount = prometheus.NewDesc("embedd_jobs", "Jobs over whole collections, by how they stand: queued, running, done, failed, cancelled, interrupted.", []string{"state"}, nil)

// Describe implements prometheus.Collector.
func (jobCollector) Describe(ch chan<- *prometheus.Desc) { ch <- jobCount }

// Collect implements prometheus.Collector.
func (c jobCollector) Collect(ch chan<- prometheus.Metric) {
	counts := c.runner.Counts()
	for _, state := range jobs.States {
		gauge(ch, jobCount, float64(counts[state]), string(state))
	}
}

// indexCollector asks the collections for their figures when they are asked for.
type indexCollector struct{ set *collections.Set }

// ofCollection are the labels of a figure that each collection has.
var ofCollection = []string{"collection"}

var (
	documents       = prometheus.NewDesc("embedd_documents", "Papers that are stored.", ofCollection, nil)
	vectors         = prometheus.NewDesc("embedd_vectors", "Vectors that the index has in answers.", ofCollection, nil)
	tombstones      = prometheus.NewDesc("embedd_tombstones", "Deleted vectors that are still in the graph of the index.", ofCollection, nil)
	freeSlots       = prometheus.NewDesc("embedd_index_free_slots", "Places in the index that will be used again.", ofCollection, nil)
	indexBytes      = prometheus.NewDesc("embedd_index_bytes", "Bytes of the index in use, in memory and in a mapped file.", []string{"collection", "place"}, nil)
	derivedBytes    = prometheus.NewDesc("embedd_derived_bytes", "Bytes of what is made of the papers and in memory beside the index: fields, for filters; words; works, for ids and versions; neighbours that are kept; the map; cards, papers that are kept as the basic view shows them.", []string{"collection", "of"}, nil)
	indexCalibrated = prometheus.NewDesc("embedd_index_calibrated_vectors", "Vectors in the index when its recall was last measured; 0 for never.", ofCollection, nil)
	collectionCount = prometheus.NewDesc("embedd_collections", "Collections, by whether they can be used: open, unavailable.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (indexCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{documents, vectors, tombstones, freeSlots, indexBytes, derivedBytes, indexCalibrated, collectionCount} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A collection that is closed has no figures.
func (c indexCollector) Collect(ch chan<- prometheus.Metric) {
	all, open := c.set.List(), openCollections(c.set)
	gauge(ch, collectionCount, float64(len(open)), "open")
	gauge(ch, collectionCount, float64(len(all)-len(open)), "unavailable")
	for _, of := range open {
		info, err := of.Collection.Info()
		if err != nil {
			continue
		}
		x := info.Index
		gauge(ch, documents, float64(info.Papers), of.Name)
		gauge(ch, vectors, float64(x.Vectors), of.Name)
		gauge(ch, tombstones, float64(x.Tombstones), of.Name)
		gauge(ch, freeSlots, float64(x.Free), of.Name)
		gauge(ch, indexBytes, float64(x.MemoryBytes), of.Name, "memory")
		gauge(ch, indexBytes, float64(x.FileBytes), of.Name, "file")
		for what, bytes := range of.Collection.DerivedBytes() {
			gauge(ch, derivedBytes, float64(bytes), of.Name, what)
		}
		gauge(ch, indexCalibrated, float64(x.Calibrated), of.Name)
	}
}

// encoderCollector asks the encoders that are open, each under its model, and the dimension of its vectors.
type encoderCollector struct{ encoders *collections.Encoders[loaded] }

// Describe implements prometheus.Collector. All encoders have the same metrics, and there is one at least from the start on, but where all papers
// bring their own vectors.
func (c encoderCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, l := range c.encoders.Open() {
		c.of(l).Describe(ch)
		return
	}
}

// Collect implements prometheus.Collector.
func (c encoderCollector) Collect(ch chan<- prometheus.Metric) {
	for _, l := range c.encoders.Open() {
		c.of(l).Collect(ch)
	}
}

func (encoderCollector) of(l loaded) prometheus.Collector {
	return prometheus.WrapCollectorWith(prometheus.Labels{"model": l.e.Manifest().ID, "dimension": strconv.Itoa(l.e.Dimension())}, l.e.Metrics())
}

// storageCollector adds up the files of the data directory of each collection.
type storageCollector struct{ set *collections.Set }

var storageBytes = prometheus.NewDesc("embedd_storage_bytes", "Bytes of the files in the data directory: those of the store, and all others: snapshots of what is derived, and backups.", []string{"collection", "kind"}, nil)

// Describe implements prometheus.Collector.
func (storageCollector) Describe(ch chan<- *prometheus.Desc) { ch <- storageBytes }

// Collect implements prometheus.Collector.
func (c storageCollector) Collect(ch chan<- prometheus.Metric) {
	for _, of := range openCollections(c.set) {
		store, other := fileBytes(of.Collection.Dir())
		gauge(ch, storageBytes, float64(store), of.Name, "store")
		gauge(ch, storageBytes, float64(other), of.Name, "index")
	}
}

// fileBytes adds up the files of a data directory: those in its folder store, and the others, without those of the collections that are in
// it. A file that goes meanwhile counts nothing.
func fileBytes(dir string) (store, other int64) {
	inStore := filepath.Join(dir, "store") + string(filepath.Separator)
	others := filepath.Join(dir, "collections")
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path == others {
			return fs.SkipDir
		}
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if strings.HasPrefix(path, inStore) {
				store += info.Size()
			} else {
				other += info.Size()
			}
		}
		return nil
	})
	return store, other
}
