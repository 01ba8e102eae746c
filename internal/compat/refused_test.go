package compat_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"embedd/internal/access"
	"embedd/internal/retrieval"
	"embedd/internal/server"
)

func cores() int { return runtime.GOMAXPROCS(0) }

// routes are a request of each that is answered, with a word that an error of its dialect has.
var routes = []struct{ method, path, body, word string }{
	{"POST", "/v1/embeddings", `{"model":"bag","input":"alpha"}`, `{"error":{"message":"`},
	{"GET", "/v1/models", ``, `{"error":{"message":"`},
	{"GET", "/v1/models/bag", ``, `{"error":{"message":"`},
	{"POST", "/embed", `{"inputs":"alpha"}`, `"error_type":"`},
	{"POST", "/similarity", `{"inputs":{"source_sentence":"alpha","sentences":["beta"]}}`, `"error_type":"`},
	{"POST", "/tokenize", `{"inputs":"alpha"}`, `"error_type":"`},
	{"POST", "/rerank", `{"query":"alpha","texts":["beta"]}`, `"error_type":"`},
	{"GET", "/info", ``, `"error_type":"`},
	{"POST", "/v1/rerank", `{"query":"alpha","documents":["beta"]}`, `{"message":"`},
	{"POST", "/v2/rerank", `{"query":"alpha","documents":["beta"]}`, `{"message":"`},
	{"GET", "/recommendations/v1/papers/forpaper/own/3", ``, `{"error":"`},
	{"POST", "/recommendations/v1/papers/", `{"positivePaperIds":["own/3"]}`, `{"error":"`},
}

// Who has no key, or a bad one, is told so in the dialect of the route, whether there is a body or not; a good one is taken from both headers. Health is open.
func TestKeys(t *testing.T) {
	key, secret, err := access.New(access.Key{Name: "k", Role: access.Read}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	filtered, filteredSecret, err := access.New(access.Key{Name: "f", Role: access.Read, Filter: "year >= 1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, elsewhereSecret, err := access.New(access.Key{Name: "e", Role: access.Read, Collections: []string{"other"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.NewKeys([]access.Key{key, filtered, elsewhere})
	if err != nil {
		t.Fatal(err)
	}
	w := launch(t, options{keys: keys, rerankers: []retrieval.Reranker{judge{}}})
	for _, r := range routes {
		bad := http.StatusUnauthorized
		if strings.HasPrefix(r.path, "/recommendations") {
			bad = http.StatusForbidden
		}
		for _, c := range []struct {
			name    string
			headers []string
			status  int
		}{
			{"no key", nil, http.StatusUnauthorized},
			{"a bad key", []string{"Authorization", "Bearer sk-x"}, bad},
			{"a bad x-api-key", []string{"X-Api-Key", "x"}, bad},
			{"a good key", []string{"Authorization", "Bearer " + secret}, http.StatusOK},
			{"a good x-api-key", []string{"X-Api-Key", secret}, http.StatusOK},
			{"a key for another collection", []string{"Authorization", "Bearer " + elsewhereSecret}, http.StatusForbidden},
		} {
			status, header, body := w.ask(r.method, r.path, r.body, c.headers...)
			if status != c.status || status != http.StatusOK && !strings.Contains(body, r.word) {
				t.Errorf("%s %s, %s: %d %s, want %d with %s", r.method, r.path, c.name, status, body, c.status, r.word)
			}
			if (status == http.StatusUnauthorized) != (header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s, %s: %d with WWW-Authenticate %q", r.path, c.name, status, header.Get("WWW-Authenticate"))
			}
		}
	}
	const none = "there is no key; send one in the header authorization, as: Bearer embedd_..."
	w.check([]call{
		{"no key", "POST", "/v1/embeddings", `{}`, 401, `{"error":{"message":"` + none + `","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`},
		{"no key", "POST", "/embed", `{}`, 401, `{"error":"` + none + `","error_type":"Unauthorized"}`},
		{"no key", "POST", "/v2/rerank", `{}`, 401, `{"message":"` + none + `"}`},
		{"no key", "GET", "/recommendations/v1/papers/forpaper/own/3", ``, 401, `{"error":"` + none + `","message":"` + none + `"}`},
	})
	if status, _, body := w.ask("GET", "/health", ""); status != http.StatusOK {
		t.Errorf("health without a key: %d %s", status, body)
	}
	// A key with a filter sees what meets it, and is not refused where texts alone are read.
	for _, r := range routes[:4] {
		if status, _, body := w.ask(r.method, r.path, r.body, "Authorization", "Bearer "+filteredSecret); status != http.StatusOK {
			t.Errorf("%s with a filter: %d %s", r.path, status, body)
		}
	}
	_, _, body := w.ask("POST", "/recommendations/v1/papers/", `{"positivePaperIds":["ARXIV:2101.00001"]}`, "X-Api-Key", filteredSecret)
	if body != `{"recommendedPapers":[]}` {
		t.Errorf("with a filter: %s", body)
	}
	// A wrong name of a model does not tell the right one to who has no key.
	if status, _, body := w.ask("POST", "/v1/embeddings", `{"model":"x","input":"alpha"}`); status != http.StatusUnauthorized || strings.Contains(body, "bag") {
		t.Errorf("%d %s", status, body)
	}
}

// What is too much for now says when to come again; what is too much at all does not.
func TestTooMuch(t *testing.T) {
	w := launch(t, options{rerankers: []retrieval.Reranker{judge{}}})
	w.encoder.busy = true
	for path, want := range map[string]string{
		"/v1/embeddings": `{"error":{"message":"the lane is full","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		"/embed":         `{"error":"the lane is full","error_type":"Overloaded"}`,
	} {
		status, header, body := w.ask("POST", path, map[string]string{"/v1/embeddings": `{"model":"bag","input":"alpha"}`, "/embed": `{"inputs":"alpha"}`}[path])
		if status != http.StatusTooManyRequests || body != want || header.Get("Retry-After") != "2" {
			t.Errorf("%s: %d %s, Retry-After %q", path, status, body, header.Get("Retry-After"))
		}
	}
	w.encoder.busy = false
	huge := strings.Repeat("alpha ", 20_000)
	many := `["` + huge + `"` + strings.Repeat(`,"`+huge+`"`, 39) + `]`
	for path, body := range map[string]string{
		"/v1/embeddings": `{"model":"bag","input":` + many + `}`, "/embed": `{"inputs":` + many + `}`, "/v1/rerank": `{"query":"alpha","documents":` + many + `}`,
		"/rerank": `{"query":"alpha","texts":` + many + `}`,
	} {
		status, header, body := w.ask("POST", path, body)
		if status != http.StatusRequestEntityTooLarge || header.Get("Retry-After") != "" || !strings.Contains(body, "4194304") {
			t.Errorf("%s: %d %.300s", path, status, body)
		}
	}
	status, _, body := w.ask("POST", "/embed", `{"inputs":"`+strings.Repeat("a", server.MaxMessageBytes)+`"}`)
	if status != http.StatusRequestEntityTooLarge || !strings.Contains(body, `"error_type":"Validation"`) {
		t.Errorf("the largest: %d %.300s", status, body)
	}
	w = launch(t, options{limits: server.Limits{Rate: 1}})
	var last int
	var retry string
	for range 4 {
		var header http.Header
		last, header, body = w.ask("GET", "/recommendations/v1/papers/forpaper/own/3", "")
		retry = header.Get("Retry-After")
	}
	if last != http.StatusTooManyRequests || retry == "" || !strings.Contains(body, `"message":"`) {
		t.Errorf("too often: %d %s, Retry-After %q", last, body, retry)
	}
}
