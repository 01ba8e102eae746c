package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

func goroutines() int { return runtime.NumGoroutine() }

// raw is a client of HTTP/2 that sends what it is told.
type raw struct {
	t    *testing.T
	conn net.Conn
	*http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	next  uint32
}

// rawClient connects and shakes hands.
func rawClient(t *testing.T, addr string) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &raw{t: t, conn: conn, Framer: http2.NewFramer(conn, conn), next: 1}
	c.enc = hpack.NewEncoder(&c.block)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err := errors.Join(err, c.WriteSettings(), c.WriteSettingsAck()); err != nil {
		t.Fatal(err)
	}
	return c
}

// headers makes the headers of a call.
func (c *raw) headers(path string, more ...string) []byte {
	c.block.Reset()
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		c.enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	for i := 0; i < len(more); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: more[i], Value: more[i+1], Sensitive: true}) // not shortened
	}
	return c.block.Bytes()
}

// begin sends the headers of a call and gives its stream.
func (c *raw) begin(path string, more ...string) uint32 {
	c.t.Helper()
	id := c.next
	c.next += 2
	if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers(path, more...), EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
	return id
}

// message is a message with its length before it.
func message(m proto.Message) []byte {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// status reads until the stream has ended: its status and message, or the code it was reset with.
func (c *raw) status(id uint32) (code, text string) {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return "", err.Error()
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				switch h.Name {
				case "grpc-status":
					code = h.Value
				case "grpc-message":
					text = h.Value
				}
			}
			if f.StreamID == id && f.StreamEnded() {
				return code, text
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "", f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return "", f.ErrCode.String() + ": " + string(f.DebugData())
		}
	}
}

// A path that is not quite a method's is nobody's, whatever a rule for the method would say (CVE-2026-33186).
func TestPathsThatAreNoMethods(t *testing.T) {
	r := launch(t, Options{})
	conn := r.connect(t)
	put(t, conn, "a")
	body := message(&embeddv1.DeletePapersRequest{Ids: []string{"a"}})
	for _, path := range []string{
		"embedd.v1.PaperService/DeletePapers", "//embedd.v1.PaperService/DeletePapers", "/embedd.v1.PaperService//DeletePapers", "/embedd.v1.PaperService/DeletePapers/",
		"/embedd.v1.PaperService/DeletePapers?", "/embedd.v1.PaperService/deletepapers", "/x/../embedd.v1.PaperService/DeletePapers", "/embedd.v1.PaperService%2FDeletePapers",
		"/embedd.v1.Admin/Delete", "/DeletePapers", "/", "", "*",
	} {
		c := rawClient(t, r.addr)
		id := c.begin(path)
		_ = c.WriteData(id, true, body) // the server may have closed the stream
		if code, text := c.status(id); code == "0" || code == "" && !strings.Contains(text, "PROTOCOL_ERROR") && !strings.Contains(text, "EOF") {
			t.Errorf("%q: status %q %q", path, code, text)
		}
	}
	if _, err := embeddv1.NewPaperServiceClient(conn).GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: "a"}); err != nil {
		t.Errorf("the paper: %v", err)
	}
}

// A request whose length alone is too much is refused before it comes.
func TestAHugeMessageIsNotWaitedFor(t *testing.T) {
	r := launch(t, Options{})
	c := rawClient(t, r.addr)
	id := c.begin("/embedd.v1.PaperService/UpsertPapers")
	if err := c.WriteData(id, false, binary.BigEndian.AppendUint32([]byte{0}, MaxMessageBytes+1)); err != nil {
		t.Fatal(err)
	}
	if code, text := c.status(id); code != "8" || !strings.Contains(text, "16777216") {
		t.Errorf("%q %q, want RESOURCE_EXHAUSTED naming the limit", code, text)
	}
}

// A request about the health, which needs no key, must come soon, whether it is asked once or watched.
func TestARequestAboutTheHealthThatDoesNotCome(t *testing.T) {
	r := launch(t, Options{})
	r.open.firstMessage = 100 * time.Millisecond
	for _, method := range []string{"Check", "Watch"} {
		c := rawClient(t, r.addr)
		begin := time.Now()
		if code, text := c.status(c.begin("/grpc.health.v1.Health/" + method)); code != "4" || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: %q %q after %v, want DEADLINE_EXCEEDED", method, code, text, time.Since(begin))
		}
	}
}

