package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"embedd/internal/access"
	"embedd/internal/admission"
	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

// Each method of the contract is reached by its name, and each but those whose requests are a stream by a route.
func TestEveryMethodIsReached(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	protoregistry.GlobalFiles.RangeFilesByPackage("embedd.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for s, j := f.Services().Get(i), 0; j < s.Methods().Len(); j++ {
				m := s.Methods().Get(j)
				if m.IsStreamingClient() {
					continue
				}
				kind, body := "application/json", "{}"
				if m.IsStreamingServer() {
					kind, body = "application/connect+json", "\x00\x00\x00\x00\x02{}"
				}
				got := r.do(t, fmt.Sprintf("POST /%s/%s", s.FullName(), m.Name()), body, "Content-Type", kind)
				if got.code == http.StatusNotFound && !strings.Contains(got.body, "there is no collection") && !strings.Contains(got.body, "the map is not made yet") && !strings.Contains(got.body, "there is no job") || strings.Contains(got.body, `"unimplemented"`) {
					t.Errorf("%s: %d %s", m.FullName(), got.code, got.body)
				}
				rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
				if rule.GetPattern() == nil {
					t.Errorf("%s has no route", m.FullName())
				}
				if path := rule.GetGet() + rule.GetPost(); streams[path] != m.IsStreamingServer() {
					t.Errorf("%s: its route %s is among those whose answers come in pieces: %t", m.FullName(), path, streams[path])
				}
			}
		}
		return true
	})
}

// An answer over HTTP is that over gRPC.
func TestSameAnswers(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	r.put(t, "a", "b", "c", "DOI:10.1000/x/y")
	papers, search, encode := embeddv1.NewPaperServiceClient(r.conn), embeddv1.NewSearchServiceClient(r.conn), embeddv1.NewEncodeServiceClient(r.conn)
	k := int32(2)
	text := &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: "about a"}}
	for _, c := range []struct {
		what, body string
		want       func() (proto.Message, error)
	}{
		{"GET /v1/papers/a", "", func() (proto.Message, error) {
			return papers.GetPaper(t.Context(), &embeddv1.GetPaperRequest{Id: "a"})
		}},
		{"GET /v1/papers/DOI:10.1000/x/y:related?k=2", "", func() (proto.Message, error) {
			return search.Related(t.Context(), &embeddv1.RelatedRequest{Id: "DOI:10.1000/x/y", K: &k})
		}},
		{"POST /v1/related", `{"id":"a","k":2}`, func() (proto.Message, error) {
			return search.Related(t.Context(), &embeddv1.RelatedRequest{Id: "a", K: &k})
		}},
		{"POST /v1/search", `{"query":{"text":"about a"},"k":2}`, func() (proto.Message, error) {
			return search.Search(t.Context(), &embeddv1.SearchRequest{Query: text, K: &k})
		}},
		{"GET /v1/search?query.text=about+a&k=2", "", func() (proto.Message, error) {
			return search.Search(t.Context(), &embeddv1.SearchRequest{Query: text, K: &k})
		}},
		{"POST /v1/encode", `{"texts":["x y"]}`, func() (proto.Message, error) {
			return encode.Encode(t.Context(), &embeddv1.EncodeRequest{Texts: []string{"x y"}})
		}},
		{"GET /v1/papers?pageSize=2&view=PAPER_VIEW_ID", "", func() (proto.Message, error) {
			size := int32(2)
			return papers.ListPapers(t.Context(), &embeddv1.ListPapersRequest{PageSize: &size, View: embeddv1.PaperView_PAPER_VIEW_ID})
		}},
		{"GET /v1/papers:count", "", func() (proto.Message, error) {
			return papers.CountPapers(t.Context(), &embeddv1.CountPapersRequest{})
		}},
		{"GET /v1/info", "", func() (proto.Message, error) {
			return embeddv1.NewInfoServiceClient(r.conn).GetInfo(t.Context(), &embeddv1.GetInfoRequest{})
		}},
		{"POST /embedd.v1.SearchService/Related", `{"id":"a","k":2}`, func() (proto.Message, error) {
			return search.Related(t.Context(), &embeddv1.RelatedRequest{Id: "a", K: &k})
		}},
	} {
		want, err := c.want()
		if err != nil {
			t.Fatal(err)
		}
		got := r.do(t, c.what, c.body, "Content-Type", "application/json")
		if got.code != http.StatusOK || !same(t, got.body, want) {
			t.Errorf("%s: %d\n%s\nover gRPC:\n%v", c.what, got.code, got.body, want)
		}
	}
}

