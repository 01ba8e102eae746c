package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

func init() { programs["embedd-alone"] = alone }

// The program talks to nobody but its clients: in a network that has nothing but a loopback interface it works, and the kernel has counted
// no connection, no datagram and no attempt to reach another machine beside those of the test's own client.
func TestNoTelemetry(t *testing.T) {
	cmd, err := thisProgram(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[0] = "embedd-alone"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == aloneCannot:
		t.Skipf("a network of its own is not to be had here: %s", exit.Stderr)
	case errors.As(err, &exit):
		t.Fatalf("%v\n%s%s", err, out, exit.Stderr)
	case err != nil:
		t.Skipf("a network of its own is not to be had here: %v", err)
	}
	var got struct {
		Before, After traffic
		Dialled       int
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := got.Before
	want.Connections += got.Dialled
	if got.After != want {
		t.Errorf("the kernel counted %+v, want %+v: before %+v, and %d connections of the client", got.After, want, got.Before, got.Dialled)
	}
}

// aloneCannot is the exit status of alone where the kernel does not let it do what it needs.
const aloneCannot = 3

// traffic is what the kernel has counted in this network.
type traffic struct {
	Connections int // TCP, begun from here
	Datagrams   int // UDP, sent
	Unreachable int // packets that had nowhere to go: a try to reach another machine
}

func countTraffic() (t traffic, err error) {
	v4, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return t, err
	}
	// Lines come in pairs: names, figures.
	lines := strings.Split(string(v4), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, figures := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := range min(len(names), len(figures)) {
			n, _ := strconv.Atoi(figures[j])
			switch names[0] + names[j] {
			case "Tcp:ActiveOpens":
				t.Connections = n
			case "Udp:OutDatagrams":
				t.Datagrams += n
			case "Ip:OutNoRoutes":
				t.Unreachable += n
			}
		}
	}
	v6, err := os.ReadFile("/proc/net/snmp6")
	if errors.Is(err, os.ErrNotExist) {
		return t, nil
	}
	for line := range strings.Lines(string(v6)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "Udp6OutDatagrams":
			t.Datagrams += n
		case "Ip6OutNoRoutes":
			t.Unreachable += n
		}
	}
	return t, err
}

// alone runs in a network of its own. It proves that the kernel counts tries to reach other machines, then lets the real program index,
// serve and search, and prints what the kernel has counted before and after.
func alone() {
	cannot := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(aloneCannot)
	}
	if err := loopbackUp(); err != nil {
		cannot(err)
	}
	zero, err := countTraffic()
	if err != nil {
		cannot(err)
	}
	for _, network := range []string{"tcp", "udp"} {
		if conn, err := net.DialTimeout(network, "192.0.2.1:53", time.Second); err == nil {
			_, _ = conn.Write([]byte("x"))
			conn.Close()
		}
	}
	before, err := countTraffic()
	if err != nil {
		cannot(err)
	}
	if before.Unreachable == zero.Unreachable {
		cannot(fmt.Errorf("the kernel does not count tries to reach another machine: %+v, %+v", zero, before))
	}
	dialled, err := useAlone(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	after, err := countTraffic()
	if err != nil {
		cannot(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"Before": before, "After": after, "Dialled": dialled}); err != nil {
		os.Exit(1)
	}
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// useAlone indexes papers, serves them and searches, and gives the number of connections that its own client made.
func useAlone(dir string) (dialled int, err error) {
	papers, data := filepath.Join(dir, "papers.jsonl"), filepath.Join(dir, "data")
	if err := os.WriteFile(papers, []byte(`{"id":"a","title":"A paper about graphs"}`+"\n"+`{"id":"b","title":"A paper about galaxies"}`), 0o644); err != nil {
		return 0, err
	}
	index, err := thisProgram("index", "--data", data, papers)
	if err != nil {
		return 0, err
	}
	if out, err := index.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("index: %w: %s", err, out)
	}
	const listen, adminAt = "127.0.0.1:50051", "127.0.0.1:9090" // the network is ours
	serve, err := thisProgram("serve", "--data", data, "--listen", listen, "--admin", adminAt)
	if err != nil {
		return 0, err
	}
	var out testkit.Buffer
	serve.Stdout, serve.Stderr = &out, &out
	if err := serve.Start(); err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, serve.Process.Signal(os.Interrupt), serve.Wait())
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out.String())
		}
	}()
	for end := time.Now().Add(time.Minute); !servingLine.MatchString(out.String()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return 0, errors.New("the server does not serve")
		}
	}
	var n atomic.Int64
	counting := func(ctx context.Context, address string) (net.Conn, error) {
		n.Add(1)
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	conn, err := dial("passthrough:///"+listen, grpc.WithContextDialer(counting))
	if err != nil {
		return 0, err
	}
	cl := newClient(conn, conn.Close)
	defer cl.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := cl.papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "c", Title: "A paper about proteins"}}}); err != nil {
		return 0, err
	}
	res, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: "proteins"}}})
	if err != nil {
		return 0, err
	}
	if len(res.GetHits()) != 3 || res.GetHits()[0].GetPaper().GetId() != "c" {
		return 0, fmt.Errorf("hits: %v", res.GetHits())
	}
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return counting(ctx, address) }}}
	metrics, err := c.Get("http://" + adminAt + "/metrics")
	if err != nil {
		return 0, err
	}
	metrics.Body.Close()
	return int(n.Load()), nil
}
