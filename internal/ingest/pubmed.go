package ingest

import (
	"regexp"
	"strconv"
	"strings"
)

func isPubMed(h *beginning) bool {
	switch rootOf(h.text) {
	case "PubmedArticleSet", "PubmedArticle", "PubmedBookArticleSet":
		return true
	}
	return false
}

var pubMed = xmlForm{
	whole:   []string{"PubmedArticle", "PubmedBookArticle", "DeleteCitation", "DeleteDocument"},
	without: "ReferenceList",
	read:    readPubMed,
}

// readPubMed reads an article of PubMed's baseline, its updates, or an answer of efetch.
func readPubMed(e element, _ *volume) (Paper, error) {
	switch e.name() {
	case "PubmedBookArticle":
		return Paper{}, passedOver("of PubMed, a book or a chapter")
	case "DeleteCitation", "DeleteDocument":
		return Paper{}, passedOver("of PubMed, a list of what was deleted")
	}
	citation := e.child("MedlineCitation")
	article := citation.child("Article")
	pmid := citation.child("PMID").text()
	if pmid == "" {
		return Paper{}, at("PMID", "missing")
	}
	p := Paper{ID: "PMID:" + pmid, URL: "https://pubmed.ncbi.nlm.nih.gov/" + pmid + "/", Title: article.child("ArticleTitle").text()}
	if p.Title == "" {
		p.Title = article.child("VernacularTitle").text()
	}
	var parts []string
	article.child("Abstract").each("AbstractText", func(part element) {
		text := part.text()
		if label := clean(part.attr("Label")); label != "" && !strings.EqualFold(label, "UNLABELLED") && text != "" {
			text = label + ": " + text
		}
		if text != "" {
			parts = append(parts, text)
		}
	})
	p.Abstract = strings.Join(parts, " ")
	article.child("AuthorList").each("Author", func(a element) {
		if group := a.child("CollectiveName").text(); group != "" {
			p.Authors = append(p.Authors, group)
			return
		}
		given := a.child("ForeName").text()
		if given == "" {
			given = a.child("Initials").text()
		}
		p.Authors = append(p.Authors, name(given, a.child("LastName").text(), a.child("Suffix").text()))
	})
	journal := article.child("Journal")
	p.Venue = journal.child("Title").text()
	if p.Venue == "" {
		p.Venue = journal.child("ISOAbbreviation").text()
	}
	f := facts{}
	published := pubMedDate(journal.child("JournalIssue", "PubDate"))
	if published == "" {
		published = pubMedDate(article.child("ArticleDate"))
	}
	p.Year = yearOf(published)
	f.put("published", published)
	ids := map[string]string{}
	e.child("PubmedData", "ArticleIdList").each("ArticleId", func(id element) {
		switch id.attr("IdType") {
		case "doi":
			p.DOI = bareDOI(id.text())
		case "pmc":
			if text := id.text(); text != "" {
				ids["pmcid"] = text
			}
		}
	})
	article.each("ELocationID", func(id element) {
		if id.attr("EIdType") == "doi" && id.attr("ValidYN") != "N" && p.DOI == "" {
			p.DOI = bareDOI(id.text())
		}
	})
	f.put("ids", ids)
	f.put("language", article.child("Language").text())
	f.put("types", article.child("PublicationTypeList").texts("PublicationType"))
	f.put("keywords", citation.child("KeywordList").texts("Keyword"))
	var mesh []string
	citation.child("MeshHeadingList").each("MeshHeading", func(h element) { mesh = append(mesh, h.child("DescriptorName").text()) })
	f.put("mesh", mesh)
	return finish(p, f)
}

var someYear = regexp.MustCompile(`\b(1[5-9][0-9]{2}|20[0-9]{2})\b`)

func pubMedDate(e element) string {
	year, err := strconv.Atoi(e.child("Year").text())
	if err != nil { // 1998 Dec-1999 Jan
		return someYear.FindString(e.child("MedlineDate").text())
	}
	day, _ := strconv.Atoi(e.child("Day").text()) // none is 0
	return dateOf(year, monthOf(e.child("Month").text()), day)
}
