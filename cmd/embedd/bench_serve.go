package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/embed"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

type benchServeCmd struct {
	Files   []string      `arg:"" optional:"" name:"file" help:"JSONL files or BEIR folders to index into a temporary data directory, instead of --data."`
	Data    string        `help:"Data directory to serve." placeholder:"DIR"`
	Queries string        `help:"JSONL file of queries in BEIR's form; default: the papers' titles." placeholder:"FILE" env:"-"`
	Only    []string      `help:"Parts to measure: related, http, text, vector, filter, explain, ingest, job; default: all." placeholder:"PART,..." env:"-"`
	Clients int           `help:"Clients at once, each with a connection of its own." default:"8" placeholder:"N" env:"-"`
	Rounds  int           `help:"Rounds, each of which measures every side." default:"7" placeholder:"N" env:"-"`
	Phase   time.Duration `help:"How long a side of a round lasts." default:"2s" placeholder:"TIME" env:"-"`
	Filter  string        `help:"Filter to search with." default:"categories:cs.CL AND listed >= \"2025-06-01\"" placeholder:"FILTER" env:"-"`
	Admin   string        `help:"Admin listener for the server that is measured, for profiles." placeholder:"[HOST]:PORT" env:"-"`

	outputFlags
	Engine engineFlags `embed:""`
}

// The parts of bench serve.
var serveParts = []string{"related", "http", "text", "vector", "filter", "explain", "ingest", "job"}

func (benchServeCmd) Help() string {
	return `Serves papers with embedd serve in a process of its own, and asks it over TCP on the loopback interface, on the same cores: what the clients
take is missing from the server. The sides of a part take turns in each round, one first, then the other; figures are medians of the rounds.

  related  papers related to each of many, k 10, from the neighbours that the server keeps, once it has them, against a bare gRPC server in
           another process of its own: one method that reads nothing and answers the bytes of such an answer; then half as many calls at
           random times (a Poisson process), whether or not the ones before have ended, timed from when they were due, of both servers. How
           many of the answers came from neighbours that are kept is told
  http     the same over HTTP and JSON, against the same over gRPC; the clients read the answers, and do not look into them
  text     searches by text, hybrid and dense, against the bare ONNX Runtime session over the same texts, tokenised beforehand, in this
           process
  vector   searches by vector, k 10, with a recall of at least 0.989 against exact search
  filter   searches by vector with --filter, one at a time, against those without
  explain  searches by text, explained, one at a time, against those that are not
  ingest   papers that are stored already, sent again, by four calls at once
  job      related by id and dense searches by text, at a quarter of what the server can answer, while it does jobs that take all they get, against without

No query vector is kept for the next time. A lower figure than its bar is a ratio below 1.

Example:
  embedd bench serve --data /srv/papers --only related,text`
}

// serveReport is what bench serve prints. Parts that are not measured are absent.
type serveReport struct {
	Papers  int `json:"papers"`
	Clients int `json:"clients"`
	Rounds  int `json:"rounds"`
	// Refused calls are those that the server had no room for. They count for nothing.
	Refused int64          `json:"refused_calls"`
	Related *servedRelated `json:"related,omitempty"`
	HTTP    *servedHTTP    `json:"http,omitempty"`
	Text    *servedText    `json:"text,omitempty"`
	Vector  *servedVector  `json:"vector,omitempty"`
	Filter  *servedFilter  `json:"filter,omitempty"`
	Explain *servedExplain `json:"explain,omitempty"`
	Ingest  *servedIngest  `json:"ingest,omitempty"`
	Job     *servedJob     `json:"job,omitempty"`
	// Bars are the figures that have one.
	Bars []servedBar `json:"bars"`
}

type servedRelated struct {
	PerSecond     float64 `json:"calls_per_second"`
	BarePerSecond float64 `json:"bare_calls_per_second"`
	AnswerBytes   int     `json:"answer_bytes"`
	// Kept is the share of the answers that came from neighbours that the server keeps.
	Kept  float64 `json:"kept_share"`
	Ratio float64 `json:"ratio"`
	// At half of the calls a second, in ms.
	HalfPerSecond float64 `json:"half_calls_per_second"`
	HalfP50       float64 `json:"half_p50_ms"`
	HalfP99       float64 `json:"half_p99_ms"`
	// BareHalfP99 is the bare server's with as many calls.
	BareHalfP99 float64 `json:"bare_half_p99_ms"`
}

