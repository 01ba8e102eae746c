package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"embedd/internal/testmodels"
	"embedd/models"
)

// command runs the program's main in this process and gives its exit status and what it wrote.
func command(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command that is to end well.
func must(t testing.TB, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := command(args...)
	if code != 0 {
		t.Fatalf("embedd %s: status %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// tinyModel imports a BERT of two layers with random weights into the folder root, under its kind: fp32, int8 or score, a
// cross-encoder in float32. It reads 40 tokens, which are letters.
func tinyModel(t testing.TB, root, kind string) *models.Model {
	t.Helper()
	precision := kind
	if kind == "score" {
		precision = "fp32"
	}
	folder := t.TempDir()
	if err := testmodels.Tiny(folder, kind == "score"); err != nil {
		t.Fatal(err)
	}
	must(t, "models", "import", folder, "--id", kind, "--models", root, "--precision", precision, "--texts", filepath.Join(folder, "papers.jsonl"))
	m, err := models.Open(root, kind)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
