package models

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// revision is the commit that the tests' manifests name.
const revision = "0123456789abcdef0123456789abcdef01234567"

// graphText is the file that the tests download: large enough to be cut in the middle.
var graphText = strings.Repeat("0123456789abcdef", 16<<10)

// fakeHub is a Hub with some files. Its answers can be replaced one by one.
type fakeHub struct {
	*httptest.Server
	files map[string]string // by path in the repository org/name
	etag  string

	mu      sync.Mutex
	seen    []*http.Request
	answers []http.HandlerFunc // of the first requests; nil for the usual one
}

// startHub starts a Hub and points the environment at it.
func startHub(t *testing.T, files map[string]string, answers ...http.HandlerFunc) *fakeHub {
	t.Helper()
	h := &fakeHub{files: files, etag: `"one"`, answers: answers}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	for name, value := range map[string]string{
		"HF_ENDPOINT": h.URL + "/", "HF_TOKEN": "", "HF_TOKEN_PATH": filepath.Join(t.TempDir(), "token"), "HF_HUB_OFFLINE": "",
	} {
		t.Setenv(name, value)
	}
	return h
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	n := len(h.seen)
	h.seen = append(h.seen, r)
	h.mu.Unlock()
	if n < len(h.answers) && h.answers[n] != nil {
		h.answers[n](w, r)
		return
	}
	h.serve(w, r)
}

// serve answers as the Hub does.
func (h *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/org/name/resolve/"+revision+"/")
	text, there := h.files[path]
	if !ok || !there {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", h.etag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
}

// requests are those that came so far.
func (h *fakeHub) requests() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seen)
}

