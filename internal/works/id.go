package works

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxID is the longest string, in bytes, that may be a scholarly id.
const maxID = 512

// Parse gives the one form of the scholarly id that s is, and whether it is one; any other string is given back as it is. What it has given it
// gives again. The forms:
//
//	DOI:10.1145/3292500.3330701          in lower case; but a DOI that arXiv or the ACL Anthology has made is their id
//	ARXIV:2104.08821 ARXIV:hep-th/9901001 ARXIV:2104.08821v2
//	PMID:19872477   PMCID:PMC2323736     without zeros before
//	ACL:2021.emnlp-main.552 ACL:P19-1563
//	S2:649def34f8be52c8b66281af98ae884c09aef38b (a paper), S2:215416146 (a CorpusId)
//	OPENALEX:W2741809807
//
// Schemes are read in any case, URLs of the sites that give these ids too; and without a scheme what can be nothing else: a DOI, an arXiv id, a
// PMCID and the hash of Semantic Scholar.
func Parse(s string) (id string, known bool) {
	t := strings.TrimSpace(s)
	if len(t) == 0 || len(t) > maxID || !utf8.ValidString(t) {
		return s, false
	}
	if scheme, rest, ok := strings.Cut(t, ":"); ok {
		if read := schemes[strings.ToLower(scheme)]; read != nil {
			if id, ok := read(strings.TrimSpace(rest)); ok {
				return id, true
			}
			return s, false
		}
	}
	if id, ok := fromURL(t); ok {
		return id, true
	}
	for _, read := range []func(string) (string, bool){doi, arxiv, pmc, sha} {
		if id, ok := read(t); ok {
			return id, true
		}
	}
	return s, false
}

// ParseAs is Parse of a value whose scheme is known from elsewhere, as that of a member of a paper's external ids.
func ParseAs(scheme, value string) (id string, known bool) {
	if read := schemes[strings.ToLower(scheme)]; read != nil {
		if id, ok := read(strings.TrimSpace(value)); ok && len(value) <= maxID && utf8.ValidString(value) {
			return id, true
		}
		return Parse(value) // a URL, or with its scheme once more
	}
	return value, false
}

// schemes read what stands after a scheme, by its name in lower case: those that papers are known by, and what Semantic Scholar and OpenAlex
// call them.
var schemes = map[string]func(string) (string, bool){
	"doi": doi, "arxiv": arxiv, "arxivid": arxiv,
	"pmid": pmid, "pubmed": pmid, "pmcid": pmcNumber, "pmc": pmcNumber, "pubmedcentral": pmcNumber,
	"acl": acl, "s2": s2, "corpusid": corpus, "openalex": openalex,
}

var (
	doiForm    = regexp.MustCompile(`^10\.[0-9]{4,9}(\.[0-9]{1,9})*/`)
	newArxiv   = regexp.MustCompile(`^([0-9]{2}(?:0[1-9]|1[0-2])\.[0-9]{4,5})(v[1-9][0-9]{0,2})?$`)
	oldArxiv   = regexp.MustCompile(`^(astro-ph|cond-mat|gr-qc|hep-ex|hep-lat|hep-ph|hep-th|math-ph|nlin|nucl-ex|nucl-th|physics|quant-ph|math|cs|q-bio|q-fin|stat|adap-org|alg-geom|chao-dyn|cmp-lg|comp-gas|dg-ga|funct-an|mtrl-th|patt-sol|q-alg|solv-int|acc-phys|ao-sci|atom-ph|bayes-an|chem-ph|plasm-ph|supr-con)(?:\.[a-z]{2})?(/[0-9]{2}(?:0[1-9]|1[0-2])[0-9]{3})(v[1-9][0-9]{0,2})?$`)
	newACL     = regexp.MustCompile(`^[0-9]{4}\.[a-z0-9]+-[a-z0-9_]+\.[0-9]{1,5}$`)
	oldACL     = regexp.MustCompile(`^[a-z][0-9]{2}-[0-9]{4}$`)
	shaForm    = regexp.MustCompile(`^[0-9a-f]{40}$`)
	digits     = regexp.MustCompile(`^0*([1-9][0-9]{0,11})$`)
	workNumber = regexp.MustCompile(`^w0*([1-9][0-9]{0,11})$`)
)

func doi(s string) (string, bool) {
	s = strings.TrimSpace(cutPrefix(s, "doi:"))
	if id, ok := fromURL(s); ok {
		return id, true
	}
	s = lower(s)
	at := doiForm.FindString(s)
	if at == "" || len(s) == len(at) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return "", false
	}
	if rest, ok := strings.CutPrefix(s, "10.48550/arxiv."); ok {
		if id, ok := arxiv(rest); ok {
			return id, true
		}
	}
	for _, prefix := range []string{"10.18653/v1/", "10.3115/v1/"} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			if id, ok := acl(rest); ok {
				return id, true
			}
		}
	}
	return "DOI:" + s, len(s) <= maxID-len("DOI:")
}

func arxiv(s string) (string, bool) {
	s = strings.TrimSpace(cutPrefix(lower(s), "arxiv:"))
	if newArxiv.MatchString(s) {
		return "ARXIV:" + s, true
	}
	if m := oldArxiv.FindStringSubmatch(s); m != nil {
		return "ARXIV:" + m[1] + m[2] + m[3], true
	}
	return "", false
}

// unversioned gives the id of a version of an arXiv paper without the version, and whether it has one.
func unversioned(id string) (string, bool) {
	s, ok := strings.CutPrefix(id, "ARXIV:")
	if !ok {
		return id, false
	}
	if m := newArxiv.FindStringSubmatch(s); m != nil && m[2] != "" {
		return "ARXIV:" + m[1], true
	}
	if m := oldArxiv.FindStringSubmatch(s); m != nil && m[3] != "" {
		return "ARXIV:" + m[1] + m[2], true
	}
	return id, false
}

