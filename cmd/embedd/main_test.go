package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"embedd/internal/ingest"
	"embedd/internal/native"
	"embedd/internal/testkit"
	"embedd/internal/testmodels"
	embeddv1 "embedd/proto/embedd/v1"
)

// programs are what the test's executable is when it runs under another name.
var programs = map[string]func(){"embedd": main, "embedd-stuck": stuck}

func TestMain(m *testing.M) {
	if err := os.Setenv("EMBEDD_HTTP", anyPort); err != nil { // servers beside each other
		panic(err)
	}
	testscript.Main(m, programs)
}

// anyPort is where the servers of tests answer HTTP, that are not told otherwise.
const anyPort = "127.0.0.1:0"

// TestScripts runs testdata/script/*.txtar: each is a conversation with the real program and the real model.
func TestScripts(t *testing.T) {
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	if home, err = filepath.Abs(home); err != nil {
		t.Fatal(err)
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("EMBEDD_HOME", home)
			e.Setenv("REPOSITORY", repository)
			e.Setenv("EMBEDD_HTTP", anyPort)
			// Set-up looks for Go modules where they are; a script's HOME is its own.
			for _, name := range []string{"GOMODCACHE", "GOPATH", "GOCACHE", "GOPROXY"} {
				value, err := exec.Command("go", "env", name).Output()
				if err != nil {
					return err
				}
				e.Setenv(name, strings.TrimSpace(string(value)))
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"freeport":    freeport,
			"await":       await,
			"awaithealth": awaitHealth,
			"keyfrom":     keyFrom,
			"serverfrom":  serverFrom,
			"sleep":       sleepSeconds,
			"flipbyte":    flipbyte,
			"get":         get,
			"awaittext":   awaittext,
			"cross":       cross,
			"shown":       shown,
			"tools":       tools,
		},
	})
}

// freeport NAME sets NAME to a loopback address that nobody listens on.
func freeport(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// await ADDRESS PAPERS waits until a server there is SERVING and has that many papers.
func await(ts *testscript.TestScript, _ bool, args []string) {
	papers, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	conn, err := dial(args[0])
	ts.Check(err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		health, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			continue
		}
		info, err := embeddv1.NewInfoServiceClient(conn).GetInfo(ctx, &embeddv1.GetInfoRequest{})
		ts.Check(err)
		if info.GetCounts().GetPapers() >= papers {
			return
		}
	}
	ts.Fatalf("no server with %d papers at %s", papers, args[0])
}

// awaithealth ADDRESS waits until a server there is SERVING; no key is needed for that.
func awaitHealth(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := dial(args[0])
	ts.Check(err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		health, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err == nil && health.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
			return
		}
	}
	ts.Fatalf("no server is SERVING at %s", args[0])
}

// keyfrom FILE sets EMBEDD_KEY to the secret in a file.
func keyFrom(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("EMBEDD_KEY", strings.TrimSpace(ts.ReadFile(args[0])))
}

// serverfrom FILE sets EMBEDD_SERVER to the address in a file.
func serverFrom(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("EMBEDD_SERVER", strings.TrimSpace(ts.ReadFile(args[0])))
}

// sleep SECONDS waits.
func sleepSeconds(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseFloat(args[0], 64)
	ts.Check(err)
	time.Sleep(time.Duration(n * float64(time.Second)))
}

// cross DIR writes the Hugging Face folder of a cross-encoder.
func cross(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(testmodels.CrossEncoder(native.Models(ts.Getenv("EMBEDD_HOME")), ts.MkAbs(args[0])))
}

// awaittext FILE TEXT waits until a file that another process writes has the text.
func awaittext(ts *testscript.TestScript, _ bool, args []string) {
	var last []byte
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if last, err = os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(last), args[1]) {
			return
		}
	}
	ts.Fatalf("%s has no %q: %s", args[0], args[1], last)
}

// get URL FILE writes what an HTTP server answers to a file.
func get(ts *testscript.TestScript, _ bool, args []string) {
	res, err := http.Get(args[0])
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	if res.StatusCode != http.StatusOK {
		ts.Fatalf("%s: %s: %s", args[0], res.Status, body)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), body, 0o644))
}

