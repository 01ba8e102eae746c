package admin

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// WatchdogLimit is how old the watchdog's last tick may be while the process counts as alive.
const WatchdogLimit = 10 * time.Second

// watchdogEvery is the time between two ticks.
const watchdogEvery = time.Second

// State is where a process stands between its start and its end. All methods may be called from many goroutines at once.
type State struct {
	begin time.Time // never changes
	tick  atomic.Int64

	mu       sync.Mutex // guards what follows
	stages   []Stage    // those that have begun, in order
	since    time.Time  // when the last of them began
	progress Progress
	started  bool
	draining bool
	checks   []check
}

// Stage is a part of the start, and how long it took; while it goes on, how long so far.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Progress is how far the present stage is; Total is 0 where that is not known.
type Progress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

type check struct {
	name string
	ok   func() error
}

// NewState is the state of a process that begins now.
func NewState() *State {
	s := &State{begin: time.Now()}
	s.since = s.begin
	return s
}

// Begin ends the present stage of the start and begins the next. The same name again changes nothing.
func (s *State) Begin(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || len(s.stages) > 0 && s.stages[len(s.stages)-1].Name == name {
		return
	}
	s.endStage()
	s.stages = append(s.stages, Stage{Name: name})
	s.progress = Progress{}
}

// endStage notes how long the present stage took. s.mu is held.
func (s *State) endStage() {
	now := time.Now()
	if n := len(s.stages); n > 0 {
		s.stages[n-1].Seconds = now.Sub(s.since).Seconds()
	}
	s.since = now
}

// Progress tells how far the present stage is.
func (s *State) Progress(done, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = Progress{Done: done, Total: total}
}

// Check has Ready ask ok from now on; its error, or its end, says whether what is called name works. It must be quick, and
// must not ask another machine.
func (s *State) Check(name string, ok func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, check{name, ok})
}

// Started ends the start.
func (s *State) Started() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.endStage()
		s.started = true
	}
}

// Drain says that the process is going to stop. It is not ready from now on.
func (s *State) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// Ready gives the reasons why a call would not be answered; none means that it would.
func (s *State) Ready() []string {
	s.mu.Lock()
	started, draining, checks := s.started, s.draining, s.checks
	stage := "starting"
	if n := len(s.stages); n > 0 {
		stage += ": " + s.stages[n-1].Name
	}
	s.mu.Unlock()
	switch {
	case draining: // what is being closed may not answer any more
		return []string{"the server is stopping"}
	case !started:
		return []string{stage}
	}
	var reasons []string
	for _, c := range checks {
		if err := c.ok(); err != nil {
			reasons = append(reasons, fmt.Sprintf("%s: %v", c.name, err))
		}
	}
	return reasons
}

// Start gives the stages of the start, how far the last of them is, and whether it is over.
func (s *State) Start() (stages []Stage, progress Progress, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stages = append(stages, s.stages...)
	if n := len(stages); n > 0 && !s.started {
		stages[n-1].Seconds = time.Since(s.since).Seconds()
	}
	return stages, s.progress, s.started
}

// watch ticks until stop is closed.
func (s *State) watch(stop <-chan struct{}) {
	ticker := time.NewTicker(watchdogEvery)
	defer ticker.Stop()
	for {
		s.tick.Store(int64(time.Since(s.begin)))
		select {
		case <-ticker.C:
		case <-stop:
			return
		}
	}
}

// sinceTick is how long ago the watchdog ticked.
func (s *State) sinceTick() time.Duration { return time.Since(s.begin) - time.Duration(s.tick.Load()) }
