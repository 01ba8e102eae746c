package compat

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// scholar is the dialect of Semantic Scholar's recommendations.
var scholar = &dialect{body: func(f *failure) any {
	if f.status == http.StatusUnauthorized && f.keyed {
		f.status = http.StatusForbidden // their word for a key that is not good
	}
	if f.status == http.StatusUnprocessableEntity {
		f.status = http.StatusBadRequest
	}
	body := map[string]string{"error": f.text()}
	if f.status != http.StatusBadRequest && f.status != http.StatusNotFound {
		body["message"] = f.text() // what comes from their gateway has it there
	}
	return body
}}

// What Semantic Scholar gives when nothing is said, and at most.
const (
	defaultRecommendations = 100
	maxRecommendations     = 500
)

// paperFields are how members of papers are made, of those that there are here.
var paperFields = map[string]func(p *embeddv1.Paper) any{
	"title":    func(p *embeddv1.Paper) any { return p.GetTitle() },
	"abstract": func(p *embeddv1.Paper) any { return orNull(p.GetAbstract()) },
	"venue":    func(p *embeddv1.Paper) any { return p.GetVenue() },
	"url":      func(p *embeddv1.Paper) any { return orNull(p.GetUrl()) },
	"year": func(p *embeddv1.Paper) any {
		if p.GetYear() == 0 {
			return nil
		}
		return p.GetYear()
	},
	"authors": func(p *embeddv1.Paper) any {
		type author struct {
			ID   *string `json:"authorId"`
			Name string  `json:"name"`
		}
		all := make([]author, len(p.GetAuthors()))
		for i, name := range p.GetAuthors() {
			all[i].Name = name
		}
		return all
	},
	"externalIds": func(p *embeddv1.Paper) any {
		ids := map[string]string{}
		for name, id := range map[string]string{"DOI": p.GetDoi(), "ArXiv": p.GetArxivId()} {
			if scheme, rest, ok := strings.Cut(p.GetId(), ":"); ok && id == "" && strings.EqualFold(scheme, name) {
				id = rest
			}
			if id != "" {
				ids[name] = id
			}
		}
		return ids
	},
	"publicationDate": func(p *embeddv1.Paper) any {
		return orNull(p.GetMetadata().GetFields()["publicationDate"].GetStringValue())
	},
}

// unknownFields are members of their papers that are not kept here: they are null.
var unknownFields = []string{
	"citationCount", "citationStyles", "corpusId", "fieldsOfStudy", "influentialCitationCount", "isOpenAccess", "journal", "openAccessPdf", "publicationTypes",
	"publicationVenue", "referenceCount", "s2FieldsOfStudy",
}

// fullFields are those that are not in the basic view of a paper.
var fullFields = []string{"abstract", "publicationDate"}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// wanted is what a request says of its answer.
type wanted struct {
	fields []string
	limit  int32
}

// view is how much of each paper is needed.
func (o *wanted) view() embeddv1.PaperView {
	if slices.ContainsFunc(o.fields, func(name string) bool { return slices.Contains(fullFields, name) }) {
		return embeddv1.PaperView_PAPER_VIEW_FULL
	}
	return embeddv1.PaperView_PAPER_VIEW_BASIC
}

// papers are hits as Semantic Scholar gives papers.
func (o *wanted) papers(hits []*embeddv1.Hit) any {
	out := make([]map[string]any, len(hits))
	for i, h := range hits {
		p := map[string]any{"paperId": h.GetPaper().GetId()}
		for _, name := range o.fields {
			p[name] = nil
			if of := paperFields[name]; of != nil {
				p[name] = of(h.GetPaper())
			}
		}
		out[i] = p
	}
	return map[string]any{"recommendedPapers": out}
}

