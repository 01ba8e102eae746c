package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"embedd/internal/access"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// storeMany stores n papers, of which those whose number is a multiple of 3 are of cs.CL, each with some bytes of an abstract. It gives their ids.
func storeMany(t *testing.T, ctx context.Context, conn *grpc.ClientConn, n, bytes int) (ids []string) {
	t.Helper()
	var batch []*embeddv1.Paper
	for i := range n {
		category := "cs.CV"
		if i%3 == 0 {
			category = "cs.CL"
		}
		m, err := structpb.NewStruct(map[string]any{"categories": category})
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("p%d", (i*7919)%100_003) // not in order
		ids = append(ids, id)
		batch = append(batch, &embeddv1.Paper{Id: id, Title: fmt.Sprint("paper ", i), Abstract: strings.Repeat("x", bytes), Year: int32(2000 + i%5), Metadata: m})
		if len(batch) == 50 || i == n-1 {
			if _, err := embeddv1.NewPaperServiceClient(conn).UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: batch}); err != nil {
				t.Fatal(err)
			}
			batch = nil
		}
	}
	return ids
}

// exported reads a stream to its end.
func exported(stream grpc.ServerStreamingClient[embeddv1.ExportPapersResponse], err error) (papers []*embeddv1.Paper, _ error) {
	for err == nil {
		var res *embeddv1.ExportPapersResponse
		if res, err = stream.Recv(); err == nil {
			if n := len(res.GetPapers()); n < 1 || n > retrieval.MaxExport {
				return papers, fmt.Errorf("a message of %d papers", n)
			}
			papers = append(papers, res.GetPapers()...)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return papers, err
}

// An export has each paper once, in the order of storing, as far as filter and key let it.
func TestExport(t *testing.T) {
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	as := func(key string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+k.secrets[key]))
	}
	papers := embeddv1.NewPaperServiceClient(conn)
	all := storeMany(t, as("write"), conn, 350, 10)
	if _, err := papers.DeletePapers(as("write"), &embeddv1.DeletePapersRequest{Ids: []string{all[17]}}); err != nil {
		t.Fatal(err)
	}
	// A paper whose text changes is stored anew; one whose facts change stays where it is.
	for i, p := range map[int]*embeddv1.Paper{4: {Id: all[4], Title: "another text"}, 5: {Id: all[5], Title: "paper 5", Abstract: strings.Repeat("x", 10), Year: 1999}} {
		if _, err := papers.UpsertPapers(as("write"), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{p}}); err != nil {
			t.Fatal(i, err)
		}
	}
	stored := slices.Concat(all[:4], all[5:17], all[18:], all[4:5])
	only := func(keep func(i int) bool) (ids []string) {
		for _, id := range stored {
			if keep(slices.Index(all, id)) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for _, c := range []struct {
		key  string
		req  *embeddv1.ExportPapersRequest
		want []string
	}{
		{"read", &embeddv1.ExportPapersRequest{}, stored},
		{"read", &embeddv1.ExportPapersRequest{Filter: "categories:cs.CL"}, only(func(i int) bool { return i%3 == 0 })},
		{"read", &embeddv1.ExportPapersRequest{Filter: "year = 1999"}, all[5:6]},
		{"read", &embeddv1.ExportPapersRequest{Filter: "year = 1066"}, nil},
		{"filtered", &embeddv1.ExportPapersRequest{}, only(func(i int) bool { return i%3 == 0 })},
		{"filtered", &embeddv1.ExportPapersRequest{Filter: "NOT categories:cs.CL OR year = 2000"}, only(func(i int) bool { return i%15 == 0 })},
		{"read", &embeddv1.ExportPapersRequest{View: embeddv1.PaperView_PAPER_VIEW_ID, Vectors: true}, stored},
	} {
		got, err := exported(papers.ExportPapers(as(c.key), c.req))
		var ids []string
		for _, p := range got {
			ids = append(ids, p.GetId())
			full := c.req.GetView() == embeddv1.PaperView_PAPER_VIEW_UNSPECIFIED
			if full != (p.GetTitle() != "") || full && p.GetId() != all[4] && p.GetId() != all[5] && (p.GetAbstract() == "" || p.GetMetadata() == nil) {
				t.Errorf("%v: %v", c.req, p)
			}
			norm := 0.0
			for _, v := range p.GetVector().GetValues() {
				norm += float64(v) * float64(v)
			}
			if c.req.GetVectors() != (math.Abs(norm-1) < 1e-3) {
				t.Errorf("%v: the vector of %s has the norm %v", c.req, p.GetId(), norm)
			}
		}
		if err != nil || !slices.Equal(ids, c.want) {
			t.Errorf("%v with the key %s: %d papers, %v, want %d: %v, %v", c.req, c.key, len(ids), err, len(c.want), ids, c.want)
		}
	}
	for _, c := range []struct {
		req  *embeddv1.ExportPapersRequest
		code codes.Code
		want string
	}{
		{&embeddv1.ExportPapersRequest{Filter: "year ="}, codes.InvalidArgument, "filter: "},
		{&embeddv1.ExportPapersRequest{Filter: "yaer = 1"}, codes.InvalidArgument, "is it year"},
		{&embeddv1.ExportPapersRequest{View: 9}, codes.InvalidArgument, "view: 9 is not a PaperView"},
	} {
		if _, err := exported(papers.ExportPapers(as("read"), c.req)); status.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.req, err)
		}
	}
	if _, err := exported(papers.ExportPapers(t.Context(), &embeddv1.ExportPapersRequest{})); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a key: %v", err)
	}
}

