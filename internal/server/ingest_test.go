package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

type ingestStream = grpc.BidiStreamingClient[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse]

func ingest(t *testing.T, ctx context.Context, conn *grpc.ClientConn, o ...grpc.CallOption) ingestStream {
	t.Helper()
	stream, err := embeddv1.NewPaperServiceClient(conn).IngestPapers(ctx, o...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func sendPaper(t *testing.T, stream ingestStream, p *embeddv1.Paper) {
	t.Helper()
	if err := stream.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: p}}); err != nil {
		t.Fatal(err)
	}
}

// rest reads a stream to its end, and checks that the results are numbered as the papers are, from a number on.
func rest(t *testing.T, stream ingestStream, from int) (results []*embeddv1.IngestResult, err error) {
	t.Helper()
	for {
		res, err := stream.Recv()
		if err != nil {
			return results, err
		}
		for _, r := range res.GetResults() {
			if r.GetIndex() != int64(from+len(results)) {
				t.Errorf("result %d is in place %d", r.GetIndex(), from+len(results))
			}
			results = append(results, r)
		}
	}
}

func numbered(i int) *embeddv1.Paper {
	return &embeddv1.Paper{Id: fmt.Sprintf("p%05d", i), Title: fmt.Sprintf("paper number%d", i)}
}

