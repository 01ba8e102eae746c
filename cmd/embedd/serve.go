package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/ingest"
	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

type serveCmd struct {
	Listen   string      `help:"Address to serve gRPC on." default:"127.0.0.1:50051" placeholder:"HOST:PORT"`
	Metrics  string      `help:"Address to serve Prometheus metrics on, at /metrics; none when empty." placeholder:"HOST:PORT"`
	Data     string      `help:"Data directory; default: data in the .embedd folder." placeholder:"DIR"`
	Samples  string      `help:"Papers to index first if the data directory has none; the first of them is shown with its related papers." placeholder:"FILE"`
	LogLevel string      `help:"What is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	Grace    int         `help:"Seconds that running calls get to end when the server stops." default:"10" placeholder:"N"`
	Door     doorFlags   `embed:"" group:"Who may come in:"`
	Engine   engineFlags `embed:""`
}

func (serveCmd) Help() string {
	return `On an address that other machines reach, keys and TLS are asked for; see docs/security.md.

Example:
  embedd serve --data /srv/papers --listen 127.0.0.1:50051`
}

func (c *serveCmd) Run(e *env) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: level}))
	if c.Data == "" {
		if c.Data, err = defaultData(); err != nil {
			return err
		}
	}
	if c.Samples != "" {
		if _, err := os.Stat(c.Samples); err != nil {
			return fmt.Errorf("--samples: %w", err)
		}
	}
	if err := c.Door.check(); err != nil {
		return err
	}
	if err := c.Engine.resolve(); err != nil {
		return err
	}
	// The port comes first: it is the likeliest thing to be wrong, and nothing else has been touched yet.
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w; choose another HOST:PORT with --listen", c.Listen, err)
	}
	var metrics net.Listener
	if c.Metrics != "" {
		if metrics, err = net.Listen("tcp", c.Metrics); err != nil {
			return errors.Join(fmt.Errorf("--metrics %s: %w; choose another HOST:PORT with --metrics", c.Metrics, err), l.Close())
		}
	}
	s, limits, stopKeys, err := c.open(l, log)
	if err != nil {
		err = errors.Join(err, l.Close())
		if metrics != nil {
			err = errors.Join(err, metrics.Close())
		}
		return err
	}
	defer stopKeys()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer finish(&err, func() error {
		s.Stop(time.Duration(c.Grace) * time.Second)
		return <-served
	})
	bar := newProgress(e, "rebuilding the index", "papers")
	en, err := openEngine(e.ctx, &c.Engine, c.Data, true, log, bar.Set)
	bar.Done()
	if err != nil {
		return err
	}
	defer func() {
		// After the calls have ended, before the model is freed: the order of defer would do it the wrong way round.
		s.Stop(time.Duration(c.Grace) * time.Second)
		finish(&err, en.Close)
	}()
	s.Ready(en.collection)
	if metrics != nil {
		stop, err := serveMetrics(metrics, log, en.encoder.Metrics(), indexCollector{en.collection})
		if err != nil {
			return err
		}
		defer finish(&err, stop)
		c.Metrics = metrics.Addr().String()
	}
	if err := c.printConfiguration(e, en, l.Addr(), limits); err != nil {
		return err
	}
	if c.Samples != "" {
		if err := c.serveSamples(e, en, l.Addr().String(), log); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.stdout, "\nServing gRPC on %s until Ctrl-C.\n", l.Addr())
	select {
	case <-e.ctx.Done():
		fmt.Fprintln(e.stdout, "\nStopping: finishing calls, saving the index.")
		return nil
	case err := <-served:
		served <- nil // for the deferred Stop
		return fmt.Errorf("serve: %w", err)
	}
}

// open makes the server for a listener.
func (c *serveCmd) open(l net.Listener, log *slog.Logger) (s *server.Server, limits server.Limits, stopKeys func(), err error) {
	o, err := c.Door.options(l.Addr(), log)
	if err != nil {
		return nil, limits, nil, err
	}
	if o.Keys, stopKeys, err = c.Door.keys(log); err != nil {
		return nil, limits, nil, err
	}
	if s, err = server.New(o); err != nil {
		stopKeys()
		return nil, limits, nil, err
	}
	return s, o.Limits, stopKeys, nil
}

// printConfiguration shows what is in effect, wherever it came from.
func (c *serveCmd) printConfiguration(e *env, en *engine, addr net.Addr, limits server.Limits) error {
	info, err := en.collection.Info()
	if err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, "embedd", version)
	t := newTable(e.stdout)
	m := info.Model
	t.row("  model", fmt.Sprintf("%s, %d dimensions, %d tokens, %s, fingerprint %.12s", m.ID, m.Dimension, m.MaxTokens, m.Precision, m.Fingerprint))
	t.row("  models", shortPath(c.Engine.Models))
	t.row("  library", shortPath(c.Engine.Library))
	t.row("  provider", c.Engine.Provider)
	t.row("  workers", fmt.Sprint(c.Engine.Workers))
	t.row("  warm-up", fmt.Sprintf("%.1f s: %v", en.tuning.Took.Seconds(), en.tuning))
	t.row("  query cache", fmt.Sprintf("%d vectors", c.Engine.QueryCache))
	t.row("  index", indexLine(info.Index.M, info.Index.EfConstruction, info.Index.Memory, info.Index.Kernels))
	t.row("  data", fmt.Sprintf("%s, %d papers", shortPath(c.Data), info.Papers))
	t.row("  listen", addr.String())
	t.row("  door", c.Door.describe(limits))
	t.row("  metrics", cmp.Or(c.Metrics, "none"))
	t.row("  log level", c.LogLevel)
	t.row("  grace", fmt.Sprintf("%d s", c.Grace))
	return t.flush()
}

// serveSamples indexes the sample papers if there is nothing yet, and shows a first answer, all through the open port as
// any client would, or inside of the process where the port asks for a key or a certificate.
func (c *serveCmd) serveSamples(e *env, en *engine, addr string, log *slog.Logger) (err error) {
	var conn *grpc.ClientConn
	var shut func() error
	if c.Door.Keys == "" && c.Door.TLSCert == "" {
		if conn, err = dial(addr); err == nil {
			shut = conn.Close
		}
	} else {
		conn, shut, err = inProcess(en.collection, log)
	}
	if err != nil {
		return err
	}
	cl := newClient(conn, shut)
	defer finish(&err, cl.close)
	info, err := cl.info.GetInfo(e.ctx, &embeddv1.GetInfoRequest{})
	if err != nil {
		return err
	}
	if info.GetCounts().GetPapers() == 0 {
		report, err := indexFiles(e, cl, []string{c.Samples})
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "\nIndexed %d sample papers in %.1f s.\n", report.Created, report.Seconds)
	}
	first, err := firstPaper(c.Samples)
	if err != nil {
		return err
	}
	return c.firstAnswer(e, cl, first, addr)
}

// firstPaper gives the first paper of a file.
func firstPaper(path string) (ingest.Paper, error) {
	r, err := ingest.Open(path)
	if err != nil {
		return ingest.Paper{}, err
	}
	p, err := r.Next()
	return p, errors.Join(err, r.Close())
}

// firstAnswer shows a paper and its related papers, and calls to go on with.
func (c *serveCmd) firstAnswer(e *env, cl *client, p ingest.Paper, addr string) error {
	k := int32(5)
	res, err := cl.search.Related(e.ctx, &embeddv1.RelatedRequest{Id: p.ID, K: &k})
	if status.Code(err) == codes.NotFound {
		_, err = fmt.Fprintf(e.stdout, "\nThe data directory has papers, but not %s, the first of %s: no answer to show.\n", printable(p.ID), c.Samples)
		return err
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "\nRelated to %s, %s:\n\n", printable(p.ID), printable(p.Title))
	if err := printHits(e.stdout, res.GetHits()); err != nil {
		return err
	}
	server := ""
	if addr != "127.0.0.1:50051" {
		server = " --server " + addr
	}
	_, err = fmt.Fprintf(e.stdout, `
Try, in another terminal:

  bin/embedd related%s %s
  bin/embedd search%s "efficient attention for long documents"
  grpcurl -plaintext -d '{"id":"%s","k":5}' %s embedd.v1.SearchService/Related
  grpcurl -plaintext -d '{"query":{"text":"binary vision transformers"},"k":5}' %s embedd.v1.SearchService/Search
`, server, p.ID, server, p.ID, addr, addr)
	return err
}
