package gateway

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"embedd/internal/server"
	"embedd/internal/testkit"
)

// A job over HTTP: made, watched line by line, its file as it is, with a tag; and what is refused.
func TestJobs(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	r.put(t, "a", "b", "c", "d")
	made := r.do(t, "POST /v1/jobs", `{"kind": "JOB_KIND_KNN_GRAPH", "k": 2, "format": "csv"}`)
	var created struct {
		Job struct{ ID, State string }
	}
	if err := json.Unmarshal([]byte(made.body), &created); err != nil || made.code != http.StatusOK {
		t.Fatalf("%d %s: %v", made.code, made.body, err)
	}
	at := "/v1/jobs/" + created.Job.ID
	watched := r.do(t, "GET "+at+":watch", "")
	last := ""
	for lines := bufio.NewScanner(strings.NewReader(watched.body)); lines.Scan(); {
		last = lines.Text()
	}
	if watched.code != http.StatusOK || !strings.Contains(last, "JOB_STATE_DONE") || !strings.Contains(last, `"recall":"1.0000"`) {
		t.Fatalf("%d %s", watched.code, watched.body)
	}
	file := r.do(t, "GET "+at+"/files/neighbours.csv", "")
	if file.code != http.StatusOK || !strings.HasPrefix(file.body, "source,target,rank,score\na,") || strings.Count(file.body, "\n") != 9 ||
		!strings.HasPrefix(file.header.Get("Content-Type"), "text/csv") || !strings.Contains(file.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%d %v %s", file.code, file.header, file.body)
	}
	if again := r.do(t, "GET "+at+"/files/neighbours.csv", "", "If-None-Match", file.header.Get("ETag")); again.code != http.StatusNotModified || again.body != "" {
		t.Errorf("again: %d %s", again.code, again.body)
	}
	if head := r.do(t, "HEAD "+at+"/files/neighbours.csv", ""); head.code != http.StatusOK || head.body != "" || head.header.Get("Content-Length") != file.header.Get("Content-Length") {
		t.Errorf("HEAD: %d %v", head.code, head.header)
	}
	for _, c := range []struct {
		what, body string
		code       int
		say        string
	}{
		{"GET " + at + "/files/other.csv", "", http.StatusNotFound, "it has neighbours.csv"},
		{"GET " + at + "/files/..%2Fjob.json", "", http.StatusNotFound, "no file"},
		{"GET /v1/jobs/nobody", "", http.StatusNotFound, "there is no job"},
		{"GET /v1/jobs/nobody:watch", "", http.StatusNotFound, "there is no job"},
		{"GET /v1/jobs/nobody/files/x", "", http.StatusNotFound, "there is no job"},
		{"POST /v1/jobs", `{}`, http.StatusBadRequest, "kind"},
		{"POST /v1/jobs", `{"kind": "JOB_KIND_MAP", "k": 3}`, http.StatusBadRequest, "has no use for it"},
		{"POST /v1/jobs", `{"kind": "JOB_KIND_KNN_GRAPH", "collection": "x"}`, http.StatusNotFound, "collection"},
		{"POST " + at + ":cancel", "", http.StatusBadRequest, "has ended"},
		{"POST " + at + ":resume", "", http.StatusBadRequest, "is done"},
	} {
		if got := r.do(t, c.what, c.body); got.code != c.code || !strings.Contains(got.body, c.say) {
			t.Errorf("%s: %d %s", c.what, got.code, got.body)
		}
	}
	if list := r.do(t, "GET /v1/jobs", ""); !strings.Contains(list.body, created.Job.ID) {
		t.Errorf("%s", list.body)
	}
	if gone := r.do(t, "DELETE "+at, ""); gone.code != http.StatusOK {
		t.Errorf("%d %s", gone.code, gone.body)
	}
	testkit.Eventually(t, "it is gone", func() bool { return r.do(t, "GET "+at, "").code == http.StatusNotFound })
}