// ranges are the Range and If-Range headers of the requests.
func (h *fakeHub) ranges() (all []string) {
	for _, r := range h.requests() {
		all = append(all, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	}
	return all
}

// puller is one without patience, which fails the test if it waits for long.
func (h *fakeHub) puller(t *testing.T) *puller {
	t.Helper()
	p := newPuller(t.TempDir(), PullOptions{})
	p.patience = patience{connect: time.Second, header: time.Second, stall: time.Second, tries: 3, pause: time.Millisecond, wait: time.Second}
	return p
}

// hubModel is a manifest whose graph is want on the Hub, and whose tokenizer is in a folder.
func hubModel(t *testing.T, want string) *Manifest {
	t.Helper()
	m, err := parse(t, example(want, "tokenizer"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	if err := os.WriteFile(path, []byte("tokenizer"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.Files.Model.Source = &Source{HuggingFace: &HuggingFace{Repository: "org/name", Revision: revision, Path: "onnx/a model?.onnx"}}
	m.Files.Tokenizer.Source = &Source{Folder: &Folder{Path: path}}
	return m
}

func hubFiles() map[string]string { return map[string]string{"onnx/a model?.onnx": graphText} }

// cut sends the header of a whole answer, with an ETag, and the first n bytes of text, and cuts the connection.
func cut(text string, n int, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		w.Header().Set("ETag", etag)
		_, _ = w.Write([]byte(text[:n]))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// status answers with nothing but a status and a header.
func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// Whatever a server does on the way, what arrives is the file, and the requests ask for no more than is missing.
func TestDownload(t *testing.T) {
	half := len(graphText) / 2
	rest := fmt.Sprintf("bytes=%d-", half)
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		ranges  []string
	}{
		{"at once", nil, []string{""}},
		{"cut", []http.HandlerFunc{cut(graphText, half, `"one"`)}, []string{"", rest + ` "one"`}},
		{"cut, no ETag", []http.HandlerFunc{cut(graphText, half, "")}, []string{"", rest}},
		{"cut, weak ETag", []http.HandlerFunc{cut(graphText, half, `W/"one"`)}, []string{"", rest}},
		{"cut, another file since", []http.HandlerFunc{cut(strings.Repeat("x", len(graphText)), half, `"zero"`)}, []string{"", rest + ` "zero"`}},
		{"cut before the first byte", []http.HandlerFunc{cut(graphText, 0, `"one"`)}, []string{"", ""}},
		{"range ignored", []http.HandlerFunc{cut(graphText, half, `"one"`), func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(graphText))
		}}, []string{"", rest + ` "one"`}},
		{"another range", []http.HandlerFunc{cut(graphText, half, `"one"`), status(http.StatusPartialContent, "Content-Range", "bytes 0-9/10")}, []string{"", rest + ` "one"`, ""}},
		{"part of the range", []http.HandlerFunc{cut(graphText, half, `"one"`), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", half, half+1, len(graphText)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte(graphText[half : half+2]))
		}}, []string{"", rest + ` "one"`, fmt.Sprintf(`bytes=%d- "one"`, half+2)}},
		{"range not satisfiable", []http.HandlerFunc{cut(graphText, half, `"one"`), status(http.StatusRequestedRangeNotSatisfiable)}, []string{"", rest + ` "one"`, ""}},
		{"busy", []http.HandlerFunc{status(http.StatusTooManyRequests, "Retry-After", "0"), status(http.StatusServiceUnavailable)}, []string{"", "", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := startHub(t, hubFiles(), c.answers...)
			p := h.puller(t)
			var last, total int64
			p.Downloaded = func(path string, done, of int64) { last, total = done, of }
			model, err := p.pull(t.Context(), hubModel(t, graphText))
			if err != nil {
				t.Fatal(err)
			}
			if err := model.Verify(); err != nil {
				t.Error(err)
			}
			if got := h.ranges(); !slices.Equal(got, c.ranges) {
				t.Errorf("ranges %q, want %q", got, c.ranges)
			}
			if left := leftovers(t, model.Dir); left != "manifest.json model.onnx tokenizer.json" {
				t.Errorf("left behind: %s", left)
			}
			if n := int64(len(graphText)); last != n || total != n {
				t.Errorf("told of %d of %d bytes at the end", last, total)
			}
		})
	}
}

// What cannot succeed ends with an error that says what to do, after no more requests than could help.
func TestDownloadRefused(t *testing.T) {
	size := len(graphText)
	endless := func(w http.ResponseWriter, r *http.Request) {
		for block := bytes.Repeat([]byte("x"), 1<<12); r.Context().Err() == nil; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	for _, c := range []struct {
		name     string
		answer   http.HandlerFunc
		token    string
		requests int
		want     []string
	}{
		{"wrong hash", cut(strings.Repeat("x", size), size, `"one"`), "", 1, []string{"sha256 is ", "must be " + describe("", []byte(graphText)).SHA256, "correct source, sha256 or bytes in the manifest"}},
		{"too short", func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush() // the header, without a length
			_, _ = w.Write([]byte("not it"))
		}, "", 1, []string{"shorter than its " + fmt.Sprint(size) + " bytes"}},
		{"wrong size", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("not it")) }, "", 1, []string{"has 6 bytes, must be " + fmt.Sprint(size)}},
		{"endless", endless, "", 1, []string{"longer than its " + fmt.Sprint(size) + " bytes"}},
		{"no token", status(401), "", 1, []string{"answered 401 Unauthorized: without a token", "repository", "set HF_TOKEN"}},
		{"wrong token", status(401), "secret", 1, []string{"answered 401 Unauthorized: the token is not accepted"}},
		{"forbidden", status(403), "secret", 1, []string{"answered 403 Forbidden: the token may not read org/name; ask for access"}},
		{"not found", status(404), "", 1, []string{"answered 404 Not Found: no onnx/a model?.onnx at 0123456789ab of org/name"}},
		{"busy for ever", status(503), "", 3, []string{"answered 503 Service Unavailable; gave up after 3 requests"}},
		{"busy for long", status(429, "Retry-After", "3600"), "", 1, []string{"answered 429 Too Many Requests and asks to wait for 1h0m0s"}},
		{"teapot", status(418), "", 1, []string{"answered 418 I'm a teapot"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := startHub(t, nil, c.answer, c.answer, c.answer, c.answer)
			t.Setenv("HF_TOKEN", c.token)
			p := h.puller(t)
			_, err := p.pull(t.Context(), hubModel(t, graphText))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(c.want, "pull tiny: model.onnx: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want an error with %q", err, want)
				}
			}
			if c.token != "" && strings.Contains(err.Error(), c.token) {
				t.Errorf("the token is in %v", err)
			}
			if n := len(h.requests()); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
			if left := leftovers(t, filepath.Join(p.root, "tiny")); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// The part outlives the call: what a second one asks for.
func TestDownloadGoesOnInASecondPull(t *testing.T) {
	half := len(graphText) / 2
	for _, c := range []struct {
		name   string
		before func(dir, sha256 string) error // to the part
		etag   string                         // of the second
		ranges string
	}{
		{"goes on", nil, `"one"`, fmt.Sprintf(`bytes=%d- "one"`, half)},
		{"another ETag", nil, `"two"`, fmt.Sprintf(`bytes=%d- "one"`, half)},
		{"no ETag kept", func(dir, sha256 string) error { return os.Remove(filepath.Join(dir, sha256+".etag")) }, `"one"`, fmt.Sprintf("bytes=%d-", half)},
		{"spoilt ETag", func(dir, sha256 string) error {
			return os.WriteFile(filepath.Join(dir, sha256+".etag"), []byte("\x00\x00"), 0o644)
		}, `"one"`, fmt.Sprintf("bytes=%d-", half)},
		{"too long", func(dir, sha256 string) error {
			return os.WriteFile(filepath.Join(dir, sha256+".part"), []byte(graphText+"more"), 0o644)
		}, `"one"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := startHub(t, hubFiles(), cut(graphText, half, `"one"`))
			m := hubModel(t, graphText)
			p := h.puller(t)
			p.patience.tries = 1
			var said []string
			p.Progress = func(line string) { said = append(said, line) }
			if _, err := p.pull(t.Context(), m); err == nil {
				t.Fatal("the first pull is not cut")
			}
			if want := fmt.Sprintf("model.onnx: %d of %d bytes are kept; pulling again goes on from there", half, len(graphText)); !slices.Contains(said, want) {
				t.Errorf("said %q, want %q", said, want)
			}
			dir := filepath.Join(p.root, "tiny")
			if c.before != nil {
				if err := c.before(dir, m.Files.Model.SHA256); err != nil {
					t.Fatal(err)
				}
			}
			h.etag = c.etag
			model, err := p.pull(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			if err := model.Verify(); err != nil {
				t.Error(err)
			}
			if got := h.ranges()[1]; got != c.ranges || len(h.ranges()) != 2 {
				t.Errorf("ranges %q, want %q second", h.ranges(), c.ranges)
			}
			if left := leftovers(t, dir); left != "manifest.json model.onnx tokenizer.json" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// A part whose bytes are wrong is thrown away once it is whole, so that the next pull starts over.
func TestSpoiltPartIsThrownAway(t *testing.T) {
	h := startHub(t, hubFiles())
	m := hubModel(t, graphText)
	p := h.puller(t)
	dir := filepath.Join(p.root, "tiny")
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, m.Files.Model.SHA256+".part"), make([]byte, 100), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.pull(t.Context(), m); !errors.Is(err, ErrWrongFile) || leftovers(t, dir) != "" {
		t.Errorf("%v, want ErrWrongFile; left behind: %s", err, leftovers(t, dir))
	}
	if _, err := p.pull(t.Context(), m); err != nil {
		t.Error(err)
	}
}

// A page about something else, of another size, leaves what is there as it is.
func TestAPageInsteadOfTheFileKeepsThePart(t *testing.T) {
	half := len(graphText) / 2
	page := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "please log in to the network") }
	h := startHub(t, hubFiles(), cut(graphText, half, `"one"`), page)
	h.etag = `"one"`
	m := hubModel(t, graphText)
	p := h.puller(t)
	p.patience.tries = 1
	for range 2 {
		if _, err := p.pull(t.Context(), m); err == nil {
			t.Fatal("pulled from a cut answer and a page")
		}
	}
	if _, err := p.pull(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got, want := h.ranges()[2], fmt.Sprintf(`bytes=%d- "one"`, half); got != want {
		t.Errorf("the third request asks for %q, want %q", got, want)
	}
}

// What a killed process left behind is removed by the next pull, and what it brings is listed, in a folder whose name is no pattern too.
func TestLeftoversAreRemoved(t *testing.T) {
	h := startHub(t, hubFiles())
	m := hubModel(t, graphText)
	p := h.puller(t)
	p.root = filepath.Join(p.root, "mo[d]els")
	dir := filepath.Join(p.root, "tiny")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, ".new-123"), []byte("half"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.pull(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".new-123")); !os.IsNotExist(err) {
		t.Errorf(".new-123 is still there: %v", err)
	}
	if all, err := Installed(p.root); err != nil || len(all) != 1 || all[0].ID != "tiny" {
		t.Errorf("installed are %v, %v", all, err)
	}
}

// A pipe in a file's place is refused, not waited for.
func TestAPipeIsNoModelFile(t *testing.T) {
	h := startHub(t, hubFiles())
	model, err := h.puller(t).pull(t.Context(), hubModel(t, graphText))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(model.Dir, "model.onnx")
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := model.Verify(); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("%v", err)
	}
}

func TestDownloadStalls(t *testing.T) {
	stall := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(graphText)))
		_, _ = w.Write([]byte(graphText[:100]))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	mute := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	h := startHub(t, hubFiles(), mute, stall)
	p := h.puller(t)
	p.patience.header, p.patience.stall = 50*time.Millisecond, 50*time.Millisecond
	var said []string
	p.Progress = func(line string) { said = append(said, line) }
	model, err := p.pull(t.Context(), hubModel(t, graphText))
	if err != nil {
		t.Fatal(err)
	}
	if err := model.Verify(); err != nil {
		t.Error(err)
	}
	if got := h.ranges(); !slices.Equal(got, []string{"", "", `bytes=100- "one"`}) {
		t.Errorf("ranges %q", got)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, "no byte came for 50ms; trying again in 2ms") {
		t.Errorf("said:\n%s", all)
	}
}

func TestDownloadIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := startHub(t, hubFiles(), func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(graphText[:100]))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	p := h.puller(t)
	p.Downloaded = func(_ string, done, _ int64) {
		if done > 0 {
			cancel()
		}
	}
	m := hubModel(t, graphText)
	if _, err := p.pull(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if got := content(t, p.root, "tiny", m.Files.Model.SHA256+".part"); got != graphText[:100] {
		t.Errorf("%d bytes are kept, want 100", len(got))
	}
	if n := len(h.requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// Two pulls of a model at the same time: the second waits, and finds what the first has brought.
func TestTwoPullsAtOnce(t *testing.T) {
	h := startHub(t, hubFiles())
	m := hubModel(t, graphText)
	first := h.puller(t)
	var both sync.WaitGroup
	for range 2 {
		p := h.puller(t)
		p.root = first.root
		both.Go(func() {
			model, err := p.pull(t.Context(), m)
			if err == nil {
				err = model.Verify()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if n := len(h.requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// Redirects are followed, but the token goes to the Hub alone.
func TestRedirects(t *testing.T) {
	var elsewhere []*http.Request
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r)
		_, _ = w.Write([]byte(graphText))
	}))
	defer other.Close()
	// Another port of the same host; net/http would send the token there.
	h := startHub(t, nil,
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/renamed", http.StatusTemporaryRedirect)
		},
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/signed", http.StatusFound)
		})
	t.Setenv("HF_TOKEN", " secret\n")
	if _, err := h.puller(t).pull(t.Context(), hubModel(t, graphText)); err != nil {
		t.Fatal(err)
	}
	for i, r := range h.requests() {
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("request %d to the Hub has the token %q", i, got)
		}
	}
	if len(elsewhere) != 1 || elsewhere[0].URL.Path != "/signed" || elsewhere[0].Header.Get("Authorization") != "" {
		t.Errorf("elsewhere came %d requests: %v", len(elsewhere), elsewhere[0].Header)
	}
}

func TestCheckRedirect(t *testing.T) {
	for _, c := range []struct {
		name  string
		urls  []string // the last is to be followed
		token bool
		want  string // of the error
	}{
		{"same", []string{"https://hub/a", "https://hub/b"}, true, ""},
		{"other host", []string{"https://hub/a", "https://cdn/b"}, false, ""},
		{"subdomain", []string{"https://hub/a", "https://cdn.hub/b"}, false, ""},
		{"other port", []string{"https://hub/a", "https://hub:444/b"}, false, ""},
		{"there and back", []string{"https://hub/a", "https://cdn/b", "https://hub/c"}, false, ""},
		{"upgrade", []string{"http://hub/a", "https://hub/b"}, false, ""},
		{"downgrade", []string{"https://hub/a", "http://hub/b"}, false, "from https to http://hub"},
		{"ten", slices.Repeat([]string{"https://hub/a"}, 11), true, ""},
		{"eleven", slices.Repeat([]string{"https://hub/a"}, 12), false, "more than 10"},
	} {
		var all []*http.Request
		for _, u := range c.urls {
			r := httptest.NewRequest(http.MethodGet, u, nil)
			r.Header.Set("Authorization", "Bearer secret")
			all = append(all, r)
		}
		last := all[len(all)-1]
		err := checkRedirect(last, all[:len(all)-1])
		if c.want != "" {
			if !errors.Is(err, errRedirect) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
			}
			continue
		}
		if got := last.Header.Get("Authorization") != ""; err != nil || got != c.token {
			t.Errorf("%s: token %v, %v; want %v", c.name, got, err, c.token)
		}
	}
}

// A refused redirect is no reason to ask again.
func TestEndlessRedirectIsAskedForOnce(t *testing.T) {
	h := startHub(t, nil)
	h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.seen = append(h.seen, r)
		h.mu.Unlock()
		http.Redirect(w, r, "/on", http.StatusFound)
	})
	if _, err := h.puller(t).pull(t.Context(), hubModel(t, graphText)); !errors.Is(err, errRedirect) || len(h.requests()) != 11 {
		t.Errorf("%v after %d requests, want errRedirect after 11", err, len(h.requests()))
	}
}

func TestHubEnvironment(t *testing.T) {
	write := func(t *testing.T, path ...string) string {
		t.Helper()
		file := filepath.Join(path...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("from file\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, c := range []struct {
		name     string
		env      func(t *testing.T, dir string) map[string]string
		endpoint string
		token    string
		want     string // of the error
	}{
		{"nothing", func(_ *testing.T, dir string) map[string]string { return map[string]string{"HOME": dir} }, "https://huggingface.co", "", ""},
		{"mirror", func(_ *testing.T, dir string) map[string]string {
			return map[string]string{"HOME": dir, "HF_ENDPOINT": "http://mirror:8080/hf/"}
		}, "http://mirror:8080/hf", "", ""},
		{"token", func(t *testing.T, dir string) map[string]string {
			return map[string]string{"HF_TOKEN": "given", "HF_TOKEN_PATH": write(t, dir, "token")}
		}, "https://huggingface.co", "given", ""},
		{"token file", func(t *testing.T, dir string) map[string]string {
			return map[string]string{"HF_TOKEN_PATH": write(t, dir, "my-token")}
		}, "https://huggingface.co", "from file", ""},
		{"HF_HOME", func(t *testing.T, dir string) map[string]string {
			write(t, dir, "token")
			return map[string]string{"HF_HOME": dir}
		}, "https://huggingface.co", "from file", ""},
		{"XDG_CACHE_HOME", func(t *testing.T, dir string) map[string]string {
			write(t, dir, "huggingface", "token")
			return map[string]string{"XDG_CACHE_HOME": dir}
		}, "https://huggingface.co", "from file", ""},
		{"HOME", func(t *testing.T, dir string) map[string]string {
			write(t, dir, ".cache", "huggingface", "token")
			return map[string]string{"HOME": dir}
		}, "https://huggingface.co", "from file", ""},
		{"token folder", func(_ *testing.T, dir string) map[string]string { return map[string]string{"HF_TOKEN_PATH": dir} }, "", "", "set HF_TOKEN_PATH or HF_TOKEN"},
		{"no scheme", func(*testing.T, string) map[string]string { return map[string]string{"HF_ENDPOINT": "mirror"} }, "", "", `HF_ENDPOINT: "mirror" is not a URL`},
		{"password", func(*testing.T, string) map[string]string {
			return map[string]string{"HF_ENDPOINT": "ftp://me:hidden@mirror"}
		}, "", "", `"ftp://me:xxxxx@mirror"`},
		{"offline", func(*testing.T, string) map[string]string { return map[string]string{"HF_HUB_OFFLINE": "1"} }, "", "", "HF_HUB_OFFLINE is set"},
		{"offline in words", func(*testing.T, string) map[string]string { return map[string]string{"HF_HUB_OFFLINE": "Yes"} }, "", "", "HF_HUB_OFFLINE is set"},
		{"not offline", func(_ *testing.T, dir string) map[string]string {
			return map[string]string{"HOME": dir, "HF_HUB_OFFLINE": "0"}
		}, "https://huggingface.co", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"} {
				t.Setenv(name, "")
			}
			for name, value := range c.env(t, t.TempDir()) {
				t.Setenv(name, value)
			}
			h, err := newHub(patient)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
					t.Errorf("%v, want an error with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.endpoint.String() != c.endpoint || h.token != c.token {
				t.Errorf("endpoint %s, token %q, want %s, %q", h.endpoint, h.token, c.endpoint, c.token)
			}
		})
	}
}

// Offline means that no request leaves, and that what is there is enough.
func TestOfflineMakesNoRequest(t *testing.T) {
	h := startHub(t, hubFiles())
	t.Setenv("HF_HUB_OFFLINE", "1")
	p := h.puller(t)
	m := hubModel(t, graphText)
	if _, err := p.pull(t.Context(), m); err == nil || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("%v, want an error that names HF_HUB_OFFLINE", err)
	}
	if err := os.WriteFile(filepath.Join(p.root, "tiny", "model.onnx"), []byte(graphText), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.pull(t.Context(), m); err != nil {
		t.Error(err)
	}
	if n := len(h.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestRetryAfter(t *testing.T) {
	date := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for header, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "Mon, 02 Jan 2006 15:04:05 GMT": 0, date: time.Hour} {
		if got := retryAfter(header); (got - want).Abs() > 2*time.Second {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}
