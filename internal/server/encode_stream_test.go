package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

type textStream = embeddv1.EncodeService_EncodeStreamClient

// stream opens a stream of texts until the end of the test.
func (r *running) stream(t *testing.T) (textStream, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	st, err := embeddv1.NewEncodeServiceClient(r.connect(t)).EncodeStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return st, cancel
}

func send(t *testing.T, st textStream, req *embeddv1.EncodeRequest) {
	t.Helper()
	if err := st.Send(&embeddv1.EncodeStreamRequest{Request: req}); err != nil {
		t.Fatal(err)
	}
}

func recv(t *testing.T, st textStream) *embeddv1.EncodeStreamResponse {
	t.Helper()
	res, err := st.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func texts(all ...string) *embeddv1.EncodeRequest { return &embeddv1.EncodeRequest{Texts: all} }

// A stream says what calls of Encode would have said, each in its place.
func TestAStreamAnswersAsCallsDo(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(func(all map[embeddv1.Class]ClassLimits) {
		l := all[embeddv1.Class_CLASS_ENCODE]
		l.MessageBytes = 10_000
		all[embeddv1.Class_CLASS_ENCODE] = l
	})}})
	st, _ := r.stream(t)
	call := embeddv1.NewEncodeServiceClient(r.connect(t))
	requests := []*embeddv1.EncodeRequest{
		texts("one", "two"), {}, texts("three", " "), {Texts: []string{"a"}, Type: embeddv1.VectorType_VECTOR_TYPE_INT8}, texts("four"),
		{Texts: []string{"a"}, Dimension: 3}, texts(strings.Repeat("x", 11_000)), {Texts: []string{"a"}, Role: 7}, texts("last"),
	}
	go func() {
		for _, req := range requests {
			if err := st.Send(&embeddv1.EncodeStreamRequest{Request: req}); err != nil {
				t.Error(err)
			}
		}
		if err := st.CloseSend(); err != nil {
			t.Error(err)
		}
	}()
	for i, req := range requests {
		got := recv(t, st)
		want, err := call.Encode(t.Context(), req)
		if err == nil {
			if fmt.Sprint(got.GetResponse()) != fmt.Sprint(want) {
				t.Errorf("request %d: %v, want %v", i, got, want)
			}
			continue
		}
		wrong := status.Convert(err).Proto()
		if e := got.GetError(); e.GetCode() != wrong.GetCode() || fmt.Sprint(e.GetDetails()) != fmt.Sprint(wrong.GetDetails()) || !sameButSize(e.GetMessage(), wrong.GetMessage()) {
			t.Errorf("request %d: %v, want %v", i, got, wrong)
		}
	}
	if _, err := st.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// sameButSize compares errors; a request of a stream has a few bytes more than one of a call.
func sameButSize(a, b string) bool {
	return a == b || strings.Contains(a, "the request has 110") && strings.Contains(b, "the request has 110")
}

func TestAStreamKeepsToItsCollection(t *testing.T) {
	r := launch(t, Options{})
	st, _ := r.stream(t)
	for _, name := range []string{"", "other", ""} {
		send(t, st, &embeddv1.EncodeRequest{Texts: []string{"a"}, Collection: name})
	}
	for i, want := range []codes.Code{codes.OK, codes.InvalidArgument, codes.OK} {
		if got := recv(t, st).GetError(); codes.Code(got.GetCode()) != want || got != nil && !strings.Contains(got.GetMessage(), "collection: ") {
			t.Errorf("request %d: %v, want %v", i, got, want)
		}
	}
}

// turns is an encoder's before that lets texts go in the order that a test says.
type turns struct {
	mu      sync.Mutex
	waiting []chan error
	came    chan struct{}
}

func newTurns() *turns { return &turns{came: make(chan struct{}, 1000)} }

