package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"embedd/internal/ingest"
	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

type benchOverloadCmd struct {
	Corpus      string        `arg:"" help:"JSONL file or BEIR folder."`
	Papers      int           `short:"n" help:"Index the first N papers; 0: all." default:"0" placeholder:"N" env:"-"`
	Phase       time.Duration `help:"How long each load lasts." default:"20s" placeholder:"TIME" env:"-"`
	Connections int           `help:"Connections that the calls are spread over." default:"16" placeholder:"N" env:"-"`
	Times       []float64     `help:"Loads, in multiples of the capacity." default:"1,2,5,10" placeholder:"N,..." env:"-"`

	outputFlags
	Engine engineFlags `embed:""`
}

func (benchOverloadCmd) Help() string {
	return `Indexes the corpus and serves it over TCP on the loopback interface. Calls come at random times (a Poisson process) whether or not the
server keeps up: 80 % searches by text, 15 % encodings of one text, 5 % new papers, no two of them alike. The capacity is the most calls
a second of which 99 % are answered within 100 ms; then more come than that. The clients run in the same process, on the same cores:
what they take is missing from the server.

Example:
  embedd bench overload samples/papers.jsonl --phase 10s`
}

// overloadPhase is one load of bench overload.
type overloadPhase struct {
	Times    float64                  `json:"times_capacity"`
	Offered  float64                  `json:"offered_per_second"`
	Goodput  float64                  `json:"goodput_per_second"`
	Share    float64                  `json:"goodput_of_capacity"`
	Refused  float64                  `json:"refused_per_second"`
	Errors   int                      `json:"errors"`
	P50      float64                  `json:"accepted_p50_ms"`
	P99      float64                  `json:"accepted_p99_ms"`
	Refusal  float64                  `json:"refusal_p99_ms"`
	Health   float64                  `json:"health_worst_ms"`
	RSS      float64                  `json:"rss_mb"`
	Routines int                      `json:"goroutines"`
	Errs     string                   `json:"first_error,omitempty"`
	ByClass  map[string]overloadClass `json:"by_class"`
}

// overloadClass is one kind of call of a load.
type overloadClass struct {
	Accepted int     `json:"accepted"`
	Refused  int     `json:"refused"`
	P99      float64 `json:"accepted_p99_ms"`
	Refusal  float64 `json:"refusal_p99_ms"`
}

// overloadReport is what bench overload prints.
type overloadReport struct {
	Papers   int             `json:"papers"`
	Workers  int             `json:"workers"`
	Capacity float64         `json:"capacity_per_second"`
	Phases   []overloadPhase `json:"phases"`
	// Recovered is how long after the last load the answers were as fast as at capacity again.
	Recovered float64 `json:"recovered_ms"`
}

// overloadBench is a server under load.
type overloadBench struct {
	e       *env
	clients []*client
	health  grpc_health_v1.HealthClient
	papers  []ingest.Paper
	count   atomic.Int64 // makes each text another one
}

