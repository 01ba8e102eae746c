package main

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// servedURL is what a server says of where it answers HTTP.
var servedURL = regexp.MustCompile(`(?m)^Serving pages and HTTP on (\S+)/$`)

// url is where a server answers HTTP, once it does.
func (p *process) url() string {
	p.t.Helper()
	p.awaitServing()
	return servedURL.FindStringSubmatch(p.stdout.String())[1]
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
