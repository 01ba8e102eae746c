package admin

import (
	"net/http"
	"net/http/pprof"
)

// profiles answers /debug/pprof/. One profile is taken at a time: each costs the server time, and two of the CPU do not go
// together at all. There is no /cmdline: arguments may hold what /configz leaves out.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/{$}", pprof.Index)
	running := make(chan struct{}, 1)
	one := func(take http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			select {
			case running <- struct{}{}:
				defer func() { <-running }()
				take(w, r)
			default:
				w.Header().Set("Retry-After", "10")
				http.Error(w, "a profile is being taken; one at a time: try again when it has ended", http.StatusTooManyRequests)
			}
		}
	}
	mux.HandleFunc("/debug/pprof/profile", one(pprof.Profile))
	mux.HandleFunc("/debug/pprof/trace", one(pprof.Trace))
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		mux.HandleFunc("/debug/pprof/"+name, one(pprof.Handler(name).ServeHTTP))
	}
	return mux
}
