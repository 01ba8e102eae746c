package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// The most that is kept of what a child writes.
const (
	childOutput = 1 << 20
	childErrors = 1 << 10
)

// childError says how a child came to its end without an answer.
type childError struct {
	// What happened: "it was killed by a signal: …", "it did not end within …".
	What string
	// Stderr is the first of what it wrote there.
	Stderr string
}

func (e *childError) Error() string {
	if e.Stderr == "" {
		return e.What
	}
	return e.What + "; its first words:\n" + e.Stderr
}

// runChild runs a command in a process group of its own and gives what it wrote to stdout. input is written to its stdin,
// which then stays open for as long as this process lives, so that the child can see it end. When the time limit or ctx ends,
// or the child writes too much, the group is killed. A child that does not end with status 0 is a *childError.
func runChild(ctx context.Context, limit time.Duration, cmd *exec.Cmd, input []byte) ([]byte, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	tooMuch := make(chan struct{})
	stdout, stderr := &head{most: childOutput, full: tooMuch}, &head{most: childErrors}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which then ends the child
	cmd.WaitDelay = time.Second                           // for a grandchild that holds on to stdout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	go func() { _, _ = stdin.Write(input) }() // an error is a child that ended, which Wait tells
	timer := time.NewTimer(limit)
	defer timer.Stop()
	what := ""
	select {
	case err = <-ended:
	case <-ctx.Done():
		what = "it was interrupted"
	case <-timer.C:
		what = fmt.Sprintf("it did not end within %v and was killed", limit)
	case <-tooMuch:
		what = fmt.Sprintf("it wrote more than %d bytes and was killed", childOutput)
	}
	if what != "" {
		// The group has no other members than the child's own. Where it has just ended there is nothing to kill.
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("kill child process %d: %w", cmd.Process.Pid, err)
		}
		<-ended
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if what == "" && err != nil {
		what = ending(err)
	}
	if what != "" {
		return nil, &childError{What: what, Stderr: printableLines(stderr.kept)}
	}
	return stdout.kept, nil
}

// printableLines is a text without what could steer a terminal, and without empty lines.
func printableLines(text []byte) string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(printable(line)); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// ending says how a process ended.
func ending(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return fmt.Sprintf("it was killed by a signal: %v", s.Signal())
	}
	return fmt.Sprintf("it ended with status %d", exit.ExitCode())
}

// head keeps the first of what is written to it, and closes full, where there is one, when that is more than most.
type head struct {
	most int
	full chan struct{}
	kept []byte
}

func (h *head) Write(b []byte) (int, error) {
	fits := min(len(b), h.most-len(h.kept))
	h.kept = append(h.kept, b[:fits]...)
	if fits < len(b) && h.full != nil {
		close(h.full)
		h.full = nil
	}
	return len(b), nil
}

// thisProgram is a command that runs this program anew.
func thisProgram(args ...string) (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Args[0] = "embedd" // by which a test's executable knows what it is to be
	return cmd, nil
}
