package store

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrFull: the disk is nearly full, or does not take what is written into tables. The store takes no papers until that is over; it still
// answers, and deletes.
var ErrFull = errors.New("the disk takes no more papers")

// ErrRoom: what was about to be written would leave less than the reserve on the disk.
var ErrRoom = errors.New("there is not enough room on the disk")

// The room that is left on the disk. Below the reserve nothing is put any more: Pebble waits for ever, or ends the process, where
// it finds no room for what it must write. A share of the disk, as others have it, would refuse papers on a large disk with hundreds of
// gigabytes free; what compactions need does not grow with the disk.
const (
	mostReserve  = 2 << 30
	reserveShare = 10 // of the disk, at most
)

// ballastName is a file that only takes up room, for when it is needed at once: to write what was acknowledged into tables.
const ballastName = "EMBEDD-BALLAST"

// ballastShare: it takes no more than this part of the disk.
const ballastShare = 100

// quietTime is how long Pebble must not have failed to write in the background before papers are taken again.
const quietTime = 5 * time.Second

// disk watches the room on the disk.
type disk struct {
	fs      vfs.FS
	dir     string
	reserve uint64 // 0: by the size of the disk
	ballast int64
	tell    func(error)

	mu     sync.Mutex
	full   error     // why nothing is put; nil: it is
	failed time.Time // when Pebble last failed to write
	// free and kept, the reserve, are of the last look, where known.
	free, kept uint64
	known      bool
}

// Writable returns nil, or why Put takes nothing: ErrFull, or ErrReadOnly for a store that was opened so.
func (s *Store) Writable() error {
	if s.readOnly {
		return ErrReadOnly
	}
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	return s.disk.full
}

// Room returns nil if size bytes more leave the reserve on the disk, or an ErrRoom that says what is needed and what is free. It is for who
// writes beside the store.
func (s *Store) Room(size int64) error {
	usage, err := s.disk.fs.GetDiskUsage(s.dir)
	if err != nil {
		return nil // a file system that does not say is taken to have enough
	}
	reserve, _ := s.disk.needs(usage.TotalBytes)
	if need := uint64(max(size, 0)); usage.AvailBytes < need || usage.AvailBytes-need < reserve {
		return fmt.Errorf("%w: %.1f MiB are needed and %.1f MiB are free beside %s, of which %.1f MiB are the reserve; make room, or lower --disk-reserve",
			ErrRoom, mib(need), mib(usage.AvailBytes), s.dir, mib(reserve))
	}
	return nil
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

// needs is the room below which nothing is put, and that at which it is again.
func (d *disk) needs(total uint64) (reserve, again uint64) {
	reserve = min(mostReserve, total/reserveShare)
	if d.reserve > 0 {
		reserve = d.reserve
	}
	return reserve, reserve + reserve/2
}

// look asks for the room on the disk. A file system that does not say is taken to have enough.
func (d *disk) look() {
	usage, err := d.fs.GetDiskUsage(d.dir)
	if err != nil {
		usage = vfs.DiskUsage{AvailBytes: 1 << 60, TotalBytes: 1 << 60}
	}
	reserve, again := d.needs(usage.TotalBytes)
	d.mu.Lock()
	d.free, d.kept, d.known = usage.AvailBytes, reserve, err == nil
	full := d.full
	switch {
	case usage.AvailBytes < reserve:
		full = fmt.Errorf("%w: %d MiB are free beside %s, and %d MiB are the reserve; make room: papers are taken again from %d MiB on",
			ErrFull, usage.AvailBytes>>20, d.dir, reserve>>20, again>>20)
	case usage.AvailBytes >= again && time.Since(d.failed) > quietTime:
		full = nil
	}
	d.set(full)
	size := min(d.ballast, int64(usage.TotalBytes/ballastShare))
	if full == nil && size > 0 && usage.AvailBytes > again+uint64(size) {
		d.load(size)
	}
}

// set changes the state, and lets go of the lock, which is held.
func (d *disk) set(full error) {
	turned := (full == nil) != (d.full == nil)
	d.full = full
	d.mu.Unlock()
	if turned && d.tell != nil {
		d.tell(full)
	}
}

// backgroundError is told of what Pebble could not write behind our back. It tries again for ever, and commits would wait as long.
func (d *disk) backgroundError(err error) {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return
	}
	d.mu.Lock()
	d.failed = time.Now()
	full := d.full
	if full == nil {
		full = fmt.Errorf("%w: %w; papers are taken again some seconds after it does", ErrFull, err)
	}
	d.set(full)
}

// onFull is called by the file system when it has no room, before it tries once more.
func (d *disk) onFull() {
	_ = d.fs.Remove(d.fs.PathJoin(d.dir, ballastName)) // there may be none
	d.backgroundError(syscall.ENOSPC)
}

// load puts the ballast where it is missing.
func (d *disk) load(size int64) {
	name := d.fs.PathJoin(d.dir, ballastName)
	if _, err := d.fs.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	f, err := d.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return // it is a help, not a promise
	}
	if errors.Join(f.Preallocate(0, size), f.Close()) != nil {
		_ = d.fs.Remove(name)
	}
}