func (c *benchOverloadCmd) Run(e *env) (err error) {
	papers, err := corpusPapers(e, c.Corpus, c.Papers)
	if err != nil {
		return err
	}
	if len(papers) == 0 || c.Connections < 1 || c.Phase < time.Second {
		return errors.New("papers and --connections must be at least 1, --phase at least 1s")
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
	s, err := server.New(server.Options{Version: version, Log: e.logger(slog.LevelError)})
	if err != nil {
		return err
	}
	s.Ready(en.collection)
	spareThread() // as serve does
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer finish(&err, func() error { s.Stop(time.Second); return <-served })

	b := &overloadBench{e: e, papers: papers}
	for i := range c.Connections + 1 {
		conn, err := dial(l.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if i == c.Connections {
			b.health = grpc_health_v1.NewHealthClient(conn)
		} else {
			b.clients = append(b.clients, newClient(conn, conn.Close))
		}
	}
	bar := newProgress(e, "measuring", "loads")
	defer bar.Done()
	report := overloadReport{Papers: len(papers), Workers: c.Engine.Workers}
	if report.Capacity, err = b.capacity(max(c.Phase/4, time.Second)); err != nil {
		return err
	}
	for i, times := range c.Times {
		bar.Set(i, len(c.Times))
		p, err := b.load(report.Capacity*times, c.Phase)
		if err != nil {
			return err
		}
		p.Times, p.Share = times, p.Goodput/report.Capacity
		report.Phases = append(report.Phases, p)
	}
	if report.Recovered, err = b.recovered(); err != nil {
		return err
	}
	bar.Done()
	return c.print(e, report)
}

// capacity looks for the highest rate at which 99 of 100 calls are answered within 100 ms and none is refused.
func (b *overloadBench) capacity(phase time.Duration) (float64, error) {
	// As fast as a few callers get answers is more than that, and less than twice as much.
	closed, err := b.closedLoop(phase)
	if err != nil {
		return 0, err
	}
	low, high := closed/4, closed*1.2
	for range 6 {
		rate := (low + high) / 2
		p, err := b.load(rate, phase)
		if err != nil {
			return 0, err
		}
		if p.P99 <= 100 && p.Errors == 0 && p.Refused <= rate/100 {
			low = rate
		} else {
			high = rate
		}
		time.Sleep(200 * time.Millisecond) // what is left over of it
	}
	return low, b.e.ctx.Err()
}

// closedLoop gives the calls a second of a few callers who wait for each answer.
func (b *overloadBench) closedLoop(phase time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(b.e.ctx, phase)
	defer cancel()
	var wg sync.WaitGroup
	var calls atomic.Int64
	for i := range 2 * runtime.GOMAXPROCS(0) {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := b.call(ctx, b.clients[i%len(b.clients)], r.Float64()); err == nil {
					calls.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if calls.Load() == 0 {
		return 0, errors.New("no call was answered")
	}
	return float64(calls.Load()) / phase.Seconds(), b.e.ctx.Err()
}

// call makes the call that x, 0 to 1, stands for, and names its class.
func (b *overloadBench) call(ctx context.Context, cl *client, x float64) (class string, err error) {
	n := b.count.Add(1)
	p := b.papers[int(n)%len(b.papers)]
	switch {
	case x < 0.8:
		_, err = cl.search.Search(ctx, &embeddv1.SearchRequest{Query: &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: fmt.Sprintf("%s %d", p.Title, n)}}})
		return "search", err
	case x < 0.95:
		_, err = cl.encode.Encode(ctx, &embeddv1.EncodeRequest{Texts: []string{fmt.Sprintf("%s %d", p.Title, n)}})
		return "encode", err
	default:
		_, err = cl.papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: fmt.Sprint("overload-", n), Title: fmt.Sprintf("%s %d", p.Title, n)}}})
		return "write", err
	}
}

// tally counts the calls of a load.
type tally struct {
	mu                sync.Mutex
	accepted, refused []float64
	class             map[string]*struct{ accepted, refused []float64 }
	errors            int
	first             string
}

func (t *tally) add(class string, took time.Duration, err error) {
	ms := took.Seconds() * 1000
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.class[class]
	if of == nil {
		of = &struct{ accepted, refused []float64 }{}
		t.class[class] = of
	}
	switch {
	case err == nil:
		t.accepted, of.accepted = append(t.accepted, ms), append(of.accepted, ms)
	case status.Code(err) == codes.ResourceExhausted:
		t.refused, of.refused = append(t.refused, ms), append(of.refused, ms)
	default:
		t.errors++
		if t.first == "" {
			t.first = explain(err)
		}
	}
}

