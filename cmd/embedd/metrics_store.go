package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"embedd/internal/certs"
	"embedd/internal/collections"
	"embedd/internal/retrieval"
)

// figuresCollector asks the collections for what they have counted when that is asked for. It may for as long as the process lives.
type figuresCollector struct{ set *collections.Set }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("embedd_"+name, help, labels, nil)
}

var (
	storeReadOnly    = desc("read_only", "1 while no papers are taken because the disk is nearly full or does not take them; they are still found and deleted.", "collection")
	diskFree         = desc("disk_free_bytes", "Bytes that are free on the disk of the store.", "collection")
	diskReserve      = desc("disk_reserve_bytes", "Bytes that must be free for papers to be taken.", "collection")
	walFsync         = desc("wal_fsync_duration_seconds", "Time of a sync of the store's log, which every write waits for.", "collection")
	backgroundErrors = desc("storage_background_errors_total", "Failures of the store to write in the background; it tries again, on a full disk many times a second.", "collection")
	corruptionFound  = desc("corruption_detected_total", "Damage that was come upon: file, a block of a file; read, a call for what is stored, which failed for that or for a value that its checksum does not fit.", "collection", "source")
	recoveredAt      = desc("recovered_sequence", "The store's revision at the last start.", "collection")
	recoveredMark    = desc("recovered_mark_sequence", "The revision of the mark beside the store at the last start; the store opens with no less. 0: the store was new.", "collection")
	recoverySeconds  = desc("recovery_duration_seconds", "Time that the last start took to open and prove the store, and to bring the index up to it.", "collection", "part")

	snapshotAge     = desc("index_snapshot_age_seconds", "Age of the index's latest snapshot. It may be old where nothing has changed.", "collection")
	snapshotsUnused = desc("index_snapshots_unused_total", "Snapshots that the last start could not use: damaged, or of another store, model or parameters.", "collection")
	indexRebuilds   = desc("index_rebuilds_total", "1 if the last start found no snapshot of the index to use, and put all papers in anew.", "collection")
	indexCaughtUp   = desc("index_caught_up_papers", "Papers that the last start put into the index, because its snapshot did not have them.", "collection")
	upkeepJobs      = desc("index_upkeep_total", "Jobs of the index's upkeep: consolidated, calibrated, listed (neighbours), mapped, saved, probed, swept.", "collection", "kind", "outcome")
	recallProbe     = desc("recall_probe_ratio", "recall@10 of 100 stored papers as searches are by default, against exact search, once an hour. Not there before the first probe.", "collection")
)

// Describe implements prometheus.Collector.
func (figuresCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		storeReadOnly, diskFree, diskReserve, walFsync, backgroundErrors, corruptionFound, recoveredAt, recoveredMark, recoverySeconds,
		snapshotAge, snapshotsUnused, indexRebuilds, indexCaughtUp, upkeepJobs, recallProbe,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c figuresCollector) Collect(ch chan<- prometheus.Metric) {
	for _, of := range openCollections(c.set) {
		collectFigures(ch, of.Name, of.Collection.Figures())
	}
}

// collectFigures sends those of one collection.
func collectFigures(ch chan<- prometheus.Metric, of string, f retrieval.Figures) {
	gauge(ch, storeReadOnly, oneIf(f.ReadOnly), of)
	if f.Store.DiskKnown {
		gauge(ch, diskFree, float64(f.Store.DiskFree), of)
		gauge(ch, diskReserve, float64(f.Store.DiskReserve), of)
	}
	count, buckets := uint64(0), map[float64]uint64{}
	for i, bound := range f.Store.Syncs.Bounds {
		count += f.Store.Syncs.Counts[i]
		buckets[bound.Seconds()] = count
	}
	count += f.Store.Syncs.Counts[len(f.Store.Syncs.Bounds)]
	ch <- prometheus.MustNewConstHistogram(walFsync, count, f.Store.Syncs.Sum.Seconds(), buckets, of)
	counter(ch, backgroundErrors, f.Store.BackgroundErrors, of)
	counter(ch, corruptionFound, f.Store.DamagedFiles, of, "file")
	counter(ch, corruptionFound, f.Store.DamagedReads, of, "read")
	gauge(ch, recoveredAt, float64(f.Store.Recovered), of)
	gauge(ch, recoveredMark, float64(f.Store.RecoveredMark), of)
	gauge(ch, recoverySeconds, f.Store.Recovery.Seconds(), of, "store")
	gauge(ch, recoverySeconds, f.Start.Took.Seconds(), of, "index")
	if !f.SnapshotAt.IsZero() {
		gauge(ch, snapshotAge, time.Since(f.SnapshotAt).Seconds(), of)
	}
	counter(ch, snapshotsUnused, uint64(f.Start.UnusedSnapshots), of)
	counter(ch, indexRebuilds, uint64(oneIf(f.Start.Rebuilt)), of)
	gauge(ch, indexCaughtUp, float64(f.Start.Inserted), of)
	for kind, jobs := range f.Upkeep {
		counter(ch, upkeepJobs, jobs.Done, of, kind, "done")
		counter(ch, upkeepJobs, jobs.Failed, of, kind, "failed")
	}
	if !f.Probe.At.IsZero() {
		gauge(ch, recallProbe, f.Probe.Recall, of)
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// counter sends what was counted up to the moment.
func counter(ch chan<- prometheus.Metric, desc *prometheus.Desc, value uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
}

// certCollector says when certificates end; it is nil without TLS.
type certCollector func() certs.Ends

var certificateEnds = desc("tls_certificate_expiry_timestamp_seconds", "When the first certificate of the server's chain, or of clients' authorities, ends.", "role")

// Describe implements prometheus.Collector.
func (certCollector) Describe(ch chan<- *prometheus.Desc) { ch <- certificateEnds }

// Collect implements prometheus.Collector.
func (c certCollector) Collect(ch chan<- prometheus.Metric) {
	if c == nil {
		return
	}
	ends := c()
	for role, end := range map[string]time.Time{"server": ends.Server, "client_ca": ends.ClientCA} {
		if !end.IsZero() {
			gauge(ch, certificateEnds, float64(end.Unix()), role)
		}
	}
}
