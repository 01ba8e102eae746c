package store

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What a store counts: syncs, damage that calls have come upon, failures in the background, the room on the disk, and what it was found at.
func TestFigures(t *testing.T) {
	disk := &usageFS{vfs.NewMem(), vfs.DiskUsage{AvailBytes: 50 << 30, TotalBytes: 100 << 30}}
	s := open(t, "store", &Options{FS: disk, markEvery: time.Hour})
	before := s.Figures()
	if before.Recovered != 0 || before.RecoveredMark != 0 || before.DamagedReads != 0 || !before.DiskKnown || before.DiskFree != 50<<30 || before.DiskReserve != 2<<30 {
		t.Errorf("%+v of a new store", before)
	}
	put(t, s, "a", "b")
	put(t, s, "c")
	after := s.Figures()
	if n := total(after.Syncs) - total(before.Syncs); n < 2 || after.Syncs.Sum <= before.Syncs.Sum || len(after.Syncs.Counts) != len(after.Syncs.Bounds)+1 {
		t.Errorf("%d syncs of two Puts: %+v", n, after.Syncs)
	}
	if _, err := s.Vector(77); !errors.Is(err, ErrNotFound) || s.Figures().DamagedReads != 0 {
		t.Errorf("%v counts as damage", err)
	}
	good := raw(t, s, vectorKey(2))
	if err := s.db.Set(vectorKey(2), good[1:], pebble.Sync); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := s.Vector(2)
		wantError(t, err, ErrCorrupt)
	}
	if err := s.db.Set(vectorKey(2), good, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if f := s.Figures(); f.DamagedReads != 2 || f.DamagedFiles != 0 {
		t.Errorf("%+v, want damage that was read twice", f)
	}
}

// A store that was cut off is found at its last revision, and its mark may be older.
func TestRecoveredFigures(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := open(t, "store", &Options{FS: disk, markEvery: time.Hour})
	put(t, s, "a")
	if err := s.mark(false); err != nil {
		t.Fatal(err)
	}
	put(t, s, "b")
	again := open(t, "store", &Options{FS: disk.CrashClone(vfs.CrashCloneCfg{}), markEvery: time.Hour})
	f := again.Figures()
	if f.Recovered != 2 || f.RecoveredMark != 1 || f.Recovery <= 0 {
		t.Errorf("%+v, want revision 2, the mark at 1", f)
	}
	again.disk.onFull()
	pebbles := again.pebbleOptions(&Options{})
	pebbles.EventListener.BackgroundError(syscall.EIO)
	pebbles.EventListener.DataCorruption(pebble.DataCorruptionInfo{Path: "x.sst", Details: errors.New("noise")})
	if f := again.Figures(); f.BackgroundErrors != 1 || f.DamagedFiles != 1 {
		t.Errorf("%+v, want one of each", f)
	}
}

func total(d Durations) (n uint64) {
	for _, count := range d.Counts {
		n += count
	}
	return n
}
