package widget

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	embeddv1 "embedd/proto/embedd/v1"
)

// most is how large the script may be as it goes over the wire, in bytes.
const most = 6000

func TestScriptIsSmall(t *testing.T) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(element.text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes as it is written, %d as it is served, %d with gzip", len(source), len(element.text), packed.Len())
	if packed.Len() > most {
		t.Errorf("the script has %d bytes with gzip, want at most %d", packed.Len(), most)
	}
	for _, sink := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc", "cookie", "Storage", "sendBeacon", "indexedDB"} {
		if bytes.Contains(source, []byte(sink)) {
			t.Errorf("the script has the word %s", sink)
		}
	}
}

// answers is a server of one answer.
type answers struct {
	grpc.ClientConnInterface
	req *embeddv1.SearchRequest
	res *embeddv1.SearchResponse
	err error
}

func (a *answers) Invoke(_ context.Context, method string, req, res any, _ ...grpc.CallOption) error {
	if method != embeddv1.SearchService_Search_FullMethodName {
		return errors.New(method)
	}
	a.req = req.(*embeddv1.SearchRequest)
	if a.err == nil {
		proto.Merge(res.(proto.Message), a.res)
	}
	return a.err
}

// get asks the routes, with pairs of headers.
func get(a *answers, path string, headers ...string) *http.Response {
	mux := http.NewServeMux()
	Register(mux, a)
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestScriptRoutes(t *testing.T) {
	var tag struct{ Src, Integrity, Tag string }
	if err := json.Unmarshal([]byte(body(t, get(nil, "/related-papers.json"))), &tag); err != nil {
		t.Fatal(err)
	}
	if want := `<script defer src="` + tag.Src + `" integrity="` + tag.Integrity + `" crossorigin="anonymous"></script>`; tag.Tag != want {
		t.Errorf("the tag is %s, want %s", tag.Tag, want)
	}
	for path, keep := range map[string]string{"/related-papers.js": "public, max-age=3600", tag.Src: "public, max-age=31536000, immutable"} {
		res := get(nil, path)
		h := res.Header
		if res.StatusCode != 200 || h.Get("Cache-Control") != keep || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Cross-Origin-Resource-Policy") != "cross-origin" ||
			h.Get("Content-Type") != "text/javascript; charset=utf-8" {
			t.Errorf("%s: %d %v", path, res.StatusCode, h)
		}
		sum := sha512.Sum384([]byte(body(t, res)))
		if got := "sha384-" + base64.StdEncoding.EncodeToString(sum[:]); got != tag.Integrity {
			t.Errorf("%s has the hash %s, and the tag %s", path, got, tag.Integrity)
		}
		if res := get(nil, path, "If-None-Match", h.Get("ETag")); res.StatusCode != http.StatusNotModified || body(t, res) != "" {
			t.Errorf("%s once more: %d", path, res.StatusCode)
		}
	}
	if res := get(nil, "/related-papers.0123456789abcdef.js"); res.StatusCode != 404 {
		t.Errorf("another version: %d", res.StatusCode)
	}
}

// The script and the fragment say the same.
func TestLabels(t *testing.T) {
	for lang, l := range languages {
		line := ""
		for s := range strings.Lines(string(source)) {
			if strings.HasPrefix(strings.TrimSpace(s), lang+": '") {
				line = s
			}
		}
		for _, label := range append([]string{l.Heading, l.Empty, l.Failed, l.Others}, l.band[embeddv1.Band_BAND_STRONG], l.band[embeddv1.Band_BAND_RELATED], l.band[embeddv1.Band_BAND_WEAK]) {
			if !strings.Contains(line, label+"|") {
				t.Errorf("the script does not have %q in the line of %s", label, lang)
			}
		}
	}
}

func TestFragment(t *testing.T) {
	a := &answers{res: &embeddv1.SearchResponse{Hits: []*embeddv1.Hit{
		{Band: embeddv1.Band_BAND_STRONG, Paper: &embeddv1.Paper{Id: "a", Title: "One & <b>two</b>", Authors: []string{"A", "B", "C", "D"}, Venue: "V", Year: 2020, Url: "https://example.org/?a=1&b=2"}},
		{Paper: &embeddv1.Paper{Id: "no band", Url: "javascript:alert(1)"}},
		{Band: embeddv1.Band_BAND_WEAK, Paper: &embeddv1.Paper{Id: "weak", Title: "Weak"}},
	}}}
	res := get(a, "/fragment/related?id=DOI:10.1/x&count=3&lang=de-AT&filter=year+%3E+2000&collection=c")
	text := body(t, res)
	if want := (&embeddv1.SearchRequest{Query: &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: "DOI:10.1/x"}}, K: proto.Int32(3), Filter: "year > 2000", Collection: "c"}); !proto.Equal(a.req, want) {
		t.Errorf("asked with %v, want %v", a.req, want)
	}
	for _, want := range []string{
		`<section class="related-papers" lang="de">`, `aria-level="2">Verwandte Arbeiten<`, `href="https://example.org/?a=1&amp;b=2" rel="noopener nofollow ugc">One &amp; &lt;b&gt;two&lt;/b&gt;</a>`,
		"<bdi>A, B, C u. a. · V\u00a0·\u00a02020</bdi>", `<span class="related-papers-band strong">eng verwandt</span>`, `<span class="related-papers-title" dir="auto">no band</span>`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	for _, no := range []string{"Weak", "<html", "<style", "javascript"} {
		if strings.Contains(text, no) {
			t.Errorf("there is %s in\n%s", no, text)
		}
	}
	h := res.Header
	if res.StatusCode != 200 || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Content-Security-Policy") != fragmentPolicy || h.Get("Cache-Control") != "private, max-age=60" {
		t.Errorf("%d %v", res.StatusCode, h)
	}
	if res := get(a, "/fragment/related?id=DOI:10.1/x&count=3&lang=de-AT&filter=year+%3E+2000&collection=c", "If-None-Match", h.Get("ETag")); res.StatusCode != http.StatusNotModified {
		t.Errorf("once more: %d", res.StatusCode)
	}
	text = body(t, get(a, "/fragment/related?text=words&document=1&band=weak&heading=More+%3C"))
	for _, want := range []string{"<!doctype html>\n<html lang=\"en\">", "<title>More &lt;</title>", "<style>" + fragmentCSS + "</style>", `aria-level="1"`, `target="_top"`, ">Weak<", "</html>"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in the document\n%s", want, text)
		}
	}
	if a.req.GetQuery().GetText() != "words" {
		t.Errorf("asked with %v", a.req)
	}
	a.res = nil
	if text := body(t, get(a, "/fragment/related?id=x&lang=xx")); !strings.Contains(text, "No related papers were found.") {
		t.Errorf("of nothing: %s", text)
	}
}