func (x *turns) before(ctx context.Context) error {
	mine := make(chan error, 1)
	x.mu.Lock()
	x.waiting = append(x.waiting, mine)
	x.mu.Unlock()
	x.came <- struct{}{}
	select {
	case err := <-mine:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next waits until n are waiting, and lets the last of them go first.
func (x *turns) reversed(n int) {
	for range n {
		<-x.came
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := n - 1; i >= 0; i-- {
		x.waiting[i] <- nil
	}
	x.waiting = nil
}

// Several requests are worked on at once, and answered in their order whatever is done first.
func TestAStreamIsAnsweredInOrder(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	x := newTurns()
	r.encoder.before = x.before
	st, _ := r.stream(t)
	const rounds = 5
	go func() {
		for i := range rounds * ahead {
			if err := st.Send(&embeddv1.EncodeStreamRequest{Request: texts(fmt.Sprint(i))}); err != nil {
				t.Error(err)
			}
		}
	}()
	plain := &fake{}
	for round := range rounds {
		x.reversed(ahead)
		for i := range ahead {
			want, err := plain.Encode(t.Context(), 0, 0, []string{fmt.Sprint(round*ahead + i)})
			if err != nil {
				t.Fatal(err)
			}
			if got := recv(t, st).GetResponse().GetEncodings()[0].GetVector().GetValues(); fmt.Sprint(got) != fmt.Sprint(want[0].Vector) {
				t.Fatalf("answer %d is another's", round*ahead+i)
			}
		}
	}
}

// What the client does not read holds the server back.
func TestAStreamIsHeldBackByWhoDoesNotRead(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	const requests = 60
	most := int64(3*ahead + 8) // those ahead, and what lies in windows and buffers on the way: an answer is as large as a window
	var begun, read atomic.Int64
	enough := make(chan struct{})
	r.encoder.before = func(context.Context) error {
		n := begun.Add(1)
		if n == int64(ahead) {
			close(enough)
		}
		if n-read.Load() > most {
			t.Errorf("%d requests were encoded, and %d answers read", n, read.Load())
		}
		return nil
	}
	st, _ := r.stream(t)
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprint("text ", i)
	}
	go func() {
		for range requests {
			if err := st.Send(&embeddv1.EncodeStreamRequest{Request: texts(many...)}); err != nil {
				t.Error(err)
				return
			}
		}
		if err := st.CloseSend(); err != nil {
			t.Error(err)
		}
	}()
	<-enough
	time.Sleep(100 * time.Millisecond) // so that a server that is not held back goes on
	for range requests {
		if n := len(recv(t, st).GetResponse().GetEncodings()); n != len(many) {
			t.Fatalf("%d encodings", n)
		}
		read.Add(1)
	}
	if _, err := st.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// An encoder that has no room holds the client back too: nothing is refused.
func TestAStreamWaitsForABusyEncoder(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	var tries atomic.Int64
	r.encoder.before = func(context.Context) error {
		if tries.Add(1) <= 5 {
			return &retrieval.BusyError{Wait: time.Millisecond, Err: errors.New("full")}
		}
		return nil
	}
	st, _ := r.stream(t)
	for range 3 {
		send(t, st, texts("a"))
	}
	for range 3 {
		if got := recv(t, st); got.GetResponse() == nil {
			t.Errorf("%v", got)
		}
	}
	if n := tries.Load(); n != 8 {
		t.Errorf("%d tries", n)
	}
}

// A defect, or a piece that takes too long, is the error of one request.
func TestAStreamSurvivesAPanic(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(func(all map[embeddv1.Class]ClassLimits) {
		l := all[embeddv1.Class_CLASS_ENCODE]
		l.Deadline = 50 * time.Millisecond
		all[embeddv1.Class_CLASS_ENCODE] = l
	})}})
	var calls atomic.Int64
	r.encoder.before = func(ctx context.Context) error {
		switch calls.Add(1) {
		case 1:
			panic("a defect")
		case 2:
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	st, _ := r.stream(t)
	for i, want := range []codes.Code{codes.Internal, codes.DeadlineExceeded, codes.OK} {
		send(t, st, texts("a"))
		if got := recv(t, st); codes.Code(got.GetError().GetCode()) != want {
			t.Errorf("request %d: %v, want %v", i, got, want)
		}
	}
	if !strings.Contains(r.log.String(), "a defect") {
		t.Error("the panic is not in the log")
	}
}

// A client that goes takes its work with it; goleak sees what would be left behind.
func TestAStreamIsCancelled(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	begun, ended := make(chan struct{}, 100), make(chan struct{}, 100)
	r.encoder.before = func(ctx context.Context) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	}
	st, cancel := r.stream(t)
	for range ahead {
		send(t, st, texts("a"))
	}
	for range ahead {
		<-begun
	}
	cancel()
	for range ahead {
		<-ended
	}
	if _, err := st.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
}

// A server that stops ends streams, idle or not, and whether or not their clients read.
func TestAStreamEndsWithTheServer(t *testing.T) {
	for _, c := range []struct {
		name string
		use  func(t *testing.T, r *running, st textStream)
	}{
		{"idle", func(t *testing.T, _ *running, st textStream) {
			send(t, st, texts("a"))
			recv(t, st)
		}},
		{"working", func(t *testing.T, r *running, st textStream) {
			begun := make(chan struct{}, 1)
			r.encoder.before = func(ctx context.Context) error {
				begun <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
			send(t, st, texts("a"))
			<-begun
		}},
		{"not reading", func(t *testing.T, r *running, st textStream) {
			var n atomic.Int64
			full := make(chan struct{})
			r.encoder.before = func(context.Context) error {
				if n.Add(1) == int64(ahead)+2 { // the sender is stuck, or will be
					close(full)
				}
				return nil
			}
			many := make([]string, 1000)
			for i := range many {
				many[i] = "text"
			}
			go func() {
				for st.Send(&embeddv1.EncodeStreamRequest{Request: texts(many...)}) == nil {
				}
			}()
			<-full
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
			st, _ := r.stream(t)
			c.use(t, r, st)
			grace := time.Minute
			if c.name == "not reading" { // what has been sent is sent before the status: the client would have to read
				grace = 100 * time.Millisecond
			}
			r.Stop(grace)
			for {
				_, err := st.Recv()
				if err == nil {
					continue
				}
				if status.Code(err) != codes.Unavailable || grace == time.Minute && !strings.Contains(err.Error(), "stopping") {
					t.Errorf("%v", err)
				}
				return
			}
		})
	}
}

func TestTokenizeWithoutATokenizer(t *testing.T) {
	r := launch(t, Options{})
	call := embeddv1.NewEncodeServiceClient(r.connect(t))
	for _, c := range []struct {
		req  *embeddv1.TokenizeRequest
		want codes.Code
		text string
	}{
		{&embeddv1.TokenizeRequest{}, codes.InvalidArgument, "texts: is empty"},
		{&embeddv1.TokenizeRequest{Texts: []string{"a", "\t"}}, codes.InvalidArgument, "texts[1]: is blank"},
		{&embeddv1.TokenizeRequest{Texts: []string{"a"}, Role: 9}, codes.InvalidArgument, "role: 9 is not a Role"},
		{&embeddv1.TokenizeRequest{Texts: []string{"a"}}, codes.FailedPrecondition, "there are no tokens"},
	} {
		if _, err := call.Tokenize(t.Context(), c.req); status.Code(err) != c.want || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v, want %v with %q", c.req, err, c.want, c.text)
		}
	}
}
