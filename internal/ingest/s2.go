package ingest

import "strings"

func isS2(h *beginning) bool {
	for _, at := range []string{"", "data/", "recommendedPapers/"} {
		if h.json[at+"corpusid"] != "" || h.json[at+"paperId"] != "" {
			return true
		}
	}
	return false
}

// parseS2 reads a paper of Semantic Scholar: of its datasets "papers" and "abstracts", whose names are in lower case, and of its API.
func parseS2(record []byte) (Paper, error) {
	var s struct {
		CorpusID    loose
		PaperID     string
		ExternalIDs map[string]loose
		URL, Title  string
		Abstract    string
		Venue       string
		Year        int
		Authors     []struct{ Name string }

		PublicationDate  string
		PublicationTypes []string
		S2FieldsOfStudy  []struct{ Category string }
		FieldsOfStudy    []string
		Journal          *struct{ Name string }
		CitationCount    int
		OpenAccessInfo   *struct {
			ExternalIDs map[string]loose
		}
	}
	if bad := pick(record, &s, "corpusid", "paperid", "externalids", "url", "title", "abstract", "venue", "year", "authors", "publicationdate", "publicationtypes",
		"s2fieldsofstudy", "fieldsofstudy", "journal", "citationcount", "openaccessinfo"); bad != nil {
		return Paper{}, bad
	}
	if s.ExternalIDs == nil && s.OpenAccessInfo != nil {
		s.ExternalIDs = s.OpenAccessInfo.ExternalIDs
	}
	external := idsOf(s.ExternalIDs, "doi", "arxiv", "acl", "pubmed", "pubmedcentral", "dblp", "mag", "corpusid")
	corpus := clean(string(s.CorpusID))
	if corpus == "" {
		corpus = external["corpusid"]
	}
	p := Paper{DOI: bareDOI(external["doi"]), ArxivID: external["arxiv"], URL: s.URL, Title: s.Title, Abstract: s.Abstract, Venue: s.Venue}
	switch {
	case corpus != "":
		p.ID = "S2:" + corpus
	case s.PaperID != "":
		p.ID = "S2:" + s.PaperID
	default:
		return p, at("corpusid", "missing, and so is paperId")
	}
	if blank(s.Title) && s.OpenAccessInfo != nil {
		return p, passedOver("an abstract without its paper: the dataset \"abstracts\" has no titles")
	}
	if s.Year >= 1 && s.Year <= 9999 {
		p.Year = int32(s.Year)
	}
	if p.Venue == "" && s.Journal != nil {
		p.Venue = s.Journal.Name
	}
	for _, a := range s.Authors {
		p.Authors = append(p.Authors, a.Name)
	}
	fields := s.FieldsOfStudy
	for _, c := range s.S2FieldsOfStudy {
		if c.Category != "" && !contains(fields, c.Category) {
			fields = append(fields, c.Category)
		}
	}
	f := facts{}
	f.put("published", isoDate(s.PublicationDate))
	f.put("types", s.PublicationTypes)
	f.put("categories", fields)
	f.put("cited_by", s.CitationCount)
	if s.PaperID != "" {
		external["s2"] = s.PaperID
	}
	delete(external, "doi")
	delete(external, "arxiv")
	if external["corpusid"] == corpus {
		delete(external, "corpusid")
	}
	f.put("ids", external)
	return finish(p, f)
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if strings.EqualFold(have, s) {
			return true
		}
	}
	return false
}

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
	p := Paper{ID: doiID(doi), DOI: doi, ArxivID: arxivOfDOI(doi), URL: w.URL, Abstract: withoutTags(w.Abstract)}
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
