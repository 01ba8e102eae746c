package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"embedd/internal/evalsets"
	"embedd/internal/server"
	"embedd/models"
	embeddv1 "embedd/proto/embedd/v1"
)

// serve gives a server with the real model on a loopback port, over an empty data directory. Its invariants are checked
// at the end of the test.
func serve(t *testing.T) (*client, *grpc.ClientConn, *engine) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	f := engineFlags{Model: models.Default, M: 16, EfConstruction: 200, IndexMemory: "residual"}
	en, err := openEngine(t.Context(), &f, t.TempDir(), opening{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Version: version, Log: log, Reflection: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Ready(en.collection)
	go s.Serve(l)
	conn, err := dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := en.collection.Check(); err != nil {
			t.Errorf("check: %v", err)
		}
		conn.Close()
		s.Stop(time.Second)
		if err := en.Close(); err != nil {
			t.Error(err)
		}
	})
	return newClient(conn, conn.Close), conn, en
}

func textInput(text string) *embeddv1.Input {
	return &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: text}}
}

func vectorInput(v ...float32) *embeddv1.Input {
	return &embeddv1.Input{Kind: &embeddv1.Input_Vector{Vector: &embeddv1.Vector{Values: v}}}
}

// bad gives a vector of the model's dimension with one odd value.
func bad(x float32) *embeddv1.Input {
	v := make([]float32, 384)
	v[7] = x
	return vectorInput(v...)
}

