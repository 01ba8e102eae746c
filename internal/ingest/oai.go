package ingest

import (
	"bytes"
	"strings"
)

func isOAI(h *beginning) bool {
	switch rootOf(h.text) {
	case "OAI-PMH", "ListRecords", "GetRecord":
		return true
	case "record", "records":
		return bytes.Contains(h.text, []byte("openarchives.org/OAI")) || bytes.Contains(h.text, []byte("<header"))
	}
	return false
}

var oai = xmlForm{whole: []string{"record"}, read: readOAI}

// readOAI reads a record of OAI-PMH: arXiv's forms arXiv and arXivRaw, and Dublin Core, which all repositories have.
func readOAI(e element, _ *volume) (Paper, error) {
	header := e.child("header")
	if header.exists() && header.attr("status") == "deleted" {
		return Paper{}, passedOver("deleted by its repository")
	}
	id := header.child("identifier").text()
	metadata := e.child("metadata")
	switch {
	case metadata.child("arXiv").exists():
		return readArxiv(metadata.child("arXiv"))
	case metadata.child("arXivRaw").exists():
		return readArxivRaw(metadata.child("arXivRaw"))
	case metadata.child("dc").exists():
		return readDublinCore(metadata.child("dc"), id)
	}
	form := "nothing"
	metadata.each("", func(c element) { form = c.name() })
	return Paper{ID: id}, at("metadata", "want arXiv, arXivRaw or oai_dc, got %s; harvest with one of these as metadataPrefix", shorten(form))
}

func readArxiv(a element) (Paper, error) {
	if a.child("id").text() == "" {
		return Paper{}, at("id", "missing")
	}
	p := arxivPaper(a.child("id").text(), a.child("doi").text())
	p.Title, p.Abstract, p.Venue = a.child("title").text(), a.child("abstract").text(), a.child("journal-ref").text()
	a.child("authors").each("author", func(n element) {
		p.Authors = append(p.Authors, name(n.child("forenames").text(), n.child("keyname").text(), n.child("suffix").text()))
	})
	return finishArxiv(p, a, isoDate(a.child("created").text()), isoDate(a.child("updated").text()))
}

func readArxivRaw(a element) (Paper, error) {
	if a.child("id").text() == "" {
		return Paper{}, at("id", "missing")
	}
	p := arxivPaper(a.child("id").text(), a.child("doi").text())
	p.Title, p.Abstract, p.Venue = a.child("title").text(), a.child("abstract").text(), a.child("journal-ref").text()
	p.Authors = splitNames(a.child("authors").text())
	var first, last string
	a.each("version", func(v element) {
		if last = isoDate(v.child("date").text()); first == "" {
			first = last
		}
	})
	return finishArxiv(p, a, first, last)
}

func finishArxiv(p Paper, a element, created, updated string) (Paper, error) {
	p.Year = yearOf(created)
	f := facts{}
	f.put("published", created)
	if updated != created {
		f.put("updated", updated)
	}
	f.put("categories", strings.Fields(a.child("categories").text()))
	f.put("comments", a.child("comments").text())
	f.put("license", a.child("license").text())
	f.put("report_no", a.child("report-no").text())
	return finish(p, f)
}

func readDublinCore(dc element, id string) (Paper, error) {
	p := Paper{Title: dc.child("title").text()}
	f := facts{}
	for _, text := range dc.texts("description") {
		if p.Abstract == "" && !strings.HasPrefix(text, "Comment:") {
			p.Abstract = text
		}
	}
	for _, text := range dc.texts("creator") {
		p.Authors = append(p.Authors, turned(text))
	}
	for _, text := range dc.texts("identifier") {
		switch doi := bareDOI(text); {
		case isDOI(doi):
			if p.DOI == "" {
				p.DOI = doi
			}
		case strings.HasPrefix(text, "http") && p.URL == "":
			p.URL = text
		}
	}
	if dates := dc.texts("date"); len(dates) > 0 {
		day := isoDate(dates[0])
		if len(day) == 0 {
			day = someYear.FindString(dates[0])
		}
		f.put("published", day)
		p.Year = yearOf(day)
	}
	if arxiv, ok := strings.CutPrefix(id, "oai:arXiv.org:"); ok {
		p.ID, p.ArxivID = "ARXIV:"+arxiv, arxiv
	} else if p.DOI == "" {
		p.ID = id
	}
	if a := arxivOfDOI(p.DOI); a != "" && p.ArxivID == "" {
		p.ArxivID = a
	}
	f.put("keywords", dc.texts("subject"))
	f.put("types", dc.texts("type"))
	f.put("language", dc.child("language").text())
	f.put("publisher", dc.child("publisher").text())
	return finish(p, f)
}
