package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"embedd/internal/access"
	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

// h2c is a client of HTTP/2 without TLS.
func h2c(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	tr.DialContext = (&net.Dialer{}).DialContext
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// The three protocols, in both encodings, over both versions of HTTP: an answer, an error with its details, and a stream.
func TestProtocols(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	r.put(t, "a", "b", "c")
	for _, c := range []struct {
		name   string
		client connect.HTTPClient
		o      []connect.ClientOption
		duplex bool
	}{
		{"Connect, HTTP/1.1", http.DefaultClient, nil, false},
		{"Connect with JSON, HTTP/1.1", http.DefaultClient, []connect.ClientOption{connect.WithProtoJSON()}, false},
		{"Connect by GET", http.DefaultClient, []connect.ClientOption{connect.WithHTTPGet()}, false},
		{"gRPC-Web, HTTP/1.1", http.DefaultClient, []connect.ClientOption{connect.WithGRPCWeb()}, false},
		{"gRPC-Web with JSON, HTTP/1.1", http.DefaultClient, []connect.ClientOption{connect.WithGRPCWeb(), connect.WithProtoJSON()}, false},
		{"Connect, HTTP/2", h2c(t), nil, true},
		{"gRPC-Web, HTTP/2", h2c(t), []connect.ClientOption{connect.WithGRPCWeb()}, false},
		{"gRPC, HTTP/2", h2c(t), []connect.ClientOption{connect.WithGRPC()}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			related := connect.NewClient[embeddv1.RelatedRequest, embeddv1.RelatedResponse](c.client, r.url+embeddv1.SearchService_Related_FullMethodName, c.o...)
			k := int32(2)
			res, err := related.CallUnary(t.Context(), connect.NewRequest(&embeddv1.RelatedRequest{Id: "a", K: &k}))
			if err != nil || len(res.Msg.GetHits()) != 2 {
				t.Fatal(res, err)
			}
			_, err = related.CallUnary(t.Context(), connect.NewRequest(&embeddv1.RelatedRequest{Id: "none"}))
			var failed *connect.Error
			if !errors.As(err, &failed) || failed.Code() != connect.CodeNotFound || len(failed.Details()) != 1 {
				t.Fatalf("%v", err)
			}
			detail, err := failed.Details()[0].Value()
			if bad, ok := detail.(*errdetails.BadRequest); err != nil || !ok || bad.GetFieldViolations()[0].GetField() != "id" {
				t.Errorf("detail %v, %v", detail, err)
			}

			export := connect.NewClient[embeddv1.ExportPapersRequest, embeddv1.ExportPapersResponse](c.client, r.url+embeddv1.PaperService_ExportPapers_FullMethodName, c.o...)
			stream, err := export.CallServerStream(t.Context(), connect.NewRequest(&embeddv1.ExportPapersRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for stream.Receive() {
				n += len(stream.Msg().GetPapers())
			}
			if err := errors.Join(stream.Err(), stream.Close()); err != nil || n != 3 {
				t.Errorf("%d papers, %v", n, err)
			}

			if !c.duplex {
				return
			}
			ingest := connect.NewClient[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse](c.client, r.url+embeddv1.PaperService_IngestPapers_FullMethodName, c.o...).CallBidiStream(t.Context())
			for i := range 10 {
				if err := ingest.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: &embeddv1.Paper{Id: fmt.Sprint(c.name, i), Title: "t", Venue: "v"}}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := ingest.CloseRequest(); err != nil {
				t.Fatal(err)
			}
			stored := 0
			for {
				res, err := ingest.Receive()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, result := range res.GetResults() {
					if result.GetStored() != nil {
						stored++
					}
				}
			}
			if err := ingest.CloseResponse(); err != nil || stored != 10 {
				t.Errorf("%d of 10 papers are stored, %v", stored, err)
			}
			if _, err := embeddv1.NewPaperServiceClient(r.conn).DeletePapers(t.Context(), &embeddv1.DeletePapersRequest{Filter: `venue = "v"`}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A stop ends streams, and does not wait for their clients.
func TestStopEndsStreams(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	client := connect.NewClient[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse](h2c(t), r.url+embeddv1.PaperService_IngestPapers_FullMethodName)
	stream := client.CallBidiStream(t.Context())
	if err := stream.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: &embeddv1.Paper{Id: "a", Title: "t"}}}); err != nil {
		t.Fatal(err)
	}
	if res, err := stream.Receive(); err != nil || res.GetResults()[0].GetStored() == nil {
		t.Fatal(res, err)
	}
	begin := time.Now()
	r.Stop(30 * time.Second)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the stream ends with %v", err)
	}
}

// A stream without a key is refused before its first message, and one that its client leaves ends.
func TestStreams(t *testing.T) {
	k, secret := key(t, access.Key{Role: access.Write})
	keys, err := access.NewKeys([]access.Key{k})
	if err != nil {
		t.Fatal(err)
	}
	r := launch(t, server.Options{Keys: func() *access.Keys { return keys }}, Options{})
	client := connect.NewClient[embeddv1.IngestPapersRequest, embeddv1.IngestPapersResponse](h2c(t), r.url+embeddv1.PaperService_IngestPapers_FullMethodName)
	refused := client.CallBidiStream(t.Context())
	_ = refused.Send(nil) // may be refused already
	if _, err := refused.Receive(); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("without a key: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := client.CallBidiStream(ctx)
	left.RequestHeader().Set("Authorization", "Bearer "+secret)
	if err := left.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Start{Start: &embeddv1.IngestStart{}}}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := left.Receive(); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("left: %v", err)
	}
	// A message of eight million papers in 16 MiB is not decoded.
	got := r.do(t, "POST "+embeddv1.PaperService_UpsertPapers_FullMethodName, strings.Repeat("\x0a\x00", 7<<20), "Content-Type", "application/proto", "X-Api-Key", secret)
	if got.code == http.StatusOK || !strings.Contains(got.body, "made of so many parts") {
		t.Errorf("heavy: %d %s", got.code, got.body)
	}
	// A packed message is not unpacked.
	got = r.do(t, "POST "+embeddv1.SearchService_Related_FullMethodName, "x", "Content-Type", "application/proto", "Content-Encoding", "gzip", "X-Api-Key", secret)
	if got.code != http.StatusNotImplemented || !strings.Contains(got.body, "compress") {
		t.Errorf("packed: %d %s", got.code, got.body)
	}
}

// A body is bounded whatever its type says: only a method that takes a stream of requests is given one.
func TestBodiesOfAnyType(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	client := h2c(t)
	for _, path := range []string{"/v1/search", "/v1/embeddings", "/nothing", embeddv1.SearchService_Search_FullMethodName, embeddv1.PaperService_ExportPapers_FullMethodName} {
		for _, kind := range []string{"application/grpc", "application/grpc-web+json", "application/connect+json"} {
			body := &endless{}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+path, body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", kind)
			res, err := client.Do(req)
			if err != nil {
				t.Fatalf("%s %s: %v", path, kind, err)
			}
			answer, _ := io.ReadAll(res.Body)
			res.Body.Close()
			said := strings.Contains(string(answer), "has more than 16777216 bytes") || strings.Contains(res.Trailer.Get("Grpc-Message")+res.Header.Get("Grpc-Message"), "has more than 16777216 bytes")
			if !said || body.n.Load() > 40<<20 {
				t.Errorf("%s %s: %d %s after %d MiB", path, kind, res.StatusCode, answer, body.n.Load()>>20)
			}
		}
	}
}

// endless is a body of up to 64 MiB.
type endless struct{ n atomic.Int64 }

func (e *endless) Read(b []byte) (int, error) {
	if e.n.Load() > 64<<20 {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = ' '
	}
	e.n.Add(int64(len(b)))
	return len(b), nil
}

// frame is a message of a stream as it is sent, of which more may be told than there is.
func frame(size uint32, message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, size)) + message
}

