package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // the client watches it
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"embedd/internal/admin"
	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

// stuck is a server whose stop does not come to its end.
func stuck() {
	ctx, stop := untilStopped(os.Stderr)
	defer stop()
	e := &env{ctx: ctx, stdout: os.Stdout, stderr: os.Stderr}
	f := &stopFlags{StopLimit: 1}
	s, err := server.New(server.Options{})
	if err != nil {
		panic(err)
	}
	defer f.atSignal(e, s, admin.NewState(), slog.New(slog.DiscardHandler))()
	fmt.Println("ready")
	select {}
}

// writers upsert papers without end, each paper again until it is acknowledged, as a client does that retries.
type writers struct {
	t    *testing.T
	stop context.CancelFunc
	wg   sync.WaitGroup

	acknowledged, refused atomic.Int64
	mu                    sync.Mutex
	ids                   []string // acknowledged
}

func startWriters(t *testing.T, cl *client, n int) *writers {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{t: t, stop: cancel}
	t.Cleanup(cancel)
	for i := range n {
		w.wg.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				w.write(ctx, cl, fmt.Sprintf("w%d-%d", i, j))
			}
		})
	}
	return w
}

func (w *writers) write(ctx context.Context, cl *client, id string) {
	for ctx.Err() == nil {
		_, err := cl.papers.UpsertPapers(context.WithoutCancel(ctx), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: id, Title: "Paper " + id}}})
		switch status.Code(err) {
		case codes.OK:
			w.acknowledged.Add(1)
			w.mu.Lock()
			w.ids = append(w.ids, id)
			w.mu.Unlock()
			return
		case codes.Unavailable:
			w.refused.Add(1)
			time.Sleep(20 * time.Millisecond)
		default:
			w.t.Errorf("a client saw %v, want UNAVAILABLE or success", err)
			return
		}
	}
}

// end stops the writers and gives what was acknowledged.
func (w *writers) end() []string {
	w.stop()
	w.wg.Wait()
	return w.ids
}

// A server that is told to stop says so at once, answers until its clients have heard it, loses nothing that it has
// acknowledged, and ends with status 0; a client that tries again notices no more than UNAVAILABLE.
func TestGracefulStop(t *testing.T) {
	const drain = 3 * time.Second
	dir, listen, adminAt := filepath.Join(t.TempDir(), "data"), freeAddress(t), freeAddress(t)
	p := serveProcess(t, listen, adminAt, "--data", dir, "--drain", "3")
	conn, err := dial(listen)
	if err != nil {
		t.Fatal(err)
	}
	cl := newClient(conn, conn.Close)
	defer cl.close()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := watch.Recv(); err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("health before the stop: %v, %v", res, err)
	}
	w := startWriters(t, cl, 4)
	p.await("writes", func() bool { return w.acknowledged.Load() > 20 })

	begin := time.Now()
	p.signal(syscall.SIGTERM)
	if res, err := watch.Recv(); err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING || time.Since(begin) > drain/2 {
		t.Errorf("health after the signal: %v, %v, after %v", res, err, time.Since(begin))
	}
	p.await("/readyz to say that it stops", func() bool {
		code, body := httpGet("http://" + adminAt + "/readyz")
		return code == 503 && strings.Contains(body, "stopping")
	})
	if took := time.Since(begin); took > drain/2 {
		t.Errorf("/readyz took %v to change", took)
	}
	before, refused := w.acknowledged.Load(), w.refused.Load()
	time.Sleep(time.Until(begin.Add(drain * 3 / 4)))
	if w.acknowledged.Load() == before || w.refused.Load() != refused {
		t.Errorf("while it drains %d writes were acknowledged and %d refused", w.acknowledged.Load()-before, w.refused.Load()-refused)
	}
	if code := p.wait(30 * time.Second); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	if took := time.Since(begin); took < drain || took > drain+10*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if strings.Contains(p.stderr.String(), "level=ERROR") {
		t.Error("there are errors in the log")
	}

	p = serveProcess(t, listen, adminAt, "--data", dir)
	after := w.acknowledged.Load()
	p.await("writes to go on", func() bool { return w.acknowledged.Load() > after+20 })
	ids := w.end()
	for _, id := range ids {
		if _, err := cl.papers.GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: id}); err != nil {
			t.Errorf("%s was acknowledged: %v", id, err)
		}
	}
	t.Logf("%d acknowledged, %d times UNAVAILABLE", len(ids), w.refused.Load())

	// Ctrl-C does not wait.
	begin = time.Now()
	p.signal(os.Interrupt)
	if code := p.wait(30 * time.Second); code != 0 || time.Since(begin) > 4*time.Second {
		t.Errorf("after SIGINT: exit status %d after %v", code, time.Since(begin))
	}
}

// askedRelated finds that ten calls or more have begun.
var askedRelated = regexp.MustCompile(`grpc_server_call_started_total\{grpc_method="embedd.v1.SearchService/Related"\} [1-9][0-9]`)

