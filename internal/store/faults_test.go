package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"embedd/internal/testkit"
)

// Every operation on every kind of file fails once, or from some time on: the n-th write of a log, the n-th sync of the MANIFEST, ...
// Each is a cell, which a child process runs, as some of them end the process.

// fault is one cell.
type fault struct {
	Op    string
	Kind  string // of file: a pattern of fileKinds, "directory", or "other"
	N     int
	Errno syscall.Errno
	Stays bool
}

func (f fault) String() string {
	times := "once"
	if f.Stays {
		times = "from then on"
	}
	return fmt.Sprintf("%s of %s number %d fails %s: %v", f.Op, f.Kind, f.N, times, f.Errno)
}

var opNames = map[errorfs.OpKind]string{
	errorfs.OpCreate: "create", errorfs.OpLink: "link", errorfs.OpOpen: "open", errorfs.OpOpenDir: "open directory", errorfs.OpRemove: "remove",
	errorfs.OpRename: "rename", errorfs.OpReuseForWrite: "reuse", errorfs.OpMkdirAll: "mkdir", errorfs.OpLock: "lock", errorfs.OpList: "list",
	errorfs.OpFilePreallocate: "preallocate", errorfs.OpStat: "stat", errorfs.OpFileClose: "close", errorfs.OpFileRead: "read",
	errorfs.OpFileReadAt: "read at", errorfs.OpFileWrite: "write", errorfs.OpFileWriteAt: "write at", errorfs.OpFileStat: "stat file",
	errorfs.OpFileSync: "sync", errorfs.OpFileSyncData: "sync data", errorfs.OpFileSyncTo: "sync to",
}

// kindOf is the kind of file that an operation is about.
func kindOf(op errorfs.Op) string {
	name := filepath.Base(strings.TrimSuffix(op.Path, ".new"))
	for _, pattern := range append(slices.Clone(fileKinds), "temporary.*") {
		if ok, _ := filepath.Match(pattern, name); ok {
			return pattern
		}
	}
	switch op.Kind {
	case errorfs.OpOpenDir, errorfs.OpList, errorfs.OpMkdirAll:
		return "directory"
	}
	if filepath.Ext(name) == "" && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileClose) {
		return "directory"
	}
	return "other"
}

// faultSteps are the calls of each cell, and faultStates what there is after each.
var faultSteps = []func(s *Store) error{
	func(s *Store) error { _, _, err := s.Put([]Write{testWrite("a", 1), testWrite("b", 1)}); return err },
	func(s *Store) error { return s.flush() },
	func(s *Store) error {
		_, _, err := s.Put([]Write{testWrite("a", 2), {Record: testRecord("b", 2, 1)}})
		return err
	},
	func(s *Store) error { return s.mark(false) },
	func(s *Store) error { _, _, err := s.Delete([]string{"a"}); return err },
	func(s *Store) error { _, _, err := s.Get("b"); return err },
	func(s *Store) error { return s.Close() },
}

var faultStates = []crashState{{}, {"a": {1, 1}, "b": {1, 1}}, {"a": {2, 2}, "b": {2, 1}}, {"b": {2, 1}}}

// revisionAfter is the revision after so many steps.
func revisionAfter(steps int) int {
	return []int{0, 1, 1, 2, 2, 3, 3, 3}[steps]
}

const faultsEnv = "EMBEDD_STORE_TEST_FAULTS"

func init() { children["faults"] = childFaults }

// runSteps opens a store twice: to make it, and to write it. It says what is acknowledged.
func runSteps(fsys vfs.FS, dir string, ack func(steps int)) error {
	o := &Options{FS: fsys, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), markEvery: time.Hour, patience: 200 * time.Millisecond}
	s, err := Open(dir, testIdentity, o)
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(dir, testIdentity, o); err != nil {
		return err
	}
	for i, step := range faultSteps {
		if err := step(s); err != nil {
			return errors.Join(err, s.Close())
		}
		ack(i + 1)
	}
	return nil
}

