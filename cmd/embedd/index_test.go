package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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
	index.await("some papers to be stored", func() bool { return stored() >= 100 })
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

// The tries come later and later, with an end; a server that has never answered is not waited for.
func TestOutage(t *testing.T) {
	now := time.Now()
	o := outage{}
	if _, again := o.next(now); again {
		t.Error("a server that has never answered is asked again")
	}
	o = outage{answered: true}
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
