package works

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const sha = "649def34f8be52c8b66281af98ae884c09aef38b"
	for _, test := range []struct{ want, forms string }{
		{"DOI:10.1145/3292500.3330701", "10.1145/3292500.3330701 doi:10.1145/3292500.3330701 DOI:10.1145/3292500.3330701 https://doi.org/10.1145/3292500.3330701 http://dx.doi.org/10.1145/3292500.3330701 doi.org/10.1145/3292500.3330701 DOI:https://doi.org/10.1145/3292500.3330701"},
		{"DOI:10.1002/(sici)1097-4571(199009)41:6<391::aid-asi1>3.0.co;2-9", "10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9 https://doi.org/10.1002/(SICI)1097-4571(199009)41:6%3C391::AID-ASI1%3E3.0.CO;2-9"},
		{"DOI:10.1000.10/123", "10.1000.10/123"},
		{"DOI:10.18653/v1/something", "10.18653/v1/Something"},
		{"ARXIV:2104.08821", "ARXIV:2104.08821 arXiv:2104.08821 2104.08821 https://arxiv.org/abs/2104.08821 arxiv.org/pdf/2104.08821.pdf http://www.arxiv.org/pdf/2104.08821 https://arxiv.org/html/2104.08821 10.48550/arXiv.2104.08821 https://doi.org/10.48550/ARXIV.2104.08821"},
		{"ARXIV:2104.08821v2", "arXiv:2104.08821v2 2104.08821V2 https://arxiv.org/abs/2104.08821v2 https://arxiv.org/pdf/2104.08821v2.pdf"},
		{"ARXIV:0704.0001", "arxiv:0704.0001"},
		{"ARXIV:hep-th/9901001", "arXiv:hep-th/9901001 hep-th/9901001 https://arxiv.org/abs/hep-th/9901001"},
		{"ARXIV:math/0309136v1", "math.GT/0309136v1 https://arxiv.org/abs/math.GT/0309136v1"},
		{"PMID:19872477", "PMID:19872477 pmid:019872477 https://pubmed.ncbi.nlm.nih.gov/19872477/ https://www.ncbi.nlm.nih.gov/pubmed/19872477"},
		{"PMCID:PMC2323736", "PMCID:PMC2323736 pmcid:2323736 PMC2323736 https://www.ncbi.nlm.nih.gov/pmc/articles/PMC2323736/ https://www.ncbi.nlm.nih.gov/pmc/articles/2323736 https://pmc.ncbi.nlm.nih.gov/articles/PMC2323736/ https://europepmc.org/article/PMC/PMC2323736"},
		{"ACL:2021.emnlp-main.552", "ACL:2021.emnlp-main.552 acl:2021.EMNLP-main.552 https://aclanthology.org/2021.emnlp-main.552/ https://aclanthology.org/2021.emnlp-main.552.pdf 10.18653/v1/2021.emnlp-main.552"},
		{"ACL:P19-1410", "ACL:p19-1410 https://www.aclweb.org/anthology/P19-1410 DOI:10.18653/v1/P19-1410 https://doi.org/10.3115/v1/P19-1410"},
		{"S2:" + sha, "S2:" + sha + " s2:" + strings.ToUpper(sha) + " " + sha + " https://www.semanticscholar.org/paper/Some-Title-Here/" + sha + " https://www.semanticscholar.org/paper/" + sha},
		{"S2:215416146", "S2:215416146 CorpusId:215416146 S2:CorpusID:215416146 https://api.semanticscholar.org/CorpusID:215416146"},
		{"OPENALEX:W2741809807", "OPENALEX:W2741809807 openalex:w2741809807 https://openalex.org/W2741809807 https://openalex.org/works/W2741809807 https://api.openalex.org/works/w2741809807"},
	} {
		for _, form := range strings.Fields(test.forms) {
			if got, known := Parse(form); got != test.want || !known {
				t.Errorf("%q: %q, %v; want %q", form, got, known, test.want)
			}
		}
		if got, known := Parse(test.want); got != test.want || !known {
			t.Errorf("%q, of itself: %q, %v", test.want, got, known)
		}
		if got, _ := Parse("  " + test.want + "\n"); got != test.want {
			t.Errorf("%q among white space: %q", test.want, got)
		}
	}
	for _, other := range []string{
		"", " ", "paper 1", "doi:", "doi:10.1/x", "10.1000", "10.1000/", "10.1000/a b", "10.1000/\x00", "arxiv:2113.00001", "2104.088", "2104.08821v0", "foo/9901001", "W2741809807",
		"12345", "PMID:x", "PMID:0", "pmc", "PMCID:", "ACL:hello", "P19-1410", "S2:abc", "OPENALEX:A123", "OPENALEX:W", "https://example.org/10.1000/x", "https://arxiv.org/list/cs.CL/recent",
		"https://doi.org/", "https://doi.org/%zz", "https://www.semanticscholar.org/author/" + sha, "https://openalex.org/A5023888391", "doi:" + strings.Repeat("x", 600), "10.1000/" + strings.Repeat("x", 600),
		"arXiv:\xff", "isbn:9780262033848",
	} {
		if got, known := Parse(other); got != other || known {
			t.Errorf("%q: %q, %v; want it as it is", other, got, known)
		}
	}
}

