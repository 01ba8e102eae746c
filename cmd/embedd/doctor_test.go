package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What the checks say of figures.
func TestFindings(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ms := func(n float64) []time.Duration {
		times := make([]time.Duration, 100)
		for i := range times {
			times[i] = time.Duration(n * float64(time.Millisecond))
		}
		return times
	}
	for _, c := range []struct {
		name string
		got  finding
		want verdict
		say  string // in value or advice
	}{
		{"a good disk", syncFinding(ms(2), false), good, "2.00 ms"},
		{"a slow disk", syncFinding(ms(150), false), doubt, "local SSD"},
		{"a very slow disk", syncFinding(ms(1500), false), broken, "failing"},
		{"a disk that lies", syncFinding(ms(.01), false), doubt, "before it is"},
		{"memory", syncFinding(ms(.01), true), doubt, "tmpfs"},
		{"much space", spaceFinding(10*gib, gib), good, "10.0 GiB free, 1.0 GiB stored"},
		{"less than is stored", spaceFinding(gib, 2*gib), doubt, "as much free as is stored"},
		{"next to none", spaceFinding(100*mib, 0), broken, "100.0 MiB free, 0.0 KiB stored"},
		{"a high limit", memoryFinding(300*mib, gib), good, "1.0 GiB is what a server may take (--memory-limit)"},
		{"a near limit", memoryFinding(300*mib, 400*mib), doubt, "lean"},
		{"a limit that the store's cache does not fit into", memoryFinding(300*mib, 700*mib), doubt, "256.0 MiB for the store's cache"},
		{"too low a limit", memoryFinding(300*mib, 310*mib), broken, "Raise"},
		{"many files", filesFinding(65536), good, "65536"},
		{"some files", filesFinding(1024), doubt, "ulimit -n"},
		{"few files", filesFinding(256), broken, "ulimit -n"},
		{"a good clock", clockFinding(now, 200*time.Millisecond, 201*time.Millisecond), good, "2026-05-01T12:00:00Z, moved by 1ms"},
		{"a clock that was set", clockFinding(now, 200*time.Millisecond, -time.Hour), doubt, "NTP"},
		{"a clock that was never set", clockFinding(time.Unix(0, 0), 200*time.Millisecond, 200*time.Millisecond), broken, "year"},
	} {
		if c.got.Status != c.want || !strings.Contains(c.got.Value+c.got.Advice, c.say) || (c.got.Status == good) != (c.got.Advice == "") {
			t.Errorf("%s: %+v, want %s with %q", c.name, c.got, c.want, c.say)
		}
	}
}

func TestSyncTimes(t *testing.T) {
	dir := t.TempDir()
	times, err := syncTimes(dir, 5, time.Second)
	if err != nil || len(times) == 0 || times[0] <= 0 {
		t.Errorf("%v, %v", times, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if _, err := syncTimes(filepath.Join(dir, "gone"), 5, time.Second); err == nil {
		t.Error("a folder that is not there can be written")
	}
}
