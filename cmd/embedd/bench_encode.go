package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"embedd/embed"
)

type benchEncodeCmd struct {
	Corpus  string `arg:"" help:"JSONL file or BEIR folder."`
	Papers  int    `short:"n" help:"Use the first N papers; 0: all." default:"1000" placeholder:"N" env:"-"`
	Rounds  int    `help:"Rounds, each of which measures every side." default:"7" placeholder:"N" env:"-"`
	Queries int    `help:"Short texts of a round, made of the titles." default:"400" placeholder:"N" env:"-"`

	outputFlags
	Engine engineFlags `embed:""`
}

func (benchEncodeCmd) Help() string {
	return `Measures the encoder against its limit, the bare ONNX Runtime session over texts that are tokenised beforehand, and
against itself under load:

  papers in bulk, in one call
  titles in bulk, in one call; the session alone runs them one at a time, and in sorted groups of eight
  titles from as many callers as there are workers, each with one text a call, one call after the other
  titles from one caller while nothing else runs
  titles from one caller, with pauses, while papers in bulk keep all workers busy

The sides take turns in each round, one first, then the other; ratios are the medians of the rounds'. No query vector is
kept for the next time.

Example:
  embedd bench encode path/to/scifact --papers 2000`
}

// benchEncodeReport is what bench encode prints.
type benchEncodeReport struct {
	Model          string  `json:"model"`
	Papers         int     `json:"papers"`
	Queries        int     `json:"queries"`
	Workers        int     `json:"workers"`
	BudgetTokens   int     `json:"budget_tokens"`
	WarmUp         string  `json:"warm_up"`
	WarmUpSeconds  float64 `json:"warm_up_seconds"`
	TextsPerSecond float64 `json:"texts_per_second"`
	BarePerSecond  float64 `json:"bare_texts_per_second"`
	// Ratio is encoding papers in bulk against the bare session.
	Ratio float64 `json:"ratio"`
	// Of titles in one call, against the bare session one at a time, and in groups of eight of a length.
	ShortPerSecond  float64 `json:"short_texts_per_second"`
	ShortRatio      float64 `json:"short_ratio"`
	ShortGroupRatio float64 `json:"short_group_ratio"`
	// Of titles, one a call, from as many callers as there are workers.
	QueryTokens      float64 `json:"query_tokens"`
	QueriesPerSecond float64 `json:"queries_per_second"`
	QueryRatio       float64 `json:"query_ratio"`
	// Of one title at a time from one caller, idle otherwise.
	IdleP50 float64 `json:"idle_p50_us"`
	IdleP99 float64 `json:"idle_p99_us"`
	// AddedP50 is the median of what encoding adds to the bare session for one title, tokenising included.
	AddedP50 float64 `json:"added_p50_us"`
	// The same while papers in bulk keep all workers busy. Slice is the time that a Run of the longest text takes then.
	LoadedP50 float64 `json:"loaded_p50_us"`
	LoadedP99 float64 `json:"loaded_p99_us"`
	Slice     float64 `json:"slice_us"`
}

