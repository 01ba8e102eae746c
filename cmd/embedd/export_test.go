package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	tables "embedd/internal/table"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// stalled is a server whose export gives a few papers, and then nothing until the client has had enough.
type stalled struct {
	embeddv1.PaperServiceClient
	embeddv1.InfoServiceClient
	given func() // called when the papers are given
}

type stalledStream struct {
	grpc.ServerStreamingClient[embeddv1.ExportPapersResponse]
	stalled
	ctx context.Context
	n   int
}

func (s stalled) ExportPapers(ctx context.Context, _ *embeddv1.ExportPapersRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[embeddv1.ExportPapersResponse], error) {
	return &stalledStream{stalled: s, ctx: ctx}, nil
}

func (s stalled) GetInfo(context.Context, *embeddv1.GetInfoRequest, ...grpc.CallOption) (*embeddv1.GetInfoResponse, error) {
	return &embeddv1.GetInfoResponse{Model: &embeddv1.Model{Dimension: 2}}, nil
}

func (s *stalledStream) Recv() (*embeddv1.ExportPapersResponse, error) {
	if s.n++; s.n == 1 {
		return &embeddv1.ExportPapersResponse{Papers: []*embeddv1.Paper{
			{Id: "a", Title: "A", Vector: &embeddv1.Vector{Values: []float32{1, 0}}}, {Id: "b", Title: "B", Vector: &embeddv1.Vector{Values: []float32{0, 1}}},
		}}, nil
	}
	s.given()
	<-s.ctx.Done()
	return nil, status.FromContextError(s.ctx.Err()).Err()
}

// An export that is interrupted leaves no file, or the one that was there.
func TestInterruptedExport(t *testing.T) {
	for _, test := range []struct{ what, name string }{
		{"papers", "papers.parquet"}, {"papers", "papers.csv"}, {"papers", "papers.tsv.gz"}, {"papers", "papers.jsonl"}, {"papers", "papers.jsonl.zst"},
		{"vectors", "vectors.npy"}, {"vectors", "vectors.parquet"}, {"vectors", "vectors.jsonl.gz"},
	} {
		for _, before := range []string{"", "the file of before"} {
			dir := t.TempDir()
			out := outFlags{Out: filepath.Join(dir, test.name)}
			if before != "" {
				if err := os.WriteFile(out.Out, []byte(before), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			format, ok := tables.FormatOf(out.Out)
			if !ok {
				t.Fatal(out.Out)
			}
			_, packing := tables.Unpacked(out.Out)
			ctx, cancel := context.WithCancel(t.Context())
			var stderr testkit.Buffer
			server := stalled{given: cancel}
			e, cl := &env{ctx: ctx, stderr: &stderr}, &client{papers: server, info: server}
			var err error
			if test.what == "papers" {
				err = (&exportPapersCmd{Out: out}).export(e, cl, format, packing)
			} else {
				err = (&exportVectorsCmd{Out: out}).export(e, cl, format, packing)
			}
			if !interrupted(ctx, err) {
				t.Errorf("%s: %v", test.name, err)
			}
			if said := stderr.String(); !strings.Contains(said, out.Out+" was not written") {
				t.Errorf("%s: said %q", test.name, said)
			}
			files, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if before == "" && len(files) == 0 {
				continue
			}
			if left, err := os.ReadFile(out.Out); before == "" || err != nil || string(left) != before || len(files) != 1 {
				t.Errorf("%s: %v is left", test.name, files)
			}
		}
	}
}
