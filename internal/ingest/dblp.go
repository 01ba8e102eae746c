package ingest

import (
	"regexp"
	"strings"
)

func isDBLP(h *beginning) bool { return rootOf(h.text) == "dblp" }

var dblp = xmlForm{
	whole: []string{"article", "inproceedings", "incollection", "book", "phdthesis", "mastersthesis", "data", "proceedings", "www", "person"},
	read:  readDBLP,
}

// homonym is what dblp puts behind a name that several people have.
var homonym = regexp.MustCompile(` [0-9]{4}$`)

// readDBLP reads a record of dblp.xml.
func readDBLP(e element, _ *volume) (Paper, error) {
	key := e.attr("key")
	switch e.name() {
	case "www", "person":
		return Paper{}, passedOver("of dblp, a person's page")
	case "proceedings":
		return Paper{}, passedOver("of dblp, a volume of proceedings")
	}
	if blank(key) {
		return Paper{}, at("key", "empty or missing")
	}
	p := Paper{Title: e.child("title").text(), Year: yearOf(e.child("year").text()), URL: "https://dblp.org/rec/" + key}
	if t, ok := strings.CutSuffix(p.Title, "."); ok && !strings.HasSuffix(t, ".") { // dblp's own
		p.Title = t
	}
	for _, a := range e.texts("author") {
		p.Authors = append(p.Authors, homonym.ReplaceAllString(a, ""))
	}
	for _, where := range []string{"journal", "booktitle", "school", "publisher"} {
		if p.Venue == "" {
			p.Venue = e.child(where).text()
		}
	}
	for _, link := range e.texts("ee") {
		doi := bareDOI(link)
		switch arxiv, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimPrefix(link, "https://"), "http://"), "arxiv.org/abs/"); {
		case ok && p.ArxivID == "":
			p.ArxivID = arxiv
		case isDOI(doi) && p.DOI == "":
			p.DOI = doi
		}
	}
	if p.ArxivID == "" {
		p.ArxivID = arxivOfDOI(p.DOI)
	}
	if p.DOI == "" {
		p.ID = "DBLP:" + key
	}
	if links := e.texts("ee"); len(links) > 0 {
		p.URL = links[0]
	}
	f := facts{}
	f.put("type", e.name())
	if p.Year > 0 {
		f.put("published", dateOf(int(p.Year), monthOf(e.child("month").text()), 0))
	}
	f.put("updated", isoDate(e.attr("mdate")))
	f.put("ids", map[string]string{"dblp": key})
	return finish(p, f)
}