func (c *benchEncodeCmd) Run(e *env) (err error) {
	papers, err := corpusPapers(e, c.Corpus, c.Papers)
	if err != nil {
		return err
	}
	if c.Rounds < 1 || len(papers) < c.Rounds {
		return fmt.Errorf("--rounds: is %d; must be 1 to the number of papers, %d", c.Rounds, len(papers))
	}
	if c.Queries < 1 {
		return fmt.Errorf("--queries: is %d; must be at least 1", c.Queries)
	}
	b := encodeBench{e: e, workers: c.Engine.Workers}
	for _, p := range papers {
		b.texts = append(b.texts, textOf(p))
		if strings.TrimSpace(p.Title) != "" {
			b.titles = append(b.titles, p.Title)
		}
	}
	if len(b.titles) == 0 {
		return fmt.Errorf("%s: no paper has a title", c.Corpus)
	}
	c.Queries = min(c.Queries, len(b.titles)) // a title that is in flight twice is encoded once
	c.Engine.QueryCache = 0
	if err := c.Engine.resolve(); err != nil {
		return err
	}
	b.workers = c.Engine.Workers
	if b.encoder, err = openEncoder(&c.Engine); err != nil {
		return err
	}
	defer finish(&err, b.encoder.Close)
	tuning, err := b.encoder.WarmUp(e.ctx)
	if err != nil {
		return err
	}
	bar := newProgress(e, "measuring", "rounds")
	defer bar.Done()
	for round := range c.Rounds {
		bar.Set(round, c.Rounds)
		if err := b.round(round, c.Rounds, c.Queries); err != nil {
			return err
		}
	}
	bar.Done()
	report := b.report()
	report.Model, report.BudgetTokens = b.encoder.Manifest().ID, tuning.Budget
	report.WarmUp, report.WarmUpSeconds = tuning.String(), tuning.Took.Seconds()
	if c.JSON {
		return printJSON(e.stdout, report)
	}
	_, err = fmt.Fprintf(e.stdout, `%s, %d workers; %s; warm-up %.1f s
papers, in bulk    %8.1f texts/s   bare session %8.1f   ratio %.3f
titles, in bulk    %8.1f texts/s   %4.1f tokens each         ratio %.3f, against groups of eight %.3f
titles, one a call %8.1f texts/s                            ratio %.3f
one title, idle    p50 %.0f µs, p99 %.0f µs; over the bare session %.0f µs
one title, loaded  p50 %.0f µs, p99 %.0f µs; a Run of the longest text takes %.0f µs then
`, report.Model, report.Workers, report.WarmUp, report.WarmUpSeconds, report.TextsPerSecond, report.BarePerSecond, report.Ratio,
		report.ShortPerSecond, report.QueryTokens, report.ShortRatio, report.ShortGroupRatio,
		report.QueriesPerSecond, report.QueryRatio, report.IdleP50, report.IdleP99, report.AddedP50, report.LoadedP50, report.LoadedP99, report.Slice)
	return err
}

// encodeBench is what the rounds add up.
type encodeBench struct {
	e             *env
	encoder       *embed.Encoder
	workers       int
	texts, titles []string

	bulk, short, group, calls   pair
	idle, added, loaded, slices []float64 // µs
	queries                     int
}

// round measures every side once.
func (b *encodeBench) round(round, rounds, queries int) error {
	swap := round%2 == 1
	part := b.texts[round*len(b.texts)/rounds : (round+1)*len(b.texts)/rounds]
	if err := b.bulk.measure(b, part, 1, len(part), 1, swap); err != nil {
		return err
	}
	titles := make([]string, queries)
	for i := range titles {
		titles[i] = b.titles[(round*queries+i)%len(b.titles)]
	}
	b.queries += queries
	if err := b.short.measure(b, titles, 1, len(titles), 1, swap); err != nil {
		return err
	}
	if err := b.group.measure(b, titles, 1, len(titles), 8, swap); err != nil {
		return err
	}
	if err := b.calls.measure(b, titles, b.workers, 1, 1, swap); err != nil {
		return err
	}
	some := titles[:min(len(titles), 100)]
	for _, text := range some {
		bare, err := b.encoder.Bare(b.e.ctx, []string{text}, 1)
		if err != nil {
			return err
		}
		whole, err := b.ask(b.e.ctx, text)
		if err != nil {
			return err
		}
		b.idle = append(b.idle, whole)
		b.added = append(b.added, whole-bare.Seconds()*1e6)
	}
	long := slices.Repeat([]string{strings.Repeat("paper ", b.encoder.Manifest().MaxTokens)}, 4*b.workers)
	took, err := b.encoder.Bare(b.e.ctx, long, 1)
	if err != nil {
		return err
	}
	b.slices = append(b.slices, took.Seconds()*1e6/4)
	return b.underLoad(part, some)
}

