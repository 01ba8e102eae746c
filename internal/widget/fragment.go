package widget

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the template and its style
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/links"
	embeddv1 "embedd/proto/embedd/v1"
)

// fragments answers with related papers as HTML, for pages without scripts: a piece, or a whole document for a frame.
type fragments struct{ search embeddv1.SearchServiceClient }

//go:embed static/fragment.html
var fragmentHTML string

//go:embed static/fragment.css
var fragmentCSS string

var fragment = template.Must(template.New("fragment").Parse(fragmentHTML))

// fragmentPolicy has a document of ours load nothing and run nothing; its own style is known by its hash.
var fragmentPolicy = func() string {
	sum := sha256.Sum256([]byte(fragmentCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}()

// labels are what stands around papers, in a language; as the script has them.
type labels struct {
	Heading, Empty, Failed, Others string
	band                           map[embeddv1.Band]string
}

func bands(strong, related, weak string) map[embeddv1.Band]string {
	return map[embeddv1.Band]string{embeddv1.Band_BAND_STRONG: strong, embeddv1.Band_BAND_RELATED: related, embeddv1.Band_BAND_WEAK: weak}
}

var languages = map[string]labels{
	"en": {"Related papers", "No related papers were found.", "Related papers cannot be shown at the moment.", "et al.", bands("closely related", "related", "loosely related")},
	"de": {"Verwandte Arbeiten", "Keine verwandten Arbeiten gefunden.", "Verwandte Arbeiten lassen sich gerade nicht anzeigen.", "u. a.", bands("eng verwandt", "verwandt", "entfernt verwandt")},
	"fr": {"Articles apparentés", "Aucun article apparenté n’a été trouvé.", "Les articles apparentés ne peuvent pas être affichés pour l’instant.", "et al.", bands("très proche", "apparenté", "plus éloigné")},
	"es": {"Artículos relacionados", "No se encontraron artículos relacionados.", "Los artículos relacionados no se pueden mostrar en este momento.", "y otros", bands("muy relacionado", "relacionado", "poco relacionado")},
}

// The parameters of a fragment, and how many papers it has at most.
var fragmentParameters = []string{"id", "text", "count", "band", "filter", "collection", "lang", "heading", "level", "document"}

const (
	usualCount = 5
	mostCount  = 50
)

// view is what the template shows.
type view struct {
	labels
	Lang     string
	Level    int
	Document bool
	Style    template.CSS
	Papers   []paper
	// Error is what is wrong, for who wrote the page; empty where all is well.
	Error string
}

type paper struct {
	Title, Link, Facts, Band, BandName string
}

// asked is what a request's parameters say.
type asked struct {
	call  *embeddv1.SearchRequest
	least embeddv1.Band
}

// ServeHTTP implements http.Handler. Whatever goes wrong is HTML too, with the status that it would have as JSON.
func (f *fragments) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	v := view{Lang: "en", Level: 2, Style: template.CSS(fragmentCSS)} // our own file, and not one with "</style>" in it
	if lang, _, _ := strings.Cut(strings.ToLower(values.Get("lang")), "-"); languages[lang].Heading != "" {
		v.Lang = lang
	}
	v.labels = languages[v.Lang]
	code := http.StatusOK
	q, err := read(values, &v)
	if err == nil {
		var res *embeddv1.SearchResponse
		if res, err = f.search.Search(r.Context(), q.call); err == nil {
			for _, hit := range res.GetHits() {
				// Where there are too few papers to tell bands, hits have none.
				if band := hit.GetBand(); band == embeddv1.Band_BAND_UNSPECIFIED || band >= q.least {
					v.Papers = append(v.Papers, v.paper(hit))
				}
			}
		}
	}
	keep := "private, max-age=60"
	if err != nil {
		st := status.Convert(err)
		code, keep = httpStatus(st.Code()), "no-store"
		v.Error = st.Message()
	}
	var body bytes.Buffer
	if err := fragment.Execute(&body, v); err != nil { // only by a mistake in the template
		http.Error(w, "the fragment cannot be written", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", fragmentPolicy)
	h.Add("Vary", "Authorization, X-Api-Key, Origin")
	tag := ""
	switch code {
	case http.StatusOK:
		sum := sha256.Sum256(body.Bytes())
		tag = `W/"` + hex.EncodeToString(sum[:8]) + `"`
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="embedd"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
	answer(w, r, code, keep, tag, body.Bytes())
}

// read makes a call of the parameters; what they say of the looks goes into v.
func read(values url.Values, v *view) (*asked, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for name, all := range values {
		if !slices.Contains(fragmentParameters, name) {
			wrong("%.100q is not a parameter; there are %s", name, strings.Join(fragmentParameters, ", "))
		} else if len(all) > 1 {
			wrong("%s is given %d times", name, len(all))
		}
	}
	number := func(name string, usual, most int) int {
		text := values.Get(name)
		if text == "" {
			return usual
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			wrong("%s is %.100q; must be 1 to %d", name, text, most)
		}
		return n
	}
	count := int32(number("count", usualCount, mostCount))
	v.Document = values.Get("document") == "1"
	level := 2
	if v.Document {
		level = 1
	}
	v.Level = number("level", level, 6)
	if values.Has("heading") {
		v.Heading = values.Get("heading")
	}
	if d := values.Get("document"); d != "" && d != "0" && d != "1" {
		wrong("document is %.100q; must be 0 or 1", d)
	}
	least := map[string]embeddv1.Band{"": embeddv1.Band_BAND_RELATED, "weak": embeddv1.Band_BAND_WEAK, "related": embeddv1.Band_BAND_RELATED, "strong": embeddv1.Band_BAND_STRONG}
	band, ok := least[values.Get("band")]
	if !ok {
		wrong("band is %.100q; must be weak, related or strong", values.Get("band"))
	}
	in := &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: values.Get("id")}}
	switch id, text := values.Get("id"), values.Get("text"); {
	case id == "" && text == "":
		wrong("id is missing, the paper whose relatives are wanted; or give a text")
	case id != "" && text != "":
		wrong("id and text are both given; give one")
	case text != "":
		in.Kind = &embeddv1.Input_Text{Text: text}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &asked{&embeddv1.SearchRequest{Query: in, K: &count, Filter: values.Get("filter"), Collection: values.Get("collection")}, band}, nil
}

// paper is a hit in words.
func (l *labels) paper(hit *embeddv1.Hit) paper {
	p := hit.GetPaper()
	out := paper{Title: p.GetTitle(), Link: links.Paper(p), Band: strings.ToLower(strings.TrimPrefix(hit.GetBand().String(), "BAND_")), BandName: l.band[hit.GetBand()]}
	if out.Title == "" {
		out.Title = p.GetId()
	}
	var facts []string
	if authors := p.GetAuthors(); len(authors) > 3 {
		facts = append(facts, strings.Join(authors[:3], ", ")+" "+l.Others)
	} else if len(authors) > 0 {
		facts = append(facts, strings.Join(authors, ", "))
	}
	where := p.GetVenue()
	if year := strconv.Itoa(int(p.GetYear())); where == "" {
		where = year
	} else if year != "0" {
		where += "\u00a0·\u00a0" + year // which does not begin a line alone
	}
	if where != "0" {
		facts = append(facts, where)
	}
	out.Facts = strings.Join(facts, " · ")
	return out
}

// httpStatus is a code as HTTP knows it.
func httpStatus(c codes.Code) int {
	switch c {
	case codes.OK:
		return http.StatusOK
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Canceled:
		return 499
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
