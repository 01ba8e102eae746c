package gateway

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

// points is what /map/points gives, read by what docs/map.md says of it.
type points struct {
	x, y     []float32
	cluster  []uint16
	year     []int16
	clusters int
	about    struct {
		Clusters []struct {
			Label  string
			X, Y   float32
			Papers int
		}
		Computed string
		Papers   int
	}
}

func readPoints(t *testing.T, body string) (p points) {
	t.Helper()
	b := []byte(body)
	take := func(n int) []byte {
		if len(b) < n {
			t.Fatalf("%d bytes are left, want %d", len(b), n)
		}
		some := b[:n]
		b = b[n:]
		return some
	}
	number := func() int { return int(binary.LittleEndian.Uint32(take(4))) }
	if magic, version := string(take(4)), number(); magic != "EMAP" || version != 1 {
		t.Fatalf("it begins with %q, version %d", magic, version)
	}
	n := number()
	p.clusters = number()
	for _, axis := range []*[]float32{&p.x, &p.y} {
		for range n {
			*axis = append(*axis, math.Float32frombits(uint32(number())))
		}
	}
	for range n {
		p.cluster = append(p.cluster, binary.LittleEndian.Uint16(take(2)))
	}
	for range n {
		p.year = append(p.year, int16(binary.LittleEndian.Uint16(take(2))))
	}
	text := take(number())
	if err := json.Unmarshal(text, &p.about); err != nil || len(b) > 0 {
		t.Fatalf("%v, %d bytes are left: %s", err, len(b), text)
	}
	if p.about.Papers != n || len(p.about.Clusters) != p.clusters {
		t.Errorf("%d papers, %d clusters: %s", n, p.clusters, text)
	}
	return p
}

// The map over HTTP: none, its points, what is not sent again, its papers, and what cannot be asked.
func TestMap(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	if none := r.do(t, "GET /map/points", ""); none.code != http.StatusNotFound || !strings.Contains(none.body, `"status":"NOT_FOUND"`) && !strings.Contains(none.body, `"code"`) || !strings.Contains(none.body, "embedd map") {
		t.Errorf("before it is made: %+v", none)
	}
	req := &embeddv1.UpsertPapersRequest{}
	for i := range 60 {
		req.Papers = append(req.Papers, &embeddv1.Paper{Id: fmt.Sprintf("p<%d>", i), Title: fmt.Sprintf("title %d & more", i), Year: int32(i % 3 * 1000)})
	}
	papers := embeddv1.NewPaperServiceClient(r.conn)
	if _, err := papers.UpsertPapers(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if made := r.do(t, "POST /v1/map:compute", "{}"); made.code != http.StatusOK || !strings.Contains(made.body, `"papers":"60"`) {
		t.Fatalf("%+v", made)
	}
	got := r.do(t, "GET /map/points", "")
	if got.code != http.StatusOK || got.header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("%+v", got)
	}
	p := readPoints(t, got.body)
	if len(p.x) != 60 || !slices.Equal(p.year[:4], []int16{0, 1000, 2000, 0}) {
		t.Errorf("%+v", p)
	}
	tag := got.header.Get("ETag")
	if again := r.do(t, "GET /map/points", "", "If-None-Match", `"x", `+tag); tag == "" || again.code != http.StatusNotModified || again.body != "" {
		t.Errorf("again: %+v", again)
	}
	if packed := r.do(t, "GET /map/points?collection=default", "", "Accept-Encoding", "gzip"); packed.code != http.StatusOK || len(packed.body) > len(got.body) {
		t.Errorf("packed: %d, %d bytes of %d", packed.code, len(packed.body), len(got.body))
	}
	as := "&computed=" + url.QueryEscape(p.about.Computed)
	list := func(query string) (out []struct {
		At        int
		ID, Title string
		Year      int
	}) {
		t.Helper()
		got := r.do(t, "GET /map/papers?"+query, "")
		if err := json.Unmarshal([]byte(got.body), &out); err != nil || got.code != http.StatusOK {
			t.Fatalf("%v: %+v", err, got)
		}
		return out
	}
	if found := list("at=59&at=1" + as); len(found) != 2 || found[0].At != 59 || found[0].ID != "p<59>" || found[1].Title != "title 1 & more" || found[1].Year != 1000 {
		t.Errorf("%+v", found)
	}
	if _, err := papers.DeletePapers(t.Context(), &embeddv1.DeletePapersRequest{Ids: []string{"p<1>"}}); err != nil {
		t.Fatal(err)
	}
	if found := list("at=59&at=1" + as); len(found) != 1 || found[0].At != 59 {
		t.Errorf("after one has gone: %+v", found)
	}
	if now := r.do(t, "GET /map/points", "", "If-None-Match", tag); now.code != http.StatusOK || len(readPoints(t, now.body).x) != 59 {
		t.Errorf("after one has gone: %+v", now)
	}
	for query, want := range map[string]string{
		"/map/papers?at=0":                                     "computed",
		"/map/papers?at=0&computed=now":                        "computed",
		"/map/papers?at=0&computed=2001-01-01T00:00:00Z":       "another map",
		"/map/papers?at=0&computed=9999999-01-01T00:00:00Z":    "computed",
		"/map/papers?at=60" + as:                               "at[0]",
		"/map/papers?at=-1" + as:                               "at[0]",
		"/map/papers?at=4294967296" + as:                       "at:",
		"/map/papers?at=%00" + as:                              "at:",
		"/map/papers?" + as[1:]:                                "at",
		"/map/papers?" + strings.Repeat("at=1&", 101) + as[1:]: "at: has 101",
		"/map/papers?at=0&id=1" + as:                           "id",
		"/map/papers?at=0" + as + as:                           "computed",
		"/map/papers?at=0&collection=a&collection=b" + as:      "collection",
		"/map/points?filter=x":                                 "filter",
		"/map/points?%zz":                                      "query",
		"/map/points?collection=%00":                           "collection",
	} {
		if got := r.do(t, "GET "+query, ""); got.code != http.StatusBadRequest && got.code != http.StatusNotFound || !strings.Contains(got.body, want) || !json.Valid([]byte(got.body)) {
			t.Errorf("%s: %+v", query, got)
		}
	}
	if post := r.do(t, "POST /map/points", "{}"); post.code != http.StatusMethodNotAllowed && post.code != http.StatusNotFound {
		t.Errorf("%+v", post)
	}
}
