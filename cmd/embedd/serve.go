package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/status"

	"embedd/internal/access"
	"embedd/internal/admin"
	"embedd/internal/collections"
	"embedd/internal/ingest"
	"embedd/internal/jobs"
	"embedd/internal/retrieval"
	"embedd/internal/server"
	"embedd/internal/telemetry"
	embeddv1 "embedd/proto/embedd/v1"
)

type serveCmd struct {
	Listen     string      `help:"Address to serve gRPC on." default:"127.0.0.1:50051" placeholder:"HOST:PORT"`
	Admin      string      `help:"Loopback address of the admin listener, over HTTP: health, metrics, profiles, configuration; see docs/operations.md; none when empty." placeholder:"[HOST]:PORT"`
	Data       string      `help:"Data directory; default: data in the .embedd folder." placeholder:"DIR"`
	Samples    string      `help:"Papers to index first if the data directory has none; the first of them is shown with its related papers." placeholder:"FILE"`
	LogLevel   string      `help:"What is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat  string      `help:"How it is logged: text or json." enum:"text,json" default:"text"`
	Traces     bool        `help:"Send traces of calls to a collector of OpenTelemetry, as its environment variables OTEL_… say; see docs/operations.md."`
	Reserve    uint64      `name:"disk-reserve" help:"MiB that must be free on the disk for papers to be taken; 0: 2 GiB, or a tenth of a smaller disk." default:"0" placeholder:"MIB"`
	Neighbours int         `help:"Neighbours of each paper of the default collection that are kept, from which related papers are answered, up to 100; 0: none. See docs/search.md." default:"${neighbours}" placeholder:"N"`
	Map        bool        `help:"Draw the map of each collection behind the start, and anew when an eighth of its papers has come or gone; see docs/map.md."`
	Memory     uint64      `name:"memory-limit" help:"MiB that the process may take; near it, no papers are taken; 0: 80 % of what its control group or the machine has." default:"0" placeholder:"MIB"`
	Web        webFlags    `embed:""`
	Stop       stopFlags   `embed:""`
	Door       doorFlags   `embed:"" group:"Who may come in:"`
	Engine     engineFlags `embed:""`
}

func (serveCmd) Help() string {
	return `On an address that other machines reach, keys and TLS are asked for; see docs/security.md.

Example:
  embedd serve --data /srv/papers --listen 127.0.0.1:50051 --admin :9090`
}

func (c *serveCmd) Run(e *env) (err error) {
	defer func() {
		// A service that is told to stop while it starts has not failed.
		if stoppedBy(e.ctx) == syscall.SIGTERM && interrupted(e.ctx, err) {
			err = nil
		}
	}()
	if c.Neighbours < 0 || c.Neighbours > retrieval.MaxNeighbours {
		return fmt.Errorf("--neighbours: is %d; must be 0 to %d", c.Neighbours, retrieval.MaxNeighbours)
	}
	log, err := c.log(e)
	if err != nil {
		return err
	}
	// What gRPC's libraries say of clients that have gone is in the log's own form.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer()))
	if c.LogFormat == telemetry.JSON {
		e.log = log // progress too
	}
	if c.Data, err = dataDir(c.Data); err != nil {
		return err
	}
	if c.Samples != "" {
		if _, err := os.Stat(c.Samples); err != nil {
			return fmt.Errorf("--samples: %w", err)
		}
	}
	if err := cmp.Or(c.Stop.check(), c.Web.check(), c.Door.check(), c.Engine.check(), c.Engine.resolve()); err != nil {
		return err
	}
	// The ports come first: they are the likeliest thing to be wrong, and nothing else has been touched yet.
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w; choose another HOST:PORT with --listen", c.Listen, err)
	}
	webListener, err := c.Web.listen()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	shut := func() error { return errors.Join(l.Close(), c.Web.close(webListener)) }
	options := server.Options{Version: version, Log: log, Backups: backupsIn(c.Data)}
	guard, writes, err := c.watchMemory(&options)
	if err != nil {
		return errors.Join(err, shut())
	}
	defer guard.Close()
	state, registry, observer := admin.NewState(), newRegistry(), newObserver()
	if c.Traces {
		if observer.traces, err = telemetry.StartTraces(e.ctx, version, log); err != nil {
			return errors.Join(fmt.Errorf("--traces: %w", err), shut())
		}
		options.Interceptor = observer.traces.Interceptor
		defer finish(&err, observer.traces.Close)
	}
	s, keys, limits, stopKeys, err := c.server(l, webListener, options)
	if err != nil {
		return errors.Join(err, shut())
	}
	defer stopKeys()
	writes.serve(s)
	if err := registry.add(startMetrics(s, state, observer, c.Door.ends, guard)...); err != nil {
		return errors.Join(err, shut())
	}
	stopAdmin, err := c.serveAdmin(e, state, registry, log)
	if err != nil {
		return errors.Join(err, shut())
	}
	defer finish(&err, stopAdmin) // last of all
	defer c.Stop.atSignal(e, s, state, log)()
	now := newLive(registry, embeddv1.NewInfoServiceClient(s.Inside()))
	serveWeb, err := c.Web.server(s, webListener, keys, now)
	if err != nil {
		return errors.Join(err, shut())
	}
	served, servedWeb := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	go func() { servedWeb <- serveWeb() }()
	defer finish(&err, func() error {
		s.Stop(c.Stop.grace())
		return errors.Join(<-served, <-servedWeb)
	})
	en, err := c.open(e, state, opening{Warm: true, All: true, Log: log, Observer: observer, Reserve: c.Reserve << 20, Ballast: ballast, OnWritable: writes.disk, Gone: writes.gone,
		Neighbours: &c.Neighbours, Map: c.Map, Room: options.Room})
	if err != nil {
		return err
	}
	defer func() {
		// After the calls have ended, before the model is freed: the order of defer would do it the wrong way round.
		s.Stop(c.Stop.grace())
		registry.Unregister(indexCollector{en.set}) // a collection that is being closed has callers wait
		finish(&err, en.Close)
	}()
	if err := registry.add(engineMetrics(en)...); err != nil {
		return err
	}
	state.Check("store", func() error {
		c, err := en.set.Get("") // which a migration may have put in the place of another
		if err == nil {
			_, err = c.Info()
		}
		return err
	})
	now.set.Store(en.set)
	runner, err := openJobs(en, c.Data, jobs.Options{Log: log, GoOn: true})
	if err != nil {
		return err
	}
	defer func() {
		s.Stop(c.Stop.grace()) // no call has a job any more
		finish(&err, runner.Close)
	}()
	if err := registry.add(jobCollector{runner}); err != nil {
		return err
	}
	now.runner.Store(runner)
	s.SetJobs(runner)
	s.ReadyAll(en.set)
	for _, of := range en.set.List() {
		if of.Collection != nil {
			of.Collection.LoadDerived()
		}
	}
	state.Started()
	if err := c.printConfiguration(e, en, l.Addr(), webListener, limits); err != nil {
		return err
	}
	spareThread()
	if c.Samples != "" {
		if err := c.serveSamples(e, en, l.Addr(), log); err != nil {
			return err
		}
	}
	if webListener != nil {
		fmt.Fprintf(e.stdout, "\nServing pages and HTTP on %s", c.Web.url(webListener, c.Door.TLSCert != ""))
	}
	fmt.Fprintf(e.stdout, "\nServing gRPC on %s until Ctrl-C.\n", shownAddress(c.Listen, l.Addr()))
	select {
	case <-e.ctx.Done():
		c.Stop.drain(e)
		return nil
	case err := <-served:
		served <- nil // for the deferred Stop
		return fmt.Errorf("serve: %w", err)
	case err := <-servedWeb:
		servedWeb <- nil
		return fmt.Errorf("serve HTTP: %w", err)
	}
}

// log is the server's log, to stderr.
func (c *serveCmd) log(e *env) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, err
	}
	return telemetry.NewLog(e.stderr, c.LogFormat, level), nil
}

// server makes the server for the listeners of gRPC and, where it is not nil, of HTTP. stopKeys ends looking after the keys file.
func (c *serveCmd) server(l, web net.Listener, o server.Options) (s *server.Server, keys func() *access.Keys, limits server.Limits, stopKeys func(), err error) {
	at := []listening{{"--listen", l.Addr()}}
	if web != nil {
		at = append(at, listening{"--http", web.Addr()})
	}
	if err := c.Door.options(at, &o); err != nil {
		return nil, nil, limits, nil, err
	}
	if o.Keys, stopKeys, err = c.Door.keys(o.Log); err != nil {
		return nil, nil, limits, nil, err
	}
	if s, err = server.New(o); err != nil {
		stopKeys()
		return nil, nil, limits, nil, err
	}
	return s, o.Keys, o.Limits, stopKeys, nil
}

// serveAdmin answers on the admin listener, where there is to be one, until stop is called.
func (c *serveCmd) serveAdmin(e *env, state *admin.State, r *registry, log *slog.Logger) (stop func() error, err error) {
	if c.Admin == "" {
		return func() error { return nil }, nil
	}
	l, err := admin.Listen(c.Admin)
	if err != nil {
		return nil, fmt.Errorf("--admin %s: %w; choose another HOST:PORT with --admin", c.Admin, err)
	}
	c.Admin = l.Addr().String()
	return admin.Serve(l, state, admin.Options{Metrics: r.handler(log), Config: configuration(e.flags), Log: log}), nil
}

// open opens the data directory, and tells of it on the terminal or in the log, and at the admin listener.
func (c *serveCmd) open(e *env, state *admin.State, o opening) (*engine, error) {
	bar := newProgress(e, "rebuilding the index", "papers")
	defer bar.Done()
	o.Watch = &startWatcher{state: state, bar: bar}
	return openEngine(e.ctx, &c.Engine, c.Data, o)
}

// ballast is the room that is given up when the disk is full; on a small disk it is less.
const ballast = 256 << 20

// startWatcher tells of an opening to the admin listener too.
type startWatcher struct {
	state *admin.State
	bar   *progress
	stage string
}

func (w *startWatcher) Stage(name string) {
	w.stage = name
	w.state.Begin(name)
}

func (w *startWatcher) Set(done, total int) {
	w.state.Progress(done, total)
	if w.stage == stageIndex { // the bar is of papers
		w.bar.Set(done, total)
	}
}

// collectionsLine names the collections beside the default one.
func collectionsLine(set *collections.Set) string {
	var names []string
	for _, of := range set.List() {
		switch {
		case of.Name == collections.Default:
		case of.Collection == nil:
			names = append(names, of.Name+" (cannot be used)")
		default:
			names = append(names, of.Name)
		}
	}
	return strings.Join(names, ", ")
}

// printConfiguration shows what is in effect, wherever it came from.
func (c *serveCmd) printConfiguration(e *env, en *engine, addr net.Addr, web net.Listener, limits server.Limits) error {
	info, err := en.collection.Info()
	if err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, "embedd", version)
	t := newTable(e.stdout)
	m := info.Model
	t.row("  model", fmt.Sprintf("%s, %d dimensions, %d tokens, %s, fingerprint %.12s", m.ID, m.Dimension, m.MaxTokens, m.Precision, m.Fingerprint))
	if i, err := en.set.Describe("", ""); err == nil && len(i.About.Formerly) > 0 {
		t.row("  migrated", fmt.Sprintf("from %s, on %s", i.About.Formerly[len(i.About.Formerly)-1], i.About.Migrated.Format("2006-01-02 15:04:05 MST")))
	}
	t.row("  models", shortPath(c.Engine.Models))
	t.row("  library", shortPath(c.Engine.Library))
	t.row("  provider", c.Engine.Provider)
	t.row("  workers", fmt.Sprint(c.Engine.Workers))
	if en.tuning != nil {
		t.row("  warm-up", fmt.Sprintf("%.1f s: %v", en.tuning.Took.Seconds(), en.tuning))
	}
	t.row("  rerankers", cmp.Or(strings.Join(en.collection.Rerankers(), ", "), "none"))
	t.row("  neighbours", keptLine(en.settings.Neighbours))
	t.row("  map", map[bool]string{false: "where it is asked for", true: "drawn behind the start"}[c.Map])
	t.row("  query cache", fmt.Sprintf("%d vectors", c.Engine.QueryCache))
	t.row("  index", indexLine(info.Index.M, info.Index.EfConstruction, info.Index.Memory, info.Index.Kernels))
	t.row("  data", fmt.Sprintf("%s, %d papers", shortPath(c.Data), info.Papers))
	if others := collectionsLine(en.set); others != "" {
		t.row("  collections", others)
	}
	t.row("  memory", fmt.Sprintf("%d MiB at most", limits.Memory>>20))
	t.row("  listen", shownAddress(c.Listen, addr))
	t.row("  http", c.Web.describe(web))
	t.row("  door", c.Door.describe(limits))
	t.row("  admin", cmp.Or(c.Admin, "none"))
	t.row("  log", c.LogLevel+", "+c.LogFormat)
	t.row("  traces", map[bool]string{false: "none", true: "as OTEL_… says"}[c.Traces])
	t.row("  stop", c.Stop.String())
	return t.flush()
}

// serveSamples indexes the sample papers if there is nothing yet, and shows a first answer, all through the open port as
// any client would, or inside of the process where the port asks for a key or a certificate.
func (c *serveCmd) serveSamples(e *env, en *engine, addr net.Addr, log *slog.Logger) (err error) {
	var conn *grpc.ClientConn
	var shut func() error
	if c.Door.Keys == "" && c.Door.TLSCert == "" {
		if conn, err = dial(addr.String()); err == nil {
			shut = conn.Close
		}
	} else {
		conn, shut, err = inProcess(en.set, nil, c.Data, log)
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
		report, err := indexFiles(e, cl, []string{c.Samples}, embeddv1.WriteMode_WRITE_MODE_UPSERT)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "\nIndexed %d sample papers in %.1f s.\n", report.Created, report.Seconds)
	}
	first, err := firstPaper(c.Samples)
	if err != nil {
		return err
	}
	return c.firstAnswer(e, cl, first, shownAddress(c.Listen, addr))
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

  %s related%s %s
  %s search%s "efficient attention for long documents"
  grpcurl -plaintext -d '{"id":"%s","k":5}' %s embedd.v1.SearchService/Related
  grpcurl -plaintext -d '{"query":{"text":"binary vision transformers"},"k":5}' %s embedd.v1.SearchService/Search
`, program(), server, p.ID, program(), server, p.ID, addr, addr)
	return err
}

// keptLine says how many neighbours of each paper are kept.
func keptLine(n int) string {
	if n == 0 {
		return "none are kept"
	}
	return fmt.Sprintf("%d of each paper are kept", n)
}
