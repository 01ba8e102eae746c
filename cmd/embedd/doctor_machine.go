package main

import (
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// syncTimes appends 4 KiB to a file in dir and syncs it, as often as that, but no longer than most. The file is removed. The times are in order.
func syncTimes(dir string, tries int, most time.Duration) (times []time.Duration, err error) {
	f, err := os.CreateTemp(dir, "embedd-doctor.*.tmp")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 4<<10)
	for begin := time.Now(); len(times) < tries && (len(times) == 0 || time.Since(begin) < most); {
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := syncData(f); err != nil {
			return nil, err
		}
		times = append(times, time.Since(at))
	}
	slices.Sort(times)
	return times, nil
}

// freeBytes is what a user who is not root may still write in dir.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// fileLimit is how many files the process may have open: Go has raised it to what the system allows.
func fileLimit() (uint64, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return uint64(l.Cur), err
}