// ask encodes one text as a query and gives the time in µs.
func (b *encodeBench) ask(ctx context.Context, text string) (float64, error) {
	begin := time.Now()
	_, err := b.encoder.Encode(ctx, embed.Interactive, embed.Query, []string{text})
	return time.Since(begin).Seconds() * 1e6, err
}

// underLoad asks one title after the other, with pauses, while papers are encoded in bulk.
func (b *encodeBench) underLoad(papers, titles []string) error {
	ctx, stop := context.WithCancel(b.e.ctx)
	var load errgroup.Group
	load.Go(func() error {
		for {
			if _, err := b.encoder.Encode(ctx, embed.Bulk, embed.Document, papers); err != nil {
				if ctx.Err() != nil && errors.Is(err, context.Canceled) {
					return b.e.ctx.Err()
				}
				return err
			}
		}
	})
	time.Sleep(100 * time.Millisecond)
	ask := func() error {
		for _, text := range titles {
			time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
			took, err := b.ask(ctx, text)
			if err != nil {
				return err
			}
			b.loaded = append(b.loaded, took)
		}
		return nil
	}
	err := ask()
	stop()
	return errors.Join(err, load.Wait())
}

func (b *encodeBench) report() benchEncodeReport {
	r := benchEncodeReport{Papers: len(b.texts), Queries: b.queries, Workers: b.workers}
	r.TextsPerSecond, r.BarePerSecond, r.Ratio = b.bulk.rates()
	r.ShortPerSecond, _, r.ShortRatio = b.short.rates()
	_, _, r.ShortGroupRatio = b.group.rates()
	r.QueriesPerSecond, _, r.QueryRatio = b.calls.rates()
	r.QueryTokens = float64(b.calls.tokens) / float64(b.calls.texts)
	slices.Sort(b.idle)
	slices.Sort(b.loaded)
	r.IdleP50, r.IdleP99, r.AddedP50 = median(b.idle), percentile99(b.idle), median(b.added)
	r.LoadedP50, r.LoadedP99, r.Slice = median(b.loaded), percentile99(b.loaded), median(b.slices)
	return r
}

// percentile99 of sorted values.
func percentile99(sorted []float64) float64 { return sorted[len(sorted)*99/100] }

// pair adds up two sides that are measured in turns.
type pair struct {
	texts, tokens int
	bare, whole   time.Duration
	ratios        []float64
}

// measure runs both sides over texts; callers at once send them, size texts a call, each one call after the other. The bare
// session runs group texts at a time.
func (p *pair) measure(bench *encodeBench, texts []string, callers, size, group int, wholeFirst bool) error {
	e, encoder := bench.e, bench.encoder
	lane := embed.Interactive
	if size > 1 {
		lane = embed.Bulk
	}
	var b, w time.Duration
	tokens := make([]int, callers)
	sides := []func() error{
		func() (err error) { b, err = encoder.Bare(e.ctx, texts, group); return err },
		func() error {
			begin := time.Now()
			var all errgroup.Group
			var taken atomic.Int64 // both sides hand the next text to whoever is free
			for caller := range callers {
				all.Go(func() error {
					for {
						first := int(taken.Add(int64(size))) - size
						if first >= len(texts) {
							return nil
						}
						encodings, err := encoder.Encode(e.ctx, lane, embed.Document, texts[first:min(first+size, len(texts))])
						if err != nil {
							return err
						}
						for _, enc := range encodings {
							tokens[caller] += enc.Tokens
						}
					}
				})
			}
			err := all.Wait()
			w = time.Since(begin)
			return err
		},
	}
	if wholeFirst {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		if err := side(); err != nil {
			return err
		}
	}
	p.texts, p.bare, p.whole = p.texts+len(texts), p.bare+b, p.whole+w
	for _, n := range tokens {
		p.tokens += n
	}
	p.ratios = append(p.ratios, b.Seconds()/w.Seconds())
	return nil
}

func (p *pair) rates() (whole, bare, ratio float64) {
	return float64(p.texts) / p.whole.Seconds(), float64(p.texts) / p.bare.Seconds(), median(p.ratios)
}
