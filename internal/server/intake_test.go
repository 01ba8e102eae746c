package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"embedd/internal/access"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// frames are what the server has sent.
type frames struct {
	mu    sync.Mutex
	room  map[uint32]int    // of windows
	ended map[uint32]string // status and message, or the code of a reset
}

// listen reads frames until the connection ends.
func (c *raw) listen() *frames {
	f := &frames{room: map[uint32]int{}, ended: map[uint32]string{}}
	go func() {
		for {
			frame, err := c.ReadFrame()
			if err != nil {
				return
			}
			f.add(frame)
		}
	}()
	return f
}

func (f *frames) add(frame http2.Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch frame := frame.(type) {
	case *http2.WindowUpdateFrame:
		f.room[frame.StreamID] += int(frame.Increment)
	case *http2.MetaHeadersFrame:
		text := ""
		for _, h := range frame.Fields {
			if h.Name == "grpc-status" || h.Name == "grpc-message" {
				text += h.Value + " "
			}
		}
		if frame.StreamEnded() {
			f.ended[frame.StreamID] = text
		}
	case *http2.RSTStreamFrame:
		if f.ended[frame.StreamID] == "" { // it may come behind the trailers
			f.ended[frame.StreamID] = frame.ErrCode.String()
		}
	}
}

// end is how a stream has ended; empty: it has not.
func (f *frames) end(id uint32) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended[id]
}

// dribble begins calls whose requests come up to their last byte, and stay there. The server may end them.
func (c *raw) dribble(f *frames, calls int, path string, size int) {
	c.t.Helper()
	for range calls {
		id := c.begin(path)
		if err := c.WriteData(id, false, binary.BigEndian.AppendUint32([]byte{0}, uint32(size))); err != nil {
			c.t.Fatal(err)
		}
		testkit.Eventually(c.t, "the window of the call opens", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.room[id] >= size-streamWindow || f.ended[id] != ""
		})
		for left := size - 1; left > 0 && f.end(id) == ""; left -= min(left, 16<<10) {
			if err := c.WriteData(id, false, make([]byte, min(left, 16<<10))); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// What comes of requests and does not end is bounded for all connections together. Those who send at once are not kept from it.
func TestRequestsThatComeForLong(t *testing.T) {
	const most = 4 << 20
	r := launch(t, Options{Limits: Limits{MessageBytes: most, Classes: classes(nil)}})
	for _, path := range []string{"/embedd.v1.SearchService/Search", "/grpc.health.v1.Health/Check"} {
		before := r.Load().Refused["request_coming"]
		for range 3 {
			c := rawClient(t, r.addr)
			c.dribble(c.listen(), 5, path, 900<<10)
		}
		testkit.Eventually(t, "calls are ended", func() bool { return r.Load().Refused["request_coming"] > before })
		_, err := embeddv1.NewSearchServiceClient(r.connect(t)).Search(t.Context(), &embeddv1.SearchRequest{Query: &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: "x"}}})
		if err != nil {
			t.Errorf("%s: another client: %v", path, err)
		}
	}
	r.intake.mu.Lock()
	var sum int64
	for c := range r.intake.conns {
		sum += c.read.Load() - c.coming[0].at
	}
	r.intake.mu.Unlock()
	if sum > most+lookEvery {
		t.Errorf("%d bytes are coming, the limit is %d", sum, most)
	}
}

// The call that is ended is told why, and when to try again.
func TestARequestThatIsTooMuchBesideOthers(t *testing.T) {
	r := launch(t, Options{Limits: Limits{MessageBytes: 2 << 20, Classes: classes(nil)}})
	c := rawClient(t, r.addr)
	f := c.listen()
	first := c.begin("/embedd.v1.SearchService/Search") // and no more
	testkit.Eventually(t, "it is waited for", func() bool {
		r.intake.mu.Lock()
		defer r.intake.mu.Unlock()
		return len(r.intake.conns) == 1
	})
	c.dribble(f, 3, "/embedd.v1.SearchService/Search", 900<<10) // all that comes may be the first's
	testkit.Eventually(t, "it ends", func() bool { return f.end(first) != "" })
	if got := f.end(first); !strings.HasPrefix(got, "8 ") || !strings.Contains(got, "coming at once") {
		t.Errorf("%q, want RESOURCE_EXHAUSTED", got)
	}
}