// FuzzParse: what Parse gives it gives again, and it says nothing of the case of what it reads.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"10.1145/3292500.3330701", "https://doi.org/10.1000/%41", "arXiv:2104.08821v2", "math.GT/0309136", "DOI:10.48550/arXiv.2104.08821v1", "https://www.ncbi.nlm.nih.gov/pmc/articles/PMC1", "S2:CorpusId:1", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, known := Parse(s)
		if !known {
			if id != s || Forms(s) != nil {
				t.Fatalf("%q is no id, and became %q, %v", s, id, Forms(s))
			}
			return
		}
		if again, ok := Parse(id); again != id || !ok {
			t.Fatalf("%q gives %q, and that %q, %v", s, id, again, ok)
		}
		if len(id) > maxID || strings.TrimSpace(id) != id {
			t.Fatalf("%q gives %q", s, id)
		}
		for _, form := range Forms(s) {
			if again, ok := Parse(form); again != form || !ok {
				t.Fatalf("%q has the form %q, which gives %q", s, form, again)
			}
		}
		scheme, rest, _ := strings.Cut(id, ":")
		if again, ok := ParseAs(scheme, rest); again != id || !ok {
			t.Fatalf("%q as %s: %q, %v; want %q", rest, scheme, again, ok, id)
		}
	})
}

func TestAliases(t *testing.T) {
	many := []string{}
	for i := range 100 {
		many = append(many, fmt.Sprintf("PMID:%d", i+1))
	}
	list, err := json.Marshal(map[string]any{"ids": many})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		p    Paper
		want string
	}{
		{"nothing", Paper{ID: "mine", Title: "A title"}, ""},
		{"fields", Paper{ID: "mine", DOI: "10.1000/X", ArxivID: "2104.08821v2", URL: "https://aclanthology.org/P19-1410/"}, "DOI:10.1000/x ARXIV:2104.08821v2 ARXIV:2104.08821 ACL:P19-1410"},
		{"each once", Paper{ID: "ARXIV:2104.08821", DOI: "10.48550/arXiv.2104.08821", ArxivID: "arXiv:2104.08821", URL: "https://arxiv.org/abs/2104.08821v1"}, "ARXIV:2104.08821 ARXIV:2104.08821v1"},
		{"Semantic Scholar", Paper{ID: "mine", Metadata: []byte(`{"externalIds": {"ArXiv": "1908.10084", "ACL": "D19-1410", "DOI": "10.18653/v1/D19-1410", "MAG": "2970641574", "CorpusId": 201646309, "PubMedCentral": "2323736", "DBLP": "conf/emnlp/ReimersG19"}}`)},
			"ACL:D19-1410 ARXIV:1908.10084 S2:201646309 PMCID:PMC2323736"},
		{"OpenAlex", Paper{ID: "https://openalex.org/W2741809807", Metadata: []byte(`{"ids": {"openalex": "https://openalex.org/W2741809807", "doi": "https://doi.org/10.7717/peerj.4375", "mag": "2741809807", "pmid": "https://pubmed.ncbi.nlm.nih.gov/29456894", "pmcid": "https://www.ncbi.nlm.nih.gov/pmc/articles/5815332"}}`)},
			"OPENALEX:W2741809807 DOI:10.7717/peerj.4375 PMCID:PMC5815332 PMID:29456894"},
		{"a list", Paper{ID: "mine", Metadata: []byte(`{"external_ids": ["10.1000/x", "mine:17", 12, null, {"a": 1}, "PMC1"]}`)}, "DOI:10.1000/x PMCID:PMC1"},
		{"others", Paper{ID: "mine", Metadata: []byte(`{"ids": 3, "external_ids": {"doi": ["10.1000/x"]}, "doi": "10.1000/y", "note": {"ids": ["10.1000/z"]}}`)}, ""},
		{"no JSON", Paper{ID: "mine", Metadata: []byte(`{"ids": [`)}, ""},
		{"many", Paper{ID: "10.1000/x", Metadata: list}, "DOI:10.1000/x " + strings.Join(many[:MaxAliases-1], " ")},
	} {
		if got := strings.Join(Aliases(test.p), " "); got != test.want {
			t.Errorf("%s: %s\nwant %s", test.name, got, test.want)
		}
	}
	if got := Forms("https://arxiv.org/abs/2104.08821v3"); !slices.Equal(got, []string{"ARXIV:2104.08821v3", "ARXIV:2104.08821"}) {
		t.Errorf("forms of a version: %v", got)
	}
}
