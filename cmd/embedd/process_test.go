package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// process is the real program as a process of its own.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr testkit.Buffer
	ended          chan struct{}
}

// begin starts a command, which is killed at the end of the test if it runs still.
func begin(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // its status is asked for
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%v\nstdout:\n%sstderr:\n%s", cmd.Args, p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

// serveProcess starts a server that listens where it is told, and waits until it serves.
func serveProcess(t *testing.T, listen, admin string, args ...string) *process {
	t.Helper()
	p := beginServe(t, listen, admin, args...)
	p.awaitServing()
	return p
}

func beginServe(t *testing.T, listen, admin string, args ...string) *process {
	t.Helper()
	cmd, err := thisProgram(append([]string{"serve", "--listen", listen, "--admin", admin}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return begin(t, cmd)
}

var servingLine = regexp.MustCompile(`(?m)^Serving gRPC on (\S+) until`)

func (p *process) awaitServing() {
	p.t.Helper()
	p.await("the server to serve", func() bool { return servingLine.MatchString(p.stdout.String()) })
}

// await waits for a condition, while the process runs.
func (p *process) await(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
		select {
		case <-p.ended:
			p.t.Fatalf("the process has ended; waited for %s", what)
		default:
		}
	}
	p.t.Fatalf("waited a minute for %s", what)
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait gives the exit status.
func (p *process) wait(most time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(most):
		p.t.Fatalf("the process has not ended after %v", most)
	}
	return p.cmd.ProcessState.ExitCode()
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// httpGet gives an answer's status and body; status 0 where there is none.
func httpGet(url string) (status int, body string) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, strings.TrimSpace(string(text))
}