func pmid(s string) (string, bool) { return number("PMID:", digits, cutPrefix(lower(s), "pmid:")) }

func pmc(s string) (string, bool) {
	s = cutPrefix(lower(s), "pmcid:")
	if rest, ok := strings.CutPrefix(s, "pmc"); ok {
		return number("PMCID:PMC", digits, rest)
	}
	return "", false
}

// pmcNumber is pmc where it is known to be one, which some write without the letters.
func pmcNumber(s string) (string, bool) {
	if id, ok := pmc(s); ok {
		return id, true
	}
	return number("PMCID:PMC", digits, s)
}

func acl(s string) (string, bool) {
	s = lower(strings.TrimSuffix(cutPrefix(s, "acl:"), "/"))
	switch {
	case newACL.MatchString(s):
		return "ACL:" + s, true
	case oldACL.MatchString(s):
		return "ACL:" + strings.ToUpper(s), true
	}
	return "", false
}

func s2(s string) (string, bool) {
	s = strings.TrimSpace(cutPrefix(s, "s2:"))
	if id, ok := sha(s); ok {
		return id, true
	}
	return corpus(s)
}

func sha(s string) (string, bool) {
	s = lower(s)
	return "S2:" + s, shaForm.MatchString(s)
}

func corpus(s string) (string, bool) { return number("S2:", digits, cutPrefix(lower(s), "corpusid:")) }

func openalex(s string) (string, bool) {
	return number("OPENALEX:W", workNumber, cutPrefix(lower(s), "openalex:"))
}

// number reads digits by a form, and writes them without zeros before.
func number(scheme string, form *regexp.Regexp, s string) (string, bool) {
	m := form.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return "", false
	}
	return scheme + m[1], true
}

// fromURL reads the address of a paper at a site that gives ids, with or without https:// before it.
func fromURL(s string) (string, bool) {
	rest := cutPrefix(cutPrefix(s, "https://"), "http://")
	host, path, ok := strings.Cut(rest, "/")
	if !ok {
		return "", false
	}
	host = strings.TrimPrefix(lower(host), "www.")
	read, known := sites[host]
	if !known {
		return "", false
	}
	path, _, _ = strings.Cut(path, "#")
	path, _, _ = strings.Cut(path, "?")
	path, err := url.PathUnescape(path)
	if err != nil || !utf8.ValidString(path) {
		return "", false
	}
	return read(path)
}

// sites read the path of an address, without its first slash, by the host.
var sites map[string]func(path string) (string, bool)

func init() { // the readers read addresses too
	plainDOI := func(path string) (string, bool) {
		if !strings.HasPrefix(path, "10.") {
			return "", false
		}
		return doi(path)
	}
	sites = map[string]func(string) (string, bool){
		"doi.org": plainDOI, "dx.doi.org": plainDOI,
		"arxiv.org": arxivPath, "export.arxiv.org": arxivPath,
		"pubmed.ncbi.nlm.nih.gov": func(path string) (string, bool) { return pmid(strings.TrimSuffix(path, "/")) },
		"ncbi.nlm.nih.gov": func(path string) (string, bool) {
			if rest, ok := strings.CutPrefix(path, "pubmed/"); ok {
				return pmid(strings.TrimSuffix(rest, "/"))
			}
			return pmcPath(strings.TrimPrefix(path, "pmc/"))
		},
		"pmc.ncbi.nlm.nih.gov": pmcPath,
		"europepmc.org":        func(path string) (string, bool) { return pmcPath(strings.TrimPrefix(path, "article/PMC/")) },
		"aclanthology.org":     aclPath,
		"aclweb.org":           func(path string) (string, bool) { return aclPath(strings.TrimPrefix(path, "anthology/")) },
		"openalex.org": func(path string) (string, bool) {
			return openalex(strings.TrimPrefix(strings.TrimSuffix(path, "/"), "works/"))
		},
		"api.openalex.org": func(path string) (string, bool) { return openalex(strings.TrimPrefix(path, "works/")) },
		"semanticscholar.org": func(path string) (string, bool) {
			path = strings.TrimSuffix(path, "/")
			if !strings.HasPrefix(path, "paper/") {
				return "", false
			}
			return sha(path[strings.LastIndexByte(path, '/')+1:])
		},
		"api.semanticscholar.org": func(path string) (string, bool) {
			if !strings.HasPrefix(lower(path), "corpusid:") {
				return "", false
			}
			return corpus(path)
		},
	}
}

// arxivPath reads abs/ID, pdf/ID, pdf/ID.pdf, html/ID and ps/ID.
func arxivPath(path string) (string, bool) {
	kind, id, _ := strings.Cut(path, "/")
	switch lower(kind) {
	case "abs", "pdf", "html", "ps", "format":
		return arxiv(strings.TrimSuffix(strings.TrimSuffix(id, "/"), ".pdf"))
	}
	return "", false
}

// pmcPath reads articles/PMC123, also without the letters, and PMC123.
func pmcPath(path string) (string, bool) {
	rest, article := strings.CutPrefix(strings.TrimSuffix(path, "/"), "articles/")
	if article {
		return pmcNumber(rest)
	}
	return pmc(rest)
}

// aclPath reads ID, ID.pdf and papers/…/ID.
func aclPath(path string) (string, bool) {
	path = strings.TrimSuffix(path, "/")
	return acl(strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], ".pdf"))
}

// lower puts the letters A to Z into lower case, and leaves all others as they are: ids are compared by those alone.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// cutPrefix takes a prefix off that may be in any case.
func cutPrefix(s, prefix string) string {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):]
	}
	return s
}