// Every bad request gets a status that names the field and the limit, and nothing of it is stored.
func TestBadRequestsOverTheWire(t *testing.T) {
	cl, _, en := serve(t)
	ctx := t.Context()
	upsert := func(p ...*embeddv1.Paper) func() error {
		return func() error {
			_, err := cl.papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: p})
			return err
		}
	}
	search := func(in *embeddv1.Input, k *int32) func() error {
		return func() error {
			_, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: in, K: k})
			return err
		}
	}
	paper := func(id, title string) *embeddv1.Paper { return &embeddv1.Paper{Id: id, Title: title} }
	if err := upsert(paper("a", "A paper"))(); err != nil {
		t.Fatal(err)
	}
	tooMany := make([]*embeddv1.Paper, 10001)
	for i := range tooMany {
		tooMany[i] = paper(fmt.Sprint("p", i), "x")
	}
	for _, c := range []struct {
		name  string
		call  func() error
		code  codes.Code
		field string
		say   string
	}{
		{"10,001 papers", upsert(tooMany...), codes.InvalidArgument, "papers", "10001 papers; the limit is 1000"},
		{"no papers", upsert(), codes.InvalidArgument, "papers", "1 to 1000"},
		{"a null paper", upsert(nil), codes.InvalidArgument, "papers[0].id", "empty"},
		{"empty text", upsert(paper("b", "")), codes.InvalidArgument, "papers[0]", "blank"},
		{"blank text", upsert(paper("b", " \n\t")), codes.InvalidArgument, "papers[0]", "blank"},
		{"text of control characters", upsert(paper("b", "\x01\x02")), codes.InvalidArgument, "papers[0]", "no word"},
		{"NUL", upsert(paper("b", "x\x00y")), codes.InvalidArgument, "papers[0].title", "NUL"},
		{"duplicate id", upsert(paper("b", "x"), paper("b", "y")), codes.InvalidArgument, "papers[1].id", "papers[0]"},
		{"long id", upsert(paper(strings.Repeat("b", 513), "x")), codes.InvalidArgument, "papers[0].id", "512"},
		{"NaN in metadata", upsert(&embeddv1.Paper{Id: "b", Title: "x", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(math.NaN())}}}), codes.InvalidArgument, "papers[0].metadata", "JSON"},
		{"ef and recall", func() error {
			_, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: textInput("x"), Ef: proto.Int32(10), Recall: proto.Float64(0.9)})
			return err
		}, codes.InvalidArgument, "recall", "give ef or recall"},
		{"recall 1", func() error {
			_, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: "a", Recall: proto.Float64(1)})
			return err
		}, codes.InvalidArgument, "recall", "is 1; must be 0.5 to 0.9999"},
		{"recall 0", func() error {
			_, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: "a", Recall: proto.Float64(0)})
			return err
		}, codes.InvalidArgument, "recall", "is 0; must be 0.5 to 0.9999"},
		{"unknown plan", func() error {
			_, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: textInput("x"), Plan: 9})
			return err
		}, codes.InvalidArgument, "plan", "9 is not a Plan"},
		{"unknown mode", func() error {
			_, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: textInput("x"), Mode: 9})
			return err
		}, codes.InvalidArgument, "mode", "9 is not a Mode"},
		{"10,001 excluded", func() error {
			_, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: textInput("x"), Exclude: make([]string, 10_001)})
			return err
		}, codes.InvalidArgument, "exclude", "has 10001 ids; the limit is 10000"},
		{"no id excluded", func() error {
			_, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: "a", Exclude: []string{"b", ""}})
			return err
		}, codes.InvalidArgument, "exclude[1]", "is empty"},
		{"unknown fusion", func() error {
			_, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: "a", Fusion: 9})
			return err
		}, codes.InvalidArgument, "fusion", "9 is not a Fusion"},
		{"words of a vector", func() error {
			_, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: vectorInput(make([]float32, 384)...), Mode: embeddv1.Mode_MODE_HYBRID})
			return err
		}, codes.InvalidArgument, "mode", "is hybrid, which needs words"},
		{"a weight of nothing", func() error {
			_, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: "a", DenseWeight: proto.Float64(0.5)})
			return err
		}, codes.InvalidArgument, "dense_weight", "the mode is dense"},
		{"a weight out of range", func() error {
			_, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: textInput("x"), DenseWeight: proto.Float64(1.5)})
			return err
		}, codes.InvalidArgument, "dense_weight", "must be 0 to 1"},
		{"exact and a plan", func() error {
			_, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: "a", Plan: embeddv1.Plan_PLAN_GRAPH, Exact: true})
			return err
		}, codes.InvalidArgument, "plan", "give plan or exact"},
		{"empty query", search(nil, nil), codes.InvalidArgument, "query", "one of paper_id, text, vector"},
		{"blank query", search(textInput(" "), nil), codes.InvalidArgument, "query.text", "blank"},
		{"k 0", search(textInput("x"), proto.Int32(0)), codes.InvalidArgument, "k", "1 to 1000"},
		{"k -1", search(textInput("x"), proto.Int32(-1)), codes.InvalidArgument, "k", "1 to 1000"},
		{"k 1,001", search(textInput("x"), proto.Int32(1001)), codes.InvalidArgument, "k", "1 to 1000"},
		{"wrong dimension", search(vectorInput(1, 2), nil), codes.InvalidArgument, "query.vector", "2 values; the model's dimension is 384"},
		{"no values", search(vectorInput(), nil), codes.InvalidArgument, "query.vector", "0 values"},
		{"NaN", search(bad(float32(math.NaN())), nil), codes.InvalidArgument, "query.vector", "value 7 is NaN"},
		{"Inf", search(bad(float32(math.Inf(1))), nil), codes.InvalidArgument, "query.vector", "value 7 is +Inf"},
		{"zero vector", search(bad(0), nil), codes.InvalidArgument, "query.vector", "zero vector"},
		{"unknown paper", search(&embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: "zz"}}, nil), codes.NotFound, "query.paper_id", `"zz"`},
		{"unknown id", func() error {
			_, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: "zz"})
			return err
		}, codes.NotFound, "id", `"zz"`},
		{"get unknown id", func() error {
			_, err := cl.papers.GetPaper(ctx, &embeddv1.GetPaperRequest{Id: "zz"})
			return err
		}, codes.NotFound, "id", `"zz"`},
		{"unknown view", func() error {
			_, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: "a", View: 9})
			return err
		}, codes.InvalidArgument, "view", "9 is not a PaperView"},
		{"unknown role", func() error {
			_, err := cl.encode.Encode(ctx, &embeddv1.EncodeRequest{Texts: []string{"x"}, Role: 9})
			return err
		}, codes.InvalidArgument, "role", "9 is not a Role"},
		{"no texts", func() error {
			_, err := cl.encode.Encode(ctx, &embeddv1.EncodeRequest{})
			return err
		}, codes.InvalidArgument, "texts", "1 to 1000"},
		{"bad page token", func() error {
			_, err := cl.papers.ListPapers(ctx, &embeddv1.ListPapersRequest{PageToken: "!"})
			return err
		}, codes.InvalidArgument, "page_token", "next_page_token"},
		{"page size", func() error {
			_, err := cl.papers.ListPapers(ctx, &embeddv1.ListPapersRequest{PageSize: proto.Int32(1001)})
			return err
		}, codes.InvalidArgument, "page_size", "1 to 1000"},
	} {
		st := status.Convert(c.call())
		if st.Code() != c.code || !strings.Contains(st.Message(), c.say) {
			t.Errorf("%s: %v %q, want %v saying %q", c.name, st.Code(), st.Message(), c.code, c.say)
		}
		field := ""
		for _, d := range st.Details() {
			if b, ok := d.(*errdetails.BadRequest); ok {
				field = b.GetFieldViolations()[0].GetField()
			}
		}
		if field != c.field {
			t.Errorf("%s: detail names the field %q, want %q", c.name, field, c.field)
		}
	}
	if info, err := en.collection.Info(); err != nil || info.Papers != 1 {
		t.Errorf("%d papers, %v: a refused call stored something", info.Papers, err)
	}
}

