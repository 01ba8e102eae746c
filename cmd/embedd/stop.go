package main

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"embedd/internal/admin"
	"embedd/internal/server"
)

// A server stops in steps:
//
//  1. At the signal it says that it does not serve any more: by gRPC health, to those who watch it too, and at /readyz. It answers
//     calls as before.
//  2. For --drain seconds it waits for clients, and for what stands between, to hear of that. Ctrl-C does not wait.
//  3. It takes no new calls, and gives those under way --grace seconds; then they are cancelled.
//  4. The index is saved, the store closed, and the model freed.
//
// If that has not come to its end --stop-limit seconds after the signal, or at a second signal, the process ends at once with status 1.
type stopFlags struct {
	Drain     int `help:"Seconds that a server waits after SIGTERM, answering but no longer ready, for clients to go elsewhere." default:"5" placeholder:"N"`
	Grace     int `help:"Seconds that running calls then get to end." default:"20" placeholder:"N"`
	StopLimit int `help:"Seconds after which a stop that is not through is given up; saving a large index may take longer." default:"30" placeholder:"N"`
}

func (f *stopFlags) check() error {
	switch {
	case f.Drain < 0:
		return fmt.Errorf("--drain: is %d; must be 0 or more", f.Drain)
	case f.Grace < 0:
		return fmt.Errorf("--grace: is %d; must be 0 or more", f.Grace)
	case f.StopLimit <= f.Drain+f.Grace:
		return fmt.Errorf("--stop-limit: is %d; must be more than --drain and --grace together, %d", f.StopLimit, f.Drain+f.Grace)
	}
	return nil
}

func (f *stopFlags) String() string {
	return fmt.Sprintf("%d s to drain after SIGTERM, %d s grace, given up after %d s", f.Drain, f.Grace, f.StopLimit)
}

func (f *stopFlags) grace() time.Duration { return time.Duration(f.Grace) * time.Second }

// atSignal has a signal, whenever it comes, begin the first step and the limit's time. The returned function ends the latter.
func (f *stopFlags) atSignal(e *env, s *server.Server, state *admin.State, log *slog.Logger) (through func()) {
	timer := make(chan *time.Timer, 1)
	undo := context.AfterFunc(e.ctx, func() {
		state.Drain()
		s.Drain()
		timer <- time.AfterFunc(time.Duration(f.StopLimit)*time.Second, func() {
			giveUp(e.stderr, fmt.Sprintf("the stop is not through after %d s", f.StopLimit))
		})
		log.Info("stopping", "signal", stoppedBy(e.ctx))
	})
	return func() {
		if !undo() {
			(<-timer).Stop()
		}
	}
}

// drain is the second step.
func (f *stopFlags) drain(e *env) {
	if stoppedBy(e.ctx) == syscall.SIGTERM && f.Drain > 0 {
		fmt.Fprintf(e.stdout, "\nStopping: %d s for clients to go elsewhere.", f.Drain)
		time.Sleep(time.Duration(f.Drain) * time.Second)
	}
	fmt.Fprintln(e.stdout, "\nStopping: finishing calls, saving the index.")
}
