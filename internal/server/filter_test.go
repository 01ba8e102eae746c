package server

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"embedd/internal/access"
	embeddv1 "embedd/proto/embedd/v1"
)

// For who has a key with a filter there are no other papers than those that meet it, in no method and whatever filter is asked with.
func TestAKeyWithAFilter(t *testing.T) {
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	as := func(key string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+k.secrets[key]))
	}
	papers, search := embeddv1.NewPaperServiceClient(conn), embeddv1.NewSearchServiceClient(conn)
	in := func(id, category string) *embeddv1.Paper {
		m, err := structpb.NewStruct(map[string]any{"categories": []any{category}})
		if err != nil {
			t.Fatal(err)
		}
		return &embeddv1.Paper{Id: id, Title: "paper " + id, Abstract: "fish " + id, Metadata: m}
	}
	_, err := papers.UpsertPapers(as("write"), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{in("a", "cs.CL"), in("b", "cs.CL"), in("c", "cs.CV"), in("d", "cs.CV")}})
	if err != nil {
		t.Fatal(err)
	}
	found := func(hits []*embeddv1.Hit) string {
		var ids []string
		for _, h := range hits {
			ids = append(ids, h.GetPaper().GetId())
		}
		slices.Sort(ids)
		return strings.Join(ids, " ")
	}
	text := &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: "fish"}}
	paper := func(id string) *embeddv1.Input { return &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: id}} }
	for _, c := range []struct {
		name       string
		call       func(ctx context.Context) (string, error)
		all, scope string // what comes with a key without a filter, and with one; a code where it is an error
	}{
		{"search", func(ctx context.Context) (string, error) {
			res, err := search.Search(ctx, &embeddv1.SearchRequest{Query: text})
			return found(res.GetHits()), err
		}, "a b c d", "a b"},
		{"search, exact", func(ctx context.Context) (string, error) {
			res, err := search.Search(ctx, &embeddv1.SearchRequest{Query: text, Exact: true})
			return found(res.GetHits()), err
		}, "a b c d", "a b"},
		{"search with a filter", func(ctx context.Context) (string, error) {
			res, err := search.Search(ctx, &embeddv1.SearchRequest{Query: text, Filter: "categories:cs.CV OR id = b"})
			return found(res.GetHits()), err
		}, "b c d", "b"},
		{"search for all with a filter", func(ctx context.Context) (string, error) {
			res, err := search.Search(ctx, &embeddv1.SearchRequest{Query: text, Filter: "id:* OR NOT id:*"})
			return found(res.GetHits()), err
		}, "a b c d", "a b"},
		{"search by a paper", func(ctx context.Context) (string, error) {
			res, err := search.Search(ctx, &embeddv1.SearchRequest{Query: paper("c")})
			return found(res.GetHits()), err
		}, "a b d", "NotFound"},
		{"related", func(ctx context.Context) (string, error) {
			res, err := search.Related(ctx, &embeddv1.RelatedRequest{Id: "a"})
			return found(res.GetHits()), err
		}, "b c d", "b"},
		{"related to another's", func(ctx context.Context) (string, error) {
			res, err := search.Related(ctx, &embeddv1.RelatedRequest{Id: "c"})
			return found(res.GetHits()), err
		}, "a b d", "NotFound"},
		{"get", func(ctx context.Context) (string, error) {
			res, err := papers.GetPaper(ctx, &embeddv1.GetPaperRequest{Id: "c"})
			return res.GetPaper().GetId(), err
		}, "c", "NotFound"},
		{"list", func(ctx context.Context) (string, error) {
			res, err := papers.ListPapers(ctx, &embeddv1.ListPapersRequest{})
			var hits []*embeddv1.Hit
			for _, p := range res.GetPapers() {
				hits = append(hits, &embeddv1.Hit{Paper: p})
			}
			return found(hits), err
		}, "a b c d", "a b"},
		{"what is not scoped", func(ctx context.Context) (string, error) {
			_, err := embeddv1.NewInfoServiceClient(conn).GetInfo(ctx, &embeddv1.GetInfoRequest{})
			return "", err
		}, "", "PermissionDenied"},
	} {
		for key, want := range map[string]string{"read": c.all, "filtered": c.scope} {
			got, err := c.call(as(key))
			if err != nil {
				got = status.Code(err).String()
			}
			if got != want {
				t.Errorf("%s with the key %s: %q, want %q (%v)", c.name, key, got, want, err)
			}
		}
	}
	if _, err := search.Search(as("read"), &embeddv1.SearchRequest{Query: text, Filter: "categories ="}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "filter") {
		t.Errorf("%v", err)
	}
	// Which fields other papers have, their ids, how many they are and when they change is not said.
	m, err := structpb.NewStruct(map[string]any{"secret": true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := papers.UpsertPapers(as("write"), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "aa-secret", Title: "x", Metadata: m}}}); err != nil {
		t.Fatal(err)
	}
	say := map[string]bool{}
	for _, filter := range []string{"secret:*", "secret = 5", "secre = true", "nothing:*"} {
		_, err := search.Search(as("filtered"), &embeddv1.SearchRequest{Query: text, Filter: filter})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%q: %v", filter, err)
		}
		say[strings.NewReplacer("secret", "F", "secre", "F", "nothing", "F").Replace(status.Convert(err).Message())] = true
	}
	if len(say) > 2 { // but for the column
		t.Errorf("it shows which fields there are: %v", say)
	}
	one := int32(1)
	page, err := papers.ListPapers(as("filtered"), &embeddv1.ListPapersRequest{PageSize: &one})
	if token, e := base64.RawURLEncoding.DecodeString(page.GetNextPageToken()); err != nil || e != nil || string(token) != "a" {
		t.Errorf("the page goes on after %q: %v %v", token, err, e)
	}
	graph, err := search.Search(as("filtered"), &embeddv1.SearchRequest{Query: text, Plan: embeddv1.Plan_PLAN_GRAPH})
	if e := graph.GetEffective(); err != nil || graph.GetIndexVersion() != 0 || e.GetEf() != 0 || e.GetPlan() != embeddv1.Plan_PLAN_UNSPECIFIED {
		t.Errorf("%v %v", graph, err)
	}
	res, err := search.Search(as("filtered"), &embeddv1.SearchRequest{Query: text, Filter: "year > 2000 OR id:*"})
	if err != nil || strings.Contains(res.GetEffective().GetFilter(), "cs.CL") || !strings.Contains(res.GetEffective().GetFilter(), "year > 2000") {
		t.Errorf("the filter in effect is %q, %v: want the caller's, and not the key's", res.GetEffective().GetFilter(), err)
	}
}

