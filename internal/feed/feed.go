package feed

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/gorilla/feeds"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/links"
	embeddv1 "embedd/proto/embedd/v1"
)

const (
	// usualEntries a feed has, and most.
	usualEntries = 20
	maxEntries   = 100
	// pool is how many times as many papers are looked for: the newest of them are in the feed.
	pool = 5
	// fresh is for how long a reader of feeds need not ask again.
	fresh = time.Hour
)

// Refuse writes an error.
type Refuse func(http.ResponseWriter, *http.Request, *status.Status)

// Register adds the route
//
//	GET /feeds/related?paper=ID&paper=ID…  or  ?text=TEXT
//
// with count, filter, band (related or strong), after (a date), date_field and collection. Several papers are a reading list.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface, refuse Refuse) {
	search := embeddv1.NewSearchServiceClient(conn)
	mux.HandleFunc("GET /feeds/related", func(w http.ResponseWriter, r *http.Request) {
		f, err := ask(r.Context(), search, r.URL.Query())
		if err != nil {
			refuse(w, r, status.Convert(err))
			return
		}
		body, err := f.xml(self(r))
		if err != nil {
			refuse(w, r, status.New(codes.Internal, "the feed cannot be written"))
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/atom+xml; charset=utf-8")
		h.Set("Cache-Control", fmt.Sprintf("private, max-age=%d", int(fresh.Seconds())))
		h.Add("Vary", "Authorization, X-Api-Key, Origin")
		sum := xxhash.Sum64String(body)
		h.Set("ETag", `W/"`+strconv.FormatUint(sum, 16)+`"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
	})
}

// self is where a request was sent to, as far as a server can know.
func self(r *http.Request) *url.URL {
	u := *r.URL
	u.Scheme, u.Host = "http", r.Host
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return &u
}

// parameters are what a request may have.
var parameters = []string{"paper", "text", "count", "filter", "band", "after", "date_field", "collection"}

// found is what a feed is made of.
type found struct {
	title string
	dates string // the field that has them
	hits  []*embeddv1.Hit
}

// ask looks for the papers of a feed.
func ask(ctx context.Context, search embeddv1.SearchServiceClient, q url.Values) (*found, error) {
	for name, values := range q {
		if !slices.Contains(parameters, name) {
			return nil, status.Errorf(codes.InvalidArgument, "%.100q is not a parameter of a feed; there are %s", name, strings.Join(parameters, ", "))
		}
		if len(values) > 1 && name != "paper" {
			return nil, status.Errorf(codes.InvalidArgument, "%s: is given %d times; give it once", name, len(values))
		}
	}
	f := &found{dates: cmp.Or(q.Get("date_field"), "year")}
	count := usualEntries
	if given := q.Get("count"); given != "" {
		var err error
		if count, err = strconv.Atoi(given); err != nil || count < 1 || count > maxEntries {
			return nil, status.Errorf(codes.InvalidArgument, "count: is %.20q; must be 1 to %d", given, maxEntries)
		}
	}
	in, err := f.input(q)
	if err != nil {
		return nil, err
	}
	k := int32(pool * count)
	req := &embeddv1.SearchRequest{Query: in, K: &k, Filter: q.Get("filter"), PublishedAfter: q.Get("after"),
		View: embeddv1.PaperView_PAPER_VIEW_FULL, Collection: q.Get("collection")}
	if req.PublishedAfter != "" { // else it is for the order of the entries alone
		req.DateField = q.Get("date_field")
	}
	switch band := q.Get("band"); band {
	case "":
	case "related", "strong":
		req.MinBand = embeddv1.Band(embeddv1.Band_value["BAND_"+strings.ToUpper(band)])
	default:
		return nil, status.Errorf(codes.InvalidArgument, "band: is %.20q; must be related or strong", band)
	}
	res, err := search.Search(ctx, req)
	if err != nil {
		return nil, err
	}
	f.hits = slices.Clone(res.GetHits())
	f.sort()
	f.hits = f.hits[:min(count, len(f.hits))]
	return f, nil
}

// input is what is asked with.
func (f *found) input(q url.Values) (*embeddv1.Input, error) {
	papers, text := q["paper"], q.Get("text")
	switch {
	case (len(papers) > 0) == (text != ""):
		return nil, status.Error(codes.InvalidArgument, "give either paper, once or several times, or text")
	case text != "":
		f.title = "Papers about " + text
		return &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: text}}, nil
	case len(papers) == 1:
		f.title = "Papers related to " + papers[0]
		return &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: papers[0]}}, nil
	}
	f.title = fmt.Sprintf("Papers related to %d others", len(papers))
	list := &embeddv1.Examples{}
	for _, id := range papers {
		list.Positive = append(list.Positive, &embeddv1.Example{Input: &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: id}}})
	}
	return &embeddv1.Input{Kind: &embeddv1.Input_Examples{Examples: list}}, nil
}

// dateForms are how dates are written in metadata.
var dateForms = []string{time.RFC3339, time.DateOnly, "2006-01", "2006"}

// date is when a paper was published: zero where nobody knows.
func (f *found) date(p *embeddv1.Paper) time.Time {
	if f.dates != "year" {
		value := p.GetMetadata().GetFields()[strings.TrimPrefix(f.dates, "metadata.")]
		for _, form := range dateForms {
			if at, err := time.Parse(form, value.GetStringValue()); err == nil {
				return at
			}
		}
		if year := int(value.GetNumberValue()); year > 0 {
			return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		}
	}
	if p.GetYear() <= 0 {
		return time.Time{}
	}
	return time.Date(int(p.GetYear()), 1, 1, 0, 0, 0, 0, time.UTC)
}

// unknown stands for the date that Atom wants of what has none.
var unknown = time.Unix(0, 0).UTC()

// Atom is a feed of hits that is found at an address, the newest first by a field that has the papers' dates, "" for the year.
func Atom(title, dateField string, hits []*embeddv1.Hit, at *url.URL) (string, error) {
	f := &found{title: title, dates: cmp.Or(dateField, "year"), hits: slices.Clone(hits)}
	f.sort()
	return f.xml(at)
}

// sort puts the newest first.
func (f *found) sort() {
	slices.SortStableFunc(f.hits, func(a, b *embeddv1.Hit) int { return f.date(b.GetPaper()).Compare(f.date(a.GetPaper())) })
}

// xml is the feed, found at an address.
func (f *found) xml(at *url.URL) (string, error) {
	atom := &feeds.AtomFeed{Xmlns: "http://www.w3.org/2005/Atom", Title: f.title, Id: at.String(), Link: &feeds.AtomLink{Href: at.String(), Rel: "self"}, Updated: unknown.Format(time.RFC3339)}
	for i, hit := range f.hits {
		p := hit.GetPaper()
		updated := f.date(p)
		if updated.IsZero() {
			updated = unknown
		}
		if stamp := updated.Format(time.RFC3339); i == 0 {
			atom.Updated = stamp
		}
		entry := &feeds.AtomEntry{Title: cmp.Or(p.GetTitle(), p.GetId()), Id: identity(p, at), Updated: updated.Format(time.RFC3339), Summary: &feeds.AtomSummary{Type: "text", Content: p.GetAbstract()}}
		if to := links.Paper(p); to != "" {
			entry.Links = []feeds.AtomLink{{Href: to, Rel: "alternate"}}
		}
		if authors := strings.Join(p.GetAuthors(), ", "); authors != "" {
			entry.Author = &feeds.AtomAuthor{AtomPerson: feeds.AtomPerson{Name: authors}}
		} else {
			entry.Author = &feeds.AtomAuthor{AtomPerson: feeds.AtomPerson{Name: "unknown"}} // RFC 4287, 4.2.1: an entry has an author
		}
		atom.Entries = append(atom.Entries, entry)
	}
	return feeds.ToXML(atomXML{atom})
}

// atomXML has ToXML write an AtomFeed as it is.
type atomXML struct{ *feeds.AtomFeed }

// FeedXml implements feeds.XmlFeed.
func (a atomXML) FeedXml() any { return a.AtomFeed } //nolint:revive // the interface's name

// identity is a name of a paper for readers of feeds, which is the same whenever it comes (RFC 4287, 4.2.6): its DOI, or a tag URI (RFC 4151).
func identity(p *embeddv1.Paper, at *url.URL) string {
	if doi := links.DOI(p.GetDoi()); doi != "" {
		return doi
	}
	return "tag:" + at.Hostname() + ",2026:paper/" + hex.EncodeToString([]byte(p.GetId()))
}
