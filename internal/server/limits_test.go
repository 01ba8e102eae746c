package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"embedd/internal/admission"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// retryInfo is the time to wait that an error tells programs, 0 if it tells none.
func retryInfo(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func TestMessageSizes(t *testing.T) {
	r := launch(t, Options{})
	conn := r.connect(t, grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1<<30)))
	search := func(bytes int, o ...grpc.CallOption) error {
		_, err := embeddv1.NewSearchServiceClient(conn).Search(t.Context(), &embeddv1.SearchRequest{Query: text(strings.Repeat("a", bytes))}, o...)
		return err
	}
	encode := func(bytes int) error {
		_, err := embeddv1.NewEncodeServiceClient(conn).Encode(t.Context(), &embeddv1.EncodeRequest{Texts: []string{strings.Repeat("a", bytes)}})
		return err
	}
	upsert := func(bytes int) error {
		_, err := embeddv1.NewPaperServiceClient(conn).UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: strings.Repeat("a", bytes)}}})
		return err
	}
	long := func(bytes int) *grpc_health_v1.HealthCheckRequest {
		return &grpc_health_v1.HealthCheckRequest{Service: strings.Repeat("a", bytes)}
	}
	health := func(bytes int) error {
		_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), long(bytes))
		return err
	}
	watch := func(bytes int) error {
		w, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), long(bytes))
		if err == nil {
			_, err = w.Recv()
		}
		return err
	}
	for _, c := range []struct {
		name string
		err  error
		code codes.Code
		say  string
	}{
		{"a search of 1 MiB", search(1<<20 - 100), codes.InvalidArgument, "the limit is 262144"},
		{"a search beyond", search(1 << 20), codes.ResourceExhausted, "the limit of this method is 1048576"},
		{"a search of 15 MiB", search(15 << 20), codes.ResourceExhausted, "the limit of this method is 1048576"},
		{"a search of 17 MiB", search(17 << 20), codes.ResourceExhausted, "16777216"},
		{"texts of 4 MiB", encode(4<<20 - 100), codes.InvalidArgument, "the limit is 262144"},
		{"texts beyond", encode(4 << 20), codes.ResourceExhausted, "the limit of this method is 4194304"},
		{"papers of 5 MiB", upsert(5 << 20), codes.InvalidArgument, "the limit is 262144"},
		{"papers of 17 MiB", upsert(17 << 20), codes.ResourceExhausted, "16777216"},
		{"the health of a service with a long name", health(2 << 10), codes.ResourceExhausted, "the limit of this method is 1024"},
		{"a watch of one", watch(2 << 10), codes.ResourceExhausted, "the limit of this method is 1024"},
		// This test imports gzip; so may a library of the program.
		{"a request that is compressed", search(10, grpc.UseCompressor(gzip.Name)), codes.Unimplemented, "compressed with"},
		{"a small message that unpacks to 20 MiB", search(20<<20, grpc.UseCompressor(gzip.Name)), codes.Unimplemented, "compressed with"},
	} {
		if status.Code(c.err) != c.code || !strings.Contains(c.err.Error(), c.say) {
			t.Errorf("%s: %v, want %v saying %q", c.name, c.err, c.code, c.say)
		}
	}
	if n := r.Load().Refused["message_bytes"]; n != 5 {
		t.Errorf("%d requests were counted as too large, want 5", n)
	}
}

