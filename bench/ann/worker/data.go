package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// vectors is a file of float32 rows, little-endian, mapped for reading: its pages are the page cache's and no one's memory.
type vectors struct {
	mapped []byte
	dim    int
}

func mapVectors(path string, dim int) (*vectors, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if dim < 1 || size < int64(4*dim) {
		return nil, fmt.Errorf("%s has %d bytes: no row of %d values", path, size, dim)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	return &vectors{b, dim}, err
}

func (v *vectors) rows() int { return len(v.mapped) / (4 * v.dim) }

func (v *vectors) row(i int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&v.mapped[4*v.dim*i])), v.dim)
}

// copies are rows in memory of their own.
func (v *vectors) copies(span [2]int) [][]float32 {
	out := make([][]float32, 0, span[1]-span[0])
	for i := span[0]; i < span[1]; i++ {
		out = append(out, slices.Clone(v.row(i)))
	}
	return out
}

// readLabels reads a file of uint32, little-endian.
func readLabels(path string) ([]uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := make([]uint64, len(b)/4)
	for i := range out {
		out[i] = uint64(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out, nil
}

// appendLabels appends exactly k labels as uint32, the missing ones as the largest.
func appendLabels(b []byte, labels []uint64, k int) []byte {
	for i := range k {
		label := ^uint32(0)
		if i < len(labels) {
			label = uint32(labels[i])
		}
		b = binary.LittleEndian.AppendUint32(b, label)
	}
	return b
}

// clock is a moment on three clocks, or the time between two.
type clock struct {
	Wall    time.Duration `json:"wall_ns"`
	Process time.Duration `json:"cpu_ns"`    // CPU time of the process
	Thread  time.Duration `json:"thread_ns"` // CPU time of the calling thread
}

func now() clock {
	return clock{read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_PROCESS_CPUTIME_ID), read(unix.CLOCK_THREAD_CPUTIME_ID)}
}

func (c clock) until() clock {
	n := now()
	return clock{n.Wall - c.Wall, n.Process - c.Process, n.Thread - c.Thread}
}

func read(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic(err) // the clocks are there on every Linux
	}
	return time.Duration(t.Nano())
}

// latencies sums up how long calls took, in microseconds.
type latencies struct {
	Count int     `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Max   float64 `json:"max_us"`
}

func sumUp(d []time.Duration) latencies {
	if len(d) == 0 {
		return latencies{}
	}
	slices.Sort(d)
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	at := func(q float64) float64 { return us(d[int(q*float64(len(d)-1))]) }
	var sum time.Duration
	for _, one := range d {
		sum += one
	}
	return latencies{len(d), us(sum) / float64(len(d)), at(0.5), at(0.99), at(0.999), us(d[len(d)-1])}
}
