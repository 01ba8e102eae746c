package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"embedd/internal/access"
	"embedd/internal/native"
	"embedd/internal/testmodels"
)

// clientsServer is a server with the sample papers, a cross-encoder and keys, for clients that others wrote.
type clientsServer struct {
	python, url, key, reranker string
}

// serveClients starts it. EMBEDD_TEST_PYTHON names a Python with the clients: make test-clients sets one up.
func serveClients(t *testing.T) clientsServer {
	t.Helper()
	s := clientsServer{python: os.Getenv("EMBEDD_TEST_PYTHON"), reranker: "made-up"}
	if s.python == "" {
		t.Skip("needs a Python with the clients of docs/compat.md in EMBEDD_TEST_PYTHON; make test-clients sets one up")
	}
	dir := t.TempDir()
	root, folder, keys := filepath.Join(dir, "models"), filepath.Join(dir, "cross-encoder"), filepath.Join(dir, "keys.json")
	homeFolder, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	home := native.Models(homeFolder)
	if err := os.CopyFS(filepath.Join(root, "all-MiniLM-L6-v2"), os.DirFS(filepath.Join(home, "all-MiniLM-L6-v2"))); err != nil {
		t.Fatal(err)
	}
	if err := testmodels.CrossEncoder(home, folder); err != nil {
		t.Fatal(err)
	}
	must(t, "models", "import", folder, "--id", s.reranker, "--models", root, "--precision", "fp32")
	_, secret, err := access.Create(keys, access.Key{Name: "clients", Role: access.Read}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	web := freeAddress(t)
	s.url, s.key = "http://"+web, secret
	serveProcess(t, freeAddress(t), "127.0.0.1:0", "--http", web, "--models", root, "--reranker", s.reranker, "--keys", keys,
		"--data", filepath.Join(dir, "data"), "--samples", filepath.Join("..", "..", "samples", "papers.jsonl"))
	return s
}

// run runs a program of Python and gives what it prints.
func (s clientsServer) run(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.python, program)
	cmd.Env = append(os.Environ(), "EMBEDD_URL="+s.url, "EMBEDD_KEY="+s.key, "EMBEDD_MODEL=all-MiniLM-L6-v2", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+filepath.Join("testdata", "clients"),
		"HAYSTACK_TELEMETRY_ENABLED=False", "HF_HUB_DISABLE_TELEMETRY=1", "LANGSMITH_TRACING=false", "ANONYMIZED_TELEMETRY=False")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out)
	}
	return string(out)
}

// pythonBlock is a program that docs/compat.md shows.
var pythonBlock = regexp.MustCompile("(?s)\n```python\n(.*?)```\n")

// Clients that others wrote get from each dialect what they expect, errors included, and the programs of docs/compat.md do what it says, as they stand
// there, but for the address, the key and the name of the cross-encoder.
func TestClientsOfOthers(t *testing.T) {
	s := serveClients(t)
	if status, body := httpGet(s.url + "/health"); status != http.StatusOK {
		t.Fatalf("health: %d %s", status, body)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "compat.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := pythonBlock.FindAllSubmatch(text, -1)
	programs, err := filepath.Glob(filepath.Join("testdata", "clients", "check_*.py"))
	if err != nil || len(blocks) != len(programs) {
		t.Errorf("docs/compat.md shows %d programs, and %d clients are checked: %v, %v", len(blocks), len(programs), programs, err)
	}
	here := strings.NewReplacer("http://localhost:8080", s.url, "embedd_KEY", s.key, "my-cross-encoder", s.reranker)
	for _, block := range blocks {
		first, _, _ := strings.Cut(string(block[1]), "\n")
		t.Run(first, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "shown.py")
			if err := os.WriteFile(program, []byte(here.Replace(string(block[1]))), 0o600); err != nil {
				t.Fatal(err)
			}
			if out := s.run(t, program); strings.TrimSpace(out) == "" {
				t.Errorf("prints nothing:\n%s", block[1])
			}
		})
	}
	for _, program := range programs {
		t.Run(filepath.Base(program), func(t *testing.T) { t.Log(s.run(t, program)) })
	}
}
