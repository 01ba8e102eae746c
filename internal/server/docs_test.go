package server

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	embeddv1 "embedd/proto/embedd/v1"
)

// Each request that docs/writing.md shows is sent, in order, and succeeds.
func TestWritingIsAsItsDocumentShows(t *testing.T) {
	text, err := os.ReadFile("../../docs/writing.md")
	if err != nil {
		t.Fatal(err)
	}
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	requests := map[string]func() (req, res proto.Message){
		"UpsertPapers": func() (_, _ proto.Message) { return &embeddv1.UpsertPapersRequest{}, &embeddv1.UpsertPapersResponse{} },
		"UpdateMetadata": func() (_, _ proto.Message) {
			return &embeddv1.UpdateMetadataRequest{}, &embeddv1.UpdateMetadataResponse{}
		},
		"DeletePapers": func() (_, _ proto.Message) { return &embeddv1.DeletePapersRequest{}, &embeddv1.DeletePapersResponse{} },
	}
	sent := 0
	for _, block := range strings.Split(string(text), "\n```json ")[1:] {
		method, body, _ := strings.Cut(block, "\n")
		body, _, ok := strings.Cut(body, "\n```")
		if !ok {
			t.Fatalf("a block of %s has no end", method)
		}
		sent++
		if method == "IngestPapers" {
			ingestLines(t, conn, body)
			continue
		}
		make, known := requests[method]
		if !known {
			t.Errorf("%s is no method of this test", method)
			continue
		}
		req, res := make()
		if err := protojson.Unmarshal([]byte(body), req); err != nil {
			t.Errorf("%s: %v\n%s", method, err, body)
			continue
		}
		if err := conn.Invoke(t.Context(), "/embedd.v1.PaperService/"+method, req, res); err != nil {
			t.Errorf("%s: %v\n%s", method, err, body)
		}
		if d, ok := res.(*embeddv1.DeletePapersResponse); ok && d.GetDeleted() != 1 {
			t.Errorf("%s: %v\n%s", method, d, body)
		}
	}
	if sent < 5 {
		t.Errorf("the document shows %d requests", sent)
	}
}

// ingestLines sends the messages of a stream, one a line.
func ingestLines(t *testing.T, conn *grpc.ClientConn, lines string) {
	t.Helper()
	stream := ingest(t, context.Background(), conn)
	papers := 0
	for line := range strings.Lines(lines) {
		m := &embeddv1.IngestPapersRequest{}
		if err := protojson.Unmarshal([]byte(line), m); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if m.GetPaper() != nil {
			papers++
		}
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	results, err := rest(t, stream, 0)
	if !errors.Is(err, io.EOF) || len(results) != papers {
		t.Errorf("%d results of %d papers, %v", len(results), papers, err)
	}
	for _, r := range results {
		if r.GetStored() == nil {
			t.Error(r)
		}
	}
}
