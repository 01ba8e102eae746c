package links

import (
	"testing"

	embeddv1 "embedd/proto/embedd/v1"
)

// What papers say of where they are leads to addresses of the web, or nowhere.
func TestPaper(t *testing.T) {
	for _, c := range []struct {
		p    *embeddv1.Paper
		want string
	}{
		{&embeddv1.Paper{Url: "https://a.example/x y"}, "https://a.example/x%20y"},
		{&embeddv1.Paper{Url: "HTTP://a.example/"}, "http://a.example/"},
		{&embeddv1.Paper{Url: "javascript:alert(1)"}, ""},
		{&embeddv1.Paper{Url: "java\tscript:alert(1)"}, ""},
		{&embeddv1.Paper{Url: "//a.example/"}, ""},
		{&embeddv1.Paper{Url: "https:a"}, ""},
		{&embeddv1.Paper{Url: "data:text/html,x", Doi: "10.1/x"}, "https://doi.org/10.1/x"},
		{&embeddv1.Paper{Doi: `10.1/<a>?b#c"`}, "https://doi.org/10.1/%3Ca%3E%3Fb%23c%22"},
		{&embeddv1.Paper{ArxivId: "cs/0112017"}, "https://arxiv.org/abs/cs/0112017"},
		{&embeddv1.Paper{Doi: "no DOI", ArxivId: "1234.5678"}, "https://arxiv.org/abs/1234.5678"},
		{&embeddv1.Paper{Id: "x"}, ""},
	} {
		if got := Paper(c.p); got != c.want {
			t.Errorf("%v is at %q, want %q", c.p, got, c.want)
		}
	}
}

// Only addresses of the web may be links.
func TestWeb(t *testing.T) {
	for s, want := range map[string]bool{
		"https://example.org/a": true, "http://example.org": true, "javascript:alert(1)": false, " javascript:alert(1)": false, "data:text/html,x": false, "//example.org": false, "/a": false,
		"https://": false, "https://user:pass@example.org": false, "vbscript:x": false, "": false, "JAVASCRIPT://example.org/%0Aalert(1)": false,
	} {
		if got := Web(s) != ""; got != want {
			t.Errorf("%q is a link: %t", s, got)
		}
	}
}