// raw is a codec that sends bytes as they are, for requests that no protobuf library would make.
type raw struct{ encoding.CodecV2 }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return encoding.GetCodecV2("proto").Marshal(v)
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	return encoding.GetCodecV2("proto").Unmarshal(data, v)
}
func (raw) Name() string { return "proto" }

// A request that cannot be decoded is the client's mistake, and the field with invalid UTF-8 is named.
func TestUndecodableRequestsOverTheWire(t *testing.T) {
	cl, conn, _ := serve(t)
	invalid := "a\xffb"
	field := func(number byte, value []byte) []byte { // a length-delimited field
		return append([]byte{number<<3 | 2, byte(len(value))}, value...)
	}
	for _, c := range []struct {
		method string
		body   []byte
		say    string
	}{
		{"PaperService/UpsertPapers", field(1, slices.Concat(field(1, []byte("b")), field(2, []byte(invalid)))), "embedd.v1.Paper.title contains invalid UTF-8"},
		{"PaperService/GetPaper", field(1, []byte(invalid)), "embedd.v1.GetPaperRequest.id contains invalid UTF-8"},
		{"SearchService/Search", field(1, field(2, []byte(invalid))), "embedd.v1.Input.text contains invalid UTF-8"},
		{"EncodeService/Encode", field(1, []byte(invalid)), "embedd.v1.EncodeRequest.texts contains invalid UTF-8"},
		{"EncodeService/Encode", []byte{0xff, 0xff, 0xff}, "cannot be decoded"},
	} {
		err := conn.Invoke(t.Context(), "/embedd.v1."+c.method, c.body, &embeddv1.EncodeResponse{}, grpc.ForceCodecV2(raw{}))
		if st := status.Convert(err); st.Code() != codes.InvalidArgument || !strings.Contains(st.Message(), c.say) {
			t.Errorf("%s: %v %q, want InvalidArgument saying %q", c.method, st.Code(), st.Message(), c.say)
		}
	}
	if _, err := cl.info.GetInfo(t.Context(), &embeddv1.GetInfoRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A text longer than the model reads is a result that says so, not an error and not a silent cut.
func TestLongTextsAreMarked(t *testing.T) {
	cl, _, _ := serve(t)
	long := strings.Repeat("retrieval ", 300)
	up, err := cl.papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: "x", Abstract: long}, {Id: "b", Title: "short"}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := cl.papers.GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: "a"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := cl.search.Search(t.Context(), &embeddv1.SearchRequest{Query: textInput(long)})
	if err != nil {
		t.Fatal(err)
	}
	enc, err := cl.encode.Encode(t.Context(), &embeddv1.EncodeRequest{Texts: []string{long, "short"}})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		use    *embeddv1.TextUse
		tokens int32
	}{
		"upsert": {up.GetResults()[0].GetTextUse(), 303}, "upsert short": {up.GetResults()[1].GetTextUse(), 3},
		"get": {got.GetTextUse(), 303}, "search": {res.GetTextUse(), 302},
		"encode": {enc.GetEncodings()[0].GetTextUse(), 302}, "encode short": {enc.GetEncodings()[1].GetTextUse(), 3},
	} {
		if c.use.GetTokenCount() != c.tokens || c.use.GetTruncated() != (c.tokens > 256) {
			t.Errorf("%s: %v, want %d tokens", what, c.use, c.tokens)
		}
	}
	if got.GetPaper().GetAbstract() != long {
		t.Error("the stored abstract is not the whole one")
	}
}

