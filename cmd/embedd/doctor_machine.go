package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

// residentBytes is the memory that this process has.
func residentBytes() (int64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("the memory of this process is read from /proc: %w", err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/self/statm is %q", text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// memoryLimit is the least of the limits that control groups set to this process, and whose it is; 0 for none.
func memoryLimit() (limit int64, from string) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, ""
	}
	return memoryLimitOf(string(groups), "/sys/fs/cgroup")
}

// memoryLimitOf reads the limits of the groups, and of those above them, below root.
func memoryLimitOf(groups, root string) (limit int64, from string) {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, name := root, "memory.max"
		if slices.Contains(strings.Split(parts[1], ","), "memory") { // version 1
			base, name = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			text, err := os.ReadFile(filepath.Join(base, group, name))
			if err == nil { // "max", and in version 1 a number near to the largest, is none
				if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < 1<<50 && (limit == 0 || n < limit) {
					limit, from = n, "cgroup "+group
				}
			}
			if group == "/" {
				break
			}
		}
	}
	return limit, from
}