// Ids are in paths whatever they are made of.
func TestIds(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	ids := []string{"a", "DOI:10.1000/x/y", "DOI:10.1000/x//y", "a/", "x%2Fy", "x%y", "ü/ß", "a b", "a+b", "a:related", "../../v1/info", "a?b#c", "semi;colon", "<script>", `quo"te`, "a&b=c", "papers:count", "https://x.example/a"}
	r.put(t, ids...)
	for _, id := range ids {
		for _, path := range []string{"/v1/papers/" + url.PathEscape(id), "/v1/papers/" + strings.ReplaceAll(url.PathEscape(id), "%2F", "/"), "/v1/papers/" + strings.ReplaceAll(url.PathEscape(id), ":", "%3A")} {
			if strings.HasSuffix(path, ":related") || strings.Contains(id, "%2F") && !strings.Contains(path, "%252F") {
				continue // a colon before the last word is a verb's, unless it is escaped
			}
			got := r.do(t, "GET "+path, "")
			var p embeddv1.GetPaperResponse
			if err := protojson.Unmarshal([]byte(got.body), &p); err != nil || got.code != http.StatusOK || p.GetPaper().GetId() != id {
				t.Errorf("%q as %s: %d %s: %v", id, path, got.code, got.body, err)
				continue
			}
			if strings.HasSuffix(id, "/") {
				continue // the verb would stand alone; POST /v1/related has no such limit
			}
			if got := r.do(t, "GET "+path+":related?k=3&view=PAPER_VIEW_ID", ""); got.code != http.StatusOK || strings.Count(got.body, `"paper"`) != 3 {
				t.Errorf("related to %q as %s: %d %s", id, path, got.code, got.body)
			}
		}
	}
}

// What is wrong is said, by the status that HTTP has for it.
func TestErrors(t *testing.T) {
	r := launch(t, server.Options{}, Options{Hosts: []string{"127.0.0.1"}})
	r.put(t, "a")
	for _, c := range []struct {
		what, body string
		code       int
		say        string
		headers    []string
	}{
		{"GET /v1/papers/none", "", 404, `no paper has the id \"none\"`, nil},
		{"GET /v1/papers/", "", 400, "id: is empty", nil},
		{"GET /v1/papers/a:related?k=x", "", 400, `"k: \"x\" is no number that fits"`, nil},
		{"GET /v1/papers/a:related?k=99999999999", "", 400, `"k: \"99999999999\" is no number that fits"`, nil},
		{"GET /v1/papers/a:related?exact=yes", "", 400, `"exact: \"yes\" is neither true nor false"`, nil},
		{"GET /v1/papers/a:related?view=ID", "", 400, `"view: \"ID\" is none of its values`, nil},
		{"GET /v1/papers/a:related?kk=1", "", 400, `\"kk\" is not a parameter`, nil},
		{"GET /v1/papers/a:related?k.x=1", "", 400, `\"k.x\" is not a parameter`, nil},
		{"GET /v1/papers/a:related?filter=year+%3E", "", 400, "filter:", nil},
		{"POST /v1/search", `{"query":{"text":"x"}`, 400, "cannot be read", nil},
		{"POST /v1/search", `{"query":{"text":"x"}} {}`, 400, "cannot be read", nil},
		{"POST /v1/search", `{"query":{"text":"x"},"kk":1}`, 400, `unknown field \"kk\"`, nil},
		{"POST /v1/search", `{"query":{"text":"x"},"k":"many"}`, 400, "k", nil},
		{"POST /v1/search", ``, 400, "query: is empty", nil},
		{"POST /v1/search", "\x1f\x8b", 501, "is compressed", []string{"Content-Encoding", "gzip"}},
		{"POST /v1/papers:upsert", `{"papers":[` + strings.Repeat("{},", 300_000) + `{}]}`, 413, "made of so many parts", nil},
		{"POST /v1/search", `{"query":{"text":"` + strings.Repeat("x", 2<<20) + `"}}`, 413, "the limit of this method is 1048576", nil},
		{"POST /v1/search", `{"query":{"text":"` + strings.Repeat("x", 17<<20) + `"}}`, 413, "the limit of this method is 16777216", nil},
		{"GET /v1/search?query.paper.id=x&query.paper.title=x&store=true", "", 400, "send a POST", nil},
		{"POST /v1/search", "\xff\xfe", 400, "cannot be read", nil},
		{"GET /v1/papers/%ff", "", 400, "id", nil},
		{"GET /v1/papers/a:related?collection=%ff", "", 400, "not UTF-8", nil},
		{"PUT /v1/info", "", 405, "PUT is not a method", nil},
		{"GET /nothing", "", 404, "/openapi.json", nil},
		{"GET /v1/info", "", 403, "is not a name of this server", []string{"Host", "evil.example"}},
		{"POST /v1/papers:delete", `{"ids":["a"]}`, 403, "of another origin", []string{"Origin", "https://evil.example"}},
		{"POST /v1/papers:delete", `{"ids":["a"]}`, 403, "of another origin", []string{"Sec-Fetch-Site", "cross-site"}},
		{"DELETE /v1/collections/none", "", 400, "there are no others", nil},
	} {
		got := r.do(t, c.what, c.body, c.headers...)
		if got.code != c.code || !strings.Contains(got.body, c.say) || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %.60s: %d %.300s\nwant %d, saying %q", c.what, c.body, got.code, got.body, c.code, c.say)
		}
		if !json.Valid([]byte(got.body)) {
			t.Errorf("%s: is not JSON: %s", c.what, got.body)
		}
	}
	if got := r.do(t, "GET /v1/papers/a", ""); got.code != http.StatusOK {
		t.Errorf("after all that: %d %s", got.code, got.body)
	}
}

