package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"embedd/internal/similar"
)

// What computes for a job ends at once with the process that began it, whatever it is at: the next one writes the same files.
func TestChildEndsWithItsParent(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, similar.Mine), 0o700); err != nil {
		t.Fatal(err)
	}
	// It hangs where no context is looked at: it opens an index that nobody ever writes.
	if err := syscall.Mkfifo(filepath.Join(dir, similar.Mine, similar.IndexName), 0o600); err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(computation{dir, similar.Task{Kind: similar.KnnGraph}})
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := thisProgram("job", "compute")
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write(append(input, '\n')); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1<<10)); err != nil { // it has begun
		t.Fatal(err)
	}
	late := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
	if err := stdin.Close(); err != nil { // as the kernel does for a parent that is gone
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !late.Stop() {
		t.Error("it goes on without its parent")
	}
}
