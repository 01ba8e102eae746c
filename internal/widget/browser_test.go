package widget

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"embedd/internal/browser"
	"embedd/internal/native"
	"embedd/internal/testkit"
)

// TestInBrowser shows the widget in pages of other origins than the servers', which are the real program. testdata/widget.mjs says what is tried.
func TestInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and starts a browser")
	}
	browser.Need(t)
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	if home, err = filepath.Abs(home); err != nil {
		t.Fatal(err)
	}
	t.Setenv("EMBEDD_HOME", home)
	if _, err := os.ReadFile("../../docs/widget.md"); err != nil { // whose snippets are shown
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "embedd")
	if out, err := exec.Command("go", "build", "-o", program, "embedd/cmd/embedd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	// What the scripts of these two origins may read: the first of both servers, the second of none.
	pages := freePort(t)
	origin := "http://a.test:" + pages

	// A server without keys, with enough papers to tell bands, and a collection of papers that mean harm.
	open := start(t, program, dir, "open", "--samples", "../../samples/papers.jsonl", "--cors-origin", origin)

	// A server with keys and few papers.
	few := filepath.Join(dir, "few.jsonl")
	all, err := os.ReadFile("../../samples/papers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(few, []byte(strings.Join(strings.SplitAfter(string(all), "\n")[:30], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(dir, "keys.json")
	key := run(t, program, "keys", "create", "--keys", keys, "--name", "page", "--origin", origin, "--expires", "1h")
	run(t, program, "keys", "create", "--keys", keys, "--name", "other", "--origin", "http://c.test:"+pages, "--expires", "1h")
	closed := start(t, program, dir, "closed", "--samples", few, "--keys", keys)

	browser.Run(t, "testdata/widget.mjs", map[string]string{
		"PAGES": pages, "OPEN": open, "CLOSED": closed, "KEY": key, "NOBODY": "http://127.0.0.1:" + freePort(t),
		"ELEMENT": element.path, "INTEGRITY": element.integrity,
	})
}

// start runs a server until the test ends, and gives its URL.
func start(t *testing.T, program, dir, name string, args ...string) string {
	t.Helper()
	address := "127.0.0.1:" + freePort(t)
	var log testkit.Buffer
	cmd := exec.Command(program, append([]string{"serve", "--data", filepath.Join(dir, name), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--http", address}, args...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // was killed
		if _, since, _ := strings.Cut(log.String(), "Serving gRPC on"); t.Failed() {
			t.Logf("%v\n%s", cmd.Args, since)
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if strings.Contains(log.String(), "Serving gRPC on") {
			return "http://" + address
		}
		if time.Now().After(end) {
			t.Fatalf("%v does not serve", cmd.Args)
		}
	}
}

// run gives what a command prints.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