// No header but those of the list changes anything.
func TestHeadersThatDoNothing(t *testing.T) {
	k, _ := key(t, access.Key{Role: access.Admin})
	keys, err := access.NewKeys([]access.Key{k})
	if err != nil {
		t.Fatal(err)
	}
	r := launch(t, server.Options{Keys: func() *access.Keys { return keys }}, Options{})
	for _, headers := range [][]string{
		nil,
		{"Grpc-Metadata-Authorization", "Bearer x"}, {"Grpc-Metadata-X-Api-Key", "x"}, {"X-Forwarded-For", "127.0.0.1"}, {"X-Embedd-Internal", "1"},
		{"X-HTTP-Method-Override", "GET"}, {"Cookie", "authorization=x"}, {"Grpcgateway-Authorization", "x"},
	} {
		for _, what := range []string{"GET /v1/info", "POST /embedd.v1.InfoService/GetInfo", "GET /v1/info?key=x"} {
			body := ""
			if strings.HasPrefix(what, "POST") {
				body = "{}"
			}
			got := r.do(t, what, body, append(headers, "Content-Type", "application/json")...)
			if got.code != http.StatusUnauthorized && !(strings.Contains(what, "?") && got.code == http.StatusBadRequest) {
				t.Errorf("%s with %v: %d %s", what, headers, got.code, got.body)
			}
		}
	}
}

