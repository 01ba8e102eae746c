package main

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"embedd/internal/memory"
	"embedd/internal/server"
)

const (
	// leastMemory is less than what a server with a small model and no papers needs.
	leastMemory = 64 << 20
	// messageShare of the memory may be requests that come, that have come, and answers: each.
	messageShare = 16
	// A message of the largest size, and another one, must have room; more than mostMessages would only help those who flood.
	leastMessages = 32 << 20
	mostMessages  = 256 << 20
)

// watchMemory keeps the process below its limit, and completes the server's options. The guard is nil where nothing is watched.
func (c *serveCmd) watchMemory(o *server.Options) (*memory.Guard, *writability, error) {
	w := &writability{}
	if c.Memory == 0 && runtime.GOOS != "linux" {
		return nil, w, nil // a system that does not say what a process takes
	}
	limit := c.Memory << 20
	if limit == 0 {
		var err error
		if limit, err = memory.Default(); err != nil {
			return nil, nil, fmt.Errorf("%w; say it with --memory-limit", err)
		}
	} else if limit < leastMemory || c.Memory > 1<<30 {
		return nil, nil, fmt.Errorf("--memory-limit: is %d MiB; must be 0, or from %d to %d", c.Memory, leastMemory>>20, 1<<30)
	}
	_, told := os.LookupEnv("GOMEMLIMIT")
	g, err := memory.Watch(limit, !told, w.memory)
	if err != nil {
		return nil, nil, err
	}
	o.Limits.Memory = int64(limit)
	o.Limits.MessageBytes = int64(min(max(limit/messageShare, leastMessages), mostMessages))
	o.Room = g.Room
	return g, w, nil
}

// writability tells those who watch the health of the PaperService whether papers are taken: there must be room on the disk, for every
// collection, and in memory.
type writability struct {
	mu     sync.Mutex
	s      *server.Server   // nil until there is one
	onDisk map[string]error // by collection, of those that take none
	inHeap error
}

// serve says whom to tell.
func (w *writability) serve(s *server.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.s = s
	w.tell("")
}

func (w *writability) disk(collection string, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if why == nil {
		delete(w.onDisk, collection)
	} else {
		if w.onDisk == nil {
			w.onDisk = map[string]error{}
		}
		w.onDisk[collection] = why
	}
	w.tell("there is room on the disk again")
}

// gone is told of a collection that is not open any more, or could not be opened: the disk that it found full keeps nobody from storing papers.
func (w *writability) gone(collection string) { w.disk(collection, nil) }

func (w *writability) memory(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inHeap = why
	w.tell("there is room in memory again")
}

// tell tells the present state; again is why papers are taken, where they are.
func (w *writability) tell(again string) {
	if w.s == nil {
		return
	}
	for _, collection := range slices.Sorted(maps.Keys(w.onDisk)) {
		w.s.SetWritable(false, fmt.Sprintf("collection %s: %v", collection, w.onDisk[collection]))
		return
	}
	if w.inHeap != nil {
		w.s.SetWritable(false, w.inHeap.Error())
		return
	}
	w.s.SetWritable(true, again)
}

// memoryCollector is what the guard of the memory saw last.
type memoryCollector struct{ *memory.Guard }

var (
	memoryLimitDesc = prometheus.NewDesc("embedd_memory_limit_bytes", "Memory that the process may take; near it no papers are taken.", nil, nil)
	memoryHeldDesc  = prometheus.NewDesc("embedd_memory_held_bytes", "Memory that the process holds and the system cannot take back: without pages of files.", nil, nil)
)

// Describe implements prometheus.Collector.
func (memoryCollector) Describe(to chan<- *prometheus.Desc) {
	to <- memoryLimitDesc
	to <- memoryHeldDesc
}

// Collect implements prometheus.Collector.
func (c memoryCollector) Collect(to chan<- prometheus.Metric) {
	u := c.Usage()
	to <- prometheus.MustNewConstMetric(memoryLimitDesc, prometheus.GaugeValue, float64(u.Limit))
	if u.Err != nil {
		to <- prometheus.NewInvalidMetric(memoryHeldDesc, u.Err)
		return
	}
	to <- prometheus.MustNewConstMetric(memoryHeldDesc, prometheus.GaugeValue, float64(u.Held))
}
