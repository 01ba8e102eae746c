package table

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// mutate damages a file as disks, networks and people do.
func mutate(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			return b
		}
		i := r.IntN(len(b))
		if r.IntN(2) == 0 { // the end says what the rest is
			i = max(0, len(b)-1-r.IntN(min(len(b), 2000)))
		}
		switch r.IntN(6) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b[i] = byte(r.IntN(256))
		case 2:
			b = b[:i]
		case 3:
			j := min(len(b), i+1+r.IntN(64))
			b = append(b[:i:i], b[j:]...)
		case 4:
			j := min(len(b), i+1+r.IntN(64))
			b = append(b[:j:j], b[i:]...)
		case 5:
			for j := i; j < min(len(b), i+1+r.IntN(8)); j++ {
				b[j] = 0xff
			}
		}
	}
	return b
}

// A damaged file gives rows or an error, soon and in little memory.
func TestDamaged(t *testing.T) {
	r := testkit.Rand(t)
	trials := 1000
	if testing.Short() {
		trials = 100
	}
	for _, f := range Formats {
		t.Run(string(f), func(t *testing.T) {
			file := write(t, f, random(r, 60, false), func() int { return 60 })
			var before, after runtime.MemStats
			refused := 0
			for range trials {
				damaged := mutate(r, file)
				runtime.ReadMemStats(&before)
				start := time.Now()
				_, _, err := read[everything](f, damaged)
				runtime.ReadMemStats(&after)
				if err != nil {
					refused++
				}
				if took, taken := time.Since(start), after.TotalAlloc-before.TotalAlloc; took > 10*time.Second || taken > 1<<30 {
					t.Fatalf("%v and %d bytes for a file of %d: %v", took, taken, len(damaged), err)
				}
			}
			t.Logf("%d of %d were refused", refused, trials)
			if refused < trials/4 {
				t.Error("hardly anything was noticed")
			}
		})
	}
}

// FuzzRead: whatever the bytes, there are rows or an error.
func FuzzRead(f *testing.F) {
	rows := slices.DeleteFunc(random(rand.New(rand.NewPCG(1, 2)), 12, false), func(row everything) bool { return len(fmt.Sprint(row)) > 500 })
	for i, format := range Formats {
		f.Add(byte(i), write(f, format, rows, func() int { return 5 }))
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		format := Formats[int(which)%len(Formats)]
		rows, _, err := read[everything](format, data)
		if err != nil || len(rows) == 0 {
			return
		}
		again, _, err := read[everything](format, write(t, format, rows, func() int { return len(rows) }))
		if err != nil || len(again) != len(rows) {
			t.Fatalf("%d rows came back of %d: %v", len(again), len(rows), err)
		}
	})
}
