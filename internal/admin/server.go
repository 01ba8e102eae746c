package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// The limits of the HTTP server. A profile may take almost as long as writeTimeout.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
	// stopTimeout is how long answers under way get when the listener ends.
	stopTimeout = 2 * time.Second
)

// Options are what the listener shows beside the State.
type Options struct {
	// Metrics answers /metrics.
	Metrics http.Handler
	// Config is shown by /configz as JSON. It must hold no secrets.
	Config any
	// Log gets the HTTP server's own errors.
	Log *slog.Logger
}

// Serve answers on l until stop is called.
func Serve(l net.Listener, state *State, o Options) (stop func() error) {
	s := &http.Server{
		Handler:           handler(state, o),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	state.tick.Store(int64(time.Since(state.begin)))
	ended := make(chan struct{})
	go state.watch(ended)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		err := s.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) { // a profile, which nobody waits for
			err = s.Close()
		}
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		close(ended)
		if err != nil {
			return fmt.Errorf("admin listener: %w", err)
		}
		return nil
	}
}

// handler answers all of the package comment's paths.
func handler(state *State, o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		age := state.sinceTick()
		answer(w, age < WatchdogLimit, struct {
			Alive       bool    `json:"alive"`
			TickSeconds float64 `json:"tick_age_seconds"`
		}{age < WatchdogLimit, age.Seconds()})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		reasons := state.Ready()
		answer(w, len(reasons) == 0, struct {
			Ready   bool     `json:"ready"`
			Reasons []string `json:"reasons,omitempty"`
		}{len(reasons) == 0, reasons})
	})
	mux.HandleFunc("GET /startupz", func(w http.ResponseWriter, r *http.Request) {
		stages, progress, over := state.Start()
		a := struct {
			Started  bool      `json:"started"`
			Stage    string    `json:"stage,omitempty"`
			Progress *Progress `json:"progress,omitempty"`
			Stages   []Stage   `json:"stages,omitempty"`
		}{Started: over, Stages: stages}
		if n := len(stages); n > 0 && !over {
			a.Stage = stages[n-1].Name
			if progress.Total > 0 {
				a.Progress = &progress
			}
		}
		answer(w, over, a)
	})
	mux.HandleFunc("GET /configz", func(w http.ResponseWriter, r *http.Request) { answer(w, true, o.Config) })
	mux.Handle("GET /metrics", o.Metrics)
	mux.Handle("GET /debug/pprof/", profiles())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "/livez\n/readyz\n/startupz\n/metrics\n/configz\n/debug/pprof/\n")
	})
	return onlyLoopback(mux)
}

// answer writes v as JSON, with status 200 or 503.
func answer(w http.ResponseWriter, ok bool, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(text, '\n')) // who has gone away needs no answer
}
