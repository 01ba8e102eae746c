package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"embedd/internal/testkit"
)

// lines are the records so far.
func lines(b *testkit.Buffer) []string { return strings.Split(strings.TrimSpace(b.String()), "\n") }

func TestKeysAndLengths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out testkit.Buffer
		log := NewLog(&out, JSON, slog.LevelInfo)
		long := strings.Repeat("é", MaxString)
		log.With("component", "store").Warn("hello", "took", 1500*time.Microsecond, "wait", time.Second, "error", fmt.Errorf("no: %w", errors.New("disk\nfull")),
			"id", long, "about", errors.New(long), "stack", long, "n", 7, "names", []string{"a", long})
		log.Debug("not this")
		if len(lines(&out)) != 1 {
			t.Fatalf("%d lines: %q", len(lines(&out)), lines(&out))
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(lines(&out)[0]), &got); err != nil {
			t.Fatal(err)
		}
		cut := strings.Repeat("é", MaxString/2) + "…"
		for key, want := range map[string]any{
			"level": "WARN", "msg": "hello", "component": "store", "duration_ms": 1.5, "wait": 1000.0, "err": "no: disk\nfull", "id": cut, "about": cut, "stack": long, "n": 7.0,
		} {
			if got[key] != want {
				t.Errorf("%s is %v, want %v", key, got[key], want)
			}
		}
		if _, err := time.Parse(time.RFC3339, got["time"].(string)); err != nil {
			t.Error(err)
		}
		if names := got["names"].(string); len(names) > MaxString+len("…") {
			t.Errorf("a list of %d bytes", len(names))
		}
	})
}

func TestText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out testkit.Buffer
		NewLog(&out, Text, slog.LevelInfo).Info("a call", "took", time.Millisecond, "error", errors.New("level=ERROR forged"))
		if line := lines(&out)[0]; !strings.Contains(line, `duration_ms=1 err="level=ERROR forged"`) {
			t.Error(line)
		}
	})
}

// Of errors in a loop the log has the first at once, then one a second with the number of those that it stands for; other messages are
// not held back by them, and nothing is lost from the count.
func TestRepeatedErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out testkit.Buffer
		log := NewLog(&out, Text, slog.LevelInfo)
		log.Error("disk", "i", -1)
		if n := len(lines(&out)); n != 1 {
			t.Fatalf("the first: %d lines", n)
		}
		for i := range 3500 { // 3.5 seconds
			time.Sleep(time.Millisecond)
			log.With("component", "store").Error("disk", "i", i)
			if i == 100 {
				log.Warn("disk")    // another level
				log.Error("memory") // another message
				log.Info("work")
				log.Info("work")
			}
		}
		time.Sleep(5 * time.Second)
		total, written := 0, 0
		for _, line := range lines(&out) {
			if !strings.Contains(line, "level=ERROR msg=disk") {
				continue
			}
			written++
			n := 1
			if _, count, ok := strings.Cut(line, "repeated="); ok {
				fmt.Sscan(count, &n)
			}
			total += n
		}
		if total != 3501 || written != 5 {
			t.Errorf("%d lines stand for %d errors, want 5 for 3501:\n%s", written, total, strings.Join(lines(&out), "\n"))
		}
		if n := len(lines(&out)) - written; n != 4 {
			t.Errorf("%d other lines, want 4:\n%s", n, strings.Join(lines(&out), "\n"))
		}
		log.Error("disk")
		if last := lines(&out)[len(lines(&out))-1]; strings.Contains(last, "repeated") {
			t.Errorf("after a quiet time it is not the first again: %s", last)
		}
		time.Sleep(5 * time.Second)
	})
}

// Messages without end take no memory without end.
func TestManyMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out testkit.Buffer
		log := NewLog(&out, Text, slog.LevelInfo)
		for i := range 3 * maxLimited {
			log.Error(fmt.Sprint("message ", i))
		}
		kept := func() int {
			shared := log.Handler().(traced).Handler.(*limiter).shared
			shared.mu.Lock()
			defer shared.mu.Unlock()
			return len(shared.seen)
		}
		if n := kept(); n > maxLimited+1 {
			t.Errorf("%d messages are kept", n)
		}
		time.Sleep(5 * time.Second)
		if n := kept(); n != 0 {
			t.Errorf("%d messages are kept after a quiet time", n)
		}
	})
}