// Keys over HTTP are what they are over gRPC.
func TestKeys(t *testing.T) {
	reader, readerSecret := key(t, access.Key{Role: access.Read})
	admin, adminSecret := key(t, access.Key{Role: access.Admin})
	page, pageSecret := key(t, access.Key{Role: access.Read, Origins: []string{"https://a.example"}, Expires: time.Now().Add(time.Hour)})
	keys, err := access.NewKeys([]access.Key{reader, admin, page})
	if err != nil {
		t.Fatal(err)
	}
	r := launch(t, server.Options{Keys: func() *access.Keys { return keys }}, Options{AllowOrigin: keys.Knows})
	const write = `{"papers":[{"id":"a","title":"t"}]}`
	for _, c := range []struct {
		what, body string
		code       int
		say        string
		headers    []string
	}{
		{"POST /v1/papers:upsert", write, 401, "there is no key", nil},
		{"POST /v1/papers:upsert", write, 401, "", []string{"X-Api-Key", "embedd_none_none"}},
		{"POST /v1/papers:upsert", write, 401, "not of the form", []string{"Authorization", "Basic eDp5"}},
		{"POST /v1/papers:upsert", write, 401, "2 keys", []string{"X-Api-Key", adminSecret, "Authorization", "Bearer " + adminSecret}},
		{"POST /v1/papers:upsert", write, 403, "needs a key with the role", []string{"X-Api-Key", readerSecret}},
		{"POST /v1/papers:upsert", write, 200, "", []string{"Authorization", "Bearer " + adminSecret}},
		{"GET /v1/papers/a", "", 200, "", []string{"X-Api-Key", readerSecret}},
		{"GET /v1/papers/a", "", 401, "not for this origin", []string{"X-Api-Key", pageSecret}},
		{"GET /v1/papers/a", "", 401, "not for this origin", []string{"X-Api-Key", pageSecret, "Origin", "https://b.example"}},
		{"GET /v1/papers/a", "", 200, "", []string{"X-Api-Key", pageSecret, "Origin", "https://a.example"}},
		{"POST /v1/search", `{"query":{"text":"x"}}`, 200, "", []string{"X-Api-Key", pageSecret, "Origin", "https://a.example", "Sec-Fetch-Site", "cross-site"}},
		{"POST /v1/papers:upsert", write, 403, "needs a key", []string{"X-Api-Key", pageSecret, "Origin", "https://a.example"}},
	} {
		got := r.do(t, c.what, c.body, c.headers...)
		if got.code != c.code || !strings.Contains(got.body, c.say) {
			t.Errorf("%s with %d headers: %d %s\nwant %d, saying %q", c.what, len(c.headers)/2, got.code, got.body, c.code, c.say)
		}
		if c.code == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", c.what)
		}
	}
	if strings.Contains(r.log.String(), adminSecret) {
		t.Error("the log has a key")
	}

	// Of a request without a good key no body is read: the answer comes before it.
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/papers:upsert HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000000\r\n\r\n", r.addr)
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "401") {
		t.Errorf("before its body: %q, %v", line, err)
	}
}

// Pages of other origins read answers where they are allowed to.
func TestCrossOrigin(t *testing.T) {
	allow := func(origin string) bool { return origin == "https://a.example" }
	r := launch(t, server.Options{}, Options{AllowOrigin: allow})
	none := launch(t, server.Options{}, Options{})
	r.put(t, "a")
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,x-api-key"}
	for _, c := range []struct {
		on     *running
		what   string
		origin string
		want   string
	}{
		{r, "GET /v1/papers/a", "https://a.example", "https://a.example"},
		{r, "OPTIONS /v1/search", "https://a.example", "https://a.example"},
		{r, "GET /v1/papers/a", "https://b.example", ""},
		{r, "OPTIONS /v1/search", "https://b.example", ""},
		{r, "GET /v1/papers/a", "null", ""},
		{none, "GET /v1/papers/a", "https://a.example", ""},
		{none, "OPTIONS /v1/search", "https://a.example", ""},
	} {
		headers := []string{"Origin", c.origin}
		if strings.HasPrefix(c.what, "OPTIONS") {
			headers = append(headers, preflight...)
		}
		got := c.on.do(t, c.what, "", headers...)
		if allowed := got.header.Get("Access-Control-Allow-Origin"); allowed != c.want || got.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s of %s: allows %q, want %q", c.what, c.origin, allowed, c.want)
		}
		if c.on == r && !strings.Contains(strings.Join(got.header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s of %s: does not vary by origin", c.what, c.origin)
		}
	}
}

