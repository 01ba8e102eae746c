package compat_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"embedd/internal/retrieval"
)

// FuzzBody sends bytes as the body of each route that has one: what comes is an answer or an error that is the client's, in JSON.
func FuzzBody(f *testing.F) {
	w := launch(f, options{rerankers: []retrieval.Reranker{judge{}}})
	var posted []int
	for i, r := range routes {
		if r.method == http.MethodPost {
			posted = append(posted, i)
			f.Add(uint8(len(posted)-1), r.body)
		}
	}
	for _, body := range []string{
		``, `null`, `[]`, `{`, `{}`, `"x"`, `{"input":[ "alpha" , 1 ],"model":"bag"}`, `{"inputs":[null]}`, `{"inputs":{"source_sentence":null,"sentences":[null]}}`,
		`{"query":"alpha","documents":[null,{},{"text":null}]}`, `{"query":"alpha","texts":null}`, `{"positivePaperIds":{}}`, `{"model":"bag","input":"alpha","dimensions":1e99}`,
		`{"query":"alpha","documents":["a"],"top_n":-1}`, `{"model":"bag","input":[[]]}`, `{"inputs":[{}],"truncate":null}`,
	} {
		for i := range posted {
			f.Add(uint8(i), body)
		}
	}
	may := []int{200, 400, 404, 413, 422, 424}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		r := routes[posted[int(which)%len(posted)]]
		of := *w
		of.t = t
		status, _, answer := of.ask(r.method, r.path, body)
		if !slices.Contains(may, status) || !json.Valid([]byte(answer)) {
			t.Errorf("%s: %d %s", r.path, status, answer)
		}
	})
}
