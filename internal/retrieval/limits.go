package retrieval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"embedd/ann"
)

// The largest values that a request may carry. Each is published by the doors and named when it is exceeded.
const (
	// MaxK is the most hits of one search.
	MaxK = 1000
	// MaxEf is the longest candidate list of one search.
	MaxEf = 10000
	// MinRecall and MaxRecall bound the target recall of one search.
	MinRecall = 0.5
	MaxRecall = 0.9999
	// MaxPapersPerCall is the most papers, or ids, of one Upsert or Delete.
	MaxPapersPerCall = 1000
	// MaxTextsPerCall is the most texts of one Encode.
	MaxTextsPerCall = 1000
	// MaxInteractiveTexts is the most texts of one Encode in the interactive lane.
	MaxInteractiveTexts = 16
	// MaxIDBytes is the longest id.
	MaxIDBytes = 512
	// MaxTextBytes is the longest title, abstract, text or other string.
	MaxTextBytes = 256 << 10
	// MaxMetadataBytes is the longest metadata of one paper, as JSON.
	MaxMetadataBytes = 64 << 10
	// MaxAuthors is the most authors of one paper.
	MaxAuthors = 5000
	// MaxExamples is the most examples of one reading list, and MaxWeight the largest weight of one.
	MaxExamples = 100
	MaxWeight   = 1000
	// MaxFeedbackPapers and MaxFeedbackTerms bound what a search takes from its first answer.
	MaxFeedbackPapers = 10
	MaxFeedbackTerms  = 50
	// MaxHalfLife is the longest half-life in years.
	MaxHalfLife = 1000
	// MaxGroupHits is the most hits for each value of a field.
	MaxGroupHits = 100
	// MaxSearchesPerCall is the most searches of one call, and MaxHitsPerCall the most hits that they may ask for together.
	MaxSearchesPerCall = 100
	MaxHitsPerCall     = 10_000
	// MaxExclude is the most ids that one search excludes.
	MaxExclude = 10_000
	// MaxPageSize is the most papers of one page of List.
	MaxPageSize = 1000
)

// Defaults of a search.
const (
	// DefaultK is the number of hits when none is asked for.
	DefaultK = 10
	// DefaultRecall is the target recall when neither it nor the length of the candidate list is given.
	DefaultRecall = ann.DefaultRecall
	// DefaultPageSize is the number of papers on a page of List when none is asked for.
	DefaultPageSize = 100
)

// checkID refuses an id that could not be stored, listed and printed without surprise.
func checkID(field, id string) error {
	switch {
	case id == "":
		return invalid(field, "is empty; an id has 1 to %d bytes", MaxIDBytes)
	case len(id) > MaxIDBytes:
		return invalid(field, "has %d bytes; an id has 1 to %d", len(id), MaxIDBytes)
	case !utf8.ValidString(id):
		return invalid(field, "is not valid UTF-8")
	case strings.ContainsFunc(id, unicode.IsControl):
		return invalid(field, "%q contains a control character", id)
	case strings.TrimSpace(id) != id:
		return invalid(field, "%q begins or ends with white space", id)
	}
	return nil
}

// checkString refuses a string that is over the limit, not UTF-8, or holds a NUL, which would end the text for every
// library written in C behind this one.
func checkString(field, s string) error {
	if len(s) > MaxTextBytes {
		return invalid(field, "has %d bytes; the limit is %d", len(s), MaxTextBytes)
	}
	if !utf8.ValidString(s) {
		return invalid(field, "is not valid UTF-8")
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return invalid(field, "contains a NUL character at byte %d; remove it", i)
	}
	return nil
}

// checkText is checkString for a text that will be encoded.
func checkText(field, s string) error {
	if err := checkString(field, s); err != nil {
		return err
	}
	if strings.TrimSpace(s) == "" {
		return invalid(field, "is blank; there is nothing to compare")
	}
	return nil
}

// checkPaper checks every field of a paper but its time and its vector, and what the collection was made with.
func (c *Collection) checkPaper(field string, p *Paper) error {
	if err := checkPaper(field, p, c.settings.OwnVectors); err != nil {
		return err
	}
	return c.settings.checkMetadata(field+".metadata", p)
}

// checkPaper checks every field of a paper but its time and its vector. blank: it may be without a text.
func checkPaper(field string, p *Paper, blank bool) error {
	if err := checkID(field+".id", p.ID); err != nil {
		return err
	}
	for _, f := range []struct{ name, value string }{
		{"title", p.Title}, {"abstract", p.Abstract}, {"venue", p.Venue}, {"doi", p.DOI}, {"arxiv_id", p.ArxivID}, {"url", p.URL},
	} {
		if err := checkString(field+"."+f.name, f.value); err != nil {
			return err
		}
	}
	if !blank && strings.TrimSpace(p.Title) == "" && strings.TrimSpace(p.Abstract) == "" {
		return invalid(field, "title and abstract are both blank; at least one must have text")
	}
	if len(p.Authors) > MaxAuthors {
		return invalid(field+".authors", "has %d entries; the limit is %d", len(p.Authors), MaxAuthors)
	}
	for i, a := range p.Authors {
		if err := checkString(fmt.Sprintf("%s.authors[%d]", field, i), a); err != nil {
			return err
		}
	}
	if p.Year < 0 || p.Year > 9999 {
		return invalid(field+".year", "is %d; a year is 1 to 9999, or 0 for unknown", p.Year)
	}
	if len(p.Metadata) > MaxMetadataBytes {
		return invalid(field+".metadata", "has %d bytes as JSON; the limit is %d", len(p.Metadata), MaxMetadataBytes)
	}
	if len(p.Metadata) > 0 && (!json.Valid(p.Metadata) || !bytes.HasPrefix(bytes.TrimSpace(p.Metadata), []byte("{"))) {
		return invalid(field+".metadata", "is not a JSON object")
	}
	if _, err := fieldsOf(p); err != nil {
		return invalid(field+".metadata", "cannot be filtered by: %v", err)
	}
	return nil
}

// unit returns v scaled to norm 1, or an error that says why it has no direction.
func unit(field string, v []float32, dim int) ([]float32, error) {
	if len(v) != dim {
		return nil, invalid(field, "has %d values; the model's dimension is %d", len(v), dim)
	}
	var sum float64
	for i, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, invalid(field, "value %d is %v; all values must be finite", i, x)
		}
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return nil, invalid(field, "all values are 0; a zero vector has no direction")
	}
	norm := math.Sqrt(sum)
	out := make([]float32, dim)
	for i, x := range v {
		out[i] = float32(float64(x) / norm)
	}
	return out, nil
}
