package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"embedd/internal/jobs"
	"embedd/internal/similar"
)

// jobsChildCmd is what compares papers for a job, in a process of its own of the lowest priority: the kernel gives it what the server's calls leave, and
// what it does to memory and its collector does not stop them. It reads a computation from stdin, writes a computed a line to stdout, and ends
// when stdin does.
type jobsChildCmd struct{}

// computation is a task over a folder.
type computation struct {
	Dir  string       `json:"dir"`
	Task similar.Task `json:"task"`
}

// computed is how far it is, or how it has ended.
type computed struct {
	Stage string `json:"stage,omitempty"`
	Done  int    `json:"done,omitempty"`
	Total int    `json:"total,omitempty"`
	Ended bool   `json:"ended,omitempty"`
	// Error is why it failed, Field what of the task is at fault.
	Error string `json:"error,omitempty"`
	Field string `json:"field,omitempty"`
}

// computedEvery is how often a child says how far it is.
const computedEvery = 100 * time.Millisecond

func (jobsChildCmd) Run(e *env) error {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var c computation
	if err := json.Unmarshal(line, &c); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // ends with the parent
		os.Exit(1)                     // at once, whatever is being computed: the next child writes the same files
	}()
	out := json.NewEncoder(e.stdout)
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return err
	}
	var said time.Time
	var stage string
	err = similar.Run(e.ctx, root, c.Task, func(s string, done, total int) {
		if now := time.Now(); s != stage || now.Sub(said) >= computedEvery {
			stage, said = s, now
			_ = out.Encode(computed{Stage: s, Done: done, Total: total}) // a parent that has gone ends stdin too
		}
	})
	err = errors.Join(err, root.Close())
	last := computed{Ended: true}
	if err != nil {
		last.Error = err.Error()
		var field *similar.FieldError
		if errors.As(err, &field) {
			last.Field, last.Error = field.Field, field.Message
		}
	}
	return out.Encode(last)
}

// lowestPriority is the nice value of a process that runs when no other wants to.
const lowestPriority = 19

// compute does a task in a child. It implements jobs.Options.Compute.
func compute(ctx context.Context, dir string, t similar.Task, progress similar.Progress) error {
	input, err := json.Marshal(computation{dir, t})
	if err != nil {
		return err
	}
	cmd, err := thisProgram("job", "compute")
	if err != nil {
		return err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr := &head{most: childErrors}
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which then ends the child
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a process for the job: %w", err)
	}
	// All threads that it has now, and those that come of them. Where that is not allowed the job runs beside the calls.
	_ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, lowestPriority)
	defer context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })() // what is done is whole, or begun again
	if _, err := stdin.Write(append(input, '\n')); err != nil {
		return errors.Join(err, endOf(ctx, cmd, stderr))
	}
	var last computed
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var c computed
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			break // it is no answer; its end says why
		}
		if last = c; !c.Ended {
			progress(c.Stage, c.Done, c.Total)
		}
	}
	_ = stdin.Close() // what it waits for
	if err := endOf(ctx, cmd, stderr); err != nil {
		return err
	}
	switch {
	case !last.Ended:
		return errors.New("the process for the job ended without saying what has come of it")
	case last.Field != "":
		return &similar.FieldError{Field: last.Field, Message: last.Error}
	case last.Error != "":
		return errors.New(last.Error)
	}
	return nil
}

// endOf waits for the end of a child.
func endOf(ctx context.Context, cmd *exec.Cmd, stderr *head) error {
	err := cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("the process for the job: %w", &childError{What: ending(err), Stderr: printableLines(stderr.kept)})
	}
	return nil
}

// openJobs opens the jobs of a data directory.
func openJobs(en *engine, dir string, o jobs.Options) (*jobs.Runner, error) {
	o.Set, o.Compute = en.set, compute
	return jobs.Open(dir, o)
}
