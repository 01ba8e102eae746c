package gateway

import (
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

// atom is what a feed must have by RFC 4287.
type atom struct {
	XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string   `xml:"id"`
	Title   string   `xml:"title"`
	Updated string   `xml:"updated"`
	Entries []struct {
		ID      string `xml:"id"`
		Title   string `xml:"title"`
		Updated string `xml:"updated"`
		Author  []struct {
			Name string `xml:"name"`
		} `xml:"author"`
		Links []struct {
			Href string `xml:"href,attr"`
			Rel  string `xml:"rel,attr"`
		} `xml:"link"`
		Summary string `xml:"summary"`
	} `xml:"entry"`
}

// A feed is well-formed whatever papers say, has the newest first, and is not sent again to who has it.
func TestFeeds(t *testing.T) {
	r := launch(t, server.Options{}, Options{})
	date := func(s string) *structpb.Struct {
		m, err := structpb.NewStruct(map[string]any{"published": s})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	_, err := embeddv1.NewPaperServiceClient(r.conn).UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{
		{Id: "q", Title: "query", Year: 2000},
		{Id: "old", Title: "<script>alert(1)</script> & \x01", Year: 2001, Metadata: date("2001-05-01"), Url: "javascript:alert(1)", Doi: "10.1/x<y"},
		{Id: "new", Title: "]]>", Abstract: "about", Year: 2020, Metadata: date("2020-12-31"), Authors: []string{"A", "B"}, Url: "https://x.example/?a=1&b=2"},
		{Id: "none", Abstract: "no title, no year", ArxivId: "1234.5678"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ query, first, title string }{
		{"paper=q", "]]>", "Papers related to q"},
		{"paper=q&date_field=metadata.published", "]]>", "Papers related to q"},
		{"text=some+%3Ctext%3E&count=2", "]]>", "Papers about some <text>"},
		{"paper=q&paper=old&filter=year+%3E+1", "]]>", "Papers related to 2 others"},
	} {
		got := r.do(t, "GET /feeds/related?"+c.query, "")
		var f atom
		if err := xml.Unmarshal([]byte(got.body), &f); got.code != http.StatusOK || err != nil {
			t.Errorf("%s: %d %v\n%s", c.query, got.code, err, got.body)
			continue
		}
		if f.Title != c.title || f.ID == "" || len(f.Entries) == 0 || f.Entries[0].Title != c.first || got.header.Get("Content-Type") != "application/atom+xml; charset=utf-8" {
			t.Errorf("%s:\n%s", c.query, got.body)
		}
		last := f.Updated
		for _, e := range f.Entries {
			if _, err := time.Parse(time.RFC3339, e.Updated); err != nil || e.Updated > last || len(e.Author) == 0 || e.ID == "" || e.Title == "" {
				t.Errorf("%s: entry %+v", c.query, e)
			}
			for _, l := range e.Links {
				if !strings.HasPrefix(l.Href, "https://") {
					t.Errorf("%s: links to %s", c.query, l.Href)
				}
			}
			last = e.Updated
		}
		if again := r.do(t, "GET /feeds/related?"+c.query, "", "If-None-Match", got.header.Get("ETag")); again.code != http.StatusNotModified {
			t.Errorf("%s: again: %d", c.query, again.code)
		}
	}
	for query, say := range map[string]string{
		"": "give either paper", "paper=q&text=x": "give either paper", "paper=nobody": "no paper has the id", "paper=q&count=0": "count:", "paper=q&count=101": "must be 1 to 100",
		"paper=q&band=some": "band:", "paper=q&key=x": `\"key\" is not a parameter`, "paper=q&count=1&count=2": "count: is given 2 times", "paper=q&filter=yaer+%3E+1": "year",
	} {
		if got := r.do(t, "GET /feeds/related?"+query, ""); got.code < 400 || got.code > 404 || !strings.Contains(got.body, say) {
			t.Errorf("%s: %d %s, want %q", query, got.code, got.body, say)
		}
	}
}
