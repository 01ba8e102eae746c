package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"embedd/embed"
)

type benchEncodeCmd struct {
	Corpus  string `arg:"" help:"JSONL file or BEIR folder."`
	Papers  int    `short:"n" help:"Use the first N papers; 0: all." default:"1000" placeholder:"N"`
	Rounds  int    `help:"Rounds, each of which measures every side." default:"7" placeholder:"N"`
	Queries int    `help:"Short texts of a round, made of the titles." default:"400" placeholder:"N"`

	outputFlags
	Engine engineFlags `embed:""`
}

func (benchEncodeCmd) Help() string {
	return `Measures the encoder against its limit, the bare ONNX Runtime session over texts that are tokenised beforehand: papers
in bulk; titles from as many callers as there are workers, each with one text a call, one call after the other; and titles
from one caller while nothing else runs. The sides take turns in each round, one first, then the other; ratios are the
medians of the rounds'.

Example:
  embedd bench encode path/to/scifact --papers 2000`
}

// benchEncodeReport is what bench encode prints.
type benchEncodeReport struct {
	Model          string  `json:"model"`
	Papers         int     `json:"papers"`
	Queries        int     `json:"queries"`
	Workers        int     `json:"workers"`
	TextsPerSecond float64 `json:"texts_per_second"`
	BarePerSecond  float64 `json:"bare_texts_per_second"`
	// Ratio is encoding papers in bulk against the bare session.
	Ratio float64 `json:"ratio"`
	// Of titles, one a call, from as many callers as there are workers.
	QueryTokens      float64 `json:"query_tokens"`
	QueriesPerSecond float64 `json:"queries_per_second"`
	QueryRatio       float64 `json:"query_ratio"`
	// Of one title at a time from one caller, idle otherwise.
	IdleP50 float64 `json:"idle_p50_us"`
	IdleP99 float64 `json:"idle_p99_us"`
	// AddedP50 is the median of what encoding adds to the bare session for one title, tokenising included.
	AddedP50 float64 `json:"added_p50_us"`
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
	var texts, titles []string
	for _, p := range papers {
		texts = append(texts, textOf(p))
		if strings.TrimSpace(p.Title) != "" {
			titles = append(titles, p.Title)
		}
	}
	if len(titles) == 0 {
		return fmt.Errorf("%s: no paper has a title", c.Corpus)
	}
	if err := c.Engine.resolve(); err != nil {
		return err
	}
	encoder, err := openEncoder(&c.Engine)
	if err != nil {
		return err
	}
	defer finish(&err, encoder.Close)
	report := benchEncodeReport{Model: encoder.Manifest().ID, Papers: len(texts), Queries: c.Queries * c.Rounds, Workers: c.Engine.Workers}
	bar := newProgress(e, "measuring", "rounds")
	defer bar.Done()
	var bulk, short pair
	var idle, added []float64
	for round := range c.Rounds {
		bar.Set(round, c.Rounds)
		part := texts[round*len(texts)/c.Rounds : (round+1)*len(texts)/c.Rounds]
		if err := bulk.measure(e, encoder, part, 1, len(part), round%2 == 1); err != nil {
			return err
		}
		part = make([]string, c.Queries)
		for i := range part {
			part[i] = titles[(round*c.Queries+i)%len(titles)]
		}
		if err := short.measure(e, encoder, part, c.Engine.Workers, 1, round%2 == 1); err != nil {
			return err
		}
		for _, text := range part[:min(len(part), 100)] {
			bare, err := encoder.Bare(e.ctx, []string{text})
			if err != nil {
				return err
			}
			begin := time.Now()
			if _, err := encoder.Encode(e.ctx, embed.Query, []string{text}); err != nil {
				return err
			}
			whole := time.Since(begin)
			idle = append(idle, whole.Seconds()*1e6)
			added = append(added, (whole-bare).Seconds()*1e6)
		}
	}
	bar.Done()
	report.TextsPerSecond, report.BarePerSecond, report.Ratio = bulk.rates()
	report.QueriesPerSecond, _, report.QueryRatio = short.rates()
	report.QueryTokens = float64(short.tokens) / float64(short.texts)
	slices.Sort(idle)
	report.IdleP50, report.IdleP99, report.AddedP50 = median(idle), idle[len(idle)*99/100], median(added)
	if c.JSON {
		return printJSON(e.stdout, report)
	}
	_, err = fmt.Fprintf(e.stdout, `%s, %d workers
papers, in bulk   %8.1f texts/s   bare session %8.1f   ratio %.3f
titles, one a call %7.1f texts/s   %4.1f tokens each         ratio %.3f
one title, idle   p50 %.0f µs, p99 %.0f µs; over the bare session %.0f µs
`, report.Model, report.Workers, report.TextsPerSecond, report.BarePerSecond, report.Ratio, report.QueriesPerSecond, report.QueryTokens, report.QueryRatio, report.IdleP50, report.IdleP99, report.AddedP50)
	return err
}

// pair adds up two sides that are measured in turns.
type pair struct {
	texts, tokens int
	bare, whole   time.Duration
	ratios        []float64
}

// measure runs both sides over texts; callers at once send them, size texts a call, each one call after the other.
func (p *pair) measure(e *env, encoder *embed.Encoder, texts []string, callers, size int, wholeFirst bool) error {
	var b, w time.Duration
	tokens := make([]int, callers)
	sides := []func() error{
		func() (err error) { b, err = encoder.Bare(e.ctx, texts); return err },
		func() error {
			begin := time.Now()
			var all errgroup.Group
			for caller := range callers {
				all.Go(func() error {
					for first := caller * size; first < len(texts); first += callers * size {
						encodings, err := encoder.Encode(e.ctx, embed.Document, texts[first:min(first+size, len(texts))])
						if err != nil {
							return err
						}
						for _, enc := range encodings {
							tokens[caller] += enc.Tokens
						}
					}
					return nil
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
