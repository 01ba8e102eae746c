package store

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// Figures are what a store has counted since it was opened.
type Figures struct {
	// DiskFree are the bytes that are free on the disk, DiskReserve those below which nothing is put, as of the last look, which is
	// taken each second. DiskKnown says that there was one, and that the file system has told.
	DiskFree, DiskReserve uint64
	DiskKnown             bool
	// Syncs of the log, which are what a Put or Delete waits for.
	Syncs Durations
	// BackgroundErrors are failures to write that no call has returned. On a full disk there are many.
	BackgroundErrors uint64
	// DamagedFiles is how often Pebble has come upon damage in one of its files, DamagedReads how often a call has returned ErrCorrupt:
	// for that, or for a value that its checksum does not fit. The same damage counts each time.
	DamagedFiles, DamagedReads uint64
	// Recovered is the revision that the store was found at, RecoveredMark that of the mark beside it: what was in the log beyond that
	// is known from the log alone. 0: the store is new.
	Recovered, RecoveredMark uint64
	// Recovery is how long it took to open the store, and to prove that it is whole.
	Recovery time.Duration
}

// Figures returns what was counted until now, after Close too. It waits for nothing.
func (s *Store) Figures() Figures {
	f := Figures{
		Syncs: s.counts.syncs.read(), BackgroundErrors: s.counts.background.Load(),
		DamagedFiles: s.counts.files.Load(), DamagedReads: s.counts.reads.Load(),
		Recovered: s.recovered.revision, RecoveredMark: s.recovered.mark, Recovery: s.recovered.took,
	}
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	f.DiskFree, f.DiskReserve, f.DiskKnown = s.disk.free, s.disk.kept, s.disk.known
	return f
}

// counts are what Figures reads.
type counts struct {
	syncs                    durations
	background, files, reads atomic.Uint64
}

// recovered is what was found at Open.
type recovered struct {
	revision, mark uint64
	took           time.Duration
}

// noticed counts the error that a call is about to return, if it is about damage.
func (s *Store) noticed(err *error) {
	if *err != nil && errors.Is(*err, ErrCorrupt) {
		s.counts.reads.Add(1)
	}
}

// Durations are many times that something took.
type Durations struct {
	// Counts are of those up to each of Bounds and longer than the one before it; the last, of which there is one more, is of
	// those that are longer than all.
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

// syncBounds reach from a disk with a cache of its own that power loss does not empty to one that is about to fail.
var syncBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// durations counts. Its zero value is ready, and it is for many goroutines at once.
type durations struct {
	counts [len(syncBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (d *durations) add(took time.Duration) {
	i, _ := slices.BinarySearch(syncBounds[:], took)
	d.counts[i].Add(1)
	d.sum.Add(int64(took))
}

func (d *durations) read() Durations {
	out := Durations{Bounds: slices.Clone(syncBounds[:]), Counts: make([]uint64, len(d.counts)), Sum: time.Duration(d.sum.Load())}
	for i := range d.counts {
		out.Counts[i] = d.counts[i].Load()
	}
	return out
}