// Who sends headers and no request is not waited for beyond the deadline, and takes nobody's place in the gate.
func TestARequestThatDoesNotCome(t *testing.T) {
	o := short(embeddv1.Class_CLASS_SEARCH)
	r := launch(t, o)
	c := rawClient(t, r.addr)
	begin := time.Now()
	id := c.begin("/embedd.v1.SearchService/Search")
	if l := r.Load().Classes["search"]; l.Running != 0 {
		t.Errorf("%+v", l)
	}
	if code, text := c.status(id); code != "4" || time.Since(begin) > 2*time.Second {
		t.Errorf("%q %q after %v, want DEADLINE_EXCEEDED", code, text, time.Since(begin))
	}
}

// A client that does not read its answer is cut off, and holds a window's worth of it at most.
func TestAnAnswerThatIsNotRead(t *testing.T) {
	r := launch(t, short(embeddv1.Class_CLASS_SEARCH))
	conn := r.connect(t)
	for i := range 5 {
		_, err := embeddv1.NewPaperServiceClient(conn).UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{
			{Id: string(rune('a' + i)), Title: "x", Abstract: strings.Repeat("a", 200<<10)}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	before := goroutines()
	c := rawClient(t, r.addr)
	for range 20 {
		id := c.begin("/embedd.v1.PaperService/ListPapers")
		if err := c.WriteData(id, true, message(&embeddv1.ListPapersRequest{View: embeddv1.PaperView_PAPER_VIEW_FULL})); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "the handlers end", func() bool {
		l := r.Load().Classes["search"]
		return l.Admitted > 0 && l.Running == 0 && goroutines() <= before+5 // those of the connection
	})
	if _, err := embeddv1.NewInfoServiceClient(conn).GetInfo(t.Context(), &embeddv1.GetInfoRequest{}); err != nil {
		t.Errorf("others: %v", err)
	}
}

// Headers without an end close the connection before they fill the memory (CVE-2023-45288).
func TestAFloodOfHeaders(t *testing.T) {
	r := launch(t, Options{})
	c := rawClient(t, r.addr)
	if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.headers("/embedd.v1.InfoService/GetInfo")}); err != nil {
		t.Fatal(err)
	}
	c.block.Reset()
	for range 100 {
		c.enc.WriteField(hpack.HeaderField{Name: "x-filler", Value: strings.Repeat("v", 100), Sensitive: true})
	}
	piece := c.block.Bytes()
	sent := 0
	for ; sent < 64<<20; sent += len(piece) {
		if err := c.WriteContinuation(1, false, piece); err != nil {
			break
		}
	}
	t.Logf("the connection was closed after %d KiB", sent>>10)
	if sent >= 16<<20 { // what the kernel's buffers hold counts too
		t.Errorf("%d MiB of headers were taken", sent>>20)
	}
}

func TestHeadersThatAreTooLong(t *testing.T) {
	r := launch(t, Options{})
	c := rawClient(t, r.addr)
	var more []string
	for range 30 {
		more = append(more, "x-filler", strings.Repeat("v", 600))
	}
	block := bytes.Clone(c.headers("/grpc.health.v1.Health/Check", more...))
	if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16000], EndHeaders: false}); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteContinuation(1, true, block[16000:]); err != nil {
		t.Fatal(err)
	}
	if code, text := c.status(1); code == "0" || text == "" {
		t.Errorf("%q %q: headers of 18 KB were taken", code, text)
	}
}

