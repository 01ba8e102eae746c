package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

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
	for _, c := range []struct {
		method string
		req    any
		took   time.Duration
		err    error
		want   []string // nil: no line
	}{
		{searches + "Search", &embeddv1.SearchRequest{Query: text, K: proto.Int32(7), Exact: true}, 2 * time.Second, nil, []string{"level=WARN", `msg="slow call"`, "k=7", "exact=true", "input=text", "bytes=5", "took=2s", "code=OK"}},
		{searches + "Search", &embeddv1.SearchRequest{Query: text}, 999 * time.Millisecond, nil, nil},
		{searches + "Related", &embeddv1.RelatedRequest{Id: secret, Ef: proto.Int32(50), Recall: proto.Float64(.5), Plan: embeddv1.Plan_PLAN_GRAPH}, time.Second, nil, []string{"ef=50", "recall=0.5", "plan=PLAN_GRAPH"}},
		{searches + "Explain", &embeddv1.ExplainRequest{Query: text, Id: secret}, time.Second, nil, []string{"input=text"}},
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
