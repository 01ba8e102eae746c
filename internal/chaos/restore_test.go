package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// restoring are the failpoints of a restore; those with force are come by only where there is something in the target.
var restoring = []struct {
	failpoint
	force, plain bool
}{
	{failpoint{"duringRestore", working, 5}, true, true},
	{failpoint{"beforeRestoreSwap", working, 0}, true, true},
	{failpoint{"betweenRestoreSteps", working, 0}, true, false},
	{failpoint{"beforeRestoreRename", working, 0}, false, true},
	{failpoint{"afterRestoreSwap", working, 0}, true, true},
}

// TestKillRestore kills embedd restore, at its failpoints and at random moments. What is in the target then is as it was before or whole,
// the next restore succeeds, and of the half copy nothing is left.
func TestKillRestore(t *testing.T) {
	rng := testkit.Rand(t)
	program, err := ordinary()
	if !testing.Short() {
		program, err = withFailpoints()
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &restores{t: t, rng: rng, program: program, root: t.TempDir()}
	r.prepare()
	if !testing.Short() {
		for _, p := range restoring {
			for _, force := range []bool{false, true} {
				if force && p.force || !force && p.plain {
					r.kill(force, p.failpoint)
				}
			}
		}
	}
	begin := time.Now()
	if out, err := r.command("restore", r.backup, "--data", filepath.Join(r.root, "whole")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.takes = time.Since(begin)
	for range min(20, *cycles) {
		r.kill(rng.IntN(2) == 0, failpoint{})
	}
	t.Logf("%d kills: %d times the target was as before, %d times whole", r.before+r.whole, r.before, r.whole)
}

type restores struct {
	t       *testing.T
	rng     *rand.Rand
	program string
	root    string
	backup  string
	want    string // what a whole target has
	takes   time.Duration
	n       int

	before, whole int // how it was after a kill
}

// command is the program with arguments.
func (r *restores) command(args ...string) *exec.Cmd {
	base, err := home()
	if err != nil {
		r.t.Fatal(err)
	}
	c := exec.Command(r.program, args...)
	c.Env = append(os.Environ(), "EMBEDD_HOME="+base)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

// prepare makes a backup.
func (r *restores) prepare() {
	models, err := tinyModels()
	if err != nil {
		r.t.Fatal(err)
	}
	data, papers := filepath.Join(r.root, "data"), filepath.Join(r.root, "papers.jsonl")
	var lines strings.Builder
	for i := range 300 {
		fmt.Fprintf(&lines, `{"id":"p%d","title":"paper %d about %c"}`+"\n", i, i, 'a'+i%26)
	}
	if err := os.WriteFile(papers, []byte(lines.String()), 0o644); err != nil {
		r.t.Fatal(err)
	}
	for _, args := range [][]string{{"index", papers}, {"backup", "monday"}} {
		c := r.command(append(args, "--data", data, "--model", modelName, "--models", models)...)
		if out, err := c.CombinedOutput(); err != nil {
			r.t.Fatalf("embedd %s: %v\n%s", args[0], err, out)
		}
	}
	r.backup = filepath.Join(data, "backups", "monday")
	r.want = r.content(r.backup)
}

// content is what is in a folder, but for what only a backup has; "" where it is missing.
func (r *restores) content(dir string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if name := filepath.Base(path); err != nil || d.IsDir() || name == "backup.json" || name == "SHA256SUMS" {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %q\n", strings.TrimPrefix(path, dir), data)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return b.String()
}

// kill begins a restore, kills it at a failpoint or somewhere, looks at the target, and restores again.
func (r *restores) kill(force bool, p failpoint) {
	r.n++
	parent := filepath.Join(r.root, fmt.Sprint(r.n))
	target := filepath.Join(parent, "data")
	args := []string{"restore", r.backup, "--data", target}
	if force {
		args = append(args, "--force")
		if err := os.MkdirAll(target, 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(target, "mine"), []byte("mine"), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	before := r.content(target)
	s := &server{cmd: r.command(args...), done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	pass := 0
	if p.name != "" {
		ports, err := freePorts(1)
		if err != nil {
			r.t.Fatal(err)
		}
		s.control = ports[0]
		terms := standStill
		if pass = r.rng.IntN(p.skip + 1); pass > 0 {
			terms = fmt.Sprintf("%d*off->%s", pass, terms)
		}
		s.cmd.Env = append(s.cmd.Env, "GOFAIL_HTTP="+s.control, "GOFAIL_FAILPOINTS="+p.name+"="+terms)
	}
	if err := s.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	if p.name == "" {
		time.Sleep(time.Duration(r.rng.Int64N(int64(r.takes + r.takes/4))))
	} else if !s.reached(p, pass, 20*time.Second, func() bool { return false }) {
		r.t.Errorf("%s was not come by\n%s", p.name, &s.output)
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-s.done

	what := fmt.Sprintf("restore, force %v, killed at %q", force, p.name)
	switch got := r.content(target); got {
	case before:
		r.before++
	case r.want:
		r.whole++
	default:
		r.t.Errorf("%s: the target is neither as before nor whole", what)
	}
	kept, err := filepath.Glob(filepath.Join(parent, "data.before-*"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, dir := range kept {
		if got := r.content(dir); got != before && got != r.want {
			r.t.Errorf("%s: %s is neither what was there nor the copy", what, dir)
		}
	}
	if out, err := r.command("restore", r.backup, "--data", target, "--force").CombinedOutput(); err != nil {
		r.t.Errorf("%s: the next restore: %v\n%s", what, err, out)
	}
	if got := r.content(target); got != r.want {
		r.t.Errorf("%s: after the next restore the target is not whole", what)
	}
	if left, err := filepath.Glob(filepath.Join(parent, "*.restoring-*")); err != nil || len(left) > 0 {
		r.t.Errorf("%s: left behind: %v, %v", what, left, err)
	}
	if force {
		mine, err := filepath.Glob(filepath.Join(parent, "*", "mine"))
		if err != nil || len(mine) != 1 {
			r.t.Errorf("%s: what was there is in %v, %v", what, mine, err)
		}
	}
	os.RemoveAll(parent)
}
