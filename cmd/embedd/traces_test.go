package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	embeddv1 "embedd/proto/embedd/v1"
)

// otlpReceiver keeps what a server exports, as text.
type otlpReceiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	text  strings.Builder
	names map[string]int
}

func (r *otlpReceiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.WriteString(protojson.Format(req))
	for _, rs := range req.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				r.names[s.GetName()]++
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// The spans that a real server sends to a real collector have its calls and their stages, and nothing that a client has sent.
func TestTracesHaveNothingOfTheClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, s := &otlpReceiver{names: map[string]int{}}, grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	go s.Serve(l)
	defer s.Stop()

	listen := freeAddress(t)
	cmd, err := thisProgram("serve", "--listen", listen, "--data", filepath.Join(t.TempDir(), "data"), "--traces", "--log-format", "json", "--log-level", "debug")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String(), "OTEL_TRACES_SAMPLER=always_on")
	p := begin(t, cmd)
	p.awaitServing()
	conn, err := dial(listen)
	if err != nil {
		t.Fatal(err)
	}
	cl := newClient(conn, conn.Close)
	defer cl.close()

	const secret = "xyzzy"
	about, err := structpb.NewStruct(map[string]any{secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", secret, "x-"+secret, secret, "user-agent", secret)
	if _, err := cl.papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a-" + secret, Title: secret, Abstract: secret, Metadata: about}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: textInput("about " + secret)}); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: vectorInput(1, 2, 3)}); err == nil {
		t.Error("a vector of three values was taken")
	}
	if _, err := cl.papers.DeletePapers(ctx, &embeddv1.DeletePapersRequest{Ids: []string{"a-" + secret}}); err != nil {
		t.Fatal(err)
	}
	p.signal(os.Interrupt)
	if code := p.wait(30 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, want := range map[string]int{
		"embedd.v1.PaperService/UpsertPapers": 1, "embedd.v1.PaperService/DeletePapers": 1, "embedd.v1.SearchService/Search": 2,
		"encode": 2, "search": 1, "fetch": 1, "commit": 2,
	} {
		if r.names[name] != want {
			t.Errorf("%d spans %s, want %d", r.names[name], name, want)
		}
	}
	if strings.Contains(r.text.String(), secret) {
		t.Errorf("what a client sent is in a span: %s", r.text.String())
	}
	if !strings.Contains(r.text.String(), `"INVALID_ARGUMENT"`) {
		t.Error("no span has the status of the refused search")
	}
	// The log, which has each call at level debug, has no more of it, and names the traces.
	log := p.stderr.String()
	if strings.Contains(log, secret) || !strings.Contains(log, `"trace_id":"`) || !strings.Contains(log, `"method":"/embedd.v1.SearchService/Search"`) {
		t.Errorf("the log: %s", log)
	}
}
