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
		{"no limit", memoryFinding(300*mib, 0, ""), good, "no limit"},
		{"a high limit", memoryFinding(300*mib, gib, "cgroup /x"), good, "1.0 GiB is the limit (cgroup /x)"},
		{"a near limit", memoryFinding(300*mib, 400*mib, ""), doubt, "lean"},
		{"too low a limit", memoryFinding(300*mib, 310*mib, ""), broken, "Raise"},
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

func TestMemoryLimitOfGroups(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"memory.max":                                 "max\n",
		"system.slice/memory.max":                    "2147483648\n",
		"system.slice/embedd.service/memory.max":     "4294967296\n",
		"other/memory.max":                           "1\n",
		"memory/memory.limit_in_bytes":               "9223372036854771712\n",
		"memory/docker/abc/memory.limit_in_bytes":    "536870912\n",
		"free/memory.max":                            "max\n",
		"memory/docker/memory.limit_in_bytes":        "9223372036854771712\n",
		"memory/docker/abc/deep/unrelated/something": "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for groups, want := range map[string]struct {
		limit int64
		from  string
	}{
		"0::/system.slice/embedd.service\n": {2 << 30, "cgroup /system.slice"},
		"0::/free\n":                        {0, ""},
		"0::/\n":                            {0, ""},
		"5:cpu,memory:/docker/abc\n4:pids:/docker/x\n": {512 << 20, "cgroup /docker/abc"},
		"0::/gone/away\n": {0, ""},
		"":                {0, ""},
		"nonsense\n":      {0, ""},
	} {
		if limit, from := memoryLimitOf(groups, root); limit != want.limit || from != want.from {
			t.Errorf("%q: %d of %q, want %d of %q", groups, limit, from, want.limit, want.from)
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
