// Package admin is the listener for those who run the process: whether it lives, whether it serves, how far its start is,
// its metrics, its profiles and its configuration, over HTTP. It answers from the first moment of the start, and until the
// process ends.
//
//	/livez          200 while the process runs goroutines and timers; 503 when it has not for [WatchdogLimit]
//	/readyz         200 while it would answer a call; otherwise 503, with the reasons
//	/startupz       200 once the start is over; before that 503, with the stage and how far it is
//	/metrics        for Prometheus
//	/configz        what is in effect, secrets left out
//	/debug/pprof/   profiles, one at a time
//
// Nothing here has a key. So [Listen] takes loopback addresses only, and a request must name one as its host: a page in a
// browser on the same machine could otherwise read it under a name of its own (DNS rebinding).
//
// The package knows nothing of papers. What it says it is told, through a [State] and the [Options].
package admin