// A key's filter that does not fit the papers lets nobody in, by no method.
func TestAKeyWhoseFilterFitsNothing(t *testing.T) {
	key, secret, err := access.New(access.Key{Role: access.Read, Filter: "NOT embargo = true"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.NewKeys([]access.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	open := true
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys {
		if open {
			return k.set
		}
		return keys
	}, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	papers, search := embeddv1.NewPaperServiceClient(conn), embeddv1.NewSearchServiceClient(conn)
	as := func(secret string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+secret))
	}
	if _, err := papers.UpsertPapers(as(k.secrets["write"]), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: "x"}}}); err != nil {
		t.Fatal(err)
	}
	open = false
	text := &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: "x"}}
	for name, call := range map[string]func() error{
		"search":  func() error { _, err := search.Search(as(secret), &embeddv1.SearchRequest{Query: text}); return err },
		"related": func() error { _, err := search.Related(as(secret), &embeddv1.RelatedRequest{Id: "a"}); return err },
		"explain": func() error {
			_, err := search.Explain(as(secret), &embeddv1.ExplainRequest{Query: text, Id: "a"})
			return err
		},
		"get": func() error { _, err := papers.GetPaper(as(secret), &embeddv1.GetPaperRequest{Id: "a"}); return err },
		"get, an id that is not there": func() error {
			_, err := papers.GetPaper(as(secret), &embeddv1.GetPaperRequest{Id: "nobody"})
			return err
		},
		"related, an id that is not there": func() error {
			_, err := search.Related(as(secret), &embeddv1.RelatedRequest{Id: "nobody"})
			return err
		},
		"list": func() error { _, err := papers.ListPapers(as(secret), &embeddv1.ListPapersRequest{}); return err },
	} {
		if err := call(); status.Code(err) != codes.FailedPrecondition || strings.Contains(err.Error(), "embargo") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A paper that is given another text while the query is encoded is found all the same.
func TestAPaperThatMovesWhileTheQueryIsEncoded(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	papers, search := embeddv1.NewPaperServiceClient(conn), embeddv1.NewSearchServiceClient(conn)
	put := func(abstract string) error {
		_, err := papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: "x", Abstract: abstract, Year: 2020}}})
		return err
	}
	if err := put("first"); err != nil {
		t.Fatal(err)
	}
	for _, filter := range []string{"", "year = 2020", "id = a"} {
		first := true
		r.encoder.before = func(context.Context) error {
			if !first {
				return nil
			}
			first = false
			return put("another " + filter)
		}
		res, err := search.Search(t.Context(), &embeddv1.SearchRequest{Query: text("fish"), Filter: filter})
		if err != nil || len(res.GetHits()) != 1 {
			t.Errorf("filter %q: %d hits, %v", filter, len(res.GetHits()), err)
		}
	}
}
