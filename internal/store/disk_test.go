package store

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// usageFS is a file system whose disk has as much room as is said.
type usageFS struct {
	vfs.FS
	usage vfs.DiskUsage
}

func (f *usageFS) GetDiskUsage(string) (vfs.DiskUsage, error) { return f.usage, nil }
func (f *usageFS) Unwrap() vfs.FS                             { return f.FS }

// noLinks is a file system that has none.
type noLinks struct{ vfs.FS }

func (noLinks) Link(string, string) error { return errors.ErrUnsupported }

// On a disk that fills up nothing is put any more, what is there can be read and deleted, and when there is room again papers are taken.
func TestFull(t *testing.T) {
	const total = 100 << 30
	disk := &usageFS{vfs.NewMem(), vfs.DiskUsage{AvailBytes: total / 2, TotalBytes: total}}
	var told []error
	s := open(t, "store", &Options{FS: disk, Ballast: 1 << 20, OnWritable: func(err error) { told = append(told, err) }, markEvery: time.Hour})
	put(t, s, "a", "b")
	if _, err := disk.Stat("store/" + ballastName); err != nil {
		t.Errorf("there is no ballast: %v", err)
	}
	reserve, again := s.disk.needs(total)
	if reserve != 2<<30 || again != 3<<30 {
		t.Errorf("reserve %d, again at %d", reserve, again)
	}
	for _, step := range []struct {
		free uint64
		full bool
	}{{reserve, false}, {reserve - 1, true}, {reserve + 1, true}, {again - 1, true}, {again, false}, {again - 1, false}, {0, true}, {total, false}} {
		disk.usage.AvailBytes = step.free
		s.disk.look()
		_, _, err := s.Put([]Write{testWrite("c", 1)})
		if !step.full {
			if err != nil || s.Writable() != nil {
				t.Errorf("with %d bytes free: %v, %v", step.free, err, s.Writable())
			}
			continue
		}
		wantError(t, err, ErrFull, "MiB are free beside store", "are the reserve", "papers are taken again from")
		wantError(t, s.Writable(), ErrFull)
		wantPaper(t, s, testWrite("a", 1))
		if _, _, err := s.Delete([]string{"c"}); err != nil {
			t.Error(err)
		}
	}
	if len(told) != 4 || told[0] == nil || told[1] != nil || told[2] == nil || told[3] != nil {
		t.Errorf("told %v", told)
	}

	for _, x := range []struct {
		free uint64
		size int64
		room bool
	}{{reserve, 0, true}, {reserve, 1, false}, {reserve + 100, 100, true}, {reserve + 100, 101, false}, {reserve - 1, 0, false}, {50, 100, false}} {
		disk.usage.AvailBytes = x.free
		if err := s.Room(x.size); (err == nil) != x.room {
			t.Errorf("%d bytes with %d free: %v", x.size, x.free, err)
		} else if err != nil {
			wantError(t, err, ErrRoom, "MiB are needed and", "MiB are free beside store", "2048.0 MiB are the reserve")
		}
	}
	disk.usage.AvailBytes = total
	linked, err := s.BackupSize("")
	if err != nil {
		t.Fatal(err)
	}
	disk.FS = noLinks{disk.FS}
	copied, err := s.BackupSize("")
	if tables := s.db.Metrics().Total().TablesSize; err != nil || linked <= 0 || copied-linked < tables || tables == 0 {
		t.Errorf("a backup takes %d bytes with links, %d without, and there are %d in tables; %v", linked, copied, tables, err)
	}

	for _, d := range []struct{ total, reserve uint64 }{{10 << 30, 1 << 30}, {30 << 30, 2 << 30}, {1 << 40, 2 << 30}} {
		if reserve, _ := s.disk.needs(d.total); reserve != d.reserve {
			t.Errorf("the reserve of %d is %d, want %d", d.total, reserve, d.reserve)
		}
	}
}