// Each paper of a stream has its own end, in order; one that is refused says what a call of its own would.
func TestIngestPapers(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	put(t, conn, "old")
	stream := ingest(t, t.Context(), conn, grpc.ForceCodecV2(mixedCodec{encoding.GetCodecV2("proto")}))
	papers := []*embeddv1.Paper{
		{Id: "a", Title: "one"}, {Id: "old", Title: "paper old"}, {Id: "a", Title: "two"}, {Id: "year", Title: "t", Year: 123456}, {Id: "", Title: "t"},
		nil, {Id: "past", Title: "t", Expires: timestamppb.New(time.Unix(1, 0))}, {Id: "vector", Title: "t", Vector: &embeddv1.Vector{}}, {Id: "b", Title: "three"},
	}
	const created, updated, unchanged = embeddv1.UpsertOutcome_UPSERT_OUTCOME_CREATED, embeddv1.UpsertOutcome_UPSERT_OUTCOME_UPDATED, embeddv1.UpsertOutcome_UPSERT_OUTCOME_UNCHANGED
	want := []any{created, unchanged, updated, "papers[3].year", "papers[4].id", "", "papers[6].expires", "papers[7].vector", created}
	for _, p := range papers {
		if p == nil { // invalid UTF-8: nothing of it can be read
			if err := stream.SendMsg(rawMessage{0x12, 4, 0x0a, 2, 0xff, 0xff}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		sendPaper(t, stream, p)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	results, err := rest(t, stream, 0)
	if err != io.EOF || len(results) != len(want) {
		t.Fatalf("%d results, %v; want %d", len(results), err, len(want))
	}
	for i, got := range results {
		switch want := want[i].(type) {
		case embeddv1.UpsertOutcome:
			if got.GetStored().GetOutcome() != want || got.GetId() != papers[i].GetId() || got.GetIndexVersion() == 0 {
				t.Errorf("paper %d: %v, want %v", i, got, want)
			}
		case string:
			refused := got.GetError()
			if codes.Code(refused.GetCode()) != codes.InvalidArgument || want != "" && violated(t, refused) != want {
				t.Errorf("paper %d: %v, want a refusal about %q", i, got, want)
			}
		}
	}
	got, err := embeddv1.NewPaperServiceClient(conn).GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: "a"})
	if err != nil || got.GetPaper().GetTitle() != "two" {
		t.Errorf("the later of two papers with one id: %v, %v", got, err)
	}
	if n := r.Load().RequestBytes; n != 0 {
		t.Errorf("%d bytes of requests are still held", n)
	}
}

// violated is the field that a refusal names.
func violated(t *testing.T, r *embeddv1.Refusal) string {
	t.Helper()
	for _, d := range r.GetDetails() {
		bad := &errdetails.BadRequest{}
		if d.MessageIs(bad) {
			if err := d.UnmarshalTo(bad); err != nil {
				t.Fatal(err)
			}
			return bad.GetFieldViolations()[0].GetField()
		}
	}
	return ""
}

// rawMessage is sent as it is, by mixedCodec.
type rawMessage []byte

type mixedCodec struct{ encoding.CodecV2 }

func (c mixedCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(rawMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// A stream begins with how its papers are stored, or with a paper; nothing else begins it, and nothing begins it twice.
func TestIngestStart(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	put(t, conn, "old")
	start := func(mode embeddv1.WriteMode) *embeddv1.IngestPapersRequest {
		return &embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Start{Start: &embeddv1.IngestStart{Mode: mode}}}
	}
	one := func(id string) *embeddv1.IngestPapersRequest {
		return &embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: &embeddv1.Paper{Id: id, Title: "x " + id}}}
	}
	for _, x := range []struct {
		name  string
		sent  []*embeddv1.IngestPapersRequest
		codes []codes.Code // of the results
		end   codes.Code
	}{
		{"nothing", nil, nil, codes.OK},
		{"a start alone", []*embeddv1.IngestPapersRequest{start(0)}, nil, codes.OK},
		{"insert", []*embeddv1.IngestPapersRequest{start(embeddv1.WriteMode_WRITE_MODE_INSERT), one("old"), one("new")}, []codes.Code{codes.AlreadyExists, codes.OK}, codes.OK},
		{"update", []*embeddv1.IngestPapersRequest{start(embeddv1.WriteMode_WRITE_MODE_UPDATE), one("old"), one("newer")}, []codes.Code{codes.OK, codes.NotFound}, codes.OK},
		{"a mode that is none", []*embeddv1.IngestPapersRequest{start(99), one("x")}, nil, codes.InvalidArgument},
		{"an empty message", []*embeddv1.IngestPapersRequest{{}}, nil, codes.InvalidArgument},
		{"a start after a paper", []*embeddv1.IngestPapersRequest{one("first"), start(0)}, []codes.Code{codes.OK}, codes.InvalidArgument},
	} {
		stream := ingest(t, t.Context(), conn)
		for _, m := range x.sent {
			if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) { // the server has ended it
				t.Fatal(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		results, err := rest(t, stream, 0)
		if err == io.EOF {
			err = nil
		}
		var got []codes.Code
		for _, r := range results {
			got = append(got, codes.Code(r.GetError().GetCode()))
		}
		if status.Code(err) != x.end || !slices.Equal(got, x.codes) {
			t.Errorf("%s: results %v, then %v; want %v, then %v", x.name, got, err, x.codes, x.end)
		}
	}
}

// A client that does not read its results is held back, and loses nothing.
func TestIngestHoldsASlowReaderBack(t *testing.T) {
	const papers = 2500
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	stream := ingest(t, t.Context(), r.connect(t, grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10)))
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		for i := range papers {
			p := numbered(i)
			p.Id = p.GetId() + strings.Repeat("x", 450) // a commit's results fill the window
			if err := stream.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: p}}); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		done <- stream.CloseSend()
	}()
	for last := int64(-1); last != sent.Load() || last == 0; { // it has come to rest, or is slow, and then even less was sent
		last = sent.Load()
		time.Sleep(300 * time.Millisecond)
	}
	if n := sent.Load(); n > papers*3/4 {
		t.Errorf("%d of %d papers were taken while nobody read", n, papers)
	}
	results, err := rest(t, stream, 0)
	if err != io.EOF || len(results) != papers {
		t.Fatalf("%d results, %v", len(results), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, got := range results {
		if got.GetStored().GetOutcome() != embeddv1.UpsertOutcome_UPSERT_OUTCOME_CREATED {
			t.Fatalf("%v", got)
		}
	}
	if n := r.Load().RequestBytes; n != 0 {
		t.Errorf("%d bytes of requests are still held", n)
	}
}

// stored is how many papers the server has.
func (r *running) stored(t *testing.T) int {
	t.Helper()
	c, err := r.set.Load().Get("")
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.Papers
}

// A client that goes finds every paper that it had a result of, and ends with each paper once when it sends all of them again.
func TestIngestAfterACancel(t *testing.T) {
	const papers = 600
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	stream := ingest(t, ctx, conn)
	go func() {
		for i := range papers {
			if stream.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: numbered(i)}}) != nil {
				return // cancelled
			}
		}
	}()
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := rest(t, stream, len(res.GetResults())); status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v", err)
	}
	for _, got := range res.GetResults() {
		if _, err := embeddv1.NewPaperServiceClient(conn).GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: got.GetId()}); err != nil {
			t.Errorf("%s has a result, and %v", got.GetId(), err)
		}
	}
	testkit.Eventually(t, "nothing of the stream is held", func() bool { return r.Load().RequestBytes == 0 })
	again := ingest(t, t.Context(), conn)
	go func() {
		for i := range papers {
			if again.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: numbered(i)}}) != nil {
				return // the results say so
			}
		}
		_ = again.CloseSend() // the results say so
	}()
	results, err := rest(t, again, 0)
	if err != io.EOF || len(results) != papers || r.stored(t) != papers {
		t.Fatalf("%d results, %v; %d papers are stored, want %d", len(results), err, r.stored(t), papers)
	}
	for i, got := range results {
		if i < len(res.GetResults()) && got.GetStored().GetOutcome() != embeddv1.UpsertOutcome_UPSERT_OUTCOME_UNCHANGED {
			t.Errorf("paper %d had a result, and again: %v", i, got)
		}
	}
}

