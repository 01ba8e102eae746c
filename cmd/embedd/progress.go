package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far a long work is: a bar with rate and time left on a terminal, a line every few seconds in a log.
// Time counts from newProgress; nothing is shown before the first Set.
type progress struct {
	what, unit string
	out        io.Writer
	log        *slog.Logger // instead of out, where it is not nil
	terminal   bool

	about bool      // the total is an estimate; set before the first Set
	begin time.Time // never changes
	from  int       // done before begin, and so not in the rate; set before the first Set

	mu    sync.Mutex // guards what follows
	last  time.Time
	done  int
	total int
	bars  *mpb.Progress
	bar   *mpb.Bar
}

// logEvery is the time between two lines of progress in a log.
const logEvery = 5 * time.Second

func newProgress(e *env, what, unit string) *progress {
	now := time.Now()
	p := &progress{what: what, unit: unit, out: e.stderr, log: e.log, begin: now, last: now}
	if f, ok := e.stderr.(*os.File); ok && p.log == nil {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// Stage makes a progress the watcher of an engine that is opened: one stage is shown, the one in which Set is called.
func (*progress) Stage(string) {}

// Set tells that done of total are finished. total may be an estimate that changes.
func (p *progress) Set(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.done, p.total = done, total
	if !p.terminal {
		if now.Sub(p.last) >= logEvery {
			p.last = now
			if p.log != nil {
				p.log.Info(p.what, "n", done, "total", total)
			} else {
				fmt.Fprintln(p.out, p.line(now))
			}
		}
		return
	}
	if p.bar == nil {
		p.bars = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40))
		p.bar = p.bars.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name(p.what+" ")),
			mpb.AppendDecorators(
				decor.CountersNoUnit(" %d/%d "+p.unit),
				decor.Any(func(s decor.Statistics) string {
					return pace(int(s.Current)-p.from, int(s.Total-s.Current), time.Since(p.begin))
				}),
			))
	}
	p.bar.SetTotal(int64(total), false)
	p.bar.SetCurrent(int64(done))
}

// pace is how many were done in a second and, where any are left, how long they take; "" before there is something to say.
func pace(done, left int, took time.Duration) string {
	if done <= 0 || took < time.Second/2 {
		return ""
	}
	s := fmt.Sprintf(", %.0f/s", float64(done)/took.Seconds())
	if left > 0 {
		s += fmt.Sprintf(", %s left", time.Duration(float64(took)*float64(left)/float64(done)).Round(time.Second))
	}
	return s
}

// line is the progress for a log.
func (p *progress) line(now time.Time) string {
	s := fmt.Sprintf("%s: %d", p.what, p.done)
	if p.total > 0 {
		s += " of "
		if p.about {
			s += "about "
		}
		s += fmt.Sprint(p.total)
	}
	return s + " " + p.unit + pace(p.done-p.from, p.total-p.done, now.Sub(p.begin))
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
