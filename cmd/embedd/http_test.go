package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"embedd/internal/testkit"
)

// servedURL is what a server says of where it answers HTTP.
var servedURL = regexp.MustCompile(`(?m)^Serving pages and HTTP on (\S+)/$`)

// url is where a server answers HTTP, once it does.
func (p *process) url() string {
	p.t.Helper()
	p.awaitServing()
	return servedURL.FindStringSubmatch(p.stdout.String())[1]
}

// httpBlock is a call of docs/http.md and its answer.
var httpBlock = regexp.MustCompile("(?s)```console\n\\$ (curl .*?)\n(.*?)```\n")

// Every call of docs/http.md gives what stands there, but for times, versions and the last digits.
func TestHTTPDocument(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "http.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") == "" {
		t.Skip("curl is not there")
	}
	p := serveProcess(t, freeAddress(t), "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"), "--samples", filepath.Join("..", "..", "samples", "papers.jsonl"))
	host := strings.TrimPrefix(p.url(), "http://")
	blocks := 0
	answered := httpBlock.ReplaceAllFunc(text, func(block []byte) []byte {
		blocks++
		parts := httpBlock.FindSubmatch(block)
		command, want := string(parts[1]), string(parts[2])
		out, err := exec.Command("bash", "-c", strings.ReplaceAll(command, "localhost:8080", host)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		var got bytes.Buffer
		if err := json.Indent(&got, out, "", "  "); err != nil { // what the document shows is easier to read than what comes
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		got.WriteByte('\n')
		if !sameAnswer(t, got.String(), want) {
			if *updateAPI {
				return fmt.Appendf(nil, "```console\n$ %s\n%s```\n", command, got.String())
			}
			t.Errorf("%s\ngives\n%s\ndocs/http.md says\n%s", command, got.String(), want)
		}
		return block
	})
	if n := bytes.Count(text, []byte("\n$ curl")); n != blocks || n < 4 {
		t.Errorf("%d calls are made of the %d that the document shows", blocks, n)
	}
	if *updateAPI {
		if err := os.WriteFile(path, answered, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The status page's figures are those of the calls that were made.
func TestLive(t *testing.T) {
	p := serveProcess(t, freeAddress(t), "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"), "--samples", filepath.Join("..", "..", "samples", "papers.jsonl"))
	get := func(path string) []byte {
		res, err := http.Get(p.url() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v\n%s", path, res.Status, err, b)
		}
		return b
	}
	get("/status/live")
	for range 50 {
		get("/v1/papers/ARXIV:1908.10084:related?k=3")
	}
	var s liveStatus
	testkit.Eventually(t, "the calls are counted", func() bool {
		s = liveStatus{}
		if err := json.Unmarshal(get("/status/live"), &s); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.Calls, func(c liveCalls) bool { return c.Method == "Related" })
		return i >= 0 && s.Calls[i].PerSecond > 1 && s.Calls[i].P50 != nil && *s.Calls[i].P50 < 1000 && s.Calls[i].Errors == 0
	})
	if s.Memory < 1<<20 || s.Uptime <= 0 {
		t.Errorf("%+v", s)
	}
}

// TestSchemathesis sends each route what /openapi.json allows, and what it does not: no answer may be an error of the server's, or of another form than is
// said there.
func TestSchemathesis(t *testing.T) {
	program := os.Getenv("EMBEDD_TEST_SCHEMATHESIS")
	if program == "" {
		t.Skip("EMBEDD_TEST_SCHEMATHESIS is not set; see make test-http")
	}
	p := serveProcess(t, freeAddress(t), "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"), "--samples", filepath.Join("..", "..", "samples", "papers.jsonl"))
	cmd := exec.Command(program, "run", p.url()+"/openapi.json", "--phases", "fuzzing", "-n", cmp.Or(os.Getenv("EMBEDD_TEST_CASES"), "40"),
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance",
		"--warnings", "off", "--continue-on-failure")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