// shown FILE [SECTION] OLD=NEW... runs each command of the ```sh blocks of a document, or of one of its sections, in order, with NEW in the
// place of OLD; all must succeed. bin/embedd is the program. A command that ends in & runs until the end, and must end with status 0 at
// SIGTERM.
func shown(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	section, changes := "", args[1:]
	if len(changes) > 0 && !strings.Contains(changes[0], "=") {
		section, changes = changes[0], changes[1:]
	}
	ran, inside, here := 0, false, section == ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok && !inside {
			here = section == "" || section == name
		}
		if here && strings.HasPrefix(line, "```") {
			inside = line == "```sh"
			continue
		}
		if !inside || line == "" {
			continue
		}
		for _, change := range changes {
			before, after, _ := strings.Cut(change, "=")
			line = strings.ReplaceAll(line, before, after)
		}
		ts.Logf("+ %s", line)
		ran++
		if command, ok := strings.CutSuffix(line, " &"); ok {
			defer inBackground(ts, command)()
		} else {
			ts.Check(ts.Exec("sh", "-c", line))
		}
	}
	if ran == 0 {
		ts.Fatalf("%s shows no command", args[0])
	}
}

// inBackground starts a command; stop ends it.
func inBackground(ts *testscript.TestScript, command string) (stop func()) {
	cmd := exec.Command("sh", "-c", "exec "+command)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(os.Environ(), "EMBEDD_HOME="+ts.Getenv("EMBEDD_HOME"))
	var out testkit.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ts.Check(cmd.Start())
	return func() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
		err := cmd.Wait()
		ts.Logf("%s", out.String())
		ts.Check(err)
	}
}

// tools NAME... fills the folder tools with links to these programs, those that there are, to be a PATH without others.
func tools(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
			if path := filepath.Join(dir, name); isProgram(path) {
				ts.Check(os.Symlink(path, ts.MkAbs(filepath.Join("tools", name))))
				break
			}
		}
	}
}

func isProgram(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && !fi.IsDir() && fi.Mode()&0o111 != 0
}

// flipbyte FILE changes one bit in the middle of a file.
func flipbyte(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	if len(data) == 0 {
		ts.Fatalf("%s is empty", path)
	}
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(path, data, 0o644))
}

// An interrupt between two calls is not a success, even if nothing is left to send.
func TestInterruptedIndexIsNotASuccess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "papers.jsonl")
	if err := os.WriteFile(path, []byte(`{"id":"a","title":"A paper"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	e := &env{ctx: ctx, stdout: io.Discard, stderr: io.Discard}
	if _, err := indexFiles(e, nil, []string{path}, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// The progress of a log says how far, how fast and how long still.
func TestProgressLine(t *testing.T) {
	begin := time.Now()
	for _, c := range []struct {
		from, done, total int
		about             bool
		after             time.Duration
		want              string
	}{
		{0, 0, 100, false, 0, "indexing: 0 of 100 papers"},
		{0, 50, 200, false, 10 * time.Second, "indexing: 50 of 200 papers, 5/s, 30s left"},
		{0, 50, 200, true, 10 * time.Second, "indexing: 50 of about 200 papers, 5/s, 30s left"},
		{0, 200, 200, false, 40 * time.Second, "indexing: 200 of 200 papers, 5/s"},
		{0, 10, 0, true, time.Second, "indexing: 10 papers, 10/s"},
		{100, 150, 200, false, 10 * time.Second, "indexing: 150 of 200 papers, 5/s, 10s left"},
		{100, 50, 200, false, 10 * time.Second, "indexing: 50 of 200 papers"},
	} {
		p := &progress{what: "indexing", unit: "papers", begin: begin, from: c.from, done: c.done, total: c.total, about: c.about}
		if got := p.line(begin.Add(c.after)); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// The papers of files that are small, and stay where they are, are counted; of others their number is estimated.
func TestCountPapers(t *testing.T) {
	dir := t.TempDir()
	small, large := filepath.Join(dir, "small.jsonl"), filepath.Join(dir, "large.jsonl")
	if err := os.WriteFile(small, []byte("{\"id\":\"a\"}\n\nnot a paper\n{\"id\":\"b\"}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, countBytes+1); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe.jsonl")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil { // opening it would wait
		t.Fatal(err)
	}
	for _, c := range []struct {
		paths []string
		want  int
		exact bool
	}{
		{[]string{small}, 3, true}, {[]string{small, small}, 6, true}, {[]string{small, large}, 0, false}, {[]string{pipe}, 0, false},
		{[]string{"-"}, 0, false}, {[]string{small, filepath.Join(dir, "none.jsonl")}, 0, false},
	} {
		if n, exact := countPapers(c.paths, ingest.Options{}); n != c.want || exact != c.exact {
			t.Errorf("%v: %d, %v; want %d, %v", c.paths, n, exact, c.want, c.exact)
		}
	}
}

func TestPrintableTakesAwayWhatSteersATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 量": "plain é 量", "a\x1b[31mred": "a [31mred", "two\nlines\ttab": "two lines tab", "rtl\u202eoverride": "rtl override",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.in, got, c.want)
		}
	}
}