func childFaults() {
	var cells []fault
	if err := json.Unmarshal([]byte(os.Getenv(faultsEnv)), &cells); err != nil {
		panic(err)
	}
	for i, cell := range cells {
		fmt.Println("begin", i)
		hang := time.AfterFunc(30*time.Second, func() { fmt.Println("hang", i); os.Exit(3) })
		var mu sync.Mutex
		n := 0
		inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if opNames[op.Kind] != cell.Op || kindOf(op) != cell.Kind {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			n++
			if n-1 == cell.N || n-1 > cell.N && cell.Stays {
				return &fs.PathError{Op: cell.Op, Path: op.Path, Err: cell.Errno}
			}
			return nil
		})
		err := runSteps(errorfs.Wrap(rooted(os.Getenv(childDir)), inject), filepath.Join(os.Getenv(childDir), fmt.Sprint(i), "store"), func(steps int) { fmt.Println("ack", i, steps) })
		hang.Stop()
		fmt.Println("end", i, err != nil)
	}
}

// TestFaults runs a sample of the cells; with -trials 0 all of them (make test-long).
func TestFaults(t *testing.T) {
	rng := testkit.Rand(t)
	// How often each operation happens where nothing fails.
	counts := map[[2]string]int{}
	var mu sync.Mutex
	count := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if name := opNames[op.Kind]; name != "" {
			counts[[2]string{name, kindOf(op)}]++
		}
		return nil
	})
	base := t.TempDir()
	if err := runSteps(errorfs.Wrap(rooted(base), count), filepath.Join(base, "store"), func(int) {}); err != nil {
		t.Fatal(err)
	}
	var cells []fault
	for _, key := range slices.SortedFunc(maps.Keys(counts), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) }) {
		for n := range counts[key] {
			for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE} {
				for _, stays := range []bool{false, true} {
					cells = append(cells, fault{key[0], key[1], n, errno, stays})
				}
			}
		}
	}
	all := len(cells)
	rng.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
	if *trials > 0 {
		cells = cells[:min(len(cells), some(4**trials))]
	}
	ended, failed := 0, 0
	for len(cells) > 0 {
		batch := cells[:min(len(cells), 100)]
		done, fatal, errs := runFaults(t, batch)
		failed += errs
		if fatal {
			ended++
		}
		cells = cells[done:]
		if t.Failed() {
			return
		}
	}
	t.Logf("%d cells in all; of those that ran %d ended the process, %d gave an error", all, ended, failed)
}

// runFaults runs cells in one child until one of them ends it.
func runFaults(t *testing.T, cells []fault) (done int, fatal bool, failed int) {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	text, err := json.Marshal(cells)
	if err != nil {
		t.Fatal(err)
	}
	c := child("faults", dir)
	c.Env = append(c.Env, faultsEnv+"="+string(text))
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	acked := make([]int, len(cells))
	last, over := -1, true
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var what string
		var i, steps int
		fmt.Sscan(lines.Text(), &what, &i, &steps)
		switch what {
		case "begin":
			last, over = i, false
		case "ack":
			acked[i] = steps
		case "end":
			over = true
			if strings.HasSuffix(lines.Text(), "true") {
				failed++
			}
		case "hang":
			t.Errorf("%v: hangs", cells[i])
		}
	}
	err = c.Wait()
	var exit *exec.ExitError
	switch {
	case over && err == nil:
	case !over && errors.As(err, &exit) && exit.ExitCode() == ExitStatus:
		fatal = true
		if line := stderr.String(); strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "embedd: store ") {
			t.Errorf("%v: the process ends with %q, want one line", cells[last], line)
		}
	default:
		t.Fatalf("%v: the child ended with %v: %s", cells[max(last, 0)], err, stderr.String())
	}
	for i := range cells[:last+1] {
		path := filepath.Join(dir, fmt.Sprint(i), "store")
		s, err := Open(path, testIdentity, nil)
		if err != nil {
			t.Errorf("%v: then, after %d steps: %v", cells[i], acked[i], err)
			continue
		}
		got, least := stored(t, s), revisionAfter(acked[i])
		if n := int(s.Revision()); n < least || n > least+1 || !maps.Equal(got, faultStates[n]) {
			t.Errorf("%v: then there is revision %d with %v, after %d steps", cells[i], n, got, acked[i])
		}
		checkAndClose(t, s)
	}
	return last + 1, fatal, failed
}
