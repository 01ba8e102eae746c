package ingest

import "strings"

// columnFields are the fields of a paper that a column may be.
var columnFields = []string{"id", "title", "abstract", "authors", "year", "venue", "doi", "arxiv_id", "url", "expires", "vector", "metadata"}

func isField(name string) bool {
	if rest, ok := strings.CutPrefix(name, "metadata."); ok {
		return rest != ""
	}
	return contains(columnFields, name)
}