// wantedOf reads the parameters of a request, of which there may be fields, limit and those named.
func wantedOf(query url.Values, more ...string) (*wanted, *failure) {
	o := &wanted{fields: []string{"title"}, limit: defaultRecommendations}
	for name, values := range query {
		if name != "fields" && name != "limit" && !slices.Contains(more, name) {
			return nil, wrong("", "Unrecognized query parameter: [%.100s]", name)
		}
		if len(values) != 1 {
			return nil, wrong(name, "is given %d times", len(values))
		}
	}
	if text := query.Get("limit"); query.Has("limit") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxRecommendations {
			return nil, wrong("limit", "is %.40q; must be a number, 1 to %d", text, maxRecommendations)
		}
		o.limit = int32(n)
	}
	if text := query.Get("fields"); text != "" {
		o.fields = nil
		for name := range strings.SplitSeq(text, ",") {
			name = strings.TrimSpace(name)
			if name == "authors.name" || name == "authors.authorId" {
				name = "authors"
			}
			switch {
			case name == "paperId":
				continue // is always there
			case paperFields[name] == nil && !slices.Contains(unknownFields, name):
				return nil, wrong("", "Unrecognized or unsupported fields: [%.100s]", name)
			case !slices.Contains(o.fields, name):
				o.fields = append(o.fields, name)
			}
		}
	}
	return o, nil
}

// forPaper answers GET /recommendations/v1/papers/forpaper/{id}.
func (c *rooms) forPaper(r *http.Request) (any, *failure) {
	query := r.URL.Query()
	o, f := wantedOf(query, "from")
	if f != nil {
		return nil, f
	}
	if from := query.Get("from"); query.Has("from") && from != "recent" && from != "all-cs" {
		return nil, wrong("from", "is %.40q; must be recent or all-cs", from)
	}
	id := paperID(r.PathValue("id"))
	res, err := c.search.Related(r.Context(), &embeddv1.RelatedRequest{Id: id, K: &o.limit, View: o.view()})
	if err != nil {
		return nil, notFound(err, id, func(string) string { return "paper_id" })
	}
	return o.papers(res.GetHits()), nil
}

// fromLists answers POST /recommendations/v1/papers/.
func (c *rooms) fromLists(r *http.Request) (any, *failure) {
	o, f := wantedOf(r.URL.Query())
	if f != nil {
		return nil, f
	}
	var req struct {
		Positive []*string `json:"positivePaperIds"`
		Negative []*string `json:"negativePaperIds"`
	}
	if f := read(r, &req); f != nil {
		return nil, f
	}
	ask := &embeddv1.RecommendRequest{K: &o.limit, View: o.view()}
	for _, side := range []struct {
		name string
		from []*string
		to   *[]string
	}{{"positivePaperIds", req.Positive, &ask.PositiveIds}, {"negativePaperIds", req.Negative, &ask.NegativeIds}} {
		for i, id := range side.from {
			if id == nil {
				return nil, wrong(fmt.Sprintf("%s[%d]", side.name, i), "is null; must be a string")
			}
			*side.to = append(*side.to, paperID(*id))
		}
	}
	res, err := c.search.Recommend(r.Context(), ask)
	if err != nil {
		names := renamer(map[string]string{"positive_ids": "positivePaperIds", "negative_ids": "negativePaperIds"})
		return nil, notFound(err, idAt(ask, failed(err, nil).field), names)
	}
	return o.papers(res.GetHits()), nil
}

// idAt is the id that a field of a request has.
func idAt(ask *embeddv1.RecommendRequest, field string) string {
	ids := map[string][]string{"positive_ids": ask.GetPositiveIds(), "negative_ids": ask.GetNegativeIds()}
	name, rest, _ := strings.Cut(field, "[")
	i, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	if all := ids[name]; err == nil && i >= 0 && i < len(all) {
		return all[i]
	}
	return ""
}

// notFound is the error of a call about papers, in their words where one is not there.
func notFound(err error, id string, rename func(string) string) *failure {
	if f := failed(err, rename); status.Code(err) != codes.NotFound || id == "" {
		return f
	}
	return &failure{status: http.StatusNotFound, message: fmt.Sprintf("Paper with id %.600s not found", id)}
}

// onePaper is what the paths of recommendations for a paper begin with.
const onePaper = "/recommendations/v1/papers/forpaper/"

// Whole is a request with a path that no mux cleans: the id of a paper may be an address, in which slashes stand side by side.
func Whole(r *http.Request) *http.Request {
	id, ok := strings.CutPrefix(r.URL.EscapedPath(), onePaper)
	if !ok || !strings.Contains(id, "/") {
		return r
	}
	to, out := *r.URL, *r
	to.RawPath = onePaper + strings.ReplaceAll(id, "/", "%2F")
	out.URL = &to
	return &out
}

// paperID is an id without what says that it is an address.
func paperID(id string) string {
	if scheme, rest, ok := strings.Cut(id, ":"); ok && strings.EqualFold(scheme, "URL") {
		return rest
	}
	return id
}