// stream opens a stream of texts to be encoded in JSON, to which body is written, and gives the end of its answer.
func (r *running) stream(t *testing.T, client *http.Client, body io.Reader) <-chan string {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+embeddv1.EncodeService_EncodeStream_FullMethodName, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+json")
	got := make(chan string, 1)
	go func() {
		res, err := client.Do(req)
		if err != nil {
			got <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		got <- string(b)
	}()
	return got
}

// What is wrong with a message of a stream is said.
func TestBadMessagesOfStreams(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	for _, c := range []struct{ body, say string }{
		{frame(4<<30-1, "x"), `"resource_exhausted","message":"the request has 4294967295 bytes`},
		{frame(7, "{\"x\":1}"), `invalid_argument`},
	} {
		reader, writer := io.Pipe()
		go func() {
			_, _ = io.WriteString(writer, c.body)
			if !strings.Contains(c.say, "exhausted") { // that one is refused before its end
				writer.Close()
			}
		}()
		select {
		case got := <-r.stream(t, h2c(t), reader):
			if !strings.Contains(got, c.say) {
				t.Errorf("%.20q: %q, want %s", c.body, got, c.say)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%.20q: nothing is said", c.body)
		}
		reader.Close()
	}
}

// Messages of streams that come slowly are held within what there may be of them at once.
func TestMessagesOfStreamsAtOnce(t *testing.T) {
	r := launch(t, server.Options{Limits: server.Limits{MessageBytes: 8 << 20}}, Options{})
	client := h2c(t)
	ended := make(chan string, 3)
	for range 3 {
		reader, writer := io.Pipe()
		defer writer.Close()
		got := r.stream(t, client, reader)
		go func() { ended <- <-got }()
		go func() { _, _ = io.WriteString(writer, frame(15<<20, strings.Repeat("x", 6<<20))) }()
	}
	select {
	case got := <-ended:
		if !strings.Contains(got, "resource_exhausted") || !strings.Contains(got, "coming at once") {
			t.Errorf("says %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("none is refused")
	}
}

// Streams whose messages have been answered hold nothing, and those whose messages take all that there is go on one after the other.
func TestManyStreams(t *testing.T) {
	r := launch(t, server.Options{Limits: server.Limits{MessageBytes: 5 << 20}}, Options{})
	client := connect.NewClient[embeddv1.EncodeStreamRequest, embeddv1.EncodeStreamResponse](h2c(t), r.url+embeddv1.EncodeService_EncodeStream_FullMethodName)
	texts := make([]string, 250)
	for i := range texts {
		texts[i] = strings.Repeat("x", 1000)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var all, idle sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			s := client.CallBidiStream(ctx)
			for range 4 {
				_ = s.Send(&embeddv1.EncodeStreamRequest{Request: &embeddv1.EncodeRequest{Texts: texts}}) // Receive says why not
				if res, err := s.Receive(); err != nil || len(res.GetResponse().GetEncodings()) != len(texts) {
					t.Errorf("stream %d: %v %v", i, err, res.GetError())
					break
				}
			}
			idle.Go(func() { // until the others are done
				<-ctx.Done()
				_ = s.CloseRequest()
				_ = s.CloseResponse()
			})
		})
	}
	all.Wait()
	cancel()
	idle.Wait()
}

// Who calls by a method's name is refused in the protocol of the call, before its body is read too.
func TestRefusalsByProtocol(t *testing.T) {
	r := launch(t, server.Options{Limits: server.Limits{Rate: 0.001}}, Options{})
	for name, option := range map[string]connect.ClientOption{"connect": connect.WithProtoJSON(), "gRPC": connect.WithGRPC(), "gRPC-Web": connect.WithGRPCWeb()} {
		client := connect.NewClient[embeddv1.TokenizeRequest, embeddv1.TokenizeResponse](h2c(t), r.url+embeddv1.EncodeService_Tokenize_FullMethodName, option)
		var err error
		for range 3 {
			if _, err = client.CallUnary(t.Context(), connect.NewRequest(&embeddv1.TokenizeRequest{Texts: []string{"x"}})); connect.CodeOf(err) == connect.CodeResourceExhausted {
				break
			}
		}
		var refused *connect.Error
		if !errors.As(err, &refused) || refused.Code() != connect.CodeResourceExhausted || len(refused.Details()) != 1 || !strings.Contains(refused.Message(), "the limit is") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
