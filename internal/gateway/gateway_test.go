package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"embedd/internal/access"
	"embedd/internal/collections"
	"embedd/internal/jobs"
	"embedd/internal/retrieval"
	"embedd/internal/server"
	"embedd/internal/similar"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// fake is an encoder without a model: a text has a pseudo-random direction.
type fake struct{ before func(context.Context) error }

func (f *fake) Model() retrieval.Model {
	return retrieval.Model{ID: "fake", Fingerprint: strings.Repeat("f", 64), Dimension: 16, MaxTokens: 8}
}

func (f *fake) Encode(ctx context.Context, _ retrieval.Lane, _ retrieval.Role, texts []string) ([]retrieval.Encoding, error) {
	if f.before != nil {
		if err := f.before(ctx); err != nil {
			return nil, err
		}
	}
	out := make([]retrieval.Encoding, len(texts))
	for i, text := range texts {
		h := fnv.New64a()
		h.Write([]byte(text))
		r := rand.New(rand.NewPCG(h.Sum64(), 1))
		v := make([]float32, 16)
		var sum float64
		for j := range v {
			v[j] = float32(r.NormFloat64())
			sum += float64(v[j]) * float64(v[j])
		}
		for j := range v {
			v[j] /= float32(math.Sqrt(sum))
		}
		out[i] = retrieval.Encoding{Vector: v, TextUse: retrieval.TextUse{Tokens: len(strings.Fields(text))}}
	}
	return out, nil
}

func (f *fake) Explain(_ context.Context, _ retrieval.Asked, texts []retrieval.Passage) (out []*retrieval.Explanation, _ error) {
	for _, text := range texts {
		out = append(out, &retrieval.Explanation{Sentences: []retrieval.Sentence{{End: len(text.Text)}}})
	}
	return out, nil
}

func (f *fake) Passages(_ context.Context, _ retrieval.Lane, texts []retrieval.Passage, _ int) ([][]retrieval.Part, error) {
	return make([][]retrieval.Part, len(texts)), nil
}

func (f *fake) Sentences(context.Context, retrieval.Lane, []retrieval.Passage) ([][]retrieval.Part, error) {
	return nil, fmt.Errorf("has none")
}

// running is a server that answers HTTP at url and gRPC over conn.
type running struct {
	*server.Server
	url     string
	addr    string
	conn    *grpc.ClientConn
	encoder *fake
	log     *testkit.Buffer
}

// launch starts one, over an empty collection, until the end of the test.
func launch(t testing.TB, o server.Options, g Options) *running {
	t.Helper()
	r := &running{encoder: &fake{}, log: &testkit.Buffer{}}
	o.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	dir := t.TempDir()
	c, err := retrieval.Open(t.Context(), dir, r.encoder, &retrieval.Options{Log: o.Log})
	if err != nil {
		t.Fatal(err)
	}
	if r.Server, err = server.New(o); err != nil {
		t.Fatal(err)
	}
	runner, err := jobs.Open(dir, jobs.Options{Set: collections.Alone(c, collections.About{}), Log: o.Log, Compute: func(ctx context.Context, dir string, task similar.Task, progress similar.Progress) error {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		return errors.Join(similar.Run(ctx, root, task, progress), root.Close())
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.SetJobs(runner)
	r.Ready(c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.Conn, g.Weigh, g.WeighJSON = r.Inside(), server.CheckWeight, server.CheckWeightOfJSON
	handler, err := New(g)
	if err != nil {
		t.Fatal(err)
	}
	r.addr, r.url = web.Addr().String(), "http://"+web.Addr().String()
	served := make(chan error, 2)
	go func() { served <- r.Serve(l) }()
	go func() { served <- r.ServeWeb(web, handler, WriteError) }()
	if r.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := r.conn.Close(); err != nil {
			t.Error(err)
		}
		r.Stop(time.Second)
		if err := errors.Join(<-served, <-served); err != nil {
			t.Error(err)
		}
		if err := errors.Join(runner.Close(), c.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// answer is what came of a request.
type answer struct {
	code   int
	header http.Header
	body   string
}

// do sends a request: METHOD PATH, a body, and headers as name, value.
func (r *running) do(t testing.TB, what, body string, headers ...string) answer {
	t.Helper()
	method, path, _ := strings.Cut(what, " ")
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, r.url, b)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(path, "?")
	if req.URL.Path, err = url.PathUnescape(path); err != nil {
		t.Fatal(err)
	}
	req.URL.RawPath, req.URL.RawQuery = path, query
	for i := 0; i < len(headers); i += 2 {
		if req.Header.Add(headers[i], headers[i+1]); headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(got)}
}

// put stores papers by gRPC.
func (r *running) put(t testing.TB, ids ...string) {
	t.Helper()
	req := &embeddv1.UpsertPapersRequest{}
	for _, id := range ids {
		req.Papers = append(req.Papers, &embeddv1.Paper{Id: id, Title: "paper " + id, Abstract: "about " + id})
	}
	if _, err := embeddv1.NewPaperServiceClient(r.conn).UpsertPapers(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

// key makes a key.
func key(t testing.TB, k access.Key) (access.Key, string) {
	t.Helper()
	made, secret, err := access.New(k, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return made, secret
}

// same tells whether a body is the JSON of a message, but for how long it took and the token of the next page.
func same(t testing.TB, body string, want proto.Message) bool {
	t.Helper()
	got := want.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(body), got); err != nil {
		t.Errorf("%v: %s", err, body)
		return false
	}
	for _, m := range []proto.Message{got, want} {
		for _, name := range []protoreflect.Name{"stages", "next_page_token"} {
			if f := m.ProtoReflect().Descriptor().Fields().ByName(name); f != nil {
				m.ProtoReflect().Clear(f)
			}
		}
	}
	return proto.Equal(got, want)
}
