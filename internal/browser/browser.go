// Package browser is for tests in a real browser: it runs scripts of Node.js that drive Debian's Chromium by playwright-core. A script has what
// it needs from harness.mjs beside this file, which it imports by its relative path. `make browser` brings what is missing.
package browser

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Limit is how long a script may take.
const Limit = 3 * time.Minute

// Run runs a script, a .mjs file, with these variables in its environment beside those of the test. What it prints is in the test's log; a line that begins
// with FAIL, and an exit status other than 0, fail the test. Without a browser the test is skipped, or fails where CI is true.
//
// Screenshots go into the folder $EMBEDD_SCREENSHOTS or, without it, into one that goes with the test.
func Run(t *testing.T, script string, env map[string]string) {
	t.Helper()
	chromium := Need(t)
	// Looked at here, so that a result that go test keeps is of these.
	os.Getenv("EMBEDD_ONLY")
	files, err := filepath.Glob(filepath.Join(filepath.Dir(script), "*.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, script, filepath.Join(root(), "internal", "browser", "harness.mjs")) {
		if _, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	pictures := os.Getenv("EMBEDD_SCREENSHOTS")
	if pictures == "" {
		pictures = t.TempDir()
	}
	if pictures, err = filepath.Abs(pictures); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Env = append(os.Environ(), "EMBEDD_CHROMIUM="+chromium, "EMBEDD_SCREENSHOTS="+pictures)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // takes the browser with it
	cmd.WaitDelay = 10 * time.Second
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "FAIL") {
				t.Error(lines.Text())
			} else {
				t.Log(lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, out) // after a line that is too long
	}()
	err = cmd.Run()
	_ = in.Close() // never fails
	<-logged
	if ctx.Err() != nil {
		t.Fatalf("%s: not done after %v", script, Limit)
	}
	if err != nil && !t.Failed() {
		t.Fatalf("%s: %v", script, err)
	}
}

// Need gives the path of Chromium; where that, or something else that Run needs, is missing, the test is skipped, or fails where CI is true. It is for tests
// that have much to do before they call Run.
func Need(t *testing.T) (chromium string) {
	t.Helper()
	chromium, err := find()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return chromium
}

// find gives the path of Chromium. The error says what is missing, and what brings it.
func find() (chromium string, err error) {
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	if name := os.Getenv("EMBEDD_CHROMIUM"); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if chromium, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("no browser, %v: `make browser` installs Debian's chromium, or set EMBEDD_CHROMIUM", names)
	}
	if _, err := exec.LookPath("node"); err != nil {
		return "", errors.New("no Node.js, which tests in a browser need: install it, then `make browser`")
	}
	for _, module := range []string{"playwright-core", "axe-core"} {
		if _, err := os.Stat(filepath.Join(root(), "tools", "node_modules", module)); err != nil {
			return "", fmt.Errorf("%w: `make browser` brings it", err)
		}
	}
	return chromium, nil
}

// root is the repository's folder, of which this file tells where it is.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
