package ingest

import "strings"

func isArxiv(h *beginning) bool {
	return h.json["id"] != "" && (h.json["authors_parsed"] != "" || h.json["submitter"] != "" && h.json["categories"] != "" || h.json["versions"] != "" && h.json["update_date"] != "")
}

// parseArxiv reads a line of arXiv's metadata dump.
func parseArxiv(record []byte) (Paper, error) {
	var a struct {
		ID, Title, Abstract, Authors, Categories, Comments, DOI, License, Submitter string

		JournalRef    string `json:"journal-ref"`
		ReportNo      string `json:"report-no"`
		Versions      []struct{ Created string }
		UpdateDate    string     `json:"update_date"`
		AuthorsParsed [][]string `json:"authors_parsed"`
	}
	if bad := pick(record, &a, "id", "title", "abstract", "authors", "categories", "comments", "doi", "license", "submitter", "journal-ref", "report-no", "versions",
		"update_date", "authors_parsed"); bad != nil {
		return Paper{}, bad
	}
	if blank(a.ID) {
		return Paper{}, at("id", "empty or missing")
	}
	p := arxivPaper(a.ID, a.DOI)
	p.Title, p.Abstract, p.Venue = a.Title, a.Abstract, a.JournalRef
	for _, parts := range a.AuthorsParsed {
		parts = append(parts, "", "", "")
		p.Authors = append(p.Authors, name(parts[1], parts[0], parts[2]))
	}
	if p.Authors == nil && !blank(a.Authors) {
		p.Authors = splitNames(a.Authors)
	}
	f := facts{}
	if len(a.Versions) > 0 {
		p.Year = yearOf(isoDate(a.Versions[0].Created))
		f.put("published", isoDate(a.Versions[0].Created))
		f.put("versions", len(a.Versions))
	}
	f.put("updated", isoDate(a.UpdateDate))
	if p.Year == 0 {
		p.Year = yearOf(isoDate(a.UpdateDate))
	}
	f.put("categories", strings.Fields(a.Categories))
	f.put("comments", a.Comments)
	f.put("license", a.License)
	f.put("report_no", a.ReportNo)
	return finish(p, f)
}

// arxivPaper is a paper of arXiv, with the DOI of where it was published; of several the first.
func arxivPaper(id, doi string) Paper {
	id = clean(id)
	doi, _, _ = strings.Cut(clean(doi), " ")
	return Paper{ID: "ARXIV:" + id, ArxivID: id, DOI: bareDOI(doi), URL: "https://arxiv.org/abs/" + id}
}

// splitNames splits "A. Author, B. Author and C. Author (Place)".
func splitNames(s string) (names []string) {
	depth := 0
	var flat strings.Builder
	for _, r := range clean(s) {
		switch {
		case r == '(':
			depth++
		case r == ')' && depth > 0:
			depth--
		case depth == 0:
			flat.WriteRune(r)
		}
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(flat.String(), " and ", ","), ",") {
		if part = clean(part); part != "" {
			names = append(names, part)
		}
	}
	return names
}