type servedHTTP struct {
	PerSecond     float64 `json:"calls_per_second"`
	GRPCPerSecond float64 `json:"grpc_calls_per_second"`
	AnswerBytes   int64   `json:"answer_bytes"`
	Ratio         float64 `json:"ratio"`
}

type servedText struct {
	BarePerSecond   float64 `json:"bare_texts_per_second"`
	HybridPerSecond float64 `json:"hybrid_queries_per_second"`
	DensePerSecond  float64 `json:"dense_queries_per_second"`
	HybridRatio     float64 `json:"hybrid_ratio"`
	DenseRatio      float64 `json:"dense_ratio"`
}

type servedVector struct {
	PerSecond float64 `json:"queries_per_second"`
	// Asked is the recall that was asked for, Recall what came of it.
	Asked  float64 `json:"asked_recall"`
	Recall float64 `json:"recall"`
}

type servedFilter struct {
	Filter   string  `json:"filter"`
	Hits     float64 `json:"mean_hits"`
	PlainP50 float64 `json:"plain_p50_ms"`
	PlainP99 float64 `json:"plain_p99_ms"`
	P50      float64 `json:"filtered_p50_ms"`
	P99      float64 `json:"filtered_p99_ms"`
	AddedP99 float64 `json:"added_p99_ms"`
}

type servedExplain struct {
	PlainP50 float64 `json:"plain_p50_ms"`
	P50      float64 `json:"explained_p50_ms"`
	P99      float64 `json:"explained_p99_ms"`
	AddedP50 float64 `json:"added_p50_ms"`
	// Explained is how many hits of an answer are, on average.
	Explained float64 `json:"explained_hits"`
}

type servedIngest struct {
	Papers    int     `json:"papers"`
	PerSecond float64 `json:"unchanged_papers_per_second"`
}