// A client that has the answer is told so, whatever the time that it took; after a change it gets the new one.
func TestTags(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	r.put(t, "a", "b")
	const what = "GET /v1/papers/a:related?k=5"
	first := r.do(t, what, "")
	tag := first.header.Get("ETag")
	if tag == "" || !strings.Contains(first.header.Get("Cache-Control"), "no-cache") {
		t.Fatalf("headers %v", first.header)
	}
	for _, has := range []string{tag, `"x", ` + tag, "*"} {
		if got := r.do(t, what, "", "If-None-Match", has); got.code != http.StatusNotModified || got.body != "" || got.header.Get("ETag") != tag {
			t.Errorf("has %s: %d %s", has, got.code, got.body)
		}
	}
	if got := r.do(t, "HEAD /v1/papers/a:related?k=5", ""); got.code != http.StatusOK || got.body != "" || got.header.Get("ETag") != tag {
		t.Errorf("HEAD: %d %v", got.code, got.header)
	}
	r.put(t, "c")
	if got := r.do(t, what, "", "If-None-Match", tag); got.code != http.StatusOK || !strings.Contains(got.body, `"c"`) {
		t.Errorf("after a change: %d %s", got.code, got.body)
	}
	if got := r.do(t, "GET /v1/papers/none", "", "If-None-Match", "*"); got.code != http.StatusNotFound {
		t.Errorf("an error: %d %s", got.code, got.body)
	}
}

// Answers are compressed as their clients like it, and are the same.
func TestCompression(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	var ids []string
	for i := range 30 {
		ids = append(ids, fmt.Sprint("paper-number-", i))
	}
	r.put(t, ids...)
	const what = "GET /v1/papers?pageSize=30"
	plain := r.do(t, what, "", "Accept-Encoding", "identity")
	for _, kind := range []string{"gzip", "br", "zstd"} {
		got := r.do(t, what, "", "Accept-Encoding", kind)
		if got.header.Get("Content-Encoding") != kind || len(got.body) > len(plain.body)/2 {
			t.Errorf("%s: %v, %d bytes of %d", kind, got.header, len(got.body), len(plain.body))
		}
	}
	if got := r.do(t, "GET /v1/papers/paper-number-1", "", "Accept-Encoding", "gzip"); got.header.Get("Content-Encoding") != "" {
		t.Errorf("a small answer is compressed: %v", got.header)
	}
}

// A request with a body is taken off the rate once, whether a call comes of it or not, and a write off that of writes alone.
func TestRatesOfBodies(t *testing.T) {
	for _, c := range []struct {
		what, body string
		code, most int
	}{
		{"POST /v1/search", `{"query":{"text":"x"}`, http.StatusBadRequest, 10}, // no JSON
		{"POST /v1/search", `{"query":{"text":"x"}}`, http.StatusOK, 10},
		{"POST /nothing", "{}", http.StatusNotFound, 10},
		{"POST /v1/embeddings", "{}", http.StatusBadRequest, 10},
		{"POST " + embeddv1.SearchService_Search_FullMethodName, "{", http.StatusBadRequest, 10},
		{"POST /v1/papers:delete", `{"ids":["x"]}`, http.StatusOK, 4},
	} {
		r := launch(t, server.Options{Limits: server.Limits{Rate: 5, WriteRate: 2}}, Options{})
		begin, n := time.Now(), 0
		for ; n < 100; n++ {
			got := r.do(t, c.what, c.body, "Content-Type", "application/json")
			if got.code == http.StatusTooManyRequests {
				break
			}
			if got.code != c.code {
				t.Fatalf("%s %s: %d %s", c.what, c.body, got.code, got.body)
			}
		}
		if came := int(time.Since(begin).Seconds()*5) + 1; n < c.most || n > c.most+came {
			t.Errorf("%s %s: %d were let in, want %d", c.what, c.body, n, c.most)
		}
		// Writes have left calls alone.
		if got := r.do(t, "POST /v1/search", `{"query":{"text":"x"}}`); (c.most == 4) != (got.code == http.StatusOK) && time.Since(begin) < 100*time.Millisecond {
			t.Errorf("%s %s: then a search is answered with %d", c.what, c.body, got.code)
		}
	}
}

// Few answers are compressed at once, however slowly they are read; others go as they are.
func TestCompressionsAtOnce(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	h := packable(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-goOn
		w.WriteHeader(http.StatusAccepted)
	}), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ask := func() *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Encoding", "br")
		h.ServeHTTP(w, r)
		return w
	}
	var all sync.WaitGroup
	for range compressions {
		all.Go(func() { ask() })
		<-began
	}
	if w := ask(); w.Code != http.StatusOK || w.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("one more: %d %v", w.Code, w.Header())
	}
	close(goOn)
	all.Wait()
	go func() { <-began }()
	if w := ask(); w.Code != http.StatusAccepted {
		t.Errorf("after them: %d", w.Code)
	}
}

