package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far a long work is: a bar with rate and time left on a terminal, a line every few seconds in a log.
// It begins with the first Set, so that work that is done at once shows nothing.
type progress struct {
	what, unit string
	out        io.Writer
	terminal   bool

	mu    sync.Mutex // guards what follows
	begin time.Time
	last  time.Time
	done  int
	total int
	bars  *mpb.Progress
	bar   *mpb.Bar
}

// logEvery is the time between two lines of progress in a log.
const logEvery = 5 * time.Second

func newProgress(e *env, what, unit string) *progress {
	p := &progress{what: what, unit: unit, out: e.stderr}
	if f, ok := e.stderr.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// Set tells that done of total are finished. total may be an estimate that changes.
func (p *progress) Set(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.begin.IsZero() {
		p.begin, p.last = now, now
	}
	p.done, p.total = done, total
	if !p.terminal {
		if now.Sub(p.last) >= logEvery {
			p.last = now
			fmt.Fprintln(p.out, p.line(now))
		}
		return
	}
	if p.bar == nil {
		p.bars = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40))
		p.bar = p.bars.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name(p.what+" ")),
			mpb.AppendDecorators(
				decor.CountersNoUnit(" %d/%d "+p.unit),
				decor.Any(func(decor.Statistics) string { return p.rate() }),
				decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 8}),
				decor.Name(" left"),
			))
	}
	p.bar.SetTotal(int64(total), false)
	p.bar.SetCurrent(int64(done))
}

// rate is called by the bar's own goroutine, which must not wait for Set: begin no longer changes, and the count is the
// bar's.
func (p *progress) rate() string {
	seconds := time.Since(p.begin).Seconds()
	if seconds < 0.5 || p.bar == nil {
		return ""
	}
	return fmt.Sprintf(", %.0f/s, ", float64(p.bar.Current())/seconds)
}

// line is the progress for a log.
func (p *progress) line(now time.Time) string {
	took := now.Sub(p.begin)
	s := fmt.Sprintf("%s: %d", p.what, p.done)
	if p.total > 0 {
		s += fmt.Sprintf(" of about %d", p.total)
	}
	s += " " + p.unit
	if took > 0 && p.done > 0 {
		s += fmt.Sprintf(", %.0f/s", float64(p.done)/took.Seconds())
		if left := p.total - p.done; left > 0 {
			s += fmt.Sprintf(", %s left", (took * time.Duration(left) / time.Duration(p.done)).Round(time.Second))
		}
	}
	return s
}

// Done ends the display.
func (p *progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.SetTotal(int64(p.done), true)
		p.bars.Wait()
		p.bar = nil
	}
}
