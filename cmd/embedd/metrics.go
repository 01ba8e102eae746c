package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"embedd/internal/retrieval"
)

// serveMetrics answers GET /metrics on l in the form that Prometheus reads, until the returned function is called.
func serveMetrics(l net.Listener, log *slog.Logger, cs ...prometheus.Collector) (stop func() error, err error) {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "embedd_build_info", Help: "1, with the program's version.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	for _, c := range append(cs, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	s := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err := s.Shutdown(ctx)
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}, nil
}

// indexCollector asks the index for its figures when they are asked for.
type indexCollector struct{ collection *retrieval.Collection }

var (
	indexSlots      = prometheus.NewDesc("embedd_index_slots", "Slots of the index: live ones are in answers, tombstones are deleted and still in the graph, free ones will be used again.", []string{"state"}, nil)
	indexBytes      = prometheus.NewDesc("embedd_index_bytes", "Bytes of the index in use, in memory and in a mapped file.", []string{"place"}, nil)
	indexCalibrated = prometheus.NewDesc("embedd_index_calibrated_vectors", "Vectors in the index when its recall was last measured; 0 for never.", nil, nil)
)

// Describe implements prometheus.Collector.
func (indexCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- indexSlots
	ch <- indexBytes
	ch <- indexCalibrated
}

// Collect implements prometheus.Collector. A collection that is closed has no figures.
func (c indexCollector) Collect(ch chan<- prometheus.Metric) {
	info, err := c.collection.Info()
	if err != nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	x := info.Index
	gauge(indexSlots, float64(x.Vectors), "live")
	gauge(indexSlots, float64(x.Tombstones), "tombstone")
	gauge(indexSlots, float64(x.Free), "free")
	gauge(indexBytes, float64(x.MemoryBytes), "memory")
	gauge(indexBytes, float64(x.FileBytes), "file")
	gauge(indexCalibrated, float64(x.Calibrated))
}
