package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// limitEvery is the least time between two records of a level and message, from level warn on.
	limitEvery = time.Second
	// maxLimited is how many messages are told apart; the program has far fewer. What is over shares one.
	maxLimited = 1000
)

// limiter is a handler that writes a warning or error of which there are many at most once a second: the first at once, then the
// last of each second with the number of those that it stands for, under repeated. An error in a loop otherwise fills a disk, and
// hides what it began with.
type limiter struct {
	slog.Handler
	shared *limited
}

// limited is what a limiter and those made of it share.
type limited struct {
	mu   sync.Mutex
	seen map[message]*repeats
}

type message struct {
	level slog.Level
	text  string
}

// repeats are the records of a message in the second since the last that was written.
type repeats struct {
	n    int
	last func(n int) // writes the last of them; nil: there were none
}

func newLimiter(h slog.Handler) *limiter {
	return &limiter{h, &limited{seen: map[message]*repeats{}}}
}

// WithAttrs implements slog.Handler.
func (l *limiter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limiter{l.Handler.WithAttrs(attrs), l.shared}
}

// WithGroup implements slog.Handler.
func (l *limiter) WithGroup(name string) slog.Handler {
	return &limiter{l.Handler.WithGroup(name), l.shared}
}

// Handle implements slog.Handler.
func (l *limiter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return l.Handler.Handle(ctx, r)
	}
	key := message{r.Level, r.Message}
	s := l.shared
	s.mu.Lock()
	if _, there := s.seen[key]; !there && len(s.seen) >= maxLimited {
		key.text = ""
	}
	if again, there := s.seen[key]; there {
		again.n++
		again.last = func(n int) {
			r := r.Clone()
			r.AddAttrs(slog.Int("repeated", n))
			_ = l.Handler.Handle(context.WithoutCancel(ctx), r) // there is nowhere to tell of a log that cannot be written
		}
		s.mu.Unlock()
		return nil
	}
	s.seen[key] = &repeats{}
	s.mu.Unlock()
	time.AfterFunc(limitEvery, func() { s.again(key) })
	return l.Handler.Handle(ctx, r)
}

// again writes what came of a message in the last second, or forgets the message where nothing did.
func (s *limited) again(key message) {
	s.mu.Lock()
	r := s.seen[key]
	last, n := r.last, r.n
	if last == nil {
		delete(s.seen, key)
	} else {
		*r = repeats{}
	}
	s.mu.Unlock()
	if last != nil {
		last(n)
		time.AfterFunc(limitEvery, func() { s.again(key) })
	}
}
