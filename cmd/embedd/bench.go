package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"embedd/internal/ingest"
	"embedd/internal/retrieval"
	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

type benchCmd struct {
	Encode   benchEncodeCmd   `cmd:"" help:"Encoding against the bare ONNX Runtime session."`
	Memory   benchMemoryCmd   `cmd:"" help:"Memory of the encoder, over texts of every length."`
	Index    benchIndexCmd    `cmd:"" help:"Indexing end to end against the bare encoder session."`
	Related  benchRelatedCmd  `cmd:"" help:"Related by id over gRPC: concurrent clients against one."`
	Vectors  benchVectorsCmd  `cmd:"" help:"Write the vectors of a corpus, for benchmarks of the index."`
	Overload benchOverloadCmd `cmd:"" help:"More calls than the server can carry: what is answered, what refused, how fast."`
	Serve    benchServeCmd    `cmd:"" help:"Serving: related, searches by text and vector, filters, explanations, ingest."`
	Bare     benchBareCmd     `cmd:"" hidden:"" help:"What serve compares with, in a process of its own."`
}

type benchIndexCmd struct {
	Corpus string `arg:"" help:"JSONL file or BEIR folder."`
	Papers int    `short:"n" help:"Use the first N papers; 0: all." default:"0" placeholder:"N" env:"-"`
	Rounds int    `help:"Rounds, each of which measures both sides on a part of the corpus." default:"9" placeholder:"N" env:"-"`

	outputFlags
	Engine engineFlags `embed:""`
}

func (benchIndexCmd) Help() string {
	return `Each round takes the next part of the corpus and measures, in turns first one then the other first: the bare
ONNX Runtime session over the tokenised texts, and indexing end to end (gRPC, tokenising, encoding, a synced batch in the
store, insertion into the graph). Reported is the median of the rounds' ratios.

Example:
  embedd bench index path/to/scifact`
}

// benchIndexReport is what bench index prints.
type benchIndexReport struct {
	Papers    int       `json:"papers"`
	Workers   int       `json:"workers"`
	BarePerS  float64   `json:"bare_texts_per_second"`
	IndexPerS float64   `json:"index_papers_per_second"`
	Ratios    []float64 `json:"ratios"`
	Ratio     float64   `json:"ratio"`
}

func (c *benchIndexCmd) Run(e *env) (err error) {
	papers, err := corpusPapers(e, c.Corpus, c.Papers)
	if err != nil {
		return err
	}
	if c.Rounds < 1 || len(papers) < c.Rounds {
		return fmt.Errorf("--rounds: is %d; must be 1 to the number of papers, %d", c.Rounds, len(papers))
	}
	cl, en, err := openScratch(e, &c.Engine, "", retrieval.Settings{})
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	tmp, err := os.MkdirTemp("", "embedd-bench-")
	if err != nil {
		return err
	}
	defer finish(&err, func() error { return os.RemoveAll(tmp) })
	bar := newProgress(e, "measuring", "rounds")
	defer bar.Done()
	var bare, index time.Duration
	report := benchIndexReport{Papers: len(papers), Workers: c.Engine.Workers}
	for round := range c.Rounds {
		bar.Set(round, c.Rounds)
		part := papers[round*len(papers)/c.Rounds : (round+1)*len(papers)/c.Rounds]
		texts := make([]string, len(part))
		for i, p := range part {
			texts[i] = textOf(p)
		}
		file := filepath.Join(tmp, fmt.Sprintf("part-%d.jsonl", round))
		if err := writePapers(file, part); err != nil {
			return err
		}
		var b, x time.Duration
		sides := []func() error{
			func() (err error) { b, err = en.encoder.Bare(e.ctx, texts, 1); return err },
			func() error {
				begin := time.Now()
				r, err := indexFiles(e, cl, []string{file}, embeddv1.WriteMode_WRITE_MODE_UPSERT)
				x = time.Since(begin)
				if err == nil && r.Created != len(part) {
					err = fmt.Errorf("%d of %d papers were new; the corpus has an id twice", r.Created, len(part))
				}
				return err
			},
		}
		if round%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			if err := side(); err != nil {
				return err
			}
		}
		bare, index = bare+b, index+x
		report.Ratios = append(report.Ratios, b.Seconds()/x.Seconds())
	}
	bar.Done()
	report.BarePerS = float64(len(papers)) / bare.Seconds()
	report.IndexPerS = float64(len(papers)) / index.Seconds()
	report.Ratio = median(report.Ratios)
	if c.JSON {
		return printJSON(e.stdout, report)
	}
	_, err = fmt.Fprintf(e.stdout, "bare session   %7.1f texts/s\nend to end     %7.1f papers/s\nratio          %7.3f (median of %d rounds, %.3f to %.3f; %d papers, %d workers)\n",
		report.BarePerS, report.IndexPerS, report.Ratio, c.Rounds, slices.Min(report.Ratios), slices.Max(report.Ratios), len(papers), c.Engine.Workers)
	return err
}

// openWith opens a temporary data directory that has some papers, and whose index needs no upkeep: while it is tended, the list that
// gives the target recall, and with it an answer, may change. Closing the client closes the engine, and removes the directory.
func openWith(e *env, f *engineFlags, papers []ingest.Paper) (cl *client, en *engine, err error) {
	tmp, err := os.MkdirTemp("", "embedd-bench-")
	if err != nil {
		return nil, nil, err
	}
	defer finish(&err, func() error { return os.RemoveAll(tmp) })
	file := filepath.Join(tmp, "papers.jsonl")
	if err := writePapers(file, papers); err != nil {
		return nil, nil, err
	}
	if cl, en, err = openScratch(e, f, "", retrieval.Settings{}); err != nil {
		return nil, nil, err
	}
	if _, err = indexFiles(e, cl, []string{file}, embeddv1.WriteMode_WRITE_MODE_UPSERT); err == nil {
		err = en.collection.Settle(e.ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, cl.close())
	}
	return cl, en, nil
}

