package works

import (
	"bytes"
	"encoding/json"
	"slices"
)

// What is looked at of a paper's ids.
const (
	// MaxAliases is the most aliases of one paper; more are passed over, those of the fields last.
	MaxAliases = 32
	// maxValues is how many values of each member of the metadata are looked at.
	maxValues = 256
)

// Paper is what of a paper says which work it is.
type Paper struct {
	ID, Title, Abstract, DOI, ArxivID, URL string
	// Metadata is a JSON object, or empty.
	Metadata []byte
}

// idMembers are the members of the metadata that have ids: a list of strings, or an object of scheme and value.
var idMembers = []string{"ids", "external_ids", "externalIds"}

// quotedMembers are their names as they stand in JSON.
var quotedMembers = [][]byte{[]byte(`"ids"`), []byte(`"external_ids"`), []byte(`"externalIds"`)}

// Aliases gives the scholarly ids of a paper, each once and in its one form, at most MaxAliases: of its id, its fields doi, arxiv_id and url, and
// the members of its metadata named ids, external_ids and externalIds. A version of an arXiv paper comes with the paper itself behind it. What
// is no scholarly id is passed over.
func Aliases(p Paper) []string {
	var all []string
	add := func(id string, known bool) {
		for known && len(all) < MaxAliases && !slices.Contains(all, id) {
			all = append(all, id)
			id, known = unversioned(id)
		}
	}
	add(Parse(p.ID))
	add(ParseAs("doi", p.DOI))
	add(ParseAs("arxiv", p.ArxivID))
	add(Parse(p.URL))
	if len(p.Metadata) == 0 || !hasMember(p.Metadata) {
		return all
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(p.Metadata, &members) != nil {
		return all
	}
	for _, name := range idMembers {
		var list []json.RawMessage
		if json.Unmarshal(members[name], &list) == nil {
			for _, value := range list[:min(len(list), maxValues)] {
				if text, ok := scalar(value); ok {
					add(Parse(text))
				}
			}
			continue
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(members[name], &object) != nil {
			continue
		}
		names := make([]string, 0, len(object))
		for scheme := range object {
			names = append(names, scheme)
		}
		slices.Sort(names)
		for _, scheme := range names[:min(len(names), maxValues)] {
			if text, ok := scalar(object[scheme]); ok {
				add(ParseAs(scheme, text))
			}
		}
	}
	return all
}

// hasMember tells, without reading all of it, whether metadata may have a member with ids.
func hasMember(metadata []byte) bool {
	return slices.ContainsFunc(quotedMembers, func(name []byte) bool { return bytes.Contains(metadata, name) })
}

// scalar is the text of a string or a number: Semantic Scholar's CorpusId is a number.
func scalar(value json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text, true
	}
	var n json.Number
	if json.Unmarshal(value, &n) == nil {
		return n.String(), true
	}
	return "", false
}

// Forms gives the aliases that an id stands for, the nearest first: its own and, of a version, that of the paper. Empty where it is no
// scholarly id.
func Forms(id string) []string {
	one, known := Parse(id)
	if !known {
		return nil
	}
	if paper, version := unversioned(one); version {
		return []string{one, paper}
	}
	return []string{one}
}