// load lets calls come at a rate for a time, whether or not the ones before have ended. A call's time counts from when it was due.
func (b *overloadBench) load(rate float64, phase time.Duration) (overloadPhase, error) {
	r := rand.New(rand.NewPCG(uint64(rate), 7))
	t := &tally{class: map[string]*struct{ accepted, refused []float64 }{}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	watched := make(chan overloadPhase)
	go func() { watched <- b.watch(stop) }()
	begin := time.Now()
	due, offered := begin, 0
	for ; due.Sub(begin) < phase && b.e.ctx.Err() == nil; offered++ {
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		when, x, cl := due, r.Float64(), b.clients[offered%len(b.clients)]
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(b.e.ctx, 5*time.Second)
			defer cancel()
			class, err := b.call(ctx, cl, x)
			t.add(class, time.Since(when), err)
		})
		due = due.Add(time.Duration(r.ExpFloat64() / rate * float64(time.Second)))
	}
	took := max(time.Since(begin), phase).Seconds()
	wg.Wait()
	close(stop)
	p := <-watched
	slices.Sort(t.accepted)
	slices.Sort(t.refused)
	p.Offered, p.Goodput, p.Refused = float64(offered)/took, float64(len(t.accepted))/took, float64(len(t.refused))/took
	p.Errors, p.Errs = t.errors, t.first
	if len(t.accepted) > 0 {
		p.P50, p.P99 = t.accepted[len(t.accepted)/2], percentile99(t.accepted)
	}
	if len(t.refused) > 0 {
		p.Refusal = percentile99(t.refused)
	}
	p.ByClass = map[string]overloadClass{}
	for name, c := range t.class {
		of := overloadClass{Accepted: len(c.accepted), Refused: len(c.refused)}
		if slices.Sort(c.accepted); len(c.accepted) > 0 {
			of.P99 = percentile99(c.accepted)
		}
		if slices.Sort(c.refused); len(c.refused) > 0 {
			of.Refusal = percentile99(c.refused)
		}
		p.ByClass[name] = of
	}
	return p, b.e.ctx.Err()
}

// watch asks for the health, and looks at the process, until stop.
func (b *overloadBench) watch(stop <-chan struct{}) (p overloadPhase) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return p
		case <-tick.C:
		}
		begin := time.Now()
		if _, err := b.health.Check(b.e.ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
			p.Errors++
		}
		p.Health = max(p.Health, time.Since(begin).Seconds()*1000)
		p.Routines = max(p.Routines, runtime.NumGoroutine())
		if rss, err := resident(); err == nil {
			p.RSS = max(p.RSS, rss)
		}
	}
}

// recovered is how long it takes, in ms, until ten calls in a row are answered within 100 ms each.
func (b *overloadBench) recovered() (float64, error) {
	begin := time.Now()
	var first time.Time
	for good := 0; good < 10 && b.e.ctx.Err() == nil; {
		start := time.Now()
		if _, err := b.call(b.e.ctx, b.clients[0], 0); err == nil && time.Since(start) < 100*time.Millisecond {
			if good == 0 {
				first = start
			}
			good++
		} else {
			good = 0
		}
	}
	return first.Sub(begin).Seconds() * 1000, b.e.ctx.Err()
}

func (c *benchOverloadCmd) print(e *env, report overloadReport) error {
	if c.JSON {
		return printJSON(e.stdout, report)
	}
	fmt.Fprintf(e.stdout, "%d papers, %d workers; capacity %.0f calls/s with a p99 of 100 ms at most; as before %.0f ms after the last load\n\n", report.Papers, report.Workers, report.Capacity, report.Recovered)
	t := newTable(e.stdout, "LOAD", "OFFERED/S", "GOODPUT/S", "OF CAPACITY", "REFUSED/S", "ERRORS", "P50", "P99", "OF SEARCHES", "OF WRITES", "REFUSAL P99", "HEALTH WORST", "RSS", "GOROUTINES")
	for _, p := range report.Phases {
		t.row(fmt.Sprintf("%gx", p.Times), fmt.Sprintf("%.0f", p.Offered), fmt.Sprintf("%.0f", p.Goodput), fmt.Sprintf("%.0f %%", 100*p.Share), fmt.Sprintf("%.0f", p.Refused), fmt.Sprint(p.Errors),
			fmt.Sprintf("%.1f ms", p.P50), fmt.Sprintf("%.1f ms", p.P99), fmt.Sprintf("%.1f ms", p.ByClass["search"].P99), fmt.Sprintf("%.1f ms", p.ByClass["write"].P99), fmt.Sprintf("%.1f ms", p.Refusal), fmt.Sprintf("%.1f ms", p.Health), fmt.Sprintf("%.0f MB", p.RSS), fmt.Sprint(p.Routines))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, p := range report.Phases {
		if p.Errs != "" {
			fmt.Fprintf(e.stdout, "first error at %gx: %s\n", p.Times, printable(p.Errs))
		}
	}
	return nil
}
