package pages

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	embeddv1 "embedd/proto/embedd/v1"
)

// mapVersion is of the form of /map/points.
const mapVersion = 1

// registerMap adds the routes of the data that the map is drawn of:
//
//	GET /map/points?collection=NAME
//	GET /map/papers?at=I&at=J…&computed=TIME&collection=NAME
//
// The points are binary, little endian, so that a browser takes them as typed arrays: "EMAP", then in 32 bits each the version, the number n of papers and
// that of clusters; x and y of each paper as float32, all x first; its cluster in 16 bits; its year in 16 bits, 0 for one that is not known; then in 32
// bits the length of a text in JSON, and that: the clusters, the time at which the map was computed and the number of papers.
func registerMap(mux *http.ServeMux, conn grpc.ClientConnInterface, refuse Refuse) {
	maps := embeddv1.NewMapServiceClient(conn)
	mux.HandleFunc("GET /map/points", func(w http.ResponseWriter, r *http.Request) {
		q, err := parameters(r, "collection")
		if err != nil {
			refuse(w, r, status.Convert(err))
			return
		}
		m, err := maps.GetMap(r.Context(), &embeddv1.GetMapRequest{Collection: q.Get("collection")})
		if err != nil {
			refuse(w, r, status.Convert(err))
			return
		}
		h, tag := w.Header(), `W/"`+m.GetComputed().AsTime().Format(time.RFC3339Nano)+`"` // weak: it may be packed on the way
		h.Set("ETag", tag)
		h.Set("Cache-Control", "private, no-cache")
		h.Add("Vary", "Authorization, X-Api-Key, Origin")
		for has := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
			if has = strings.TrimSpace(has); has == tag || has == "*" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		body, err := mapPoints(m)
		if err != nil {
			refuse(w, r, status.New(codes.Internal, "the map cannot be written"))
			return
		}
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // an error is the client's having gone
	})
	mux.HandleFunc("GET /map/papers", func(w http.ResponseWriter, r *http.Request) {
		found, err := mapPapers(r, maps)
		if err != nil {
			refuse(w, r, status.Convert(err))
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "private, no-cache")
		h.Add("Vary", "Authorization, X-Api-Key, Origin")
		h.Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(found) // an error is the client's having gone
	})
}

// parameters are those of a request, which has no others than these; all but at may be there once.
func parameters(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the query of the address cannot be read")
	}
	for name, values := range q {
		if !slices.Contains(names, name) {
			return nil, status.Errorf(codes.InvalidArgument, "%.100q is not a parameter of this route", name)
		}
		if len(values) > 1 && name != "at" {
			return nil, status.Errorf(codes.InvalidArgument, "%s: is given %d times; give it once", name, len(values))
		}
	}
	return q, nil
}

// mapCluster is a cluster in JSON.
type mapCluster struct {
	Label  string  `json:"label"`
	X      float32 `json:"x"`
	Y      float32 `json:"y"`
	Papers int64   `json:"papers"`
}

// mapPoints is a map in the binary form.
func mapPoints(m *embeddv1.GetMapResponse) ([]byte, error) {
	about := struct {
		Clusters []mapCluster `json:"clusters"`
		Computed string       `json:"computed"`
		Papers   int64        `json:"papers"`
	}{[]mapCluster{}, m.GetComputed().AsTime().Format(time.RFC3339Nano), m.GetPapers()}
	for _, c := range m.GetClusters() {
		about.Clusters = append(about.Clusters, mapCluster{c.GetLabel(), c.GetX(), c.GetY(), c.GetPapers()})
	}
	text, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	n := len(m.GetX())
	if len(m.GetY()) != n || len(m.GetCluster()) != n || len(m.GetYear()) != n {
		return nil, fmt.Errorf("the map has %d, %d, %d and %d values", n, len(m.GetY()), len(m.GetCluster()), len(m.GetYear()))
	}
	order := binary.LittleEndian
	b := append(make([]byte, 0, 20+12*n+len(text)), "EMAP"...)
	for _, v := range []int{mapVersion, n, len(about.Clusters)} {
		b = order.AppendUint32(b, uint32(v))
	}
	for _, axis := range [][]float32{m.GetX(), m.GetY()} {
		for _, v := range axis {
			b = order.AppendUint32(b, math.Float32bits(v))
		}
	}
	for _, k := range m.GetCluster() {
		b = order.AppendUint16(b, uint16(k))
	}
	for _, year := range m.GetYear() {
		b = order.AppendUint16(b, uint16(int16(year)))
	}
	return append(order.AppendUint32(b, uint32(len(text))), text...), nil
}

// mapPaper is a paper of the map in JSON.
type mapPaper struct {
	At    int32  `json:"at"`
	ID    string `json:"id"`
	Title string `json:"title"`
	Year  int32  `json:"year,omitempty"`
}

// mapPapers finds the papers that a request asks for.
func mapPapers(r *http.Request, maps embeddv1.MapServiceClient) ([]mapPaper, error) {
	q, err := parameters(r, "at", "computed", "collection")
	if err != nil {
		return nil, err
	}
	req := &embeddv1.GetMapPapersRequest{Collection: q.Get("collection")}
	for _, text := range q["at"] {
		at, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "at: is %.20q; must be the position of a paper", text)
		}
		req.At = append(req.At, int32(at))
	}
	computed, err := time.Parse(time.RFC3339Nano, q.Get("computed"))
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "computed: is %.40q; must be the time that the map has", q.Get("computed"))
	}
	req.Computed = timestamppb.New(computed)
	res, err := maps.GetMapPapers(r.Context(), req)
	if err != nil {
		return nil, err
	}
	out := []mapPaper{}
	for _, p := range res.GetPapers() {
		out = append(out, mapPaper{p.GetAt(), p.GetPaper().GetId(), p.GetPaper().GetTitle(), p.GetPaper().GetYear()})
	}
	return out, nil
}
