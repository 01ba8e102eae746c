package server

import (
	"context"
	"hash/fnv"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"embedd/internal/retrieval"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// fake is an encoder without a model: a text has a pseudo-random direction.
type fake struct {
	// before, where it is set, is called with each call's context.
	before func(ctx context.Context) error
}

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
		out[i] = retrieval.Encoding{Vector: v}
	}
	return out, nil
}

func (f *fake) Explain(ctx context.Context, query retrieval.Asked, texts []retrieval.Passage) (out []*retrieval.Explanation, _ error) {
	for _, text := range texts {
		out = append(out, &retrieval.Explanation{Sentences: []retrieval.Sentence{{End: len(text.Text)}}})
	}
	return out, nil
}

func (f *fake) Passages(_ context.Context, _ retrieval.Lane, texts []retrieval.Passage, _ int) ([][]retrieval.Part, error) {
	return make([][]retrieval.Part, len(texts)), nil
}

func (f *fake) Sentences(ctx context.Context, lane retrieval.Lane, texts []retrieval.Passage) ([][]retrieval.Part, error) {
	out := make([][]retrieval.Part, len(texts))
	for i, text := range texts {
		enc, err := f.Encode(ctx, lane, retrieval.Document, []string{text.Text})
		if err != nil {
			return nil, err
		}
		out[i] = []retrieval.Part{{End: len(text.Text), Vector: enc[0].Vector}}
	}
	return out, nil
}

// running is a server on a loopback port over an empty collection.
type running struct {
	*Server
	addr    string
	encoder *fake
	log     *testkit.Buffer
}

// launch starts a server until the end of the test.
func launch(t testing.TB, o Options) *running { return launchOver(t, o) }

// launchOver is launch with cross-encoders.
func launchOver(t testing.TB, o Options, rerankers ...retrieval.Reranker) *running {
	t.Helper()
	r := &running{encoder: &fake{}, log: &testkit.Buffer{}}
	o.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := retrieval.Open(t.Context(), t.TempDir(), r.encoder, &retrieval.Options{Log: o.Log, Rerankers: rerankers})
	if err != nil {
		t.Fatal(err)
	}
	if r.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	r.Ready(c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.Serve(l) }()
	t.Cleanup(func() {
		r.Stop(time.Second)
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// connect gives a connection until the end of the test.
func (r *running) connect(t testing.TB, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(r.addr, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// classes are limits for tests: gates through which everything gets, unless a test says otherwise.
func classes(change func(map[embeddv1.Class]ClassLimits)) map[embeddv1.Class]ClassLimits {
	all := classLimits()
	for c, l := range all {
		l.Gate.Running = 1000
		all[c] = l
	}
	if change != nil {
		change(all)
	}
	return all
}

func text(s string) *embeddv1.Input { return &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: s}} }

// put stores a paper.
func put(t *testing.T, conn *grpc.ClientConn, id string) {
	t.Helper()
	_, err := embeddv1.NewPaperServiceClient(conn).UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: id, Title: "paper " + id}}})
	if err != nil {
		t.Fatal(err)
	}
}
