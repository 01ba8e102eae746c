package compat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"embedd/internal/access"
	"embedd/internal/gateway"
	"embedd/internal/retrieval"
	"embedd/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bag is an encoder of five words, which reads eight tokens, a word each and one at each end.
type bag struct {
	// busy refuses all.
	busy bool
}

var vocabulary = []string{"alpha", "beta", "gamma", "delta", "query:"}

func (*bag) Model() retrieval.Model {
	return retrieval.Model{ID: "bag", Fingerprint: strings.Repeat("f", 64), Dimension: 4, Dimensions: []int{2}, MaxTokens: 8, Pooling: "mean", Precision: "fp32"}
}

func (b *bag) Encode(_ context.Context, _ retrieval.Lane, role retrieval.Role, texts []string) ([]retrieval.Encoding, error) {
	if b.busy {
		return nil, &retrieval.BusyError{Wait: 1500 * time.Millisecond, Err: errors.New("the lane is full")}
	}
	out := make([]retrieval.Encoding, len(texts))
	for i, text := range texts {
		v, norm := make([]float32, 4), 0.0
		if role == retrieval.Query {
			v[3]++ // what the prompt brings
		}
		words := strings.Fields(text)
		for _, word := range words[:min(6, len(words))] {
			if word == "papers" { // what is asked only to hear of the model
				v[3]++
			}
			if at := slices.Index(vocabulary, word); at >= 0 && at < 4 {
				v[at]++
			}
		}
		for _, x := range v {
			norm += float64(x) * float64(x)
		}
		if norm == 0 {
			return nil, &retrieval.TextError{Index: i, Blank: true, Err: errors.New("blank")}
		}
		for j := range v {
			v[j] /= float32(math.Sqrt(norm))
		}
		out[i] = retrieval.Encoding{Vector: v, TextUse: retrieval.TextUse{Tokens: len(words) + 2, Truncated: len(words) > 6}}
	}
	return out, nil
}

func (b *bag) Tokenize(_ context.Context, role retrieval.Role, texts []string) ([]retrieval.Tokens, error) {
	out := make([]retrieval.Tokens, len(texts))
	for i, text := range texts {
		words := strings.Fields(text)
		if role == retrieval.Query {
			words = append([]string{"query:"}, words...)
		}
		t := retrieval.Tokens{TextUse: retrieval.TextUse{Tokens: len(words) + 2, Truncated: len(words) > 6}}
		for _, word := range append(append([]string{"[CLS]"}, words[:min(6, len(words))]...), "[SEP]") {
			t.Tokens, t.IDs = append(t.Tokens, word), append(t.IDs, uint32(len(word)))
		}
		out[i] = t
	}
	return out, nil
}

func (*bag) Explain(_ context.Context, _ retrieval.Asked, texts []retrieval.Passage) ([]*retrieval.Explanation, error) {
	return make([]*retrieval.Explanation, len(texts)), nil
}

func (*bag) Passages(_ context.Context, _ retrieval.Lane, texts []retrieval.Passage, _ int) ([][]retrieval.Part, error) {
	return make([][]retrieval.Part, len(texts)), nil
}

func (*bag) Sentences(_ context.Context, _ retrieval.Lane, texts []retrieval.Passage) ([][]retrieval.Part, error) {
	return make([][]retrieval.Part, len(texts)), nil
}

// judge is a cross-encoder that counts the words that a text shares with the query, reads eight tokens, and cannot read a question mark.
type judge struct{}

func (judge) Name() string { return "judge" }

func (judge) Score(_ context.Context, query string, texts []string) ([]retrieval.Judged, error) {
	out := make([]retrieval.Judged, len(texts))
	asked := strings.Fields(query)
	for i, text := range texts {
		if text == "?" {
			out[i].Logit = float32(math.NaN())
			continue
		}
		words := strings.Fields(text)
		out[i] = retrieval.Judged{TextUse: retrieval.TextUse{Tokens: len(asked) + len(words) + 3, Truncated: len(asked)+len(words) > 5}}
		for _, word := range words {
			if slices.Contains(asked, word) {
				out[i].Logit++
			}
		}
	}
	return out, nil
}

// some are papers of a few words.
func some() []retrieval.Paper {
	return []retrieval.Paper{
		{ID: "ARXIV:2101.00001", Title: "alpha", Abstract: "alpha alpha beta", Authors: []string{"A. One", "B. Two"}, Year: 2021, Venue: "V", DOI: "10.1000/a.1", URL: "https://example.org/1",
			Metadata: []byte(`{"publicationDate":"2021-01-02"}`)},
		{ID: "ARXIV:2101.00002", Title: "alpha", Abstract: "beta beta"},
		{ID: "own/3", Title: "gamma", Abstract: "alpha alpha"},
		{ID: "own/4", Title: "delta delta"},
	}
}