// Requests that have come are bounded while their calls last.
func TestRequestsThatAreKept(t *testing.T) {
	r := launch(t, Options{Limits: Limits{MessageBytes: 128 << 10, Classes: classes(nil)}})
	enter := make(chan struct{})
	r.encoder.before = func(context.Context) error { <-enter; return nil }
	encode := embeddv1.NewEncodeServiceClient(r.connect(t))
	text := strings.Repeat("a", 50<<10)
	results := make(chan error, 4)
	for i := range 4 {
		go func() {
			_, err := encode.Encode(t.Context(), &embeddv1.EncodeRequest{Texts: []string{text + strconv.Itoa(i)}})
			results <- err
		}()
	}
	refused := 0
	for range 2 { // two of 50 KiB have room
		if err := <-results; status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "requests of") {
			refused++
		} else {
			t.Error(err)
		}
	}
	close(enter)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := r.Load().Refused["request_kept"]; n != uint64(refused) {
		t.Errorf("%d are counted, %d were seen", n, refused)
	}
	testkit.Eventually(t, "all are given back", func() bool { return r.intake.kept.Load() == 0 })
}

// Answers that are not read are bounded: the connection with the most of them is closed.
func TestAnswersThatAreNotRead(t *testing.T) {
	const most = 4 << 20
	r := launch(t, Options{Limits: Limits{MessageBytes: most, Classes: classes(nil)}})
	conn := r.connect(t)
	papers := embeddv1.NewPaperServiceClient(conn)
	for i := range 5 {
		if _, err := papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: strconv.Itoa(i), Title: "x", Abstract: strings.Repeat("a", 200<<10)}}}); err != nil {
			t.Fatal(err)
		}
	}
	list := message(&embeddv1.ListPapersRequest{View: embeddv1.PaperView_PAPER_VIEW_FULL})
	greedy := rawClient(t, r.addr)
	for range 3 { // 3 MiB
		if err := greedy.WriteData(greedy.begin("/embedd.v1.PaperService/ListPapers"), true, list); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "the answers wait", func() bool { return r.intake.answers.Load() > 2<<20 })
	modest := rawClient(t, r.addr)
	for range 2 { // and 2 more
		if err := modest.WriteData(modest.begin("/embedd.v1.PaperService/ListPapers"), true, list); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "the connection that reads least is closed", func() bool { return r.Load().Refused["answer_unread"] == 1 })
	for range 10 {
		if _, err := papers.ListPapers(t.Context(), &embeddv1.ListPapersRequest{View: embeddv1.PaperView_PAPER_VIEW_FULL}, grpc.MaxCallRecvMsgSize(MaxMessageBytes)); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.intake.answers.Load(); n > most {
		t.Errorf("%d bytes wait, the limit is %d", n, most)
	}
	modest.conn.Close()
	testkit.Eventually(t, "all are given back", func() bool { return r.intake.answers.Load() == 0 })

	// One client alone is refused.
	alone := rawClient(t, r.addr)
	var last uint32
	for range 6 {
		last = alone.begin("/embedd.v1.PaperService/ListPapers")
		if err := alone.WriteData(last, true, list); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "an answer is refused", func() bool { return r.Load().Refused["answer_kept"] > 0 })
}

// Who has no key, and sends what is no request about the health, ends before anybody else.
func TestCallsWithoutAKeyKeepNoWriterOut(t *testing.T) {
	const most = 8 << 20
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{MessageBytes: most, Classes: classes(nil)}})
	for range 12 {
		c := rawClient(t, r.addr)
		c.dribble(c.listen(), 1, "/grpc.health.v1.Health/Check", 900<<10)
	}
	if r.Load().Refused["request_coming"] == 0 {
		t.Error("none was ended")
	}
	req := &embeddv1.UpsertPapersRequest{}
	for i := range 100 {
		req.Papers = append(req.Papers, &embeddv1.Paper{Id: strconv.Itoa(i), Title: "x", Abstract: strings.Repeat("word ", 3000)})
	}
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+k.secrets["write"]))
	papers := embeddv1.NewPaperServiceClient(r.connect(t))
	for range 5 {
		if _, err := papers.UpsertPapers(ctx, req); err != nil {
			t.Fatal(err)
		}
	}
}

