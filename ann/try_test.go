package ann

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"embedd/ann/vec"
)

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(1, &r) // RUSAGE_THREAD
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
func cpuAll() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(0, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func loadTry(t testing.TB) [][]float32 {
	path := os.Getenv("TRY")
	if path == "" {
		t.Skip()
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := len(data) / 1536
	if s := os.Getenv("TRYN"); s != "" {
		m, _ := strconv.Atoi(s)
		n = min(n, m)
	}
	out := make([][]float32, n)
	for i := range out {
		v := make([]float32, 384)
		for j := range v {
			v[j] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*(i*384+j):]))
		}
		out[i] = v
	}
	return out
}

func TestTry(t *testing.T) {
	all := loadTry(t)
	queries, base := all[:1000], all[1000:]
	fmt.Println(vec.Implementation(), len(base))
	x, err := New(384, nil)
	if err != nil {
		t.Fatal(err)
	}
	labels := make([]uint64, len(base))
	for i := range labels {
		labels[i] = uint64(i)
	}
	threads := 1
	if s := os.Getenv("THREADS"); s != "" {
		threads, _ = strconv.Atoi(s)
	}
	c, b := cpuAll(), time.Now()
	if os.Getenv("ONE") != "" {
		for i := range base {
			if err := x.Insert(uint64(i), base[i]); err != nil {
				t.Fatal(err)
			}
		}
	} else if err := x.InsertAll(context.Background(), labels, func(i int) ([]float32, error) { return base[i], nil }, threads, nil); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("build: wall %v cpu %v, %v\n", time.Since(b), cpuAll()-c, float64(x.Usage().Bytes)/float64(len(base)))
	runtime.LockOSThread()
	truth := make([]map[uint64]bool, len(queries))
	c = cpu()
	for i, q := range queries {
		got, err := x.Exact(q, 10)
		if err != nil {
			t.Fatal(err)
		}
		truth[i] = map[uint64]bool{}
		for _, n := range got {
			truth[i][n.Label] = true
		}
	}
	fmt.Printf("exact: %v\n", (cpu()-c)/1000)
	for range 2 {
		for _, ef := range []int{16, 24, 32, 48, 64, 96, 160} {
			hit := 0
			c := cpu()
			for i, q := range queries {
				a, err := x.Search(q, Query{K: 10, Ef: ef, Plan: Graph})
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range a.Neighbors {
					if truth[i][n.Label] {
						hit++
					}
				}
			}
			d := cpu() - c
			fmt.Printf("ef %d recall %.4f  %v/query %.0f QPS\n", ef, float64(hit)/10000, d/1000, 1000/d.Seconds())
		}
	}
}
