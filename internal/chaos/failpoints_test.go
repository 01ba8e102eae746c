package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	_ "go.etcd.io/gofail/runtime" // what the program with failpoints is built with, in the version of go.mod

	embeddv1 "embedd/proto/embedd/v1"
)

// failpoint is a place in the program where it can be made to stand still. In the source it is a comment.
type failpoint struct {
	name string
	when phase // is it come by
	skip int   // at most so many times it is let pass first
}

// phase of a server's life.
type phase int

const (
	writing phase = iota
	backingUp
	stopping
	starting
	working // a command, not a server: see restoring
)

// failpoints are all that a server comes by.
var failpoints = []failpoint{
	{"beforeWALSync", writing, 300},
	{"afterWALSync", writing, 300},
	{"beforeApplyIndex", writing, 300},
	{"beforeUnindex", writing, 100},
	{"beforeMark", writing, 0},
	{"duringBackup", backingUp, 0},
	{"beforeSeal", backingUp, 0},
	{"duringShutdownFlush", stopping, 0},
	{"duringIndexSnapshotWrite", stopping, 0},
	{"beforeSnapshotRename", stopping, 0},
	{"afterSnapshotRename", stopping, 0},
	{"beforeManifestSwap", starting, 0},
	{"duringCompaction", starting, 0},
	{"duringRecoveryReplay", starting, 0},
	{"beforeMark", starting, 0},
}

// withFailpoints is the program with its failpoints: gofail makes code of the comments, in a copy of the source tree.
var withFailpoints = sync.OnceValues(func() (string, error) {
	tree, err := scratchDir("failpoints")
	if err != nil {
		return "", err
	}
	const root = "../.."
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if err := copyFile(filepath.Join(root, name), filepath.Join(tree, name)); err != nil && !os.IsNotExist(err) { // one that git still has
			return "", err
		}
	}
	base, err := home()
	if err != nil {
		return "", err
	}
	if err := os.Symlink(base, filepath.Join(tree, ".embedd")); err != nil {
		return "", err
	}
	enable := exec.Command("go", "run", "go.etcd.io/gofail", "enable", "internal/store", "internal/retrieval", "internal/backup", "internal/collections")
	enable.Dir = tree
	if out, err := enable.CombinedOutput(); err != nil {
		return "", fmt.Errorf("gofail enable: %w\n%s", err, out)
	}
	return build(tree, filepath.Join(tree, "embedd-with-failpoints"))
})

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// standStill is for longer than anybody waits.
const standStill = "sleep(600000)"

// arm sets a failpoint; pass times it is let pass. terms are as gofail has them.
func (s *server) arm(p failpoint, pass int, terms string) error {
	if pass > 0 {
		terms = fmt.Sprintf("%d*off->%s", pass, terms)
	}
	req, err := http.NewRequest(http.MethodPut, "http://"+s.control+"/"+p.name, strings.NewReader(terms))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%s: %s: %s", p.name, res.Status, text)
	}
	return nil
}

// reached waits until a failpoint that was armed is come by, or the process has ended, or for as long as limit or until stop says so.
func (s *server) reached(p failpoint, pass int, limit time.Duration, stop func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end) && !stop(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-s.done:
			return true
		default:
		}
		res, err := http.Get("http://" + s.control + "/" + p.name + "/count")
		if err != nil {
			continue // too early, or too late
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if n, e := strconv.Atoi(string(text)); err == nil && e == nil && n > pass {
			return true
		}
	}
	return false
}

// killAt kills the server where it stands still at a failpoint. One time in four it is not killed there, and panics.
func (c *campaign) killAt(t *traffic, p failpoint) error {
	never := func() bool { return false }
	name := "at " + p.name
	c.last = name
	pass := c.rng.IntN(p.skip + 1)
	terms := standStill
	if p.when != starting && c.rng.IntN(4) == 0 {
		terms = "panic"
	}
	var reached bool
	switch p.when {
	case writing, backingUp:
		c.sleep(50*time.Millisecond, 400*time.Millisecond)
		t.ending.Store(terms == "panic")
		if err := t.s.arm(p, pass, terms); err != nil {
			return err
		}
		if p.when == backingUp {
			go func() {
				_, _ = embeddv1.NewAdminServiceClient(t.s.conn).CreateBackup(context.Background(), &embeddv1.CreateBackupRequest{})
			}() // cut off
		}
		reached = t.s.reached(p, pass, 3*time.Second, never)
	case stopping:
		c.sleep(50*time.Millisecond, 700*time.Millisecond)
		if err := t.s.arm(p, pass, terms); err != nil {
			return err
		}
		t.ending.Store(true)
		if err := t.s.terminate(); err != nil {
			return err
		}
		reached = t.s.reached(p, pass, 5*time.Second, never)
	case starting:
		c.sleep(50*time.Millisecond, 700*time.Millisecond)
		if err := t.cutOff(); err != nil {
			return err
		}
		s, err := start(c.program, c.data, true, p.name+"="+terms)
		if err != nil {
			return err
		}
		defer s.kill()
		ready := make(chan struct{})
		go func() {
			_, _ = s.ready(readyLimit) // it may stand still for ever
			close(ready)
		}()
		reached = s.reached(p, pass, readyLimit, func() bool {
			select {
			case <-ready:
				return true
			default:
				return false
			}
		})
		s.kill()
		<-ready
	}
	if !reached {
		name += " (not come by)"
	}
	c.kind(name)
	if p.when == starting {
		return nil
	}
	c.sleep(0, 30*time.Millisecond)
	return t.cutOff()
}
