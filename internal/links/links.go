// Package links says where papers are on the web. It is the one place that decides what may be a link in what other people's browsers show: addresses of the
// web alone, without names and passwords in them, whatever a paper says of itself.
package links

import (
	"net/url"
	"strings"

	embeddv1 "embedd/proto/embedd/v1"
)

// Paper is where a paper can be read: its own address where that may be a link, else by its DOI or its arXiv id; "" where nothing is known.
func Paper(p *embeddv1.Paper) string {
	for _, at := range []string{Web(p.GetUrl()), DOI(p.GetDoi()), Arxiv(p.GetArxivId())} {
		if at != "" {
			return at
		}
	}
	return ""
}

// Web is an address that may be a link; "" for others.
func Web(s string) string {
	if u, err := url.Parse(s); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil {
		return u.String()
	}
	return ""
}

// DOI is where a DOI leads; "" for what is none.
func DOI(s string) string {
	if !strings.HasPrefix(s, "10.") {
		return ""
	}
	return (&url.URL{Scheme: "https", Host: "doi.org", Path: "/" + s}).String()
}

// Arxiv is where an arXiv id leads; "" for none.
func Arxiv(s string) string {
	if s == "" {
		return ""
	}
	return (&url.URL{Scheme: "https", Host: "arxiv.org", Path: "/abs/" + s}).String()
}