// Limits are published as they hold.
func TestLimitsArePublished(t *testing.T) {
	limits := Limits{Connections: 7, ConnectionsPerAddress: 3, Rate: 1000, WriteRate: 500}
	r := launch(t, Options{Limits: limits})
	info, err := embeddv1.NewInfoServiceClient(r.connect(t)).GetInfo(t.Context(), &embeddv1.GetInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	l := info.GetLimits()
	if l.GetConnections() != 7 || l.GetConnectionsPerAddress() != 3 || l.GetCallsPerSecond() != 1000 || l.GetWritesPerSecond() != 500 || l.GetCallsPerConnection() != 128 || l.GetHeaderBytes() != 16<<10 {
		t.Errorf("%v", l)
	}
	table := classLimits()
	if len(l.GetClasses()) != len(table) {
		t.Errorf("%d classes, want %d", len(l.GetClasses()), len(table))
	}
	for _, c := range l.GetClasses() {
		want := table[c.GetClass()]
		if int(c.GetMessageBytes()) != want.MessageBytes || time.Duration(c.GetDeadlineSeconds())*time.Second != want.Deadline || int(c.GetRunning()) != want.Gate.Running || int(c.GetWaiting()) != want.Gate.Waiting {
			t.Errorf("%v, want %+v", c, want)
		}
	}
}

// A call has the deadline of its class, or its own if that is nearer.
func TestDeadlines(t *testing.T) {
	r := launch(t, Options{})
	left := make(chan time.Duration, 1)
	r.encoder.before = func(ctx context.Context) error {
		d, ok := ctx.Deadline()
		if !ok {
			d = time.Time{}
		}
		left <- time.Until(d)
		return nil
	}
	conn := r.connect(t)
	calls := map[string]struct {
		call  func(ctx context.Context) error
		limit time.Duration
	}{
		"search": {func(ctx context.Context) error {
			_, err := embeddv1.NewSearchServiceClient(conn).Search(ctx, &embeddv1.SearchRequest{Query: text("x")})
			return err
		}, 10 * time.Second},
		"encode": {func(ctx context.Context) error {
			_, err := embeddv1.NewEncodeServiceClient(conn).Encode(ctx, &embeddv1.EncodeRequest{Texts: []string{"x"}})
			return err
		}, 30 * time.Second},
		"upsert": {func(ctx context.Context) error {
			_, err := embeddv1.NewPaperServiceClient(conn).UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: "x"}}})
			return err
		}, time.Minute},
	}
	for name, c := range calls {
		for _, own := range []time.Duration{0, time.Hour, 5 * time.Second} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			want := c.limit
			if own > 0 {
				ctx, cancel = context.WithTimeout(ctx, own)
				want = min(want, own)
			}
			if err := c.call(ctx); err != nil {
				t.Errorf("%s: %v", name, err)
				cancel()
				continue
			}
			cancel()
			if got := <-left; got > want || got < want-2*time.Second {
				t.Errorf("%s with a deadline of %v of its own: %v left, want %v", name, own, got, want)
			}
			if name == "upsert" { // unchanged papers are not encoded again
				if _, err := embeddv1.NewPaperServiceClient(conn).DeletePapers(t.Context(), &embeddv1.DeletePapersRequest{Ids: []string{"a"}}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// short limits a class's time to a moment.
func short(class embeddv1.Class) Options {
	return Options{Limits: Limits{Classes: classes(func(all map[embeddv1.Class]ClassLimits) {
		l := all[class]
		l.Deadline = 150 * time.Millisecond
		all[class] = l
	})}}
}

func TestTheServersDeadlineIsNamed(t *testing.T) {
	r := launch(t, short(embeddv1.Class_CLASS_ENCODE))
	r.encoder.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	begin := time.Now()
	_, err := embeddv1.NewEncodeServiceClient(r.connect(t)).Encode(t.Context(), &embeddv1.EncodeRequest{Texts: []string{"x"}})
	if took := time.Since(begin); status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "the server gives an encode call 150ms") || took > time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

// What nobody waits for any more is told so within 50 ms, and 10,000 such calls leave nothing behind.
func TestCancelledCalls(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	entered, ended := make(chan struct{}), make(chan time.Time, 1)
	r.encoder.before = func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- time.Now()
		return ctx.Err()
	}
	search := embeddv1.NewSearchServiceClient(r.connect(t))
	var told []time.Duration
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := search.Search(ctx, &embeddv1.SearchRequest{Query: text("x")})
			done <- err
		}()
		<-entered
		begin := time.Now()
		cancel()
		told = append(told, (<-ended).Sub(begin))
		if err := <-done; status.Code(err) != codes.Canceled {
			t.Errorf("%v, want Canceled", err)
		}
	}
	slices.Sort(told)
	t.Logf("the encoder was told within %v, half the time within %v", told[len(told)-1], told[len(told)/2])
	if half := told[len(told)/2]; half > 50*time.Millisecond { // one alone may be the machine's doing
		t.Errorf("the encoder was told after %v, want 50ms at most", half)
	}
	r.encoder.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	calls := 10_000
	if testing.Short() {
		calls = 1000
	}
	before := goroutines()
	for i := range calls {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			if i%2 == 0 {
				time.Sleep(100 * time.Microsecond)
			}
			cancel()
		}()
		if _, err := search.Search(ctx, &embeddv1.SearchRequest{Query: text("x")}); status.Code(err) != codes.Canceled {
			t.Fatalf("%v, want Canceled", err)
		}
	}
	testkit.Eventually(t, "the goroutines of cancelled calls end", func() bool { return goroutines() <= before+2 })
	testkit.Eventually(t, "the gate is empty", func() bool {
		l := r.Load().Classes["search"]
		return l.Running == 0 && l.Waiting == 0
	})
}

