package ingest

import (
	"regexp"
	"strings"
)

func isCrossref(h *beginning) bool {
	for _, at := range []string{"", "items/", "message/", "message/items/"} {
		if h.json[at+"DOI"] != "" && (h.json[at+"URL"] != "" || h.json[at+"type"] != "" || h.json[at+"prefix"] != "" || h.json[at+"indexed"] != "") {
			return true
		}
	}
	return strings.HasPrefix(h.json["message-type"], `"work`)
}

// notPapers are the types of Crossref that name a whole of which papers are parts, or a part of one.
var notPapers = map[string]bool{"journal": true, "journal-issue": true, "journal-volume": true, "proceedings-series": true, "book-series": true, "book-set": true,
	"report-series": true, "component": true, "grant": true, "peer-review": true, "database": true}

// heading is the word that many publishers have above an abstract.
var heading = regexp.MustCompile(`(?i)^\s*<jats:title>\s*(abstract|summary)[.:]?\s*</jats:title>`)

// parseCrossref reads a work of Crossref, of its public data file or an answer of its REST API.
func parseCrossref(record []byte) (Paper, error) {
	var w struct {
		DOI, URL, Type, Language, Publisher string
		Title, Subtitle, Subject            []string
		Abstract                            string
		ContainerTitle                      []string `json:"container-title"`
		Author                              []struct{ Given, Family, Name, Suffix string }
		Issued, Published                   struct {
			Parts [][]*int `json:"date-parts"`
		}
		CitedBy int      `json:"is-referenced-by-count"`
		ISSN    []string `json:"ISSN"`
	}
	if bad := pick(record, &w, "doi", "url", "type", "language", "publisher", "title", "subtitle", "subject", "abstract", "container-title", "author", "issued", "published",
		"is-referenced-by-count", "issn"); bad != nil {
		return Paper{}, bad
	}
	doi := bareDOI(w.DOI)
	if doi == "" {
		return Paper{}, at("DOI", "empty or missing")
	}
	if notPapers[w.Type] {
		return Paper{}, passedOver("of Crossref's type " + w.Type)
	}
	p := Paper{ID: doiID(doi), DOI: doi, ArxivID: arxivOfDOI(doi), URL: w.URL, Abstract: withoutTags(heading.ReplaceAllString(w.Abstract, ""))}
	if len(w.Title) > 0 {
		p.Title = withoutTags(w.Title[0])
		if len(w.Subtitle) > 0 && !blank(w.Subtitle[0]) && !strings.Contains(p.Title, withoutTags(w.Subtitle[0])) {
			p.Title += ": " + withoutTags(w.Subtitle[0])
		}
	}
	if len(w.ContainerTitle) > 0 {
		p.Venue = withoutTags(w.ContainerTitle[0])
	}
	for _, a := range w.Author {
		if a.Name != "" {
			p.Authors = append(p.Authors, a.Name)
		} else {
			p.Authors = append(p.Authors, name(a.Given, a.Family, a.Suffix))
		}
	}
	f := facts{}
	date := w.Issued.Parts
	if len(date) == 0 || len(date[0]) == 0 || date[0][0] == nil {
		date = w.Published.Parts
	}
	if len(date) > 0 {
		var parts [3]int
		for i, n := range date[0] {
			if i < 3 && n != nil {
				parts[i] = *n
			}
		}
		day := dateOf(parts[0], parts[1], parts[2])
		f.put("published", day)
		p.Year = yearOf(day)
	}
	f.put("type", w.Type)
	f.put("language", w.Language)
	f.put("publisher", w.Publisher)
	f.put("keywords", w.Subject)
	f.put("issn", w.ISSN)
	f.put("cited_by", w.CitedBy)
	return finish(p, f)
}