// Metadata and facts come back as they went in.
func TestAPaperComesBackWhole(t *testing.T) {
	cl, _, _ := serve(t)
	meta, err := structpb.NewStruct(map[string]any{"n": 1.5, "list": []any{"x", true, nil}, "deep": map[string]any{"é": "量"}})
	if err != nil {
		t.Fatal(err)
	}
	want := &embeddv1.Paper{
		Id: "DOI:10.1000/x/y?z#ü", Title: "Title", Abstract: "Abstract", Authors: []string{"A", "Bé"}, Year: 1999,
		Venue: "V", Doi: "10.1000/x", ArxivId: "1234.5678", Url: "https://example.org/", Metadata: meta,
	}
	for _, outcome := range []embeddv1.UpsertOutcome{embeddv1.UpsertOutcome_UPSERT_OUTCOME_CREATED, embeddv1.UpsertOutcome_UPSERT_OUTCOME_UNCHANGED} {
		up, err := cl.papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{want}})
		if err != nil || up.GetResults()[0].GetOutcome() != outcome {
			t.Errorf("%v %v, want %v", up, err, outcome)
		}
	}
	got, err := cl.papers.GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: want.Id})
	if err != nil || !proto.Equal(got.GetPaper(), want) {
		t.Errorf("got  %v (%v)\nwant %v", got.GetPaper(), err, want)
	}
	list, err := cl.papers.ListPapers(t.Context(), &embeddv1.ListPapersRequest{View: embeddv1.PaperView_PAPER_VIEW_FULL})
	if err != nil || !proto.Equal(list.GetPapers()[0], want) {
		t.Errorf("list gives %v (%v)", list, err)
	}
}

func TestHealthAndReflection(t *testing.T) {
	_, conn, _ := serve(t)
	for _, service := range []string{"", "embedd.v1.PaperService", "embedd.v1.SearchService", "embedd.v1.EncodeService", "embedd.v1.InfoService"} {
		res, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v %v", service, res, err)
		}
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range res.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	if !slices.Contains(names, "embedd.v1.SearchService") || !slices.Contains(names, "grpc.health.v1.Health") {
		t.Errorf("reflection lists %v", names)
	}
}

// Until there is a collection, the server says that it is starting.
func TestServerBeforeItIsReady(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	defer s.Stop(time.Second)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	res, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v %v, want NOT_SERVING", res, err)
	}
	_, err = embeddv1.NewInfoServiceClient(conn).GetInfo(t.Context(), &embeddv1.GetInfoRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "starting") {
		t.Errorf("%v, want Unavailable: starting", err)
	}
}

// Each of the 51 listing papers, searched by its own title, comes first.
func TestListingPapersComeFirstByTitle(t *testing.T) {
	dir := evalsets.Dir(t, "listing51")
	var out, errs strings.Builder
	if code := run([]string{"eval", "--by-title", "--json", dir}, strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	var report titleReport
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil {
		t.Fatal(err)
	}
	if report.Papers != 51 || report.First != 51 {
		t.Errorf("%d of %d come first, missed are %v", report.First, report.Papers, report.Missed)
	}
}

// Many clients get the answers that one gets.
func TestConcurrentClientsGetTheSameAnswers(t *testing.T) {
	cl, conn, _ := serve(t)
	var papers []*embeddv1.Paper
	for i := range 100 {
		papers = append(papers, &embeddv1.Paper{Id: fmt.Sprint("p", i), Title: fmt.Sprintf("paper %d about topic %d", i, i%7)})
	}
	if _, err := cl.papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: papers}); err != nil {
		t.Fatal(err)
	}
	want := make([]*embeddv1.RelatedResponse, len(papers))
	for i, p := range papers {
		var err error
		if want[i], err = cl.search.Related(t.Context(), &embeddv1.RelatedRequest{Id: p.Id}); err != nil {
			t.Fatal(err)
		}
		want[i].Stages = nil
		if len(want[i].GetHits()) != 10 {
			t.Fatalf("%d hits", len(want[i].GetHits()))
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := newClient(conn, nil)
			for i, p := range papers {
				got, err := c.search.Related(context.Background(), &embeddv1.RelatedRequest{Id: p.Id})
				if got != nil {
					got.Stages = nil // how long it took
				}
				if err != nil || !proto.Equal(got, want[i]) {
					t.Errorf("%s: %v (%v), want %v", p.Id, got, err, want[i])
				}
			}
		})
	}
	wg.Wait()
}