// A panic is answered as an error, and its stack is in the log; what is said of a request that cannot be read is short.
func TestPanics(t *testing.T) {
	r := launch(t, server.Options{}, Options{Live: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a mistake") })})
	if got := r.do(t, "GET /status/live", ""); got.code != http.StatusInternalServerError || !strings.Contains(got.body, "internal error") || strings.Contains(got.body, "mistake") {
		t.Errorf("%d %s", got.code, got.body)
	}
	if log := r.log.String(); !strings.Contains(log, "level=ERROR msg=panic") || !strings.Contains(log, "TestPanics") {
		t.Errorf("the log has %s", log)
	}
	if got := r.do(t, "POST /v1/search", `{"k":1`+strings.Repeat("0", 1<<20)+`}`); got.code != http.StatusBadRequest || len(got.body) > 1000 {
		t.Errorf("%d, %d bytes", got.code, len(got.body))
	}
}

// An export comes in lines, and all of it.
func TestExport(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	var ids []string
	for i := range 250 {
		ids = append(ids, fmt.Sprint("p", i))
	}
	r.put(t, ids...)
	got := r.do(t, "GET /v1/papers:export?view=PAPER_VIEW_ID", "")
	n := 0
	for line := range strings.Lines(got.body) {
		var piece struct {
			Result struct{ Papers []struct{ ID string } }
		}
		if err := json.Unmarshal([]byte(line), &piece); err != nil {
			t.Fatal(err)
		}
		n += len(piece.Result.Papers)
	}
	if got.code != http.StatusOK || n != len(ids) || got.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d papers of %d, %d, %v", n, len(ids), got.code, got.header)
	}
}

// Requests whose bodies come slowly are held within what there may be of them at once.
func TestBodiesAtOnce(t *testing.T) {
	r := launch(t, server.Options{Limits: server.Limits{MessageBytes: 8 << 20}}, Options{})
	body := `{"query":{"text":"` + strings.Repeat("x", 6<<20)
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /v1/papers:upsert HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", r.addr, 15<<20)
		if _, err := io.WriteString(conn, body); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	refused := make(chan string, len(conns))
	for _, conn := range conns {
		go func() {
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			line, _ := bufio.NewReader(conn).ReadString('\n')
			refused <- line
		}()
	}
	select {
	case line := <-refused:
		if !strings.Contains(line, "429") {
			t.Errorf("says %q", line)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody is refused")
	}
}

// A stop lets what is under way end, and takes nothing new.
func TestStop(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	began, goOn := make(chan struct{}), make(chan struct{})
	r.encoder.before = func(context.Context) error {
		close(began)
		<-goOn
		return nil
	}
	got := make(chan answer, 1)
	go func() { got <- r.do(t, "POST /v1/encode", `{"texts":["x"]}`) }()
	<-began
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.Stop(10 * time.Second)
	}()
	for {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			break
		}
		conn.Close()
		time.Sleep(time.Millisecond)
	}
	close(goOn)
	if a := <-got; a.code != http.StatusOK {
		t.Errorf("%d %s", a.code, a.body)
	}
	<-stopped
}

// A call that takes longer than its class may is ended, and a client that goes away ends its call.
func TestEnds(t *testing.T) {
	r := launch(t, server.Options{Limits: server.Limits{Classes: map[embeddv1.Class]server.ClassLimits{
		embeddv1.Class_CLASS_ENCODE: {MessageBytes: 1 << 20, Deadline: 50 * time.Millisecond, Gate: admission.Options{Name: "encode", Running: 1, Burst: time.Second, Standing: time.Second}},
	}}}, Options{})
	ended := make(chan error, 1)
	r.encoder.before = func(ctx context.Context) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	if got := r.do(t, "POST /v1/encode", `{"texts":["x"]}`); got.code != http.StatusGatewayTimeout || !strings.Contains(got.body, "the server gives an encode call 50ms") {
		t.Errorf("%d %s", got.code, got.body)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the call goes on")
	}
}