// Two servers behind a client that balances, watches health and tries once more: each is restarted under load, and no call fails.
func TestRollingRestart(t *testing.T) {
	type replica struct {
		dir, listen, admin string
		p                  *process
	}
	start := func(r *replica) { r.p = serveProcess(t, r.listen, r.admin, "--data", r.dir, "--drain", "1") }
	replicas := []*replica{}
	addresses := resolver.State{}
	for range 2 {
		r := &replica{dir: filepath.Join(t.TempDir(), "data"), listen: freeAddress(t), admin: freeAddress(t)}
		start(r)
		conn, err := dial(r.listen)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := newClient(conn, conn.Close).papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: "A paper"}, {Id: "b", Title: "Another"}}}); err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, r)
		addresses.Addresses = append(addresses.Addresses, resolver.Address{Addr: r.listen})
	}
	names := manual.NewBuilderWithScheme("replicas")
	names.InitialState(addresses)
	conn, err := grpc.NewClient("replicas:///embedd", grpc.WithResolvers(names), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(`{
		"loadBalancingConfig": [{"round_robin": {}}],
		"healthCheckConfig": {"serviceName": "embedd.v1.SearchService"},
		"methodConfig": [{"name": [{}], "waitForReady": false,
			"retryPolicy": {"maxAttempts": 2, "initialBackoff": "0.05s", "maxBackoff": "0.1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var answered, failed atomic.Int64
	for range 4 {
		load.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) { // 200 a second in all
				if _, err := embeddv1.NewSearchServiceClient(conn).Related(context.WithoutCancel(ctx), &embeddv1.RelatedRequest{Id: "a"}); err != nil {
					failed.Add(1)
					t.Errorf("after %d calls: %v", answered.Load(), err)
					return
				}
				answered.Add(1)
			}
		})
	}
	defer load.Wait()
	defer stop()
	for _, r := range replicas {
		for _, each := range replicas { // both, or there would be nobody to take over: a client waits longer and longer between its tries
			each.p.await("the client to ask "+each.listen, func() bool {
				_, metrics := httpGet("http://" + each.admin + "/metrics")
				return askedRelated.MatchString(metrics) || failed.Load() > 0
			})
		}
		r.p.signal(syscall.SIGTERM)
		if code := r.p.wait(30 * time.Second); code != 0 {
			t.Errorf("exit status %d", code)
		}
		start(r)
	}
	t.Logf("%d calls answered", answered.Load())
}

// A second signal ends the process at once, with a line; the data directory opens again. The same signal within a second is no second one.
func TestSecondSignal(t *testing.T) {
	dir, listen, adminAt := filepath.Join(t.TempDir(), "data"), freeAddress(t), freeAddress(t)
	p := serveProcess(t, listen, adminAt, "--data", dir, "--drain", "60", "--stop-limit", "100")
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGTERM)
	p.await("the stop to begin", func() bool { return strings.Contains(p.stderr.String(), "msg=stopping signal=terminated") })
	select {
	case <-p.ended:
		t.Fatal("a signal that came twice has ended the process")
	case <-time.After(sameSignal + 200*time.Millisecond):
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(5 * time.Second); code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	if last := lastLine(p.stderr.String()); !strings.HasPrefix(last, "embedd: a second signal (terminated): the process ends at once") {
		t.Errorf("the last line is %q", last)
	}
	p = serveProcess(t, listen, adminAt, "--data", dir)
	p.signal(os.Interrupt)
	if code := p.wait(30 * time.Second); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
}

// beginStuck starts this program as one whose stop does not come to an end.
func beginStuck(t *testing.T) *process {
	t.Helper()
	cmd, err := thisProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[0] = "embedd-stuck"
	p := begin(t, cmd)
	p.await("it to run", func() bool { return strings.Contains(p.stdout.String(), "ready") })
	return p
}

// Another signal is a second one at once.
func TestAnotherSignal(t *testing.T) {
	p := beginStuck(t)
	p.signal(os.Interrupt)
	p.signal(syscall.SIGTERM)
	if code := p.wait(10 * time.Second); code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	if last := lastLine(p.stderr.String()); !strings.HasPrefix(last, "embedd: a second signal (") {
		t.Errorf("the last line is %q", last)
	}
}

// A stop that hangs is given up.
func TestStopLimit(t *testing.T) {
	p := beginStuck(t)
	p.signal(syscall.SIGTERM)
	if code := p.wait(10 * time.Second); code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	if last := lastLine(p.stderr.String()); !strings.HasPrefix(last, "embedd: the stop is not through after 1 s: the process ends at once") {
		t.Errorf("the last line is %q", last)
	}
}

// The admin listener answers while the server starts, and says what it does; a stop then is no failure.
func TestStart(t *testing.T) {
	dir, adminAt := filepath.Join(t.TempDir(), "data"), freeAddress(t)
	p := beginServe(t, "127.0.0.1:0", adminAt, "--data", dir)
	var stages []string
	p.await("the start to be over", func() bool {
		code, body := httpGet("http://" + adminAt + "/startupz")
		if code == 503 {
			if live, _ := httpGet("http://" + adminAt + "/livez"); live != 200 {
				t.Errorf("/livez is %d in the start", live)
			}
			if i := strings.Index(body, `"stage": "`); i >= 0 {
				stage, _, _ := strings.Cut(body[i+len(`"stage": "`):], `"`)
				stages = append(stages, stage)
			}
		}
		return code == 200
	})
	if len(stages) == 0 || stages[len(stages)-1] != stageWarming {
		t.Errorf("stages seen: %q", stages)
	}
	if code, body := httpGet("http://" + adminAt + "/readyz"); code != 200 {
		t.Errorf("/readyz after the start: %d %s", code, body)
	}
	p.awaitServing()
	p.signal(os.Interrupt)
	p.wait(30 * time.Second)

	p = beginServe(t, "127.0.0.1:0", adminAt, "--data", dir)
	p.await("the start to begin", func() bool {
		code, _ := httpGet("http://" + adminAt + "/startupz")
		return code == 503
	})
	p.signal(syscall.SIGTERM)
	if code := p.wait(30 * time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM in the start, want 0", code)
	}
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
