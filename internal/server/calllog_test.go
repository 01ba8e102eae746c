package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"embedd/internal/access"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// A slow call is logged with its parameters, and with nothing that a client has written; a quick one is not.
func TestSlowCallsAreLoggedWithoutTheirTexts(t *testing.T) {
	const secret = "xyzzy"
	text := &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: secret}}
	metadata, err := structpb.NewStruct(map[string]any{secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	paper := &embeddv1.Paper{Id: secret, Title: secret, Abstract: secret, Authors: []string{secret}, Venue: secret, Metadata: metadata}
	const papers, searches = "/embedd.v1.PaperService/", "/embedd.v1.SearchService/"
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(0)
	for _, c := range []struct {
		method string
		req    any
		took   time.Duration
		err    error
		want   []string // nil: no line
	}{
		{searches + "Search", &embeddv1.SearchRequest{Query: text, K: proto.Int32(7), Exact: true}, 2 * time.Second, nil, []string{"level=WARN", `msg="slow call"`, "k=7", "exact=true", "input=text", "bytes=5", "took=2s", "code=OK"}},
		{searches + "Search", &embeddv1.SearchRequest{Query: text}, 999 * time.Millisecond, nil, nil},
		{searches + "Related", &embeddv1.RelatedRequest{Id: secret, Ef: proto.Int32(50), Recall: proto.Float64(.5), Plan: embeddv1.Plan_PLAN_GRAPH, Mode: embeddv1.Mode_MODE_HYBRID}, time.Second, nil, []string{"ef=50", "recall=0.5", "plan=PLAN_GRAPH", "mode=MODE_HYBRID"}},
		{searches + "Explain", &embeddv1.ExplainRequest{Query: text, Id: secret}, time.Second, nil, []string{"input=text"}},
		{searches + "Rerank", &embeddv1.RerankRequest{Query: secret, Texts: []string{secret, secret}}, 15 * time.Second, nil, []string{"n=2", "bytes=15"}},
		{searches + "Rerank", &embeddv1.RerankRequest{Query: secret, Texts: []string{secret}}, 14 * time.Second, nil, nil},
		{encodeMethod, &embeddv1.EncodeRequest{Texts: []string{secret}}, time.Second, nil, []string{"n=1", "bytes=5", "lane=LANE_UNSPECIFIED"}},
		{encodeMethod, &embeddv1.EncodeRequest{Texts: []string{secret, secret}, Lane: embeddv1.Lane_LANE_INTERACTIVE}, time.Second, nil, []string{"n=2"}},
		{encodeMethod, &embeddv1.EncodeRequest{Texts: []string{secret}, Lane: embeddv1.Lane_LANE_BULK}, 14 * time.Second, nil, nil},
		{encodeMethod, &embeddv1.EncodeRequest{Texts: []string{secret, secret}}, 15 * time.Second, nil, []string{"n=2", "bytes=10"}},
		{encodeMethod, &embeddv1.EncodeRequest{Texts: make([]string, 100)}, 14 * time.Second, nil, nil},
		{papers + "UpsertPapers", &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{paper}}, 29 * time.Second, nil, nil},
		{papers + "UpsertPapers", &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{paper}}, 30 * time.Second, nil, []string{"n=1", "bytes=10"}},
		{papers + "DeletePapers", &embeddv1.DeletePapersRequest{Ids: []string{secret}}, time.Second, nil, []string{"n=1"}},
		{papers + "ListPapers", &embeddv1.ListPapersRequest{PageToken: secret, PageSize: proto.Int32(10)}, time.Second, nil, []string{"n=10"}},
		{papers + "GetPaper", &embeddv1.GetPaperRequest{Id: secret}, time.Second, nil, []string{"method=/embedd.v1.PaperService/GetPaper"}},
		{papers + "GetPaper", &embeddv1.GetPaperRequest{Id: secret}, 0, &retrieval.Error{Kind: retrieval.NotFound, Message: "not there"}, nil},
		{papers + "GetPaper", &embeddv1.GetPaperRequest{Id: secret}, time.Second, &retrieval.Error{Kind: retrieval.NotFound, Message: "not there"}, []string{`msg="slow call"`, "code=NOT_FOUND"}},
		{papers + "GetPaper", &embeddv1.GetPaperRequest{Id: secret}, 0, errors.New("disk on fire"), []string{"level=ERROR", `msg="call failed"`, "code=INTERNAL", "disk on fire"}},
		{searches + "Search", &embeddv1.SearchRequest{}, time.Second, nil, []string{"input=none"}},
		{"/embedd.v1.AdminService/CreateBackup", &embeddv1.CreateBackupRequest{Name: secret}, time.Minute, nil, nil},
		{"/embedd.v1.AdminService/CreateBackup", &embeddv1.CreateBackupRequest{Name: secret}, 5 * time.Minute, nil, []string{`msg="slow call"`}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			s.log = slog.New(slog.NewTextHandler(&out, nil))
			_, _ = s.logUnary(t.Context(), c.req, &grpc.UnaryServerInfo{FullMethod: c.method}, func(context.Context, any) (any, error) {
				time.Sleep(c.took)
				return nil, c.err
			})
			if (out.Len() == 0) != (c.want == nil) {
				t.Errorf("%T after %v: logged %q", c.req, c.took, out.String())
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%T: no %q in %q", c.req, want, out.String())
				}
			}
			if strings.Contains(out.String(), secret) {
				t.Errorf("%T: what a client wrote is in the log: %q", c.req, out.String())
			}
		})
	}
}