// A server that stops finishes the commit that it has begun, gives its results, and says that it is stopping.
func TestIngestWhileTheServerStops(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	begun, goOn := make(chan struct{}, 10), make(chan struct{})
	r.encoder.before = func(context.Context) error {
		begun <- struct{}{}
		<-goOn
		return nil
	}
	stream := ingest(t, t.Context(), r.connect(t))
	for i := range 3 {
		sendPaper(t, stream, numbered(i))
	}
	<-begun
	stopped := make(chan struct{})
	go func() {
		r.Stop(time.Minute)
		close(stopped)
	}()
	<-r.stopping.Done()
	close(goOn)
	results, err := rest(t, stream, 0)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the server is stopping") {
		t.Errorf("the stream ended with %v", err)
	}
	if len(results) == 0 || r.stored(t) != len(results) {
		t.Errorf("%d results; %d papers are stored", len(results), r.stored(t))
	}
	<-stopped
}

// Where there is no room papers wait for it, and are refused one by one with the time to wait where that lasts.
func TestIngestWithoutRoom(t *testing.T) {
	var full atomic.Bool
	full.Store(true)
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}, Room: func() error {
		if full.Load() {
			return errors.New("the memory is used up")
		}
		return nil
	}})
	r.patience = 0
	conn := r.connect(t)
	stream := ingest(t, t.Context(), conn)
	sendPaper(t, stream, numbered(0))
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	refused := res.GetResults()[0].GetError()
	retry := &errdetails.RetryInfo{}
	if codes.Code(refused.GetCode()) != codes.ResourceExhausted || len(refused.GetDetails()) != 1 || refused.GetDetails()[0].UnmarshalTo(retry) != nil || retry.GetRetryDelay().AsDuration() != memoryWait {
		t.Errorf("refused with %v", refused)
	}
	full.Store(false)
	sendPaper(t, stream, numbered(0))
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	results, err := rest(t, stream, 1)
	if err != io.EOF || len(results) != 1 || results[0].GetStored() == nil {
		t.Errorf("with room: %v, %v", results, err)
	}
	// It waits.
	full.Store(true)
	r.patience = time.Hour
	stream = ingest(t, t.Context(), conn)
	sendPaper(t, stream, numbered(1))
	testkit.Eventually(t, "the paper has come", func() bool { return r.Load().RequestBytes > 0 })
	full.Store(false)
	if res, err := stream.Recv(); err != nil || res.GetResults()[0].GetStored() == nil {
		t.Errorf("after a while: %v, %v", res, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := rest(t, stream, 1); err != io.EOF {
		t.Error(err)
	}
}

// A stream is a write when it begins, and each commit of it is one that waits for its turn.
func TestIngestKeepsToTheRate(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil), WriteRate: 0.001}})
	conn := r.connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	stream := ingest(t, ctx, conn)
	sendPaper(t, stream, numbered(0))
	testkit.Eventually(t, "the paper has come", func() bool { return r.Load().RequestBytes > 0 })
	second := ingest(t, t.Context(), conn)
	if _, err := second.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a second stream: %v", err)
	}
	if n := r.stored(t); n != 0 {
		t.Errorf("%d papers were stored before their turn", n)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

// The methods that write besides.
func TestWriteCalls(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	papers := embeddv1.NewPaperServiceClient(conn)
	for i := range 10 {
		put(t, conn, fmt.Sprint("p", i))
	}
	named := func(err error, code codes.Code, field string) {
		t.Helper()
		st := status.Convert(err)
		var got string
		for _, d := range st.Details() {
			if bad, ok := d.(*errdetails.BadRequest); ok {
				got = bad.GetFieldViolations()[0].GetField()
			}
		}
		if st.Code() != code || got != field {
			t.Errorf("%v about %q, want %v about %q", err, got, code, field)
		}
	}
	ctx := t.Context()
	one := []*embeddv1.Paper{{Id: "new", Title: "x"}, {Id: "p1", Title: "x"}}
	_, err := papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: one, Mode: embeddv1.WriteMode_WRITE_MODE_INSERT})
	named(err, codes.AlreadyExists, "papers[1].id")
	_, err = papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: one, Mode: embeddv1.WriteMode_WRITE_MODE_UPDATE})
	named(err, codes.NotFound, "papers[0].id")
	_, err = papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: one, Mode: 99})
	named(err, codes.InvalidArgument, "mode")

	end := timestamppb.New(time.Date(2999, 1, 1, 0, 0, 0, 1, time.UTC))
	update := func(id string, p *embeddv1.Paper, paths ...string) *embeddv1.UpdateMetadataRequest {
		return &embeddv1.UpdateMetadataRequest{Updates: []*embeddv1.MetadataUpdate{{Id: id, Paper: p, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}}}}
	}
	res, err := papers.UpdateMetadata(ctx, update("p1", &embeddv1.Paper{Year: 2020, Expires: end}, "year", "expires"))
	if err != nil || res.GetResults()[0].GetOutcome() != embeddv1.UpsertOutcome_UPSERT_OUTCOME_UPDATED {
		t.Errorf("%v, %v", res, err)
	}
	got, err := papers.GetPaper(ctx, &embeddv1.GetPaperRequest{Id: "p1"})
	if p := got.GetPaper(); err != nil || p.GetYear() != 2020 || !p.GetExpires().AsTime().Equal(end.AsTime()) || p.GetTitle() != "paper p1" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = papers.UpdateMetadata(ctx, update("nobody", nil, "year"))
	named(err, codes.NotFound, "updates[0].id")
	_, err = papers.UpdateMetadata(ctx, update("p1", nil, "title"))
	named(err, codes.InvalidArgument, "updates[0].update_mask")
	_, err = papers.UpdateMetadata(ctx, update("p1", &embeddv1.Paper{Expires: &timestamppb.Timestamp{Nanos: -1}}, "expires"))
	named(err, codes.InvalidArgument, "updates[0].paper.expires")

	_, err = papers.DeletePapers(ctx, &embeddv1.DeletePapersRequest{Ids: []string{"p1"}, Filter: "year = 2020"})
	named(err, codes.InvalidArgument, "filter")
	_, err = papers.DeletePapers(ctx, &embeddv1.DeletePapersRequest{Filter: "year ="})
	named(err, codes.InvalidArgument, "filter")
	_, err = papers.DeletePapers(ctx, &embeddv1.DeletePapersRequest{})
	named(err, codes.InvalidArgument, "ids")
	for _, x := range []struct {
		req        *embeddv1.DeletePapersRequest
		deleted    int64
		missing    string
		thereAfter int
	}{
		{&embeddv1.DeletePapersRequest{Ids: []string{"p1", "nobody"}, DryRun: true}, 1, "nobody", 10},
		{&embeddv1.DeletePapersRequest{Filter: "year = 2020", DryRun: true}, 1, "", 10},
		{&embeddv1.DeletePapersRequest{Filter: "year = 2020"}, 1, "", 9},
		{&embeddv1.DeletePapersRequest{Filter: `id = "p*"`}, 9, "", 0},
	} {
		res, err := papers.DeletePapers(ctx, x.req)
		if err != nil || res.GetDeleted() != x.deleted || strings.Join(res.GetNotFound(), " ") != x.missing || r.stored(t) != x.thereAfter || res.GetIndexVersion() == 0 {
			t.Errorf("%v: %v, %v; %d papers are left", x.req, res, err, r.stored(t))
		}
	}
}