// Of the calls of one connection no more end than must.
func TestNoMoreEndThanMust(t *testing.T) {
	in := newIntake(32 << 20)
	c := &conn{}
	for range 100 {
		c.coming = append(c.coming, &coming{})
	}
	in.conns[c] = struct{}{}
	c.read.Store(33 << 20)
	if n := len(in.tooMany()); n < 1 || n > 10 {
		t.Errorf("%d of 100 calls with 33 MiB in all are ended, where 32 may come", n)
	}
}

// A request weighs about what it takes: never much less. One that is made of ever so many parts is refused before it is decoded.
func TestTheWeightOfRequests(t *testing.T) {
	deep := []byte{}
	for range 100 { // a value that is a list with a value
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), deep)
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), deep)
	}
	list := protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), bytes.Repeat([]byte{0x0a, 0}, 100_000)) // of empty values
	in := func(value []byte) []byte {                                                                                       // metadata x of a paper
		entry := protowire.AppendBytes(protowire.AppendTag([]byte{0x0a, 1, 'x'}, 2, protowire.BytesType), value)
		fields := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), entry)
		paper := protowire.AppendBytes(protowire.AppendTag(nil, 10, protowire.BytesType), fields)
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), paper)
	}
	vector := &embeddv1.SearchRequest{Query: &embeddv1.Input{Kind: &embeddv1.Input_Vector{Vector: &embeddv1.Vector{Values: make([]float32, 100_000)}}}}
	floats, err := proto.Marshal(vector)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		body []byte
		to   proto.Message
	}{
		{"empty papers", bytes.Repeat([]byte{0x0a, 0}, 200_000), &embeddv1.UpsertPapersRequest{}},
		{"empty texts", bytes.Repeat([]byte{0x0a, 0}, 200_000), &embeddv1.EncodeRequest{}},
		{"a list of empty values", in(list), &embeddv1.UpsertPapersRequest{}},
		{"a vector", floats, &embeddv1.SearchRequest{}},
	} {
		w, err := weight(c.body, c.to.ProtoReflect().Descriptor())
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if err := proto.Unmarshal(c.body, c.to); err != nil {
			t.Fatal(c.name, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		took := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		runtime.KeepAlive(c.to)
		if w < took/2 || w > 10*took+small {
			t.Errorf("%s: %d bytes weigh %d, and take %d", c.name, len(c.body), w, took)
		}
	}
	if _, err := weight(in(deep), (&embeddv1.UpsertPapersRequest{}).ProtoReflect().Descriptor()); err == nil {
		t.Error("a hundred values in one another weigh nothing")
	}

	heavy := &request{message: &embeddv1.UpsertPapersRequest{}, limit: MaxMessageBytes}
	if heavy.decode(bytes.Repeat([]byte{0x0a, 0}, 4<<20)); status.Code(toStatus(t.Context(), heavy.err)) != codes.ResourceExhausted {
		t.Errorf("four million papers: %v", heavy.err)
	}
}

// A stream that says nothing is not taken for one that comes for long, however much other streams of its connection bring meanwhile.
func TestQuietStreamsBesideABusyOne(t *testing.T) {
	const most = 4 << 20
	r := launch(t, Options{Limits: Limits{MessageBytes: most, Classes: classes(nil)}})
	conn := r.connect(t)
	quiet := make([]ingestStream, 3)
	for i := range quiet {
		quiet[i] = ingest(t, t.Context(), conn)
		if _, err := quiet[i].Header(); err != nil { // it has begun
			t.Fatal(err)
		}
	}
	busy := ingest(t, t.Context(), conn)
	done := make(chan error, 1)
	go func() {
		_, err := rest(t, busy, 0)
		done <- err
	}()
	for i := range 3 * most / (100 << 10) {
		sendPaper(t, busy, &embeddv1.Paper{Id: strconv.Itoa(i), Title: "t", Abstract: strings.Repeat("x", 60<<10), Url: "https://example.org/" + strings.Repeat("y", 1<<10)})
	}
	busy.CloseSend()
	if err := <-done; err != io.EOF {
		t.Fatal(err)
	}
	for _, s := range quiet {
		sendPaper(t, s, numbered(1))
		s.CloseSend()
		if results, err := rest(t, s, 0); err != io.EOF || len(results) != 1 {
			t.Errorf("a stream that was quiet: %d results, %v", len(results), err)
		}
	}
	if n := r.Load().Refused["request_coming"]; n != 0 {
		t.Errorf("%d requests were ended", n)
	}
}