// writePapers writes papers in embedd's own form.
func writePapers(path string, papers []ingest.Paper) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer finish(&err, f.Close)
	lines := json.NewEncoder(f)
	for _, p := range papers {
		m, err := paperOf(p)
		if err != nil {
			return err
		}
		if err := lines.Encode(lineOf(m)); err != nil {
			return err
		}
	}
	return nil
}

// median of at least one value; values are not changed.
func median[T int64 | float64](values []T) T {
	v := slices.Clone(values)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

type benchRelatedCmd struct {
	Corpus  string `arg:"" help:"JSONL file or BEIR folder."`
	Papers  int    `short:"n" help:"Use the first N papers; 0: all." default:"0" placeholder:"N" env:"-"`
	Calls   int    `help:"Calls of each side." default:"10000" placeholder:"N" env:"-"`
	Clients int    `help:"Clients at once, each with a connection of its own." default:"8" placeholder:"N" env:"-"`

	outputFlags
	Engine engineFlags `embed:""`
}

func (benchRelatedCmd) Help() string {
	return `Indexes the corpus, then asks for the papers related to each paper in turn, over TCP on the loopback interface:
first by one client, then by many at once. Every answer of the many must be the answer of the one.

Example:
  embedd bench related samples/papers.jsonl`
}

// benchRelatedReport is what bench related prints.
type benchRelatedReport struct {
	Papers    int           `json:"papers"`
	Calls     int           `json:"calls"`
	Clients   int           `json:"clients"`
	Errors    int           `json:"errors"`
	Different int           `json:"different"`
	One       latencyReport `json:"one_client"`
	Many      latencyReport `json:"many_clients"`
}

// latencyReport is calls a second and the time a call took, in microseconds.
type latencyReport struct {
	PerSecond float64 `json:"calls_per_second"`
	P50       int64   `json:"p50_us"`
	P99       int64   `json:"p99_us"`
}

func (c *benchRelatedCmd) Run(e *env) (err error) {
	papers, err := corpusPapers(e, c.Corpus, c.Papers)
	if err != nil {
		return err
	}
	if len(papers) == 0 || c.Calls < 1 || c.Clients < 1 {
		return errors.New("papers, --calls and --clients must be at least 1")
	}
	cl, en, err := openWith(e, &c.Engine, papers)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	limits := server.DefaultLimits()
	limits.ConnectionsPerAddress = 0 // all clients are here
	s, err := server.New(server.Options{Version: version, Log: e.logger(slog.LevelInfo), Limits: limits})
	if err != nil {
		return err
	}
	s.Ready(en.collection)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer finish(&err, func() error { s.Stop(time.Second); return <-served })

	report := benchRelatedReport{Papers: len(papers), Calls: c.Calls, Clients: c.Clients}
	truth := make([]*embeddv1.RelatedResponse, len(papers))
	ask := func(clients int, see func(paper int, r *embeddv1.RelatedResponse, err error)) (latencyReport, error) {
		took := make([]int64, c.Calls)
		var wg sync.WaitGroup
		begin := time.Now()
		for i := range clients {
			conn, err := dial(l.Addr().String())
			if err != nil {
				return latencyReport{}, err
			}
			client := newClient(conn, conn.Close)
			wg.Go(func() {
				for call := i; call < c.Calls && e.ctx.Err() == nil; call += clients {
					start := time.Now()
					r, err := client.search.Related(e.ctx, &embeddv1.RelatedRequest{Id: papers[call%len(papers)].ID})
					took[call] = time.Since(start).Microseconds()
					see(call%len(papers), r, err)
				}
			})
			defer conn.Close()
		}
		wg.Wait()
		all := time.Since(begin)
		slices.Sort(took)
		return latencyReport{float64(c.Calls) / all.Seconds(), took[len(took)/2], took[len(took)*99/100]}, e.ctx.Err()
	}
	var mu sync.Mutex
	see := func(paper int, r *embeddv1.RelatedResponse, err error) {
		mu.Lock()
		defer mu.Unlock()
		if r != nil {
			r.Stages = nil // which tell how long it took
		}
		switch {
		case err != nil:
			report.Errors++
			if report.Errors == 1 {
				fmt.Fprintln(e.stderr, "embedd: first error:", explain(err))
			}
		case truth[paper] == nil:
			truth[paper] = r
		case !proto.Equal(truth[paper], r):
			report.Different++
		}
	}
	if report.One, err = ask(1, see); err != nil {
		return err
	}
	if report.Many, err = ask(c.Clients, see); err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(e.stdout, report)
	} else {
		t := newTable(e.stdout, "CLIENTS", "CALLS", "CALLS/S", "P50", "P99")
		for _, row := range []struct {
			n int
			r latencyReport
		}{{1, report.One}, {c.Clients, report.Many}} {
			t.row(fmt.Sprint(row.n), fmt.Sprint(c.Calls), fmt.Sprintf("%.0f", row.r.PerSecond), time.Duration(row.r.P50*1000).String(), time.Duration(row.r.P99*1000).String())
		}
		if err = t.flush(); err == nil {
			_, err = fmt.Fprintf(e.stdout, "%d errors, %d answers that differ from one client's\n", report.Errors, report.Different)
		}
	}
	if err == nil && report.Errors+report.Different > 0 {
		err = errors.New("not every call gave the answer of one client")
	}
	return err
}