const encodeMethod = "/embedd.v1.EncodeService/Encode"

// Who changes something is in the log, with how many and how it came out, and with nothing that a client has written; who reads is not.
func TestAudit(t *testing.T) {
	const secret = "xyzzy"
	const papers, searches, backup = "/embedd.v1.PaperService/", "/embedd.v1.SearchService/", "/embedd.v1.AdminService/CreateBackup"
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(0)
	key := &access.Key{ID: "0123456789ab", Name: "ingest", Role: access.Admin, SHA256: secret}
	upsert := &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: secret, Title: secret}, {Id: secret + "2", Title: secret}}}
	remove := &embeddv1.DeletePapersRequest{Ids: []string{secret}}
	for _, c := range []struct {
		name, method string
		key          *access.Key
		req          any
		took         time.Duration
		err          error
		want         []string // nil: no line for the audit
		lines        int
	}{
		{"upsert", papers + "UpsertPapers", key, upsert, 0, nil, []string{"level=INFO", "msg=audit", "log=audit", "key=ingest", "key_id=0123456789ab", "method=" + papers + "UpsertPapers", "code=OK", "n=2"}, 1},
		{"delete", papers + "DeletePapers", key, remove, 0, nil, []string{"DeletePapers", "n=1"}, 1},
		{"backup", backup, key, &embeddv1.CreateBackupRequest{Name: secret}, 0, nil, []string{"CreateBackup", "code=OK"}, 1},
		{"a wrong paper", papers + "UpsertPapers", key, upsert, 0, &retrieval.Error{Kind: retrieval.Invalid, Field: "papers[0].id", Message: secret}, []string{"level=INFO", "code=INVALID_ARGUMENT", "n=2"}, 2},
		{"a defect", papers + "DeletePapers", key, remove, 0, errors.New("disk on fire"), []string{"level=INFO", "code=INTERNAL"}, 2},
		{"a slow one", papers + "DeletePapers", key, remove, time.Minute, nil, []string{"level=INFO", "code=OK"}, 2},
		{"no room", papers + "UpsertPapers", key, upsert, 0, &retrieval.Error{Kind: retrieval.Exhausted, Message: "full"}, nil, 1},
		{"denied", papers + "DeletePapers", key, remove, 0, status.Error(codes.PermissionDenied, "no"), []string{"level=WARN", "code=PERMISSION_DENIED"}, 2},
		{"a search", searches + "Related", key, &embeddv1.RelatedRequest{Id: secret}, 0, nil, nil, 1},
		{"reading", papers + "GetPaper", key, &embeddv1.GetPaperRequest{Id: secret}, 0, nil, nil, 1},
		{"encoding", encodeMethod, key, &embeddv1.EncodeRequest{Texts: []string{secret}}, 0, nil, nil, 1},
		{"without keys", papers + "DeletePapers", nil, remove, 0, nil, nil, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			s.log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
			ctx := context.WithValue(t.Context(), guarded{}, Caller{Key: c.key})
			ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}})
			_, _ = s.logUnary(ctx, c.req, &grpc.UnaryServerInfo{FullMethod: c.method}, func(context.Context, any) (any, error) {
				time.Sleep(c.took)
				return nil, c.err
			})
			line := ""
			for l := range strings.Lines(out.String()) {
				if strings.Contains(l, "log=audit") {
					line += l
				}
			}
			if (line == "") != (c.want == nil) || strings.Count(line, "\n") > 1 || strings.Count(out.String(), "\n") != c.lines {
				t.Errorf("%s: logged %q", c.name, out.String())
			}
			for _, want := range c.want {
				if !strings.Contains(line, want) || !strings.Contains(line, "peer=192.0.2.1:7") {
					t.Errorf("%s: no %q in %q", c.name, want, line)
				}
			}
			if strings.Contains(line, secret) {
				t.Errorf("%s: what a client wrote is in the log: %q", c.name, line)
			}
		})
	}
}