// Calls that are begun and reset at once never run more than may, and leave nothing behind (CVE-2023-39325).
func TestRapidReset(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	var in, most atomic.Int64
	r.encoder.before = func(ctx context.Context) error {
		n := in.Add(1)
		defer in.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-ctx.Done()
		return ctx.Err()
	}
	before := goroutines()
	c := rawClient(t, r.addr)
	go io.Copy(io.Discard, c.conn)
	body := message(&embeddv1.SearchRequest{Query: text("x")})
	calls := 20_000
	if testing.Short() {
		calls = 2000
	}
	for i := range calls {
		id := c.next
		c.next += 2
		err := errors.Join(c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers("/embedd.v1.SearchService/Search"), EndHeaders: true}),
			c.WriteData(id, true, body), c.WriteRSTStream(id, http2.ErrCodeCancel))
		if err != nil {
			t.Logf("sent away after %d calls: %v", i, err)
			break
		}
	}
	c.conn.Close()
	testkit.Eventually(t, "the goroutines end", func() bool { return goroutines() <= before+2 })
	t.Logf("at most %d ran at once", most.Load())
	if most.Load() > maxStreams {
		t.Errorf("%d ran at once, want %d at most", most.Load(), maxStreams)
	}
	if _, err := embeddv1.NewInfoServiceClient(r.connect(t)).GetInfo(t.Context(), &embeddv1.GetInfoRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Who pings too often is sent away.
func TestTooManyPings(t *testing.T) {
	r := launch(t, Options{})
	c := rawClient(t, r.addr)
	for i := range 10 {
		if c.WritePing(false, [8]byte{byte(i)}) != nil {
			break
		}
	}
	for {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatalf("%v, want GOAWAY", err)
		}
		if away, ok := f.(*http2.GoAwayFrame); ok {
			if away.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("sent away with %v, want ENHANCE_YOUR_CALM", away.ErrCode)
			}
			return
		}
	}
}

// The 129th call of a connection waits for one of the others to end.
func TestCallsAtOnceOnAConnection(t *testing.T) {
	r := launch(t, Options{})
	r.open.perAddress = 1000
	conn := r.connect(t)
	h := grpc_health_v1.NewHealthClient(conn)
	first, end := context.WithCancel(t.Context())
	for i := range maxStreams {
		ctx := t.Context()
		if i == 0 {
			ctx = first
		}
		w, err := h.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := h.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v, want that the 129th call waits", err)
	}
	end()
	if _, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	// One who does not care is refused.
	c := rawClient(t, r.addr)
	for range maxStreams {
		id := c.begin("/grpc.health.v1.Health/Watch")
		if err := c.WriteData(id, true, message(&grpc_health_v1.HealthCheckRequest{})); err != nil {
			t.Fatal(err)
		}
	}
	if code, text := c.status(c.begin("/grpc.health.v1.Health/Watch")); text != "REFUSED_STREAM" {
		t.Errorf("%q %q, want REFUSED_STREAM", code, text)
	}
}

// closed tells whether the server closes a connection at once.
func closed(t *testing.T, c net.Conn) bool {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Second))
	// gRPC says its settings first to who is let in.
	_, err := io.WriteString(c, http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	return err != nil
}

func TestConnections(t *testing.T) {
	for _, c := range []struct {
		name    string
		limits  Limits
		may     int
		refused string
	}{
		{"in all", Limits{Connections: 1024}, 1024, "connections"},
		{"from one address", DefaultLimits(), 64, "connections_per_address"},
	} {
		r := launch(t, Options{Limits: c.limits})
		var conns []net.Conn
		open := func() net.Conn {
			conn, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
			return conn
		}
		for range c.may { // they do not say a word
			open()
		}
		testkit.Eventually(t, c.name+": as many as may are there", func() bool { return r.Load().Connections == int64(c.may) })
		if !closed(t, open()) || r.Load().Refused[c.refused] == 0 {
			t.Errorf("%s: one more was let in; %+v", c.name, r.Load().Refused)
		}
		conns[0].Close()
		testkit.Eventually(t, c.name+": the place is given back", func() bool { return r.Load().Connections == int64(c.may-1) })
		if closed(t, open()) {
			t.Errorf("%s: refused although there is a place", c.name)
		}
		for _, conn := range conns {
			conn.Close()
		}
		testkit.Eventually(t, c.name+": all are gone", func() bool { return r.Load().Connections == 0 })
	}
}

// Sockets that say nothing, or little, do not keep others from their answers.
func TestSlowSockets(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Connections: 1024}})
	for i := range 500 {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, http2.ClientPreface[:i%len(http2.ClientPreface)])
	}
	info := embeddv1.NewInfoServiceClient(r.connect(t))
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := info.GetInfo(ctx, &embeddv1.GetInfoRequest{})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
}