// servedJob are searches by text while the server has nothing else to do, and while it does jobs.
type servedJob struct {
	PerSecond float64 `json:"searches_per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	BesideP50 float64 `json:"beside_jobs_p50_ms"`
	BesideP99 float64 `json:"beside_jobs_p99_ms"`
	Jobs      int     `json:"jobs"`
	Ratio     float64 `json:"p99_ratio"`
}

// servedBar is a figure that the project holds itself to. Ratio is 1 or more where it is met.
type servedBar struct {
	Name   string  `json:"name"`
	Figure float64 `json:"figure"`
	Bar    float64 `json:"bar"`
	Ratio  float64 `json:"ratio"`
}

// What a server of vectors written in Rust did on such a machine, and what a server in Python did for texts: searches a second.
const (
	qdrantPerSecond = 3200
	pythonPerSecond = 200
)

// serveBench is a server under measurement.
type serveBench struct {
	*benchServeCmd
	e       *env
	clients []*client
	bare    []embeddv1.SearchServiceClient
	web     string // where the server answers HTTP
	prepare func(answer *embeddv1.RelatedResponse) error
	encoder *embed.Encoder
	papers  []*embeddv1.Paper // with what a list shows of them
	queries []string
	vectors [][]float32
	asked   atomic.Int64 // makes each call about something else
	refused atomic.Int64
	report  serveReport
}

func (c *benchServeCmd) Run(e *env) (err error) {
	for _, part := range c.Only {
		if !slices.Contains(serveParts, part) {
			return fmt.Errorf("--only: %q is none of %s", part, strings.Join(serveParts, ", "))
		}
	}
	switch {
	case (c.Data == "") == (len(c.Files) == 0):
		return errors.New("--data: give a data directory, or files to index, and not both")
	case c.Clients < 1 || c.Clients > 60:
		return fmt.Errorf("--clients: is %d; must be 1 to 60", c.Clients)
	case c.Rounds < 1:
		return fmt.Errorf("--rounds: is %d; must be at least 1", c.Rounds)
	case c.Phase < 10*time.Millisecond:
		return fmt.Errorf("--phase: is %v; must be at least 10ms", c.Phase)
	}
	if err := c.Engine.resolve(); err != nil {
		return err
	}
	dir := c.Data
	if dir == "" {
		tmp, err := os.MkdirTemp("", "embedd-bench-")
		if err != nil {
			return err
		}
		defer finish(&err, func() error { return os.RemoveAll(tmp) })
		dir = filepath.Join(tmp, "data")
		if err := c.index(e, dir); err != nil {
			return err
		}
	} else if err := checkDataDir(dir); err != nil {
		return err
	}
	c.Engine.QueryCache = 0
	served, err := c.serve(e, dir)
	if err != nil {
		return err
	}
	defer finish(&err, served.stop)
	bare, err := startServing(e, "bench", "bare")
	if err != nil {
		return err
	}
	defer finish(&err, bare.stop)
	b := &serveBench{benchServeCmd: c, e: e, web: served.web}
	shut, err := b.connect(served.address, bare.address)
	defer finish(&err, shut)
	if err != nil {
		return err
	}
	if err := b.load(); err != nil {
		return err
	}
	if b.encoder, err = openEncoder(&c.Engine); err != nil {
		return err
	}
	defer finish(&err, b.encoder.Close)
	if _, err := b.encoder.WarmUp(e.ctx); err != nil {
		return err
	}
	if err := b.measure(); err != nil {
		return err
	}
	return b.print()
}

// index makes a data directory of the files.
func (c *benchServeCmd) index(e *env, dir string) (err error) {
	cl, en, err := openScratch(e, &c.Engine, dir, retrieval.Settings{})
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if _, err = indexFiles(e, cl, c.Files, embeddv1.WriteMode_WRITE_MODE_UPSERT); err == nil {
		err = en.collection.Settle(e.ctx)
	}
	return err
}

// serve starts embedd serve.
func (c *benchServeCmd) serve(e *env, dir string) (*serving, error) {
	f := &c.Engine
	args := []string{"serve", "--listen=127.0.0.1:0", "--http=127.0.0.1:0", "--log-level=error", "--data=" + dir, "--admin=" + c.Admin,
		"--model=" + f.Model, fmt.Sprint("--dimension=", f.Dimension), "--models=" + f.Models, "--library=" + f.Library, "--provider=" + f.Provider,
		fmt.Sprint("--workers=", f.Workers), fmt.Sprint("--query-cache=", f.QueryCache), fmt.Sprint("--m=", f.M),
		fmt.Sprint("--ef-construction=", f.EfConstruction), "--index-memory=" + f.IndexMemory}
	for _, id := range f.Reranker {
		args = append(args, "--reranker="+id)
	}
	return startServing(e, args...)
}

// connect makes a connection to each server for each client. shut closes those that were made.
func (b *serveBench) connect(served, bare string) (shut func() error, err error) {
	var conns []*grpc.ClientConn
	shut = func() error {
		var errs []error
		for _, conn := range conns {
			errs = append(errs, conn.Close())
		}
		return errors.Join(errs...)
	}
	for range b.Clients {
		for _, address := range []string{served, bare} {
			conn, err := dial(address)
			if err != nil {
				return shut, err
			}
			conns = append(conns, conn)
			if address == served {
				b.clients = append(b.clients, newClient(conn, conn.Close))
				continue
			}
			b.bare = append(b.bare, embeddv1.NewSearchServiceClient(conn))
			b.prepare = func(answer *embeddv1.RelatedResponse) error {
				return conn.Invoke(b.e.ctx, bareService+"Prepare", answer, &embeddv1.RelatedResponse{})
			}
		}
	}
	return shut, nil
}

// The most papers that are asked about, and vectors that are searched for.
const serveMost, serveVectors = 200_000, 1000

// load reads what is asked about, and asks for everything once, so that what a start does behind itself is done.
func (b *serveBench) load() error {
	cl := b.clients[0]
	for token := ""; ; {
		size := int32(1000)
		page, err := cl.papers.ListPapers(b.e.ctx, &embeddv1.ListPapersRequest{PageSize: &size, PageToken: token})
		if err != nil {
			return err
		}
		b.papers = append(b.papers, page.GetPapers()...)
		if token = page.GetNextPageToken(); token == "" || len(b.papers) >= serveMost {
			break
		}
	}
	if len(b.papers) < 20 {
		return fmt.Errorf("%d papers are too few to measure with; at least 20", len(b.papers))
	}
	rng := rand.New(rand.NewPCG(1, 7)) // the same ones each time
	rng.Shuffle(len(b.papers), func(i, j int) { b.papers[i], b.papers[j] = b.papers[j], b.papers[i] })
	if b.Queries != "" {
		papers, err := corpusPapers(b.e, b.Queries, 0) // a query has an id and a text, as a paper
		if err != nil {
			return fmt.Errorf("--queries: %w", err)
		}
		for _, p := range papers {
			b.queries = append(b.queries, textOf(p))
		}
	} else {
		for _, p := range b.papers {
			if strings.TrimSpace(p.GetTitle()) != "" {
				b.queries = append(b.queries, p.GetTitle())
			}
		}
	}
	if len(b.queries) == 0 {
		return errors.New("no paper has a title; give --queries")
	}
	for texts := range slices.Chunk(b.queries[:min(len(b.queries), serveVectors)], 32) {
		answer, err := cl.encode.Encode(b.e.ctx, &embeddv1.EncodeRequest{Texts: texts, Role: embeddv1.Role_ROLE_QUERY})
		if err != nil {
			return err
		}
		for _, enc := range answer.GetEncodings() {
			b.vectors = append(b.vectors, enc.GetVector().GetValues())
		}
	}
	b.report = serveReport{Papers: len(b.papers), Clients: b.Clients, Rounds: b.Rounds}
	if _, err := cl.search.Search(b.e.ctx, &embeddv1.SearchRequest{Query: byText(b.queries[0])}); err != nil { // waits for the words
		return err
	}
	info, err := awaitFields(b.e, cl, keptMost)
	if err != nil {
		return err
	}
	return b.awaitKept(int(info.GetSettings().GetNeighbours()))
}

// keptShare of the papers' neighbours are waited for, for keptMost: of a paper with many versions no list is long enough.
const keptShare, keptMost = 0.9, 10 * time.Minute

// awaitKept waits until the server, which keeps size neighbours of each paper, has them: until then it makes them beside whatever is measured. A share
// of them that is too low is told with what is measured.
func (b *serveBench) awaitKept(size int) error {
	begin := time.Now()
	some := b.papers[:min(101, len(b.papers))]
	for size >= retrieval.DefaultK && time.Since(begin) < keptMost {
		kept := 0
		for _, p := range some {
			answer, err := b.clients[0].search.Related(b.e.ctx, &embeddv1.RelatedRequest{Id: p.GetId()})
			if err != nil {
				return err
			}
			if answer.GetEffective().GetMaterialised() != nil {
				kept++
			}
		}
		if float64(kept) >= keptShare*float64(len(some)) {
			return nil
		}
		if err := sleep(b.e.ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func byText(text string) *embeddv1.Input {
	return &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: text}}
}

func byVector(v []float32) *embeddv1.Input {
	return &embeddv1.Input{Kind: &embeddv1.Input_Vector{Vector: &embeddv1.Vector{Values: v}}}
}

func (b *serveBench) measures(part string) bool {
	return len(b.Only) == 0 || slices.Contains(b.Only, part)
}

func (b *serveBench) measure() error {
	bar := newProgress(b.e, "measuring", "parts")
	defer bar.Done()
	for i, part := range []func() error{b.related, b.http, b.text, b.vector, b.filter, b.explain, b.ingest, b.job} {
		bar.Set(i, len(serveParts))
		if !b.measures(serveParts[i]) {
			continue
		}
		if err := part(); err != nil {
			return fmt.Errorf("%s: %w", serveParts[i], err)
		}
	}
	return nil
}

// bar notes a figure. Where least it is to be at least its bar, else at most.
func (b *serveBench) bar(name string, figure, bar float64, least bool) {
	ratio := figure / bar
	if !least {
		ratio = bar / max(figure, bar/1000)
	}
	b.report.Bars = append(b.report.Bars, servedBar{name, figure, bar, ratio})
}

// next gives the number of a call, another one each time, below n.
func (b *serveBench) next(n int) int { return int(b.asked.Add(1)-1) % n }

// closed lets all clients call, each one call after the other, for a phase, and gives the calls a second.
func (b *serveBench) closed(call func(ctx context.Context, client int) error) (float64, error) {
	var wg sync.WaitGroup
	var calls atomic.Int64
	var first atomic.Pointer[error]
	begin := time.Now()
	for i := range b.Clients {
		wg.Go(func() {
			for time.Since(begin) < b.Phase && first.Load() == nil {
				switch err := call(b.e.ctx, i); {
				case status.Code(err) == codes.ResourceExhausted:
					b.refused.Add(1)
				case err != nil:
					first.CompareAndSwap(nil, &err)
					return
				default:
					calls.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return 0, *err
	}
	return float64(calls.Load()) / time.Since(begin).Seconds(), b.e.ctx.Err()
}

// inTurns runs the sides of each round, the first one first and the last one first in turns.
func (b *serveBench) inTurns(sides ...func() error) error {
	for round := range b.Rounds {
		for i := range sides {
			if round%2 == 1 {
				i = len(sides) - 1 - i
			}
			if err := sides[i](); err != nil {
				return err
			}
		}
	}
	return nil
}

// side is one that measures a rate, and keeps it.
func (b *serveBench) side(rates *[]float64, call func(ctx context.Context, client int) error) func() error {
	return func() error {
		rate, err := b.closed(call)
		*rates = append(*rates, rate)
		return err
	}
}

// ratios are those of two sides' rounds.
func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

func (b *serveBench) search(client int, req *embeddv1.SearchRequest) (*embeddv1.SearchResponse, error) {
	return b.clients[client].search.Search(b.e.ctx, req)
}

func (b *serveBench) print() error {
	r := &b.report
	r.Refused = b.refused.Load()
	if b.JSON {
		return printJSON(b.e.stdout, r)
	}
	fmt.Fprintf(b.e.stdout, "%d papers, %d clients, medians of %d rounds; %d calls refused\n", r.Papers, r.Clients, r.Rounds, r.Refused)
	if x := r.Related; x != nil {
		fmt.Fprintf(b.e.stdout, "related  %8.0f calls/s   %.0f %% from kept neighbours; bare gRPC, %d bytes, %.0f; at %.0f calls/s p50 %.2f ms, p99 %.2f ms, bare %.2f ms\n", x.PerSecond, 100*x.Kept, x.AnswerBytes, x.BarePerSecond, x.HalfPerSecond, x.HalfP50, x.HalfP99, x.BareHalfP99)
	}
	if x := r.HTTP; x != nil {
		fmt.Fprintf(b.e.stdout, "http     %8.0f calls/s   related by id, %d bytes of JSON; gRPC %.0f\n", x.PerSecond, x.AnswerBytes, x.GRPCPerSecond)
	}
	if x := r.Text; x != nil {
		fmt.Fprintf(b.e.stdout, "text     %8.0f hybrid/s  dense %.0f; bare session %.0f texts/s\n", x.HybridPerSecond, x.DensePerSecond, x.BarePerSecond)
	}
	if x := r.Vector; x != nil {
		fmt.Fprintf(b.e.stdout, "vector   %8.0f queries/s recall %.4f, asked for %g\n", x.PerSecond, x.Recall, x.Asked)
	}
	if x := r.Filter; x != nil {
		fmt.Fprintf(b.e.stdout, "filter   %8.2f ms p50    p99 %.2f; plain p50 %.2f, p99 %.2f; %.1f hits; %s\n", x.P50, x.P99, x.PlainP50, x.PlainP99, x.Hits, printable(x.Filter))
	}
	if x := r.Explain; x != nil {
		fmt.Fprintf(b.e.stdout, "explain  %8.2f ms p50    p99 %.2f; not explained p50 %.2f; %.1f hits are explained\n", x.P50, x.P99, x.PlainP50, x.Explained)
	}
	if x := r.Job; x != nil {
		fmt.Fprintf(b.e.stdout, "job      %8.0f searches/s p50 %.2f ms, p99 %.2f ms; beside jobs p50 %.2f ms, p99 %.2f ms, %.2f of that without; %d jobs\n", x.PerSecond, x.P50, x.P99, x.BesideP50, x.BesideP99, x.Ratio, x.Jobs)
	}
	if x := r.Ingest; x != nil {
		fmt.Fprintf(b.e.stdout, "ingest   %8.0f papers/s  unchanged, %d papers\n", x.PerSecond, x.Papers)
	}
	fmt.Fprintln(b.e.stdout)
	t := newTable(b.e.stdout, "FIGURE", "", "BAR", "OF THE BAR")
	for _, x := range r.Bars {
		t.row(x.Name, fmt.Sprintf("%.3f", x.Figure), fmt.Sprintf("%g", x.Bar), fmt.Sprintf("%.2f", x.Ratio))
	}
	return t.flush()
}
