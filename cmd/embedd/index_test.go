package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// A server is killed while papers come, and started again: the command says so once, goes on, and in the end all papers are there.
func TestIndexRidesOverARestart(t *testing.T) {
	const papers = 1000
	dir, listen := t.TempDir(), freeAddress(t)
	var text strings.Builder
	for i := range papers {
		fmt.Fprintf(&text, "{\"id\":\"p%d\",\"title\":\"Paper number %d\",\"abstract\":\"%s\"}\n", i, i, strings.Repeat("Its abstract has some words. ", 8))
	}
	file := filepath.Join(dir, "papers.jsonl")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	server := serveProcess(t, listen, "", "--data", data)
	cmd, err := thisProgram("index", "--server", listen, "--json", file)
	if err != nil {
		t.Fatal(err)
	}
	index := begin(t, cmd)
	conn, err := dial(listen)
	if err != nil {
		t.Fatal(err)
	}
	cl := newClient(conn, conn.Close)
	defer cl.close()
	stored := func() int64 {
		info, err := cl.info.GetInfo(t.Context(), &embeddv1.GetInfoRequest{})
		if err != nil {
			return 0
		}
		return info.GetCounts().GetPapers()
	}
	index.await("some papers to be stored", func() bool { return stored() >= 800 }) // of some the run has not heard yet
	server.signal(syscall.SIGKILL)
	<-server.ended
	index.await("it to say that the server is gone", func() bool { return strings.Contains(index.stderr.String(), "the server does not answer") })
	serveProcess(t, listen, "", "--data", data)
	if code := index.wait(3 * time.Minute); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	if n := strings.Count(index.stderr.String(), "the server does not answer; trying again for up to 2m0s: "); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	if out := index.stdout.String(); !strings.Contains(out, fmt.Sprintf(`"papers": %d`, papers)) {
		t.Errorf("the report: %s", out)
	}
	if n := stored(); n != papers {
		t.Errorf("%d papers are stored, want %d", n, papers)
	}
}

// breaking is a server that takes streams and breaks each, after one result where answers is set.
type breaking struct {
	embeddv1.UnimplementedPaperServiceServer
	answers atomic.Bool
}

func (b *breaking) IngestPapers(stream grpc.BidiStreamingServer[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse]) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	if b.answers.Load() {
		for range 2 { // the start, and a paper
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
		if err := stream.Send(&embeddv1.IngestPapersResponse{Results: []*embeddv1.IngestResult{{}}}); err != nil {
			return err
		}
	}
	return status.Error(codes.Unavailable, "broken")
}

// A server that takes streams is waited for when they break, but not for ever: a result ends an outage, and that a stream was taken does not.
func TestAStreamThatIsTakenIsNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, s := &breaking{}, grpc.NewServer()
	embeddv1.RegisterPaperServiceServer(s, b)
	go s.Serve(l)
	defer s.Stop()
	conn, err := dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	e := &env{ctx: t.Context(), stderr: io.Discard}
	x := &indexer{e: e, cl: newClient(conn, conn.Close), bar: newProgress(e, "indexing", "papers")}
	n := 0
	in := &ingestion{x: x, next: func() (*source, error) {
		n++
		return &source{paper: &embeddv1.Paper{Id: fmt.Sprint(n)}}, nil
	}}
	broken := func() time.Time {
		t.Helper()
		if _, err := in.stream(); err != nil {
			t.Fatalf("a stream of a server that was there is not tried again: %v", err)
		}
		return x.outage.begin
	}
	first := broken()
	if next := broken(); first.IsZero() || next != first || x.outage.tries != 2 {
		t.Errorf("the second broken stream is try %d of an outage since %v, the first was of one since %v", x.outage.tries, next, first)
	}
	b.answers.Store(true)
	if next := broken(); !next.After(first) || x.outage.tries != 1 {
		t.Errorf("after a result it is try %d of an outage since %v, want a new one", x.outage.tries, next)
	}
}

