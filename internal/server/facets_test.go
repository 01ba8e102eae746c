package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"embedd/internal/access"
	embeddv1 "embedd/proto/embedd/v1"
)

// Counts are of the papers that filter and key let through, and of nothing else.
func TestCountPapers(t *testing.T) {
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	as := func(key string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+k.secrets[key]))
	}
	papers := embeddv1.NewPaperServiceClient(conn)
	storeMany(t, as("write"), conn, 30, 1)
	facet := func(field string, values int32) *embeddv1.FacetRequest {
		return &embeddv1.FacetRequest{Field: field, Values: values}
	}
	for _, c := range []struct {
		key  string
		req  *embeddv1.CountPapersRequest
		want string
	}{
		{"read", &embeddv1.CountPapersRequest{}, "30 ''"},
		{"read", &embeddv1.CountPapersRequest{Filter: "year<2002"}, "12 'year < 2002'"},
		{"read", &embeddv1.CountPapersRequest{Facets: []*embeddv1.FacetRequest{facet("categories", 0), facet("year", 2), facet("doi", 1)}},
			"30 '' metadata.categories cs.CV=20 cs.CL=10 of 2, 0 without; year 2000=6 2001=6 of 5, 0 without; doi of 0, 30 without"},
		{"filtered", &embeddv1.CountPapersRequest{Filter: "year = 2000", Facets: []*embeddv1.FacetRequest{facet("metadata.categories", 5)}},
			"2 'year = 2000' metadata.categories cs.CL=2 of 1, 0 without"},
	} {
		res, err := papers.CountPapers(as(c.key), c.req)
		var facets []string
		for _, f := range res.GetFacets() {
			text := f.GetField()
			for _, v := range f.GetValues() {
				text += fmt.Sprintf(" %s=%d", v.GetValue(), v.GetPapers())
			}
			facets = append(facets, fmt.Sprintf("%s of %d, %d without", text, f.GetValuesTotal(), f.GetPapersWithout()))
		}
		got := strings.TrimSpace(fmt.Sprintf("%d '%s' %s", res.GetPapers(), res.GetFilter(), strings.Join(facets, "; ")))
		if err != nil || got != c.want {
			t.Errorf("%v with the key %s: %s, %v, want %s", c.req, c.key, got, err, c.want)
		}
	}
	_, err := papers.CountPapers(as("read"), &embeddv1.CountPapersRequest{Facets: []*embeddv1.FacetRequest{facet("year", 1), facet("yaer", 1)}})
	st := status.Convert(err)
	named := slices.ContainsFunc(st.Details(), func(d any) bool {
		bad, ok := d.(*errdetails.BadRequest)
		return ok && bad.GetFieldViolations()[0].GetField() == "facets[1].field"
	})
	if st.Code() != codes.InvalidArgument || !named || !strings.Contains(st.Message(), "is it year") {
		t.Errorf("%v, %v", err, st.Details())
	}
	info, err := embeddv1.NewInfoServiceClient(conn).GetInfo(as("read"), &embeddv1.GetInfoRequest{})
	if n := info.GetLimits().GetFacets(); err != nil || n != 10 {
		t.Errorf("%d fields a call are published, %v", n, err)
	}
	if _, err := papers.CountPapers(as("read"), &embeddv1.CountPapersRequest{Facets: slices.Repeat([]*embeddv1.FacetRequest{facet("year", 1)}, 11)}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "the limit is 10") {
		t.Errorf("11 fields: %v", err)
	}
}
