package pages

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"embedd/internal/browser"
)

// What the server and the scripts make of an address must be the same; pages.mjs holds the scripts against this table.
func TestSame(t *testing.T) {
	b, err := os.ReadFile("testdata/same.json")
	if err != nil {
		t.Fatal(err)
	}
	var same struct{ Filters, Paths [][2]string }
	if err := json.Unmarshal(b, &same); err != nil {
		t.Fatal(err)
	}
	for _, c := range same.Filters {
		q, err := url.ParseQuery(c[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := filter(q); got != c[1] {
			t.Errorf("filter of %q: %q, want %q", c[0], got, c[1])
		}
	}
	for _, c := range same.Paths {
		if got := paperPath(c[0], ""); got != c[1] {
			t.Errorf("path of %q: %q, want %q", c[0], got, c[1])
		}
	}
	if got := paperPath("a", "b c"); got != "/paper/a?in=b+c" {
		t.Errorf("path in a collection: %q", got)
	}
}

func TestStatic(t *testing.T) {
	mux := http.NewServeMux()
	Register(mux, nil, nil)
	get := func(path, tag string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if tag != "" {
			r.Header.Set("If-None-Match", tag)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Result()
	}
	for name := range assets {
		res := get("/static/"+version+"/"+name, "")
		tag := res.Header.Get("ETag")
		if res.StatusCode != http.StatusOK || tag == "" || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") || res.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", name, res.StatusCode, res.Header)
		}
		if res := get("/static/"+name, tag); res.StatusCode != http.StatusNotModified || strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s, as it is: %d %v", name, res.StatusCode, res.Header)
		}
	}
	for _, path := range []string{"/static/000000000000/app.js", "/static/" + version + "/none.js", "/static/%2e%2e/page.html", "/static/" + version + "/..%2fpage.html"} {
		if res := get(path, ""); res.StatusCode == http.StatusOK {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// The scripts load slowly over a slow line: they are to stay small.
func TestSize(t *testing.T) {
	var all strings.Builder
	for name, a := range assets {
		if filepath.Ext(name) == ".js" {
			all.WriteString(a.body)
		}
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, all.String())
	_ = z.Close() // neither fails, into memory
	if n := packed.Len(); n > 40<<10 {
		t.Errorf("the scripts have %d bytes, packed", n)
	}
}

// TestPages uses the pages of real servers in a real browser.
func TestPages(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers and a browser")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "embedd")
	run(t, exec.Command("go", "build", "-o", program, "./cmd/embedd"))
	keys := filepath.Join(dir, "keys.json")
	key := strings.TrimSpace(run(t, exec.Command(program, "keys", "create", "--keys", keys, "--role", "write", "--name", "test")))
	few := filepath.Join(dir, "few.jsonl")
	all, err := os.ReadFile("../../samples/papers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(few, []byte(strings.Join(strings.SplitAfterN(string(all), "\n", 21)[:20], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	open := start(t, program, "--data", filepath.Join(dir, "open"), "--samples", "samples/papers.jsonl")
	keyed := start(t, program, "--data", filepath.Join(dir, "keyed"), "--samples", few, "--keys", keys)
	browser.Run(t, "testdata/pages.mjs", map[string]string{"SERVER": open(), "KEYED": keyed(), "KEY": key})
}

// start starts a server, which is stopped with the test, and gives what waits for it and gives its address.
func start(t *testing.T, program string, flags ...string) (address func() string) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"serve", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--drain", "0"}, flags...)...)
	cmd.Dir = "../.."
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // how it ends is the matter of other tests
		_ = in.Close()
	})
	found := make(chan string, 1)
	var log strings.Builder
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if m := serving.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
		close(found)
	}()
	return func() string {
		t.Helper()
		select {
		case at, ok := <-found:
			if !ok {
				t.Fatalf("the server has ended:\n%s", log.String())
			}
			return at
		case <-time.After(time.Minute):
			t.Fatal("the server has not started within a minute")
			return ""
		}
	}
}

var serving = regexp.MustCompile(`HTTP on (http://[^/\s]+)`)

func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, exit.Stderr)
		}
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return string(out)
}