// What goes wrong is HTML that says so, with its status, and can do no harm.
func TestFragmentErrors(t *testing.T) {
	for query, want := range map[string]string{
		"": "id is missing", "id=a&text=b": "both given", "id=a&id=b": "id is given 2 times", "id=a&count=0": "count is &#34;0&#34;; must be 1 to 50", "id=a&count=x": "must be 1 to 50", "id=a&band=best": "must be weak, related or strong",
		"id=a&document=yes": "must be 0 or 1", "id=a&level=7": "must be 1 to 6", "id=a&<script>=1": "&lt;script&gt;&#34; is not a parameter",
	} {
		a := &answers{}
		res := get(a, "/fragment/related?"+strings.NewReplacer("<", "%3C", ">", "%3E").Replace(query))
		if text := body(t, res); res.StatusCode != 400 || !strings.Contains(text, want) || strings.Contains(text, "<script") || a.req != nil {
			t.Errorf("%q: %d, %v, %s", query, res.StatusCode, a.req, text)
		}
	}
	for code, want := range map[codes.Code]int{
		codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.Unauthenticated: 401, codes.PermissionDenied: 403, codes.NotFound: 404, codes.ResourceExhausted: 429, codes.Internal: 500,
		codes.Unavailable: 503, codes.DeadlineExceeded: 504, codes.Canceled: 499,
	} {
		res := get(&answers{err: status.Error(code, "<i>wrong</i>")}, "/fragment/related?id=a")
		if text := body(t, res); res.StatusCode != want || res.Header.Get("Cache-Control") != "no-store" || !strings.Contains(text, "cannot be shown") || !strings.Contains(text, "&lt;i&gt;wrong&lt;/i&gt;") {
			t.Errorf("%v: %d %v %s", code, res.StatusCode, res.Header, text)
		}
	}
}
