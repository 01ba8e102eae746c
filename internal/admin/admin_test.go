package admin

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve gives the address of a listener that shows the state.
func serve(t *testing.T, s *State) string {
	t.Helper()
	l, err := Listen(":0")
	if err != nil {
		t.Fatal(err)
	}
	stop := Serve(l, s, Options{
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "embedd_up 1\n") }),
		Config:  map[string]string{"data": "here"},
		Log:     slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// want fails the test unless the answer has the status and all of the texts.
func want(t *testing.T, url string, status int, texts ...string) {
	t.Helper()
	got, body := get(t, url)
	if got != status {
		t.Errorf("%s: status %d, want %d: %s", url, got, status, body)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("%s has no %q: %s", url, text, body)
		}
	}
}

func TestListenTakesLoopbackOnly(t *testing.T) {
	for _, c := range []struct{ address, want, err string }{
		{":0", "127.0.0.1:", ""},
		{"127.0.0.1:0", "127.0.0.1:", ""},
		{"127.0.0.2:0", "127.0.0.2:", ""},
		{"localhost:0", "", ""},
		{"0.0.0.0:9090", "", "ssh -L 9090:127.0.0.1:9090"},
		{"[::]:9090", "", "not a loopback address"},
		{"192.0.2.1:9090", "", "a proxy that asks who is there"},
		{"example.org:9090", "", "not a loopback address"},
		{"9090", "", "give HOST:PORT, or :PORT for 127.0.0.1"},
	} {
		l, err := Listen(c.address)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want an error with %q", c.address, err, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.address, err)
		case !strings.HasPrefix(l.Addr().String(), c.want) || !l.Addr().(*net.TCPAddr).IP.IsLoopback():
			t.Errorf("%s listens on %s", c.address, l.Addr())
		}
		if l != nil {
			l.Close()
		}
	}
}

// From the first moment to the last, each answer says what is so.
func TestTheLifeOfAProcess(t *testing.T) {
	s := NewState()
	url := serve(t, s)
	want(t, url+"/livez", 200, `"alive": true`)
	want(t, url+"/startupz", 503, `"started": false`)
	want(t, url+"/readyz", 503, "starting")
	want(t, url+"/metrics", 200, "embedd_up 1")
	want(t, url+"/configz", 200, `"data": "here"`)
	want(t, url+"/", 200, "/readyz")
	want(t, url+"/nothing", 404)

	s.Begin("loading the model")
	s.Begin("catching up the index")
	s.Progress(30, 120)
	want(t, url+"/startupz", 503, `"stage": "catching up the index"`, `"done": 30`, `"total": 120`, "loading the model")
	want(t, url+"/readyz", 503, "starting: catching up the index")
	s.Begin("warming up")
	_, body := get(t, url+"/startupz")
	if strings.Contains(body, "progress") {
		t.Errorf("progress of another stage is shown: %s", body)
	}

	var failure error
	var mu sync.Mutex
	s.Check("store", func() error { mu.Lock(); defer mu.Unlock(); return failure })
	s.Started()
	want(t, url+"/startupz", 200, `"started": true`, "warming up")
	want(t, url+"/readyz", 200, `"ready": true`)
	mu.Lock()
	failure = errors.New("is closed")
	mu.Unlock()
	want(t, url+"/readyz", 503, `"store: is closed"`)
	mu.Lock()
	failure = nil
	mu.Unlock()
	s.Drain()
	want(t, url+"/readyz", 503, "the server is stopping")
	want(t, url+"/livez", 200)
	want(t, url+"/startupz", 200)
}

func TestStagesHaveTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState()
		s.Begin("a")
		time.Sleep(2 * time.Second)
		s.Begin("b")
		s.Begin("b")
		time.Sleep(3 * time.Second)
		stages, _, over := s.Start()
		if want := []Stage{{"a", 2}, {"b", 3}}; over || !slices.Equal(stages, want) {
			t.Errorf("%v, %v; want %v", stages, over, want)
		}
		s.Started()
		time.Sleep(time.Second)
		s.Begin("c") // too late
		if stages, _, over := s.Start(); !over || !slices.Equal(stages, []Stage{{"a", 2}, {"b", 3}}) {
			t.Errorf("%v, %v after the start", stages, over)
		}
	})
}

// A process whose timers do not run is not alive.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState()
		h := handler(s, Options{Metrics: http.NotFoundHandler()})
		status := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/livez", nil))
			return w.Code
		}
		stop := make(chan struct{})
		go s.watch(stop)
		time.Sleep(time.Minute)
		if got := status(); got != 200 {
			t.Errorf("status %d while the watchdog ticks", got)
		}
		close(stop)
		time.Sleep(WatchdogLimit - time.Second)
		if got := status(); got != 200 {
			t.Errorf("status %d shortly after the last tick", got)
		}
		time.Sleep(2 * time.Second)
		if got := status(); got != 503 {
			t.Errorf("status %d long after the last tick, want 503", got)
		}
	})
}

func TestOneProfileAtATime(t *testing.T) {
	url := serve(t, NewState())
	want(t, url+"/debug/pprof/", 200, "goroutine")
	want(t, url+"/debug/pprof/goroutine?debug=1", 200, "goroutine profile")
	want(t, url+"/debug/pprof/cmdline", 404)
	first := make(chan int)
	go func() {
		for { // until none of those below is in its way
			res, err := http.Get(url + "/debug/pprof/profile?seconds=1")
			if err != nil {
				first <- 0
				return
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusTooManyRequests {
				first <- res.StatusCode
				return
			}
		}
	}()
	refused := false
	for end := time.Now().Add(10 * time.Second); !refused && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		status, _ := get(t, url+"/debug/pprof/heap")
		refused = status == http.StatusTooManyRequests
	}
	if !refused {
		t.Error("a second profile was taken beside the first")
	}
	if got := <-first; got != 200 {
		t.Errorf("the first profile: status %d", got)
	}
	want(t, url+"/debug/pprof/heap", 200)
}

// A page of another name in a browser on this machine reads nothing.
func TestOtherHostsAreRefused(t *testing.T) {
	url := serve(t, NewState())
	for host, status := range map[string]int{"evil.example": 403, "evil.example:9090": 403, "192.0.2.1": 403, "localhost:1": 200, "127.0.0.1": 200, "[::1]:9090": 200, "[::1]": 200} {
		r, err := http.NewRequest("GET", url+"/configz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("host %s: status %d, want %d", host, res.StatusCode, status)
		}
	}
}

func TestOnlyReading(t *testing.T) {
	url := serve(t, NewState())
	for _, path := range []string{"/livez", "/readyz", "/configz", "/debug/pprof/heap"} {
		res, err := http.Post(url+path, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: status %d", path, res.StatusCode)
		}
	}
}

func TestLargeHeaders(t *testing.T) {
	url := serve(t, NewState())
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", maxHeaderBytes+8<<10)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("large headers: %.40q, want 431", answer)
	}
}

func TestAnswersAreJSON(t *testing.T) {
	url := serve(t, NewState())
	for _, path := range []string{"/livez", "/readyz", "/startupz", "/configz"} {
		_, body := get(t, url+path)
		if !json.Valid([]byte(body)) {
			t.Errorf("%s is not JSON: %s", path, body)
		}
	}
}
