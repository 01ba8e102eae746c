package store

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"embedd/internal/testkit"
)

// Some promises are about processes. childEnv makes this test binary a child, which does one job in the directory that
// childDir names, and ends.
const (
	childEnv = "EMBEDD_STORE_TEST_CHILD"
	childDir = "EMBEDD_STORE_TEST_DIR"
)

var children = map[string]func(){
	"open":   childOpens,
	"fail":   childFails,
	"killed": childWrites,
}

func child(job, dir string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+job, childDir+"="+dir)
	return c
}

func childOpens() {
	s, err := Open(os.Getenv(childDir), testIdentity, nil)
	if errors.Is(err, ErrLocked) {
		fmt.Println("ErrLocked:", err)
		return
	}
	fmt.Println(err)
	if err == nil {
		s.Close()
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	out, err := child("open", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, part := range []string{"ErrLocked", dir, "another embedd process"} {
		if !strings.Contains(string(out), part) {
			t.Errorf("the child says %q, want it to say %q", out, part)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child("open", dir).CombinedOutput(); err != nil || string(out) != "<nil>\n" {
		t.Errorf("after Close the child says %q, %v", out, err)
	}
}

// childFails puts papers onto a disk whose log fails to sync after the first, and prints what was acknowledged.
func childFails() {
	var broken errorfs.Toggle
	broken.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if strings.HasSuffix(op.Path, ".log") {
				return &fs.PathError{Op: "sync", Path: op.Path, Err: syscall.EIO}
			}
		}
		return nil
	})
	s, err := Open(os.Getenv(childDir), testIdentity, &Options{FS: errorfs.Wrap(rooted(os.Getenv(childDir)), &broken)})
	if err != nil {
		panic(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		_, _, err := s.Put([]Write{testWrite(id, 1)})
		fmt.Println(id, err)
		broken.On()
	}
}

// A log that cannot be synced ends the process: with one line, nothing acknowledged after it, nothing lost before it.
func TestSyncFailureEndsProcess(t *testing.T) {
	dir := t.TempDir()
	c := child("fail", dir)
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != ExitStatus {
		t.Errorf("the process ended with %v, want exit status %d", err, ExitStatus)
	}
	if stdout.String() != "a <nil>\n" {
		t.Errorf("acknowledged: %q, want a only", stdout.String())
	}
	line := stderr.String()
	if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "embedd: store "+dir) ||
		!strings.Contains(line, ".log") || !strings.Contains(line, syscall.EIO.Error()) {
		t.Errorf("stderr is %q, want one line with the directory, the file and the error", line)
	}
	s := open(t, dir, nil)
	wantPaper(t, s, testWrite("a", 1))
}

// childWrites puts papers for ever, and prints the number of each that is acknowledged.
func childWrites() {
	s, err := Open(os.Getenv(childDir), testIdentity, nil)
	if err != nil {
		panic(err)
	}
	for i := s.Count(); ; i++ {
		if _, _, err := s.Put([]Write{testWrite(fmt.Sprint(i), i)}); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

func TestKill(t *testing.T) {
	rng := testkit.Rand(t)
	dir := t.TempDir()
	acknowledged := 0
	for range 5 {
		c := child("killed", dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(50+rng.IntN(200))*time.Millisecond, func() { c.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var i int
			if _, err := fmt.Sscanln(lines.Text(), &i); err != nil {
				t.Fatal(err)
			}
			acknowledged = i + 1
		}
		c.Wait()
		timer.Stop()
		s := open(t, dir, nil)
		if n := s.Count(); n != acknowledged && n != acknowledged+1 {
			t.Errorf("%d papers after a kill, %d were acknowledged", n, acknowledged)
		}
		for i := range s.Count() {
			wantPaper(t, s, testWrite(fmt.Sprint(i), i))
		}
		checkAndClose(t, s)
		acknowledged = s.Count()
	}
	if acknowledged == 0 {
		t.Error("no paper was put in any cycle")
	}
}