// The tries come later and later, with an end; a server that was never there is not waited for.
func TestOutage(t *testing.T) {
	now := time.Now()
	o := outage{}
	if _, again := o.next(now); again {
		t.Error("a server that was never there is asked again")
	}
	o = outage{reached: true}
	tries, waited := 0, time.Duration(0)
	for ; ; tries++ {
		wait, again := o.next(now.Add(waited))
		if !again {
			break
		}
		if most := min(firstTry<<min(tries, 10), lastTry); wait < most/2 || wait >= most {
			t.Errorf("try %d waits %v, want %v to %v", tries, wait, most/2, most)
		}
		waited += wait
	}
	if waited < rideOver || waited > rideOver+lastTry || tries > 70 {
		t.Errorf("%d tries in %v", tries, waited)
	}
}

// An interrupted run ends cleanly and says how to go on: the command that it names stores what is missing, and reads little of what is stored
// once more.
func TestIndexGoesOnAfterAnInterrupt(t *testing.T) {
	dir, listen := t.TempDir(), freeAddress(t)
	const papers = 3000
	var text strings.Builder
	text.WriteString("id,title,abstract\n")
	for i := range papers {
		fmt.Fprintf(&text, "%d,Paper %d,%s\n", i, i, strings.Repeat("Its abstract has some text. ", 8))
	}
	file := filepath.Join(dir, "my papers.csv")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	serveProcess(t, listen, "", "--data", filepath.Join(dir, "data"))
	cmd, err := thisProgram("index", "--server", listen, file)
	if err != nil {
		t.Fatal(err)
	}
	index := begin(t, cmd)
	conn, err := dial(listen)
	if err != nil {
		t.Fatal(err)
	}
	cl := newClient(conn, conn.Close)
	defer cl.close()
	stored := func() int64 {
		info, err := cl.info.GetInfo(t.Context(), &embeddv1.GetInfoRequest{})
		if err != nil {
			return 0
		}
		return info.GetCounts().GetPapers()
	}
	index.await("some papers to be stored", func() bool { return stored() >= 800 }) // of some the run has not heard yet
	index.signal(os.Interrupt)
	if code := index.wait(time.Minute); code != 130 {
		t.Fatalf("exit status %d: %s", code, index.stderr.String())
	}
	said := index.stderr.String()
	m := regexp.MustCompile(` index --server \S+ --skip ([0-9]+) '(.*/my papers\.csv)'\n`).FindStringSubmatch(said)
	if m == nil || m[2] != file || !strings.Contains(said, "run the same command again to go on") || !strings.Contains(said, "embedd: interrupted") {
		t.Fatalf("it said: %s", said)
	}
	skip, err := strconv.Atoi(m[1])
	if err != nil || skip < 64 || skip > papers {
		t.Fatalf("--skip %s", m[1])
	}
	if n := stored(); int64(skip) > n {
		t.Errorf("%d records are said to be stored; there are %d papers", skip, n)
	}
	if cmd, err = thisProgram("index", "--server", listen, "--json", "--skip", m[1], file); err != nil {
		t.Fatal(err)
	}
	again := begin(t, cmd)
	if code := again.wait(3 * time.Minute); code != 0 {
		t.Fatalf("exit status %d: %s", code, again.stderr.String())
	}
	if n := stored(); n != papers {
		t.Errorf("%d papers are stored, want %d", n, papers)
	}
	if out := again.stdout.String(); !strings.Contains(out, fmt.Sprintf(`"papers": %d`, papers-skip)) {
		t.Errorf("after --skip %d: %s", skip, out)
	}
}

// An interrupt ends a run that waits for its standard input.
func TestIndexIsInterruptedWhileItWaits(t *testing.T) {
	cmd, err := thisProgram("index", "-", "--dry-run")
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	index := begin(t, cmd)
	if _, err := io.WriteString(in, "{\"id\":\"a\",\"title\":\"A paper\"}\n"); err != nil {
		t.Fatal(err)
	}
	index.await("it to say the form", func() bool { return strings.Contains(index.stderr.String(), "JSON Lines") })
	index.signal(os.Interrupt)
	if code := index.wait(time.Minute); code != 130 || !strings.Contains(index.stderr.String(), "embedd: interrupted") {
		t.Errorf("exit status %d: %s", code, index.stderr.String())
	}
}
