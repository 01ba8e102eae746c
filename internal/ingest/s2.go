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
		return p, passedOver("of Semantic Scholar, an abstract without its paper")
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
