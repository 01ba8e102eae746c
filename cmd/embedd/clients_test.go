package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The client of docs/clients.md, made as shown there, stores a paper and finds papers. EMBEDD_TEST_PYTHON names a Python with grpcio-tools:
// make test-clients sets one up.
func TestPythonClient(t *testing.T) {
	python := os.Getenv("EMBEDD_TEST_PYTHON")
	if python == "" {
		t.Skip("needs a Python with grpcio-tools in EMBEDD_TEST_PYTHON; make test-clients sets one up")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)\n```python\n(.*?)```\n").FindSubmatch(text)
	protoc := regexp.MustCompile(`\nvenv/bin/python (-m grpc_tools\.protoc .*)\n`).FindSubmatch(text)
	if program == nil || protoc == nil {
		t.Fatal("docs/clients.md shows no client, or not how its code is made")
	}
	dir, addr := t.TempDir(), freeAddress(t)
	contract, err := filepath.Abs(filepath.Join("..", "..", "proto"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(contract, filepath.Join(dir, "proto")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "client"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "client", "client.py"), []byte(strings.ReplaceAll(string(program[1]), "localhost:50051", addr)), 0o644); err != nil {
		t.Fatal(err)
	}
	serveProcess(t, addr, "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--samples", filepath.Join("..", "..", "samples", "papers.jsonl"))
	run := func(command string) string {
		cmd := exec.Command("sh", "-c", shellWord(python)+" "+command)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	run(string(protoc[1]))
	out := run("client/client.py")
	if lines := strings.Count(out, "\n"); lines != 8 || !strings.Contains(out, "  ARXIV:") || strings.Contains(out, "Traceback") {
		t.Errorf("want 5 hits and 3 papers:\n%s", out)
	}
}
