package ingest

import (
	"encoding/json"
	"strings"
)

func isOpenAlex(h *beginning) bool {
	for _, at := range []string{"", "results/"} {
		if strings.HasPrefix(h.json[at+"id"], `"https://openalex.org/W`) || h.json[at+"abstract_inverted_index"] != "" {
			return true
		}
	}
	return false
}

// parseOpenAlex reads a work of OpenAlex, of a snapshot or an answer of its API.
func parseOpenAlex(record []byte) (Paper, error) {
	var w struct {
		ID, DOI, Title  string
		DisplayName     string `json:"display_name"`
		PublicationYear int    `json:"publication_year"`
		PublicationDate string `json:"publication_date"`
		Type, Language  string
		Abstract        json.RawMessage `json:"abstract_inverted_index"`
		Authorships     []struct {
			RawAuthorName string `json:"raw_author_name"`
			Author        struct {
				DisplayName string `json:"display_name"`
			}
		}
		PrimaryLocation *struct {
			LandingPageURL string `json:"landing_page_url"`
			RawSourceName  string `json:"raw_source_name"`
			Source         *struct {
				DisplayName string `json:"display_name"`
			}
		} `json:"primary_location"`
		HostVenue *struct { // snapshots of before 2023
			DisplayName string `json:"display_name"`
		} `json:"host_venue"`
		IDs          map[string]loose
		Keywords     []named
		Topics       []named
		CitedByCount int  `json:"cited_by_count"`
		IsRetracted  bool `json:"is_retracted"`
		IsParatext   bool `json:"is_paratext"`
	}
	if bad := pick(record, &w, "id", "doi", "title", "display_name", "publication_year", "publication_date", "type", "language", "abstract_inverted_index", "authorships",
		"primary_location", "host_venue", "ids", "keywords", "topics", "cited_by_count", "is_retracted", "is_paratext"); bad != nil {
		return Paper{}, bad
	}
	number := w.ID[strings.LastIndexByte(w.ID, '/')+1:]
	if blank(number) {
		return Paper{}, at("id", "empty or missing")
	}
	if !strings.HasPrefix(number, "W") {
		return Paper{}, passedOver("of OpenAlex, but no work: an author, a source or the like")
	}
	if w.IsParatext {
		return Paper{}, passedOver("paratext: a cover, a table of contents or the like")
	}
	p := Paper{ID: "OPENALEX:" + number, DOI: bareDOI(w.DOI), Title: withoutTags(w.Title), URL: w.ID}
	if p.Title == "" {
		p.Title = withoutTags(w.DisplayName)
	}
	if w.PublicationYear >= 1 && w.PublicationYear <= 9999 {
		p.Year = int32(w.PublicationYear)
	}
	p.ArxivID = arxivOfDOI(p.DOI)
	for _, a := range w.Authorships {
		if a.Author.DisplayName != "" {
			p.Authors = append(p.Authors, a.Author.DisplayName)
		} else {
			p.Authors = append(p.Authors, a.RawAuthorName)
		}
	}
	if l := w.PrimaryLocation; l != nil {
		if l.Source != nil {
			p.Venue = l.Source.DisplayName
		} else {
			p.Venue = l.RawSourceName
		}
		if l.LandingPageURL != "" {
			p.URL = l.LandingPageURL
		}
	} else if w.HostVenue != nil {
		p.Venue = w.HostVenue.DisplayName
	}
	text, bad := inverted(w.Abstract)
	if bad != nil {
		return p, bad
	}
	p.Abstract = withoutTags(text)
	f := facts{}
	f.put("published", isoDate(w.PublicationDate))
	f.put("type", w.Type)
	f.put("language", w.Language)
	f.put("keywords", names(w.Keywords))
	f.put("categories", names(w.Topics))
	f.put("cited_by", w.CitedByCount)
	f.put("retracted", w.IsRetracted)
	f.put("ids", idsOf(w.IDs, "pmid", "pmcid", "mag", "openalex"))
	return finish(p, f)
}

// idsOf are the values of some schemes.
func idsOf(all map[string]loose, schemes ...string) map[string]string {
	ids := map[string]string{}
	for key, value := range all {
		for _, s := range schemes {
			if strings.EqualFold(key, s) && value != "" {
				ids[strings.ToLower(s)] = clean(string(value))
			}
		}
	}
	return ids
}

type named struct {
	DisplayName string `json:"display_name"`
}

func names(all []named) (list []string) {
	for _, n := range all {
		list = append(list, n.DisplayName)
	}
	return list
}

// maxPositions is how many words an abstract may have that comes as an index of its words.
const maxPositions = 100_000

// inverted makes a text again of an index: {"word": [places]}.
func inverted(index json.RawMessage) (string, *errorAt) {
	const field = "abstract_inverted_index"
	if index == nil || kindOf(index) == "null" {
		return "", nil
	}
	if kindOf(index) != "object" {
		return "", at(field, "want an object, got %s", article(kindOf(index)))
	}
	var words []string
	size := 0
	for key, places := range members(index) {
		if kindOf(places) != "array" {
			return "", at(field, "want arrays of places, got %s", article(kindOf(places)))
		}
		word := decode(key)
		for place := range elements(places) {
			n, ok := smallNumber(place)
			if !ok || n >= maxPositions {
				return "", at(field, "want places from 0 to %d, got %s", maxPositions-1, shorten(string(place)))
			}
			for n >= len(words) {
				words = append(words, "")
			}
			if words[n] != "" {
				return "", at(field, "two words at place %d", n)
			}
			if size += len(word) + 1; size > MaxRecordBytes {
				return "", at(field, "a text of more than %d MiB", MaxRecordBytes>>20)
			}
			words[n] = word
		}
	}
	return strings.Join(words, " "), nil
}

// smallNumber reads digits.
func smallNumber(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
