package pages

import (
	"cmp"
	"context"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"embedd/internal/links"
	embeddv1 "embedd/proto/embedd/v1"
)

// policy is what a page may do: nothing but what the server's own files do.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'"

// limit is how long a page waits for an answer before it goes without, and leaves it to its scripts.
const limit = 5 * time.Second

// hits is how many there are on a page; the scripts ask for as many.
const hits = 10

// started stands for when the static files changed last: it is not known, and so they go by their tags alone.
var started time.Time

var page = template.Must(template.New("page.html").Funcs(template.FuncMap{"path": paperPath, "web": links.Web, "doi": links.DOI, "arxiv": links.Arxiv}).ParseFS(files, "page.html"))

type pages struct {
	papers embeddv1.PaperServiceClient
	search embeddv1.SearchServiceClient
}

// view is what the template is given.
type view struct {
	// Name is the module that takes over.
	Name, Title, About, Version string
	// Data is the answer that the page shows, for the scripts, which need not ask for it again.
	Data json.RawMessage
	// Problem says in the page's place what went wrong.
	Problem string

	Query, Mode, Sort, Filter, Collection string
	Conditions                            []string
	Hits                                  []*embeddv1.Hit
	More                                  bool

	Paper *embeddv1.GetPaperResponse
}

// plain is a page that is nothing without its scripts.
func (p *pages) plain(name, title, about string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		write(w, http.StatusOK, view{Name: name, Title: title, About: about})
	}
}

// searchPage is the search, with its hits where the address says what for.
func (p *pages) searchPage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	v := view{Name: "search", Title: "Search", About: "Papers by what they mean, by their words, or by both.", Query: q.Get("q"), Mode: q.Get("mode"), Sort: q.Get("sort"),
		Filter: q.Get("filter"), Collection: q.Get("in"), Conditions: q["f"]}
	if strings.TrimSpace(v.Query) == "" {
		write(w, http.StatusOK, v)
		return
	}
	v.Title = v.Query
	req := &embeddv1.SearchRequest{
		Query: &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: v.Query}}, K: proto.Int32(hits), View: embeddv1.PaperView_PAPER_VIEW_FULL,
		Filter: filter(q), Collection: v.Collection,
	}
	switch v.Mode {
	case "dense":
		req.Mode = embeddv1.Mode_MODE_DENSE
	case "lexical":
		req.Mode = embeddv1.Mode_MODE_LEXICAL
	}
	switch v.Sort {
	case "recent":
		req.HalfLife = proto.Float64(5)
	case "newest":
		req.K = proto.Int32(100)
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	answer, err := p.search.Search(ctx, req)
	if err != nil {
		write(w, v.fail(err), v)
		return
	}
	v.data(answer)
	v.Hits, v.More = answer.GetHits(), answer.GetNextPageToken() != ""
	if v.Sort == "newest" {
		slices.SortStableFunc(v.Hits, func(a, b *embeddv1.Hit) int { return cmp.Compare(b.GetPaper().GetYear(), a.GetPaper().GetYear()) })
		v.More = false
	}
	write(w, http.StatusOK, v)
}

// paperPage is a paper. An id that would be a way up in a path comes as a parameter.
func (p *pages) paperPage(w http.ResponseWriter, r *http.Request) {
	id := cmp.Or(r.PathValue("id"), r.URL.Query().Get("id"))
	v := view{Name: "paper", Title: "Paper", About: "A paper, and those that are related to it.", Collection: r.URL.Query().Get("in")}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	answer, err := p.papers.GetPaper(ctx, &embeddv1.GetPaperRequest{Id: id, Collection: v.Collection})
	if err != nil {
		write(w, v.fail(err), v)
		return
	}
	v.data(answer)
	v.Paper = answer
	v.Title = cmp.Or(answer.GetPaper().GetTitle(), answer.GetPaper().GetId())
	if about := []rune(answer.GetPaper().GetAbstract()); len(about) > 0 {
		v.About = string(about[:min(len(about), 160)])
	}
	write(w, http.StatusOK, v)
}

// data gives the scripts an answer.
func (v *view) data(m proto.Message) {
	if b, err := protojson.Marshal(m); err == nil { // else they ask for it
		v.Data = b
	}
}

// fail says what went wrong, and gives the answer's code. Who must show a key first does so in the page, which is no secret.
func (v *view) fail(err error) int {
	st := status.Convert(err)
	v.Problem = st.Message()
	switch st.Code() {
	case codes.NotFound:
		return http.StatusNotFound
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.Unauthenticated, codes.PermissionDenied:
		return http.StatusOK
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded, codes.Canceled:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

func write(w http.ResponseWriter, code int, v view) {
	v.Version = version
	var b strings.Builder
	if err := page.Execute(&b, v); err != nil {
		http.Error(w, "the page cannot be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "Authorization, X-Api-Key")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(b.String())) // a client that has gone
}

// field is what a condition is about.
var field = regexp.MustCompile(`^\s*([^=<>!:\s]+)\s*(=|:)`)

// filter is the filter of an address: each parameter f is a condition; those on one field are alternatives, as in any list of facets, and all others must hold
// together. filterOf in search.js makes the same of them.
func filter(q url.Values) string {
	var names []string
	by := map[string][]string{}
	for _, c := range q["f"] {
		name := c
		if m := field.FindStringSubmatch(c); m != nil {
			name = m[1]
		}
		if by[name] == nil {
			names = append(names, name)
		}
		by[name] = append(by[name], c)
	}
	var all []string
	for _, name := range names {
		if either := by[name]; len(either) > 1 {
			all = append(all, "("+strings.Join(either, " OR ")+")")
		} else {
			all = append(all, either[0])
		}
	}
	if from, err := strconv.Atoi(q.Get("from")); err == nil {
		all = append(all, "year >= "+strconv.Itoa(from))
	}
	if to, err := strconv.Atoi(q.Get("to")); err == nil {
		all = append(all, "year <= "+strconv.Itoa(to))
	}
	if own := strings.TrimSpace(q.Get("filter")); own != "" {
		if len(all) > 0 {
			own = "(" + own + ")"
		}
		all = append(all, own)
	}
	return strings.Join(all, " AND ")
}

// paperPath is the page of a paper; pathOf in dom.js makes the same. Slashes stay where no part between them is one that browsers would take away.
func paperPath(id, in string) string {
	var of string
	escaped := component.Replace(url.QueryEscape(id))
	switch parts := strings.Split(id, "/"); {
	case id == "." || id == "..":
		of = "/paper/?id=" + escaped
	case slices.ContainsFunc(parts, func(s string) bool { return s == "" || s == "." || s == ".." }):
		of = "/paper/" + escaped
	default:
		of = "/paper/" + strings.NewReplacer("%2F", "/", "%3A", ":").Replace(escaped)
	}
	if in != "" {
		if strings.Contains(of, "?") {
			return of + "&in=" + url.QueryEscape(in)
		}
		of += "?in=" + url.QueryEscape(in)
	}
	return of
}

// component makes of Go's escapes those of encodeURIComponent.
var component = strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")
