package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// TestKillStream kills the server while a stream of papers runs. After each kill every paper with a result is there as it was sent, and nothing
// that was never sent; in the end all are sent once more, and each is there once.
func TestKillStream(t *testing.T) {
	const papers = 6000
	kills := min(6, max(2, *cycles/8))
	rng := testkit.Rand(t)
	program, err := ordinary()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "embedd-chaos-stream-")
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(root, "data")
	w := newLedger(rng).writers[0]
	answered := map[string]value{} // by results
	sent := func(i int) (string, value) { return fmt.Sprintf("stream/%05d", i), value{i, i} }
	launch := func() *server {
		s, err := start(program, data, false, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.ready(readyLimit); err != nil {
			s.kill()
			t.Fatal(err)
		}
		return s
	}
	// stream sends all papers, and notes the results until the stream ends.
	stream := func(s *server) error {
		st, err := s.papers.IngestPapers(context.Background())
		if err != nil {
			return err
		}
		go func() {
			for i := range papers {
				id, v := sent(i)
				if st.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: w.ledger.paper(id, v)}}) != nil {
					return // the results say so
				}
			}
			_ = st.CloseSend() // the results say so
		}()
		for n := int64(0); ; {
			res, err := st.Recv()
			if errors.Is(err, io.EOF) && n == papers {
				return nil
			}
			if err != nil {
				return err
			}
			for _, r := range res.GetResults() {
				id, v := sent(int(n))
				if r.GetIndex() != n || r.GetId() != id || r.GetStored() == nil {
					return fmt.Errorf("result %d is %v", n, r)
				}
				answered[id] = v
				n++
			}
		}
	}
	look := func(s *server) (stored int) {
		token := ""
		for {
			page, err := s.papers.ListPapers(t.Context(), &embeddv1.ListPapersRequest{PageToken: token, PageSize: proto.Int32(1000), View: embeddv1.PaperView_PAPER_VIEW_FULL})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.GetPapers() {
				if _, err := w.ledger.read(p); err != nil {
					t.Fatal(err)
				}
				stored++
			}
			if token = page.GetNextPageToken(); token == "" {
				break
			}
		}
		for id := range answered {
			if _, err := s.papers.GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: id}); err != nil {
				t.Fatalf("%s had a result: %v\nthe data directory is kept: %s", id, err, data)
			}
		}
		return stored
	}
	for range kills {
		s := launch()
		look(s)
		ended := make(chan error, 1)
		go func() { ended <- stream(s) }()
		time.Sleep(100*time.Millisecond + time.Duration(rng.Int64N(int64(2*time.Second))))
		s.kill()
		// It may have been done just before, and the connection is closed with the server.
		if err := <-ended; err != nil && status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
			t.Fatalf("the stream ended with %v", err)
		}
	}
	s := launch()
	defer s.kill()
	before := look(s)
	if err := stream(s); err != nil {
		t.Fatalf("all of them once more: %v", err)
	}
	if n := look(s); n != papers || len(answered) != papers {
		t.Errorf("%d papers are stored, and %d have a result; want %d", n, len(answered), papers)
	}
	t.Logf("%d kills; %d of %d papers were stored before the last stream", kills, before, papers)
	if err := os.RemoveAll(root); err != nil {
		t.Error(err)
	}
}