// web is a server that is asked over HTTP.
type web struct {
	t       testing.TB
	base    string
	encoder *bag
}

// options change what launch makes.
type options struct {
	keys      *access.Keys
	rerankers []retrieval.Reranker
	limits    server.Limits
	starting  bool
}

// launch serves some papers until the end of the test.
func launch(t testing.TB, o options) *web {
	t.Helper()
	w := &web{t: t, encoder: &bag{}}
	c, err := retrieval.Open(t.Context(), t.TempDir(), w.encoder, &retrieval.Options{Rerankers: o.rerankers})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Upsert(t.Context(), some()); err != nil {
		t.Fatal(err)
	}
	so := server.Options{Version: "0.0", Limits: o.limits}
	if o.keys != nil {
		so.Keys = func() *access.Keys { return o.keys }
	}
	s, err := server.New(so)
	if err != nil {
		t.Fatal(err)
	}
	if !o.starting {
		s.Ready(c)
	}
	handler, err := gateway.New(gateway.Options{Conn: s.Inside()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.base = "http://" + l.Addr().String()
	stop := s.ServeWeb(l, handler, gateway.WriteError)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := stop(time.Second); err != nil {
			t.Error(err)
		}
		s.Stop(0)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// ask sends a request, with headers in pairs.
func (w *web) ask(method, path, body string, headers ...string) (int, http.Header, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.base+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// call is a request and what is answered.
type call struct {
	name, method, path, body string
	status                   int
	want                     string
}

// uuid is an id, of which each is another.
var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// check makes calls and compares their answers, to the byte but for ids.
func (w *web) check(calls []call) {
	w.t.Helper()
	for _, c := range calls {
		status, header, got := w.ask(c.method, c.path, c.body)
		if got = uuid.ReplaceAllString(got, "ID"); status != c.status || got != c.want {
			w.t.Errorf("%s: %d\n got %s\nwant %s", c.name, status, got, c.want)
		}
		if kind := header.Get("Content-Type"); got != "" && kind != "application/json" {
			w.t.Errorf("%s: Content-Type %q", c.name, kind)
		}
	}
}

const manyWords = "alpha beta gamma delta alpha beta gamma"

func TestOpenAI(t *testing.T) {
	w := launch(t, options{})
	path := "/v1/embeddings"
	refused := func(message, param string) string {
		if param != "null" {
			param = `"` + param + `"`
		}
		return fmt.Sprintf(`{"error":{"message":"%s","type":"invalid_request_error","param":%s,"code":null}}`, message, param)
	}
	w.check([]call{
		{"a string", "POST", path, `{"model":"bag","input":"alpha beta"}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.70710677,0.70710677,0,0]}],"model":"bag","usage":{"prompt_tokens":4,"total_tokens":4}}`},
		{"several, by the other name", "POST", path, `{"model":"embedd","input":["alpha","beta gamma"],"user":"u","encoding_format":"float"}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,0,0,0]},{"object":"embedding","index":1,"embedding":[0,0.70710677,0.70710677,0]}],"model":"bag","usage":{"prompt_tokens":7,"total_tokens":7}}`},
		{"base64", "POST", path, `{"model":"bag","input":["alpha"],"encoding_format":"base64"}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAAAAAAAAAAAAAA=="}],"model":"bag","usage":{"prompt_tokens":3,"total_tokens":3}}`},
		{"cut vectors", "POST", path, `{"model":"bag","input":"alpha gamma","dimensions":2}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,0]}],"model":"bag","usage":{"prompt_tokens":4,"total_tokens":4}}`},
		{"all of them", "POST", path, `{"model":"bag","input":"alpha","dimensions":4}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,0,0,0]}],"model":"bag","usage":{"prompt_tokens":3,"total_tokens":3}}`},
		{"a query", "POST", path, `{"model":"bag","input":"alpha","input_type":"query"}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.70710677,0,0,0.70710677]}],"model":"bag","usage":{"prompt_tokens":3,"total_tokens":3}}`},
		{"a document", "POST", path, `{"model":"bag","input":"alpha","input_type":"document"}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,0,0,0]}],"model":"bag","usage":{"prompt_tokens":3,"total_tokens":3}}`},
		{"too long, cut", "POST", path, `{"model":"bag","input":"alpha alpha alpha alpha alpha alpha beta","truncate":true}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,0,0,0]}],"model":"bag","usage":{"prompt_tokens":9,"total_tokens":9}}`},
		{"too long", "POST", path, `{"model":"bag","input":["alpha","` + manyWords + `"]}`, 400,
			`{"error":{"message":"input[1]: has 9 tokens, more than the model reads; shorten it, or send \"truncate\": true","type":"invalid_request_error","param":"input[1]","code":"context_length_exceeded"}}`},
		{"another model", "POST", path, `{"model":"text-embedding-3-small","input":"alpha"}`, 404,
			`{"error":{"message":"model: the model \"text-embedding-3-small\" is not here; the server's is \"bag\", which embedd stands for too","type":"invalid_request_error","param":"model","code":"model_not_found"}}`},
		{"no model", "POST", path, `{"input":"alpha"}`, 400, refused("model: is missing; give the id of the server's model, which GET /v1/models tells, or embedd", "model")},
		{"no input", "POST", path, `{"model":"bag"}`, 400, refused("input: is missing; give a string, or an array of strings", "input")},
		{"null", "POST", path, `{"model":"bag","input":null}`, 400, refused("input: is missing; give a string, or an array of strings", "input")},
		{"a number", "POST", path, `{"model":"bag","input":3}`, 400, refused("input: must be a string, or an array of strings", "input")},
		{"nothing", "POST", path, `{"model":"bag","input":[]}`, 400, refused("input: is empty; must have 1 to 1000 texts", "input")},
		{"blank", "POST", path, `{"model":"bag","input":""}`, 400, refused("input: is blank; there is nothing to compare", "input")},
		{"one is blank", "POST", path, `{"model":"bag","input":["alpha"," "]}`, 400, refused("input[1]: is blank; there is nothing to compare", "input[1]")},
		{"one is unknown", "POST", path, `{"model":"bag","input":["alpha","x"]}`, 400, refused("input[1]: has no word that the model knows; there is nothing to compare", "input[1]")},
		{"token ids", "POST", path, `{"model":"bag","input":[1,2,3]}`, 400,
			refused("input[0]: is a token id, or several; they are of another model's vocabulary and cannot be turned back into text here; send the text", "input[0]")},
		{"several texts' token ids", "POST", path, `{"model":"bag","input":[[1,2],[3]]}`, 400,
			refused("input[0]: is a token id, or several; they are of another model's vocabulary and cannot be turned back into text here; send the text", "input[0]")},
		{"mixed", "POST", path, `{"model":"bag","input":["alpha",{"a":1}]}`, 400, refused("input[1]: must be a string", "input[1]")},
		{"a dimension that there is not", "POST", path, `{"model":"bag","input":"alpha","dimensions":3}`, 400,
			refused("dimensions: is 3; the model's is 4, and its vectors can be cut to [2] only", "dimensions")},
		{"no dimension", "POST", path, `{"model":"bag","input":"alpha","dimensions":0}`, 400, refused("dimensions: is 0; must be 1 or more", "dimensions")},
		{"half a dimension", "POST", path, `{"model":"bag","input":"alpha","dimensions":1.5}`, 400, refused("dimensions: has the number 1.5; must be a whole number", "dimensions")},
		{"another format", "POST", path, `{"model":"bag","input":"alpha","encoding_format":"hex"}`, 400, refused(`encoding_format: is \"hex\"; must be float or base64`, "encoding_format")},
		{"another input type", "POST", path, `{"model":"bag","input":"alpha","input_type":"x"}`, 400, refused(`input_type: is \"x\"; must be query or document`, "input_type")},
		{"a model that is a number", "POST", path, `{"model":1,"input":"alpha"}`, 400, refused("model: has a number; must be a string", "model")},
		{"truncate that is a string", "POST", path, `{"model":"bag","input":"alpha","truncate":"yes"}`, 400, refused("truncate: has a string; must be true or false", "truncate")},
		{"a member that nobody knows", "POST", path, `{"model":"bag","input":"alpha","temperature":1}`, 400, refused("Unrecognized request argument supplied: temperature", "null")},
		{"no body", "POST", path, ``, 400, refused("the body is empty; send an object of JSON", "null")},
		{"an array", "POST", path, `[]`, 400, refused("the body is an array; must be an object", "null")},
		{"no JSON", "POST", path, `{"model"`, 400, refused("the body is not JSON: it ends within a value", "null")},
		{"bad JSON", "POST", path, `{model}`, 400, refused("the body is not JSON: invalid character 'm' looking for beginning of object key string, at byte 2", "null")},
		{"two bodies", "POST", path, `{"model":"bag","input":"alpha"} {}`, 400, refused("the body has something behind its object", "null")},
		{"not UTF-8", "POST", path, "{\"model\":\"bag\",\"input\":\"a\xff\"}", 400, refused("the body is not valid UTF-8", "null")},
		{"another method", "GET", path, ``, 405, refused("GET is not a method of /v1/embeddings; use POST", "null")},
		{"models", "GET", "/v1/models", ``, 200, `{"object":"list","data":[{"id":"bag","object":"model","created":0,"owned_by":"embedd"}]}`},
		{"a model", "GET", "/v1/models/bag", ``, 200, `{"id":"bag","object":"model","created":0,"owned_by":"embedd"}`},
		{"a model that is not there", "GET", "/v1/models/org/x", ``, 404,
			`{"error":{"message":"model: the model \"org/x\" is not here; the server's is \"bag\", which embedd stands for too","type":"invalid_request_error","param":"model","code":"model_not_found"}}`},
		{"models, posted", "POST", "/v1/models", `{}`, 405, refused("POST is not a method of /v1/models; use GET", "null")},
	})
}

func TestInference(t *testing.T) {
	w := launch(t, options{rerankers: []retrieval.Reranker{judge{}}})
	refused := func(message, kind string) string {
		return fmt.Sprintf(`{"error":"%s","error_type":"%s"}`, message, kind)
	}
	long := `has 9 tokens, more than the model reads; shorten it, or send \"truncate\": true`
	w.check([]call{
		{"a string", "POST", "/embed", `{"inputs":"alpha beta"}`, 200, `[[0.70710677,0.70710677,0,0]]`},
		{"several", "POST", "/embed", `{"inputs":["alpha","beta"],"normalize":true,"truncate":false,"truncation_direction":"Right","prompt_name":null}`, 200, `[[1,0,0,0],[0,1,0,0]]`},
		{"a query", "POST", "/embed", `{"inputs":"alpha","prompt_name":"query"}`, 200, `[[0.70710677,0,0,0.70710677]]`},
		{"a passage", "POST", "/embed", `{"inputs":"alpha","prompt_name":"passage"}`, 200, `[[1,0,0,0]]`},
		{"dimensions", "POST", "/embed", `{"inputs":"alpha gamma","dimensions":2}`, 200, `[[1,0]]`},
		{"cut", "POST", "/embed", `{"inputs":"` + manyWords + `","truncate":true,"dimensions":2}`, 200, `[[0.70710677,0.70710677]]`},
		{"too long", "POST", "/embed", `{"inputs":"` + manyWords + `"}`, 422, refused("inputs: "+long, "Validation")},
		{"one is too long", "POST", "/embed", `{"inputs":["alpha","` + manyWords + `"],"truncate":false}`, 422, refused("inputs[1]: "+long, "Validation")},
		{"not of norm 1", "POST", "/embed", `{"inputs":"alpha","normalize":false}`, 422, refused("normalize: is false; vectors have norm 1 here, always", "Validation")},
		{"cut at the left", "POST", "/embed", `{"inputs":"alpha","truncation_direction":"Left"}`, 422, refused(`truncation_direction: is \"Left\"; texts are cut at their ends: Right`, "Validation")},
		{"another prompt", "POST", "/embed", `{"inputs":"alpha","prompt_name":"x"}`, 422, refused(`prompt_name: is \"x\"; must be query or document`, "Validation")},
		{"a dimension that there is not", "POST", "/embed", `{"inputs":"alpha","dimensions":3}`, 422, refused("dimensions: is 3; the model's is 4, and its vectors can be cut to [2] only", "Validation")},
		{"a string for a bool", "POST", "/embed", `{"inputs":"alpha","truncate":"x"}`, 422, refused("truncate: has a string; must be true or false", "Validation")},
		{"token ids", "POST", "/embed", `{"inputs":[[1,2]]}`, 422,
			refused("inputs[0]: is a token id, or several; they are of another model's vocabulary and cannot be turned back into text here; send the text", "Validation")},
		{"nothing", "POST", "/embed", `{"inputs":[]}`, 400, refused("inputs: cannot be empty", "Empty")},
		{"blank", "POST", "/embed", `{"inputs":["alpha",""]}`, 400, refused("inputs[1]: cannot be empty", "Empty")},
		{"no word", "POST", "/embed", `{"inputs":["x"]}`, 422, refused("inputs[0]: has no word that the model knows; there is nothing to compare", "Validation")},
		{"missing", "POST", "/embed", `{}`, 422, refused("inputs: is missing; give a string, or an array of strings", "Validation")},
		{"a member that nobody knows", "POST", "/embed", `{"inputs":"alpha","input":"x"}`, 422, refused("input: is not a member that is known here; leave it out", "Validation")},
		{"too many", "POST", "/embed", `{"inputs":[` + strings.Repeat(`"alpha",`, 1000) + `"alpha"]}`, 422, refused("inputs: has 1001 texts; the limit is 1000", "Validation")},

		{"similar", "POST", "/similarity", `{"inputs":{"source_sentence":"alpha","sentences":["alpha","beta","alpha beta"]},"parameters":{}}`, 200, `[1,0,0.70710677]`},
		{"similar queries", "POST", "/similarity", `{"inputs":{"source_sentence":"alpha","sentences":["beta"]},"parameters":{"prompt_name":"query"}}`, 200, `[0.49999997]`},
		{"no sentences", "POST", "/similarity", `{"inputs":{"source_sentence":"alpha","sentences":[]}}`, 400, refused("inputs.sentences: cannot be empty", "Empty")},
		{"no source", "POST", "/similarity", `{"inputs":{"sentences":["alpha"]}}`, 422, refused("inputs.source_sentence: is missing", "Validation")},
		{"no inputs", "POST", "/similarity", `{}`, 422, refused("inputs: is missing; give an object with source_sentence and sentences", "Validation")},
		{"a long source", "POST", "/similarity", `{"inputs":{"source_sentence":"` + manyWords + `","sentences":["alpha"]}}`, 422, refused("inputs.source_sentence: "+long, "Validation")},
		{"a long sentence", "POST", "/similarity", `{"inputs":{"source_sentence":"alpha","sentences":["alpha","` + manyWords + `"]}}`, 422, refused("inputs.sentences[1]: "+long, "Validation")},
		{"a blank sentence", "POST", "/similarity", `{"inputs":{"source_sentence":"alpha","sentences":["alpha"," "]}}`, 400, refused("inputs.sentences[1]: cannot be empty", "Empty")},
		{"a sentence that is a number", "POST", "/similarity", `{"inputs":{"source_sentence":"alpha","sentences":["alpha",1]}}`, 422, refused("inputs.sentences: has a number; must be a string", "Validation")},
		{"another prompt", "POST", "/similarity", `{"inputs":{"source_sentence":"alpha","sentences":["alpha"]},"parameters":{"prompt_name":"x"}}`, 422, refused(`parameters.prompt_name: is \"x\"; must be query or document`, "Validation")},

		{"ranked", "POST", "/rerank", `{"query":"alpha beta","texts":["gamma","alpha beta","?","alpha"]}`, 200,
			`[{"index":1,"score":0.8807971},{"index":3,"score":0.7310586},{"index":0,"score":0.5},{"index":2,"score":0}]`},
		{"raw, with texts", "POST", "/rerank", `{"query":"alpha beta","texts":["?","alpha beta"],"raw_scores":true,"return_text":true,"truncate":true,"truncation_direction":"right"}`, 200,
			`[{"index":1,"text":"alpha beta","score":2},{"index":0,"text":"?","score":-100}]`},
		{"a long text", "POST", "/rerank", `{"query":"alpha","texts":["beta","` + manyWords + `"]}`, 422,
			refused(`texts[1]: has 11 tokens together with the query, more than the model reads; shorten it, or send \"truncate\": true`, "Validation")},
		{"a long text, cut", "POST", "/rerank", `{"query":"alpha","texts":["beta","` + manyWords + `"],"truncate":true,"raw_scores":true}`, 200, `[{"index":1,"score":2},{"index":0,"score":0}]`},
		{"no texts", "POST", "/rerank", `{"query":"alpha","texts":[]}`, 400, refused("texts: cannot be empty", "Empty")},
		{"no query", "POST", "/rerank", `{"texts":["alpha"]}`, 422, refused("query: is missing", "Validation")},
		{"a blank query", "POST", "/rerank", `{"query":" ","texts":["alpha"]}`, 400, refused("query: cannot be empty", "Empty")},
		{"a blank text", "POST", "/rerank", `{"query":"alpha","texts":["alpha",""]}`, 400, refused("texts[1]: cannot be empty", "Empty")},
		{"too many texts", "POST", "/rerank", `{"query":"alpha","texts":[` + strings.Repeat(`"alpha",`, 100) + `"alpha"]}`, 422, refused("texts: has 101 texts; the limit is 100", "Validation")},
		{"cut at the left", "POST", "/rerank", `{"query":"alpha","texts":["alpha"],"truncation_direction":"left"}`, 422, refused(`truncation_direction: is \"left\"; texts are cut at their ends: Right`, "Validation")},
		{"an unknown member", "POST", "/rerank", `{"query":"alpha","texts":["alpha"],"model":"x"}`, 422, refused("model: is not a member that is known here; leave it out", "Validation")},

		{"tokens", "POST", "/tokenize", `{"inputs":"alpha beta"}`, 200,
			`[[{"id":5,"text":"[CLS]","special":true,"start":null,"stop":null},{"id":5,"text":"alpha","special":false,"start":null,"stop":null},{"id":4,"text":"beta","special":false,"start":null,"stop":null},{"id":5,"text":"[SEP]","special":true,"start":null,"stop":null}]]`},
		{"tokens without special ones", "POST", "/tokenize", `{"inputs":["alpha","[SEP] beta"],"add_special_tokens":false}`, 200,
			`[[{"id":5,"text":"alpha","special":false,"start":null,"stop":null}],[{"id":4,"text":"beta","special":false,"start":null,"stop":null}]]`},
		{"tokens of a query", "POST", "/tokenize", `{"inputs":"alpha","prompt_name":"query","add_special_tokens":false}`, 200,
			`[[{"id":6,"text":"query:","special":false,"start":null,"stop":null},{"id":5,"text":"alpha","special":false,"start":null,"stop":null}]]`},
		{"too many tokens", "POST", "/tokenize", `{"inputs":["` + manyWords + `"]}`, 422, refused("inputs[0]: has 9 tokens, more than the model reads; shorten it", "Validation")},
		{"tokens of nothing", "POST", "/tokenize", `{"inputs":[]}`, 400, refused("inputs: cannot be empty", "Empty")},
		{"tokens of a number", "POST", "/tokenize", `{"inputs":7}`, 422, refused("inputs: must be a string, or an array of strings", "Validation")},

		{"info", "GET", "/info", ``, 200, fmt.Sprintf(`{"model_id":"bag","model_sha":"%s","model_dtype":"fp32","served_model_name":"bag","model_type":{"embedding":{"pooling":"mean"}},`+
			`"max_concurrent_requests":%d,"max_input_length":8,"max_client_batch_size":1000,"auto_truncate":false,"version":"0.0","sha":null,"docker_label":null}`, strings.Repeat("f", 64), 64+2*cores())},
		{"health", "GET", "/health", ``, 200, ``},
		{"health, posted", "POST", "/health", ``, 405, refused("POST is not a method of /health; use GET", "Backend")},
	})
	w = launch(t, options{})
	w.check([]call{{"no cross-encoder", "POST", "/rerank", `{"query":"alpha","texts":["beta"]}`, 424, refused("the server has no cross-encoder; start it with --reranker ID", "Backend")}})
	w = launch(t, options{starting: true})
	w.check([]call{
		{"starting", "GET", "/health", ``, 503, refused("the server is starting or stopping; try again", "Unhealthy")},
		{"a call while it starts", "POST", "/embed", `{"inputs":"alpha"}`, 503, refused("the server is starting; ask grpc.health.v1.Health for SERVING and try again", "Unhealthy")},
	})
}

func TestCohere(t *testing.T) {
	w := launch(t, options{rerankers: []retrieval.Reranker{judge{}}})
	refused := func(message string) string { return `{"message":"` + message + `"}` }
	w.check([]call{
		{"strings", "POST", "/v2/rerank", `{"model":"judge","query":"alpha beta","documents":["gamma","alpha beta","alpha"]}`, 200,
			`{"id":"ID","results":[{"index":1,"relevance_score":0.8807971},{"index":2,"relevance_score":0.7310586},{"index":0,"relevance_score":0.5}],"meta":{"api_version":{"version":"2"}}}`},
		{"objects, the best, with documents", "POST", "/v1/rerank", `{"query":"alpha","documents":[{"text":"beta"},{"text":"alpha","id":7}],"top_n":1,"return_documents":true,"rank_fields":["text"]}`, 200,
			`{"id":"ID","results":[{"index":1,"relevance_score":0.7310586,"document":{"text":"alpha","id":7}}],"meta":{"api_version":{"version":"1"}}}`},
		{"strings, with documents", "POST", "/v1/rerank", `{"query":"alpha","documents":["?","<b>"],"top_n":9,"return_documents":true}`, 200,
			`{"id":"ID","results":[{"index":1,"relevance_score":0.5,"document":{"text":"\u003cb\u003e"}},{"index":0,"relevance_score":0,"document":{"text":"?"}}],"meta":{"api_version":{"version":"1"}}}`},
		{"what is cut, and what is passed over", "POST", "/v2/rerank", `{"query":"alpha","documents":["` + manyWords + `"],"max_tokens_per_doc":100}`, 200,
			`{"id":"ID","results":[{"index":0,"relevance_score":0.8807971}],"meta":{"api_version":{"version":"2"},"warnings":["documents[0] was cut: it has 11 tokens together with the query, more than the model reads","max_tokens_per_doc and max_chunks_per_doc are passed over: a document is read as far as the model reads"]}}`},
		{"another model", "POST", "/v2/rerank", `{"model":"rerank-v3.5","query":"alpha","documents":["a"]}`, 404, refused(`model: \"rerank-v3.5\" is not a cross-encoder of the server, which has: judge`)},
		{"no query", "POST", "/v2/rerank", `{"documents":["a"]}`, 400, refused("query: is missing")},
		{"a blank query", "POST", "/v2/rerank", `{"query":"","documents":["a"]}`, 400, refused("query: is blank; there is nothing to compare")},
		{"no documents", "POST", "/v2/rerank", `{"query":"alpha"}`, 400, refused("documents: is missing; give an array of strings, or of objects with a text")},
		{"none of them", "POST", "/v2/rerank", `{"query":"alpha","documents":[]}`, 400, refused("documents: is empty; must have 1 to 100 texts")},
		{"a blank document", "POST", "/v2/rerank", `{"query":"alpha","documents":["a"," "]}`, 400, refused("documents[1]: is blank; there is nothing to compare")},
		{"an object without a text", "POST", "/v1/rerank", `{"query":"alpha","documents":[{"title":"a"}]}`, 400, refused("documents[0].text: is missing")},
		{"an object whose text is none", "POST", "/v1/rerank", `{"query":"alpha","documents":[{"text":1}]}`, 400, refused("documents[0].text: has a number; must be a string")},
		{"a number", "POST", "/v1/rerank", `{"query":"alpha","documents":["a",1]}`, 400, refused("documents[1]: must be a string, or an object with a text")},
		{"documents that are a string", "POST", "/v1/rerank", `{"query":"alpha","documents":"a"}`, 400, refused("documents: has a string; must be an array")},
		{"top 0", "POST", "/v2/rerank", `{"query":"alpha","documents":["a"],"top_n":0}`, 400, refused("top_n: is 0; must be 1 or more")},
		{"other fields", "POST", "/v1/rerank", `{"query":"alpha","documents":["a"],"rank_fields":["title"]}`, 400, refused("rank_fields: can be text alone")},
		{"a member that nobody knows", "POST", "/v2/rerank", `{"query":"alpha","documents":["a"],"relevant_spans":{}}`, 400, refused("relevant_spans: is not a member that is known here; leave it out")},
		{"another method", "GET", "/v1/rerank", ``, 405, refused("GET is not a method of /v1/rerank; use POST")},
	})
	w = launch(t, options{})
	w.check([]call{{"no cross-encoder", "POST", "/v1/rerank", `{"query":"alpha","documents":["beta"]}`, 404, refused("the server has no cross-encoder; start it with --reranker ID")}})
}

func TestScholar(t *testing.T) {
	w := launch(t, options{})
	refused := func(message string) string { return `{"error":"` + message + `"}` }
	one, lists := "/recommendations/v1/papers/forpaper/", "/recommendations/v1/papers/"
	w.check([]call{
		{"by id", "GET", one + "own/4?limit=2", ``, 200, `{"recommendedPapers":[{"paperId":"ARXIV:2101.00001","title":"alpha"},{"paperId":"ARXIV:2101.00002","title":"alpha"}]}`},
		{"by another id, escaped", "GET", one + "DOI%3A10.1000%2Fa.1?limit=1&from=all-cs", ``, 200, `{"recommendedPapers":[{"paperId":"own/3","title":"gamma"}]}`},
		{"by another id", "GET", one + "arXiv:2101.00001?limit=1&fields=paperId,year", ``, 200, `{"recommendedPapers":[{"paperId":"own/3","year":null}]}`},
		{"by an address", "GET", one + "URL:https%3A%2F%2Farxiv.org%2Fabs%2F2101.00001?limit=1", ``, 200, `{"recommendedPapers":[{"paperId":"own/3","title":"gamma"}]}`},
		{"by an address as it is", "GET", one + "URL:https://arxiv.org/abs/2101.00001?limit=1", ``, 200, `{"recommendedPapers":[{"paperId":"own/3","title":"gamma"}]}`},
		{"by an id with dots", "GET", one + "a/../own//3", ``, 404, refused("Paper with id a/../own//3 not found")},
		{"no id", "GET", one, ``, 400, refused("paper_id: is empty; an id has 1 to 512 bytes")},
		{"all that is there", "GET", one + "own/3?limit=1&fields=title,abstract,authors,year,venue,externalIds,url,publicationDate,citationCount,corpusId", ``, 200,
			`{"recommendedPapers":[{"abstract":"alpha alpha beta","authors":[{"authorId":null,"name":"A. One"},{"authorId":null,"name":"B. Two"}],"citationCount":null,"corpusId":null,` +
				`"externalIds":{"ArXiv":"2101.00001","DOI":"10.1000/a.1"},"paperId":"ARXIV:2101.00001","publicationDate":"2021-01-02","title":"alpha","url":"https://example.org/1","venue":"V","year":2021}]}`},
		{"what is not there", "GET", one + "ARXIV:2101.00001?limit=1&fields=abstract,authors.name,url,externalIds,venue", ``, 200,
			`{"recommendedPapers":[{"abstract":"alpha alpha","authors":[],"externalIds":{},"paperId":"own/3","url":null,"venue":""}]}`},
		{"no such paper", "GET", one + "own/9", ``, 404, refused("Paper with id own/9 not found")},
		{"a field that nobody knows", "GET", one + "own/3?fields=title,x", ``, 400, refused("Unrecognized or unsupported fields: [x]")},
		{"a parameter that nobody knows", "GET", one + "own/3?k=3", ``, 400, refused("Unrecognized query parameter: [k]")},
		{"limit 0", "GET", one + "own/3?limit=0", ``, 400, refused(`limit: is \"0\"; must be a number, 1 to 500`)},
		{"limit 501", "GET", one + "own/3?limit=501", ``, 400, refused(`limit: is \"501\"; must be a number, 1 to 500`)},
		{"no limit", "GET", one + "own/3?limit=", ``, 400, refused(`limit: is \"\"; must be a number, 1 to 500`)},
		{"two limits", "GET", one + "own/3?limit=1&limit=2", ``, 400, refused("limit: is given 2 times")},
		{"from elsewhere", "GET", one + "own/3?from=old", ``, 400, refused(`from: is \"old\"; must be recent or all-cs`)},
		{"posted", "POST", one + "own/3", `{}`, 405, `{"error":"POST is not a method of /recommendations/v1/papers/forpaper/own/3; use GET","message":"POST is not a method of /recommendations/v1/papers/forpaper/own/3; use GET"}`},
		{"a blank id", "GET", one + "%20", ``, 400, refused(`paper_id: \" \" begins or ends with white space`)},

		{"lists", "POST", lists + "?limit=1&fields=title", `{"positivePaperIds":["ARXIV:2101.00001"],"negativePaperIds":["own/4"]}`, 200, `{"recommendedPapers":[{"paperId":"own/3","title":"gamma"}]}`},
		{"one list", "POST", "/recommendations/v1/papers?limit=1", `{"positivePaperIds":["own/3","own/4"],"negativePaperIds":null}`, 200, `{"recommendedPapers":[{"paperId":"ARXIV:2101.00001","title":"alpha"}]}`},
		{"one that is not there", "POST", lists, `{"positivePaperIds":["own/3","x"]}`, 404, refused("Paper with id x not found")},
		{"a bad one that is not there", "POST", lists, `{"positivePaperIds":["own/3"],"negativePaperIds":["y"]}`, 404, refused("Paper with id y not found")},
		{"none", "POST", lists, `{"positivePaperIds":[]}`, 400, refused(`positivePaperIds: is empty; give at least one positive example, or a text`)},
		{"a number", "POST", lists, `{"positivePaperIds":[1]}`, 400, refused("positivePaperIds: has a number; must be a string")},
		{"null", "POST", lists, `{"positivePaperIds":[null]}`, 400, refused("positivePaperIds[0]: is null; must be a string")},
		{"an unknown member", "POST", lists, `{"positivePaperIds":["own/3"],"k":3}`, 400, refused("k: is not a member that is known here; leave it out")},
		{"from, of lists", "POST", lists + "?from=recent", `{"positivePaperIds":["own/3"]}`, 400, refused("Unrecognized query parameter: [from]")},
		{"a GET", "GET", lists, ``, 405, `{"error":"GET is not a method of /recommendations/v1/papers/; use POST","message":"GET is not a method of /recommendations/v1/papers/; use POST"}`},
	})
}
