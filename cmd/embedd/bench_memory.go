package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"embedd/embed"
	"embedd/internal/memory"
)

type benchMemoryCmd struct {
	Texts   int    `short:"n" help:"Texts to encode." default:"20000" placeholder:"N" env:"-"`
	Callers int    `help:"Callers at once." default:"8" placeholder:"N" env:"-"`
	Seed    uint64 `help:"Seed of the lengths; 0: another one each time." default:"0" placeholder:"N" env:"-"`

	outputFlags
	Engine engineFlags `embed:""`
}

func (benchMemoryCmd) Help() string {
	return `Encodes texts of random length, one to sixteen in a call, in both lanes, and prints how much of this process is in memory: when
the model is loaded and warmed up, and the most that it was afterwards. Linux only.

Example:
  embedd bench memory`
}

// benchMemoryReport is what bench memory prints.
type benchMemoryReport struct {
	Model  string  `json:"model"`
	Texts  int     `json:"texts"`
	Seed   uint64  `json:"seed"`
	Warmed float64 `json:"rss_warmed_mb"`
	Most   float64 `json:"rss_most_mb"`
	Last   float64 `json:"rss_last_mb"`
	// Growth is Most over Warmed.
	Growth float64 `json:"rss_growth_mb"`
}

func (c *benchMemoryCmd) Run(e *env) (err error) {
	if c.Texts < 1 || c.Callers < 1 {
		return fmt.Errorf("--texts and --callers: are %d and %d; must be at least 1", c.Texts, c.Callers)
	}
	if err := c.Engine.resolve(); err != nil {
		return err
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64() >> 11 // a number that JSON readers keep
	}
	encoder, err := openEncoder(&c.Engine)
	if err != nil {
		return err
	}
	defer finish(&err, encoder.Close)
	if _, err := encoder.WarmUp(e.ctx); err != nil {
		return err
	}
	report := benchMemoryReport{Model: encoder.Manifest().ID, Texts: c.Texts, Seed: c.Seed}
	if report.Warmed, err = resident(); err != nil {
		return err
	}
	report.Most = report.Warmed
	bar := newProgress(e, "encoding", "texts")
	defer bar.Done()
	var done atomic.Int64
	var callers errgroup.Group
	for caller := range c.Callers {
		rng := rand.New(rand.NewPCG(c.Seed, uint64(caller)))
		callers.Go(func() error {
			for done.Load() < int64(c.Texts) {
				texts := make([]string, 1+rng.IntN(16)*rng.IntN(2))
				for i := range texts {
					words := 1 + rng.IntN(300)
					if rng.IntN(2) == 0 {
						words = 1 + rng.IntN(30)
					}
					texts[i] = strings.Repeat("paper "+strconv.Itoa(rng.IntN(1000))+" ", words)
				}
				if _, err := encoder.Encode(e.ctx, embed.Lane(rng.IntN(2)), embed.Query, texts); err != nil {
					return err
				}
				done.Add(int64(len(texts)))
			}
			return nil
		})
	}
	ended := make(chan error, 1)
	go func() { ended <- callers.Wait() }()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-tick.C:
			now, err := resident()
			if err != nil {
				return err
			}
			report.Most, report.Last = max(report.Most, now), now
			bar.Set(min(int(done.Load()), c.Texts), c.Texts)
			continue
		case err := <-ended:
			tick.Stop()
			if err != nil {
				return err
			}
		}
		break
	}
	bar.Done()
	report.Growth = report.Most - report.Warmed
	if c.JSON {
		return printJSON(e.stdout, report)
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %.0f MB resident when warmed up; over %d texts of random length (seed %d) at most %.0f MB, at the end %.0f MB: %.0f MB more\n",
		report.Model, report.Warmed, report.Texts, report.Seed, report.Most, report.Last, report.Growth)
	return err
}

// resident is how much of this process is in memory, in MB.
func resident() (float64, error) {
	n, err := memory.Resident()
	return float64(n) / 1e6, err
}