// What is beyond a gate is refused at once, by the name of the class, and the others do not notice.
func TestAFullClassRefuses(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(func(all map[embeddv1.Class]ClassLimits) {
		l := all[embeddv1.Class_CLASS_SEARCH]
		l.Gate = admission.Options{Name: "search", Running: 2, Waiting: 1, Burst: 10 * time.Second, Standing: 10 * time.Second}
		all[embeddv1.Class_CLASS_SEARCH] = l
	})}})
	release := make(chan struct{})
	var in atomic.Int32
	r.encoder.before = func(ctx context.Context) error {
		in.Add(1)
		<-release
		return nil
	}
	conn := r.connect(t)
	search := func() error {
		_, err := embeddv1.NewSearchServiceClient(conn).Search(t.Context(), &embeddv1.SearchRequest{Query: text("x")})
		return err
	}
	done := make(chan error, 4)
	for i := range 4 {
		go func() { done <- search() }()
		testkit.Eventually(t, "the call has come", func() bool {
			l := r.Load().Classes["search"]
			return l.Running+l.Waiting >= min(i+1, 3)
		})
		time.Sleep(10 * time.Millisecond)
	}
	begin := time.Now()
	err := <-done // the oldest of those who waited
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "the server runs 2 search calls at once and lets 1 wait") || retryInfo(err) <= 0 {
		t.Errorf("%v, %v to wait", err, retryInfo(err))
	}
	if took := time.Since(begin); took > time.Second { // nothing is waited for; the machine may be busy
		t.Errorf("refused after %v", took)
	}
	// Another class, and the health.
	if _, err := embeddv1.NewPaperServiceClient(conn).DeletePapers(t.Context(), &embeddv1.DeletePapersRequest{Ids: []string{"x"}}); err != nil {
		t.Error(err)
	}
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	close(release)
	if err := errors.Join(<-done, <-done, <-done); err != nil {
		t.Error(err)
	}
	if l := r.Load().Classes["search"]; l.Admitted != 3 || l.Refused[admission.Full] != 1 || l.Running != 0 {
		t.Errorf("%+v", l)
	}
	shown := scrape(t, r.Server)
	for _, want := range []string{
		`embedd_shed_total{class="search",reason="full"} 1`, `embedd_admitted_requests_total{class="search"} 3`, `embedd_queue_wait_seconds_count{class="search"} 2`,
		`embedd_inflight_requests{class="search"} 0`, `embedd_shed_total{class="admin",reason="cancelled"} 0`, "embedd_connections 1",
		`embedd_auth_failures_total{reason="unauthenticated"} 0`, `embedd_connections_refused_total{reason="connections"} 0`,
	} {
		if !strings.Contains(shown, want+"\n") {
			t.Errorf("%s is not shown", want)
		}
	}
}

// In one's own process nobody is refused.
func TestALocalServerLetsAllWait(t *testing.T) {
	r := launch(t, Options{Local: true})
	r.encoder.before = func(ctx context.Context) error { time.Sleep(20 * time.Millisecond); return nil }
	search := embeddv1.NewSearchServiceClient(r.connect(t))
	var wg sync.WaitGroup
	for range 120 {
		wg.Go(func() {
			if _, err := search.Search(t.Context(), &embeddv1.SearchRequest{Query: text("x")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l := r.Load().Classes["search"]; l.Admitted != 120 || l.Waited == 0 {
		t.Errorf("%+v", l)
	}
}

// Health is told by service, to those who watch it too.
func TestHealth(t *testing.T) {
	const serving, not = grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING
	r := launch(t, Options{})
	h := grpc_health_v1.NewHealthClient(r.connect(t))
	watches := map[string]grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse]{}
	for _, service := range []string{"", "embedd.v1.PaperService", "embedd.v1.SearchService"} {
		w, err := h.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		watches[service] = w
	}
	next := func(service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		res, err := watches[service].Recv()
		if err != nil || res.GetStatus() != want {
			t.Errorf("watch of %q: %v %v, want %v", service, res, err, want)
		}
	}
	check := func(service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		res, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || res.GetStatus() != want {
			t.Errorf("%q: %v %v, want %v", service, res, err, want)
		}
	}
	for service := range watches {
		next(service, serving)
	}
	r.SetWritable(true, "nothing has changed")
	r.SetWritable(false, "the disk is full")
	next("embedd.v1.PaperService", not)
	check("embedd.v1.PaperService", not)
	check("embedd.v1.SearchService", serving)
	check("", serving)
	if !strings.Contains(r.log.String(), "the disk is full") {
		t.Error("the log does not say why")
	}
	r.SetWritable(true, "there is room again")
	next("embedd.v1.PaperService", serving)
	r.Drain()
	for service := range watches {
		next(service, not)
	}
	r.SetWritable(false, "too late")
	r.SetWritable(true, "too late")
	check("embedd.v1.PaperService", not)
	// It still answers.
	if _, err := embeddv1.NewInfoServiceClient(r.connect(t)).GetInfo(t.Context(), &embeddv1.GetInfoRequest{}); err != nil {
		t.Error(err)
	}
}
