package server

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"embedd/internal/access"
	embeddv1 "embedd/proto/embedd/v1"
)

// Whatever can be said of related papers is said of the search that they are found by.
func TestRelatedIsASearch(t *testing.T) {
	r := &embeddv1.RelatedRequest{}
	fields := r.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		set(t, r.ProtoReflect(), fields.Get(i))
	}
	s := asSearch(proto.CloneOf(r)).ProtoReflect()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Name() == "id" {
			continue
		}
		if same := s.Descriptor().Fields().ByName(f.Name()); same == nil || !s.Get(same).Equal(r.ProtoReflect().Get(f)) {
			t.Errorf("%s is not said of the search", f.Name())
		}
	}
}

// Whatever a search request can say of the answer is said to the collection: each field, set alone, changes what is asked.
func TestEveryFieldOfASearchIsAsked(t *testing.T) {
	elsewhere := map[protoreflect.Name]string{
		"query": "Search", "filter": "which", "store": "storeQuery", "collection": "collectionOf",
	}
	none, err := askFromProto(&embeddv1.SearchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	fields := (&embeddv1.SearchRequest{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if elsewhere[f.Name()] != "" {
			continue
		}
		r := &embeddv1.SearchRequest{}
		set(t, r.ProtoReflect(), f)
		ask, err := askFromProto(r)
		if err != nil {
			t.Errorf("%s: %v", f.Name(), err)
		}
		if reflect.DeepEqual(ask, none) {
			t.Errorf("%s is not asked", f.Name())
		}
	}
}

// set gives a field a value that is not its default.
func set(t *testing.T, m protoreflect.Message, f protoreflect.FieldDescriptor) {
	t.Helper()
	value := map[protoreflect.Kind]protoreflect.Value{
		protoreflect.StringKind: protoreflect.ValueOfString("x"), protoreflect.Int32Kind: protoreflect.ValueOfInt32(7), protoreflect.BoolKind: protoreflect.ValueOfBool(true),
		protoreflect.DoubleKind: protoreflect.ValueOfFloat64(0.7),
	}[f.Kind()]
	if f.Kind() == protoreflect.EnumKind {
		values := f.Enum().Values()
		value = protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	}
	if f.Kind() == protoreflect.MessageKind {
		value = m.NewField(f)
		if f.IsList() {
			value = value.List().NewElement()
		}
	}
	if f.IsList() {
		list := m.NewField(f)
		list.List().Append(value)
		value = list
	}
	if !value.IsValid() {
		t.Fatalf("%s has the kind %v, which this test does not know", f.Name(), f.Kind())
	}
	m.Set(f, value)
}

// What a search says of dates and facets comes through the door.
func TestSearchByDateWithFacets(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	storeMany(t, t.Context(), conn, 30, 1)
	search := embeddv1.NewSearchServiceClient(conn)
	res, err := search.Search(t.Context(), &embeddv1.SearchRequest{
		Query: text("paper"), Mode: embeddv1.Mode_MODE_DENSE, K: proto.Int32(30), PublishedAfter: "2001", PublishedBefore: "2002", Facets: []*embeddv1.FacetRequest{{Field: "year"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range res.GetHits() {
		if y := h.GetPaper().GetYear(); y < 2001 || y > 2002 {
			t.Errorf("%s is of %d", h.GetPaper().GetId(), y)
		}
	}
	if n, facets := len(res.GetHits()), res.GetFacets(); n != 12 || len(facets) != 1 || facets[0].GetValuesTotal() != 2 {
		t.Errorf("%d hits, facets %v; want 12, and two years", n, facets)
	}
}

// A search that stores its query is a write: who may not write is refused, it counts as a write, it is in the audit log, and nothing is stored for a
// request that is refused.
func TestStoreTheQuery(t *testing.T) {
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{Classes: classes(nil), WriteRate: 2}})
	conn := r.connect(t)
	as := func(key string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+k.secrets[key]))
	}
	search, papers := embeddv1.NewSearchServiceClient(conn), embeddv1.NewPaperServiceClient(conn)
	ask := func(id string, change func(*embeddv1.SearchRequest)) *embeddv1.SearchRequest {
		req := &embeddv1.SearchRequest{Store: true, Query: &embeddv1.Input{Kind: &embeddv1.Input_Paper{Paper: &embeddv1.Paper{Id: id, Title: "paper " + id}}}}
		if change != nil {
			change(req)
		}
		return req
	}
	for _, c := range []struct {
		key     string
		req     *embeddv1.SearchRequest
		code    codes.Code
		outcome embeddv1.UpsertOutcome
	}{
		{"read", ask("a", nil), codes.PermissionDenied, 0},
		{"write", ask("a", func(r *embeddv1.SearchRequest) { r.K = proto.Int32(-1) }), codes.InvalidArgument, 0},
		{"write", ask("a", func(r *embeddv1.SearchRequest) { r.Filter = "nofield = 3" }), codes.InvalidArgument, 0},
		{"write", ask("a", func(r *embeddv1.SearchRequest) { r.Facets = []*embeddv1.FacetRequest{{Field: "nofield"}} }), codes.InvalidArgument, 0},
		{"write", ask("b", nil), codes.OK, embeddv1.UpsertOutcome_UPSERT_OUTCOME_CREATED},
		{"write", ask("c", nil), codes.ResourceExhausted, 0}, // four at once is twice what there may be in a second
	} {
		res, err := search.Search(as(c.key), c.req)
		if status.Code(err) != c.code || res.GetStored() != c.outcome {
			t.Errorf("%s with %v: %v, %v", c.key, c.req, res.GetStored(), err)
		}
	}
	for id, want := range map[string]codes.Code{"a": codes.NotFound, "b": codes.OK, "c": codes.NotFound} {
		if _, err := papers.GetPaper(as("read"), &embeddv1.GetPaperRequest{Id: id}); status.Code(err) != want {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	for _, want := range []string{"code=OK", "code=INVALID_ARGUMENT"} {
		if !slices.ContainsFunc(strings.Split(r.log.String(), "\n"), func(line string) bool {
			return strings.Contains(line, "log=audit") && strings.Contains(line, "SearchService/Search") && strings.Contains(line, want) && strings.Contains(line, "store=true")
		}) {
			t.Errorf("no line of the audit has %s:\n%s", want, r.log.String())
		}
	}
}

// Errors about a list of ids name the fields that there are in the request.
func TestRecommendNamesItsFields(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	put(t, conn, "a")
	for _, c := range []struct {
		req  *embeddv1.RecommendRequest
		want string
	}{
		{&embeddv1.RecommendRequest{}, "positive_ids"},
		{&embeddv1.RecommendRequest{PositiveIds: []string{"a", "none"}}, "positive_ids[1]"},
		{&embeddv1.RecommendRequest{PositiveIds: []string{"a"}, NegativeIds: []string{"none"}}, "negative_ids[0]"},
		{&embeddv1.RecommendRequest{PositiveIds: []string{"a"}, Strategy: 99}, "strategy"},
		{&embeddv1.RecommendRequest{PositiveIds: []string{"a"}, K: proto.Int32(0)}, "k"},
	} {
		_, err := embeddv1.NewSearchServiceClient(conn).Recommend(t.Context(), c.req)
		if got := fieldOf(err); got != c.want {
			t.Errorf("%v: %v names %q, want %q", c.req, err, got, c.want)
		}
	}
}