// A client that reads slowly holds its export back, and what changes meanwhile neither breaks it nor comes twice; one that goes leaves nothing.
func TestExportWaitsForItsClient(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	papers := embeddv1.NewPaperServiceClient(conn)
	all := storeMany(t, t.Context(), conn, 130, 40<<10)
	stream, err := papers.ExportPapers(t.Context(), &embeddv1.ExportPapersRequest{Vectors: true})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(first.GetPapers()); n > 30 {
		t.Errorf("a message has %d papers of 40 KiB", n)
	}
	// While nothing is read, the last paper can go, and the first comes again at the end.
	if _, err := papers.DeletePapers(t.Context(), &embeddv1.DeletePapersRequest{Ids: all[129:]}); err != nil {
		t.Fatal(err)
	}
	if _, err := papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: all[0], Title: "another"}, {Id: all[128], Title: "another"}, {Id: "new", Title: "new"}}}); err != nil {
		t.Fatal(err)
	}
	rest, err := exported(stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range append(first.GetPapers(), rest...) {
		ids = append(ids, p.GetId())
	}
	if !slices.Equal(ids, all[:128]) {
		t.Errorf("%d papers came; want the first 128 of 130: those that were removed, stored anew and new while nobody read are not there", len(ids))
	}
	// Many clients that read nothing and go.
	for range maxStreamCallsPerAddress + 5 {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := papers.ExportPapers(ctx, &embeddv1.ExportPapersRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		cancel()
		for deadline := time.Now().Add(30 * time.Second); err == nil && time.Now().Before(deadline); {
			_, err = stream.Recv()
		}
		if code := status.Code(err); code != codes.Canceled && code != codes.ResourceExhausted {
			t.Fatalf("a stream that its client has left: %v", err)
		}
	}
	if _, err := papers.GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: "new"}); err != nil {
		t.Error(err)
	}
}

// A server that stops waits for who reads nothing no longer than for any call.
func TestExportEndsWithTheServer(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	papers := embeddv1.NewPaperServiceClient(conn)
	storeMany(t, t.Context(), conn, 100, 40<<10)
	stream, err := papers.ExportPapers(t.Context(), &embeddv1.ExportPapersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { r.Stop(time.Second); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("the server waits for a client that reads nothing")
	}
	if got, err := exported(stream, nil); status.Code(err) != codes.Unavailable || len(got) >= 100 {
		t.Errorf("%d more papers, %v, want Unavailable", len(got), err)
	}
}
