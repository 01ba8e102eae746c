package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stopSignal is the cause of the end of a context that a signal has ended.
type stopSignal struct{ os.Signal }

func (s stopSignal) Error() string { return "stopped by the signal: " + s.String() }

// sameSignal is how long after a signal the same one is not another. Who stops a process together with its group, as timeout(1) does,
// has it get the signal twice.
const sameSignal = time.Second

// untilStopped is a context that ends at the first SIGINT or SIGTERM. A second one ends the process at once, with status 1.
func untilStopped(stderr io.Writer) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals, done := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		var first os.Signal
		var when time.Time
		for {
			select {
			case s := <-signals:
				switch {
				case first == nil:
					first, when = s, time.Now()
					cancel(stopSignal{s})
				case s != first || time.Since(when) >= sameSignal:
					giveUp(stderr, fmt.Sprintf("a second signal (%v)", s))
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// stoppedBy is the signal that ended the context, nil where none has.
func stoppedBy(ctx context.Context) os.Signal {
	var s stopSignal
	if errors.As(context.Cause(ctx), &s) {
		return s.Signal
	}
	return nil
}

// interrupted tells whether an error is that of a context which a signal has ended.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled)
}

// giveUp ends the process at once. What was acknowledged is in the store, as after any kill; what is lost is time.
func giveUp(stderr io.Writer, why string) {
	fmt.Fprintf(stderr, "embedd: %s: the process ends at once; an index that was not saved is made anew at the next start\n", why)
	os.Exit(1)
}