// A stop ends streams at once, and waits for calls whose requests it has given up.
func TestStopOfWhatLasts(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	client := h2c(t)
	began, goOn := make(chan struct{}, 2), make(chan struct{})
	var calls atomic.Int64
	r.encoder.before = func(ctx context.Context) error {
		if began <- struct{}{}; calls.Add(1) > 1 {
			<-goOn // whatever becomes of the call
		}
		return ctx.Err()
	}
	reader, writer := io.Pipe()
	defer writer.Close()
	ended := r.stream(t, client, reader)
	if _, err := io.WriteString(writer, frame(27, `{"request":{"texts":["x"]}}`)); err != nil {
		t.Fatal(err)
	}
	<-began
	go func() {
		if res, err := http.Post(r.url+"/v1/encode", "application/json", strings.NewReader(`{"texts":["y"]}`)); err == nil {
			res.Body.Close()
		}
	}()
	<-began
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.Stop(2 * time.Second)
	}()
	select {
	case got := <-ended:
		if !strings.Contains(got, "the server is stopping") {
			t.Errorf("the stream ends with %s", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("the stream goes on")
	}
	select {
	case <-stopped:
		t.Error("stopped while a call runs")
	case <-time.After(3 * time.Second):
	}
	close(goOn)
	<-stopped
}

// Who has most answers to read over HTTP makes room for those who ask over gRPC.
func TestUnreadAnswersOverHTTP(t *testing.T) {
	r := launch(t, server.Options{Limits: server.Limits{MessageBytes: 45 << 10}}, Options{})
	texts := make([]string, 250)
	for i := range texts {
		texts[i] = "x"
	}
	body, err := json.Marshal(map[string]any{"texts": texts})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	for id := uint32(1); id < 5; id += 2 {
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", r.addr}, {":path", "/v1/encode"}} {
			if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}), f.WriteData(id, true, body)); err != nil {
			t.Fatal(err)
		}
	}
	for answered := 0; answered < 2; { // and none of it is read
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := frame.(*http2.HeadersFrame); ok {
			answered++
		}
	}
	if _, err := embeddv1.NewEncodeServiceClient(r.conn).Encode(t.Context(), &embeddv1.EncodeRequest{Texts: texts}); err != nil {
		t.Error(err)
	}
	for {
		if _, err := f.ReadFrame(); err != nil {
			break
		}
	}
}

// So many requests are under way from one address, and no more.
func TestRequestsAtOnce(t *testing.T) {
	r := launch(t, server.Options{Limits: server.Limits{Classes: map[embeddv1.Class]server.ClassLimits{
		embeddv1.Class_CLASS_ENCODE: {MessageBytes: 1 << 20, Deadline: time.Minute, Gate: admission.Options{Name: "encode", Running: 1000, Burst: time.Minute, Standing: time.Minute}},
	}}}, Options{})
	began, goOn := make(chan struct{}, 1000), make(chan struct{})
	r.encoder.before = func(context.Context) error {
		began <- struct{}{}
		<-goOn
		return nil
	}
	codes := make(chan int, 1000)
	client := h2c(t)
	const all = 600
	for range all {
		go func() {
			res, err := client.Post(r.url+"/v1/encode", "application/json", strings.NewReader(`{"texts":["x"]}`))
			if err != nil {
				codes <- 0
				return
			}
			defer res.Body.Close()
			if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode == http.StatusTooManyRequests && !strings.Contains(string(b), "requests at once") {
				t.Errorf("%v, %s", err, b)
			}
			codes <- res.StatusCode
		}()
	}
	refused := 0
	for refused < all-512 {
		select {
		case code := <-codes:
			if code != http.StatusTooManyRequests {
				t.Fatalf("%d while none has ended", code)
			}
			refused++
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d are refused", refused, all)
		}
	}
	close(goOn)
	for range all - refused {
		<-codes
	}
	if got := r.do(t, "POST /v1/encode", `{"texts":["x"]}`); got.code != http.StatusOK {
		t.Errorf("after all that: %d %s", got.code, got.body)
	}
}
