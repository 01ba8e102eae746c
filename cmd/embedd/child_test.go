package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"embedd/internal/native"
)

// However a child ends, its parent goes on and says what happened, within the time limit.
func TestRunChildTellsHowItEnded(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"cat >&2; exit 3", "it ended with status 3; its first words:\nasked"},
		{"printf '\\033[31mred\\n\\ntwo\\n' >&2; exit 3", "it ended with status 3; its first words:\n[31mred\ntwo"},
		{"kill -SEGV $$", "it was killed by a signal: segmentation fault"},
		{"kill -ABRT $$", "it was killed by a signal: aborted"},
		{"sleep 60", "it did not end within 500ms and was killed"},
		{"sleep 60 & sleep 60", "it did not end within 500ms and was killed"},
		{"trap '' TERM INT; while :; do :; done", "it did not end within 500ms and was killed"},
		{"yes", "it wrote more than 1048576 bytes and was killed"},
		{"yes >&2", "it did not end within 500ms and was killed; its first words:\n"},
	} {
		begin := time.Now()
		// sh reads one line, as stdin stays open.
		script := strings.Replace(c.script, "cat", "read x; echo $x", 1)
		_, err := runChild(t.Context(), 500*time.Millisecond, exec.Command("sh", "-c", script), []byte("asked\n"))
		var ended *childError
		if !errors.As(err, &ended) || !strings.HasPrefix(err.Error(), c.want) || len(err.Error()) > 2*childErrors {
			t.Errorf("%s: %.200v, want %s", c.script, err, c.want)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s took %v", c.script, took)
		}
	}
	out, err := runChild(t.Context(), time.Minute, exec.Command("sh", "-c", "read x; echo $x; echo noise >&2"), []byte("asked\n"))
	if err != nil || string(out) != "asked\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := runChild(t.Context(), time.Minute, exec.Command("/no/such/program"), nil); err == nil {
		t.Error("a program that is not there ran")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := runChild(ctx, time.Minute, exec.Command("sleep", "60"), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's error", err)
	}
}

// A child whose parent is gone ends too, even in the middle of a Run that never ends.
func TestModelsChildEndsWithItsParent(t *testing.T) {
	root := t.TempDir()
	m := tinyModel(t, root, "fp32")
	graph, err := m.ReadFile(m.Files.Model)
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceGraph(m, endless(graph)); err != nil {
		t.Fatal(err)
	}
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(trial{Models: root, Library: native.RuntimeLibrary(home), ID: m.ID})
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := thisProgram("models", "child")
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write(input); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the child is gone before its parent: %v", err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err == nil || err.Error() != "exit status 1" {
		t.Errorf("%v, want exit status 1", err)
	}
}
