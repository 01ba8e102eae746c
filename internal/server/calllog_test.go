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
	for _, c := range []struct {
		req  any
		took time.Duration
		err  error
		want []string // nil: no line
	}{
		{&embeddv1.SearchRequest{Query: text, K: proto.Int32(7), Exact: true}, 2 * time.Second, nil, []string{"level=WARN", `msg="slow call"`, "k=7", "exact=true", "input=text", "bytes=5", "took=2s", "code=OK"}},
		{&embeddv1.SearchRequest{Query: text}, 999 * time.Millisecond, nil, nil},
		{&embeddv1.RelatedRequest{Id: secret, Ef: proto.Int32(50), Recall: proto.Float64(.5), Plan: embeddv1.Plan_PLAN_GRAPH}, time.Second, nil, []string{"ef=50", "recall=0.5", "plan=PLAN_GRAPH"}},
		{&embeddv1.ExplainRequest{Query: text, Id: secret}, time.Second, nil, []string{"input=text"}},
		{&embeddv1.EncodeRequest{Texts: []string{secret, secret}}, 2 * time.Second, nil, []string{"n=2", "bytes=10", "lane=LANE_UNSPECIFIED"}},
		{&embeddv1.EncodeRequest{Texts: make([]string, 100)}, 5 * time.Second, nil, nil},
		{&embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{paper}}, 2 * time.Second, nil, []string{"n=1", "bytes=10"}},
		{&embeddv1.UpsertPapersRequest{Papers: make([]*embeddv1.Paper, 1000)}, time.Minute, nil, nil},
		{&embeddv1.DeletePapersRequest{Ids: []string{secret}}, time.Second, nil, []string{"n=1"}},
		{&embeddv1.ListPapersRequest{PageToken: secret, PageSize: proto.Int32(10)}, time.Second, nil, []string{"n=10"}},
		{&embeddv1.GetPaperRequest{Id: secret}, time.Second, nil, []string{"method=/m"}},
		{&embeddv1.GetPaperRequest{Id: secret}, 0, &retrieval.Error{Kind: retrieval.NotFound, Message: "not there"}, nil},
		{&embeddv1.GetPaperRequest{Id: secret}, time.Second, &retrieval.Error{Kind: retrieval.NotFound, Message: "not there"}, []string{`msg="slow call"`, "code=NOT_FOUND"}},
		{&embeddv1.GetPaperRequest{Id: secret}, 0, errors.New("disk on fire"), []string{"level=ERROR", `msg="call failed"`, "code=INTERNAL", "disk on fire"}},
		{&embeddv1.SearchRequest{}, time.Second, nil, []string{"input=none"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			s := &Server{log: slog.New(slog.NewTextHandler(&out, nil))}
			_, _ = s.logUnary(t.Context(), c.req, &grpc.UnaryServerInfo{FullMethod: "/m"}, func(context.Context, any) (any, error) {
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
