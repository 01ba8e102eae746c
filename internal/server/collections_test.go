package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/access"
	"embedd/internal/collections"
	"embedd/internal/jobs"
	"embedd/internal/retrieval"
	"embedd/internal/similar"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// launchAll starts a server whose data directory may have several collections, until the end of the test.
func launchAll(t *testing.T, o Options) *running {
	t.Helper()
	r := &running{encoder: &fake{}, log: &testkit.Buffer{}}
	o.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	dir := t.TempDir()
	o.Backups = dir + "/backups"
	c, err := retrieval.Open(t.Context(), dir, r.encoder, &retrieval.Options{Name: collections.Default, Log: o.Log})
	if err != nil {
		t.Fatal(err)
	}
	set, err := collections.Open(t.Context(), dir, c, collections.About{Settings: collections.Settings{Model: "fake"}}, collections.Options{
		Log: o.Log,
		Encoder: func(_ context.Context, s collections.Settings) (retrieval.Encoder, collections.Settings, func() error, error) {
			if s.Model == "other" {
				return other{r.encoder}, s, func() error { return nil }, nil
			}
			s.Model = "fake"
			return r.encoder, s, func() error { return nil }, nil
		},
		Retrieval: func(string, collections.Settings) retrieval.Options { return retrieval.Options{Log: o.Log} },
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	runner, err := jobs.Open(dir, jobs.Options{Set: set, Log: o.Log, Compute: func(ctx context.Context, dir string, task similar.Task, progress similar.Progress) error {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		return errors.Join(similar.Run(ctx, root, task, progress), root.Close())
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.SetJobs(runner)
	r.ReadyAll(set)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.Serve(l) }()
	t.Cleanup(func() {
		r.Stop(time.Second)
		for _, err := range []error{<-served, runner.Close(), set.Close(), c.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// asked are a request for each method that is about a collection, by the method, which lack nothing but the collection.
var asked = map[string]proto.Message{
	"PaperService/UpsertPapers":   &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: "x"}}},
	"PaperService/GetPaper":       &embeddv1.GetPaperRequest{Id: "a"},
	"PaperService/ListPapers":     &embeddv1.ListPapersRequest{},
	"PaperService/DeletePapers":   &embeddv1.DeletePapersRequest{Ids: []string{"a"}},
	"SearchService/Search":        &embeddv1.SearchRequest{Query: text("x")},
	"SearchService/Related":       &embeddv1.RelatedRequest{Id: "a"},
	"SearchService/Explain":       &embeddv1.ExplainRequest{Query: text("x"), Id: "a"},
	"EncodeService/Encode":        &embeddv1.EncodeRequest{Texts: []string{"x"}},
	"InfoService/GetInfo":         &embeddv1.GetInfoRequest{},
	"AdminService/CreateBackup":   &embeddv1.CreateBackupRequest{},
	"PaperService/UpdateMetadata": &embeddv1.UpdateMetadataRequest{Updates: []*embeddv1.MetadataUpdate{{Id: "a", Paper: &embeddv1.Paper{Year: 2020}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"year"}}}}},
	"PaperService/CountPapers":    &embeddv1.CountPapersRequest{},
	"PaperService/ExportPapers":   &embeddv1.ExportPapersRequest{},
	"SearchService/Recommend":     &embeddv1.RecommendRequest{PositiveIds: []string{"a"}},
	"SearchService/Compare":       &embeddv1.CompareRequest{Left: []*embeddv1.Input{text("x")}, Right: []*embeddv1.Input{text("y")}},
	"MapService/ComputeMap":       &embeddv1.ComputeMapRequest{},
	"MapService/GetMap":           &embeddv1.GetMapRequest{},
	"MapService/GetMapPapers":     &embeddv1.GetMapPapersRequest{At: []int32{0}, Computed: timestamppb.Now()},
	"SearchService/Rerank":        &embeddv1.RerankRequest{Query: "x", Texts: []string{"y"}},
	"JobService/CreateJob":        &embeddv1.CreateJobRequest{Kind: embeddv1.JobKind_JOB_KIND_KNN_GRAPH},
	"EncodeService/Tokenize":      &embeddv1.TokenizeRequest{Texts: []string{"x"}},
}

// aboutCollections are the methods of the contract whose requests name a collection, with whether they stream.
func aboutCollections() map[string]bool {
	found := map[string]bool{}
	protoregistry.GlobalFiles.RangeFilesByPackage("embedd.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				if field := m.Input().Fields().ByNumber(100); field != nil && field.Name() == "collection" {
					found[string(service.Name())+"/"+string(m.Name())] = m.IsStreamingClient() || m.IsStreamingServer()
				}
			}
		}
		return true
	})
	return found
}

// Every method whose request names a collection asks that one: one that is not there is NOT_FOUND by the name of the field, and a key that is for
// others is refused, whether it is there or not. A method that is not built yet asks none.
func TestEveryMethodAsksTheCollection(t *testing.T) {
	admin, secret, err := access.New(access.Key{Role: access.Admin}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	limited, limitedSecret, err := access.New(access.Key{Role: access.Admin, Collections: []string{"mine", "alias"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.NewKeys([]access.Key{admin, limited})
	if err != nil {
		t.Fatal(err)
	}
	r := launchAll(t, Options{Keys: func() *access.Keys { return keys }, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	as := func(secret string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+secret))
	}
	sets := embeddv1.NewCollectionServiceClient(conn)
	for _, name := range []string{"mine", "theirs", "aliased"} {
		if _, err := sets.CreateCollection(as(secret), &embeddv1.CreateCollectionRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sets.SetAlias(as(secret), &embeddv1.SetAliasRequest{Alias: "alias", Collection: "aliased"}); err != nil {
		t.Fatal(err)
	}
	methods := aboutCollections()
	call := func(method, secret, collection string) error {
		req := proto.Clone(asked[method])
		field := req.ProtoReflect().Descriptor().Fields().ByNumber(100)
		req.ProtoReflect().Set(field, protoreflect.ValueOfString(collection))
		s, err := conn.NewStream(as(secret), &grpc.StreamDesc{ServerStreams: methods[method], ClientStreams: methods[method]}, "/embedd.v1."+method)
		if err != nil {
			return err
		}
		if err := s.SendMsg(req); err != nil && err != io.EOF {
			return err
		}
		if err := s.CloseSend(); err != nil {
			return err
		}
		return s.RecvMsg(dynamicpb.NewMessage((&embeddv1.GetInfoRequest{}).ProtoReflect().Descriptor()))
	}
	built := 0
	for _, method := range slices.Sorted(maps.Keys(methods)) {
		if _, ok := asked[method]; !ok {
			t.Errorf("%s is not in the table of this test", method)
			continue
		}
		if status.Code(call(method, secret, "mine")) == codes.Unimplemented {
			continue
		}
		built++
		if err := call(method, secret, "nosuch"); status.Code(err) != codes.NotFound || fieldOf(err) != "collection" || strings.Contains(err.Error(), "mine") {
			t.Errorf("%s, one that is not there: %v", method, err)
		}
		for _, name := range []string{"mine", "alias"} {
			if code := status.Code(call(method, limitedSecret, name)); code == codes.PermissionDenied {
				t.Errorf("%s, %s, which the key is for: %v", method, name, code)
			}
		}
		var refused []string
		for _, name := range []string{"theirs", "nosuch", "", "default", "../mine", "aliased"} {
			err := call(method, limitedSecret, name)
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s, %q, which the key is not for: %v", method, name, err)
			}
			refused = append(refused, fmt.Sprint(err))
		}
		if len(slices.Compact(refused)) != 1 {
			t.Errorf("%s: what is there shows in %q", method, refused)
		}
	}
	if built < 10 {
		t.Errorf("%d methods were asked", built)
	}
}

// fieldOf is the field that an error names for programs.
func fieldOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			return bad.GetFieldViolations()[0].GetField()
		}
	}
	message, _, _ := strings.Cut(status.Convert(err).Message(), ":")
	return message
}

// The service of the collections keeps to a key's list too, and shows nothing beyond it.
func TestKeysForSomeCollections(t *testing.T) {
	admin, secret, err := access.New(access.Key{Role: access.Admin}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	limited, limitedSecret, err := access.New(access.Key{Role: access.Admin, Collections: []string{"mine", "papers", "mine-too"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.NewKeys([]access.Key{admin, limited})
	if err != nil {
		t.Fatal(err)
	}
	r := launchAll(t, Options{Keys: func() *access.Keys { return keys }, Limits: Limits{Classes: classes(nil)}})
	sets := embeddv1.NewCollectionServiceClient(r.connect(t))
	as := func(secret string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+secret))
	}
	create := func(secret, name string) error {
		_, err := sets.CreateCollection(as(secret), &embeddv1.CreateCollectionRequest{Name: name})
		return err
	}
	alias := func(secret, alias, own string) error {
		_, err := sets.SetAlias(as(secret), &embeddv1.SetAliasRequest{Alias: alias, Collection: own})
		return err
	}
	describe := func(secret, name string) error {
		_, err := sets.DescribeCollection(as(secret), &embeddv1.DescribeCollectionRequest{Name: name})
		return err
	}
	remove := func(secret, name string) error {
		_, err := sets.DeleteCollection(as(secret), &embeddv1.DeleteCollectionRequest{Name: name})
		return err
	}
	unalias := func(secret, alias string) error {
		_, err := sets.DeleteAlias(as(secret), &embeddv1.DeleteAliasRequest{Alias: alias})
		return err
	}
	list := func(secret string) (out []string) {
		res, err := sets.ListCollections(as(secret), &embeddv1.ListCollectionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range res.GetCollections() {
			out = append(out, fmt.Sprint(c.GetName(), c.GetAliases()))
		}
		return out
	}
	for _, c := range []struct {
		what string
		err  error
		code codes.Code
	}{
		{"an admin makes theirs", create(secret, "theirs"), codes.OK},
		{"an alias of it", alias(secret, "papers", "theirs"), codes.OK},
		{"another alias of it", alias(secret, "secret", "theirs"), codes.OK},
		{"the limited one makes mine", create(limitedSecret, "mine"), codes.OK},
		{"another's", create(limitedSecret, "yours"), codes.PermissionDenied},
		{"describes mine", describe(limitedSecret, "mine"), codes.OK},
		{"describes it by the alias", describe(limitedSecret, "papers"), codes.OK},
		{"describes theirs", describe(limitedSecret, "theirs"), codes.PermissionDenied},
		{"describes one that is not there", describe(limitedSecret, "nosuch"), codes.PermissionDenied},
		{"describes one of its own that is not there", describe(limitedSecret, "mine-too"), codes.NotFound},
		{"describes the default one", describe(limitedSecret, ""), codes.PermissionDenied},
		{"an alias of theirs", alias(limitedSecret, "mine-too", "theirs"), codes.PermissionDenied},
		{"an alias that is not its own", alias(limitedSecret, "default", "mine"), codes.PermissionDenied},
		{"deletes theirs", remove(limitedSecret, "theirs"), codes.PermissionDenied},
		{"deletes another alias", unalias(limitedSecret, "secret"), codes.PermissionDenied},
	} {
		if status.Code(c.err) != c.code {
			t.Errorf("%s: %v, want %v", c.what, c.err, c.code)
		}
	}
	if got, want := list(limitedSecret), []string{"mine[]", "theirs[papers]"}; !slices.Equal(got, want) {
		t.Errorf("the limited one sees %q, want %q", got, want)
	}
	if got, want := list(secret), []string{"default[]", "mine[]", "theirs[papers secret]"}; !slices.Equal(got, want) {
		t.Errorf("an admin sees %q, want %q", got, want)
	}
	if err := alias(limitedSecret, "papers", "mine"); err != nil {
		t.Error(err)
	}
	if got, want := list(limitedSecret), []string{"mine[papers]"}; !slices.Equal(got, want) {
		t.Errorf("after the alias moved it sees %q, want %q", got, want)
	}
}

// A stream of papers is into the collection that its start names, or the default one; a key for others does not get in.
func TestAStreamIsIntoItsCollection(t *testing.T) {
	limited, secret, err := access.New(access.Key{Role: access.Write, Collections: []string{"mine"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.NewKeys([]access.Key{limited})
	if err != nil {
		t.Fatal(err)
	}
	for _, keyed := range []bool{false, true} {
		o := Options{Limits: Limits{Classes: classes(nil)}}
		if keyed {
			o.Keys = func() *access.Keys { return keys }
		}
		r := launchAll(t, o)
		if _, err := r.set.Load().Create(t.Context(), "mine", collections.Settings{}); err != nil {
			t.Fatal(err)
		}
		papers := embeddv1.NewPaperServiceClient(r.connect(t))
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+secret))
		ingest := func(start *embeddv1.IngestStart, id string) error {
			stream, err := papers.IngestPapers(ctx)
			if err != nil {
				return err
			}
			if start != nil {
				if err := stream.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Start{Start: start}}); err != nil && err != io.EOF {
					return err
				}
			}
			paper := &embeddv1.Paper{Id: id, Title: "paper"}
			if err := stream.Send(&embeddv1.IngestPapersRequest{Message: &embeddv1.IngestPapersRequest_Paper{Paper: paper}}); err != nil && err != io.EOF {
				return err
			}
			if err := stream.CloseSend(); err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}
		code := map[bool]codes.Code{false: codes.OK, true: codes.PermissionDenied}[keyed]
		for _, c := range []struct {
			start *embeddv1.IngestStart
			id    string
			code  codes.Code
		}{
			{nil, "a", code}, {&embeddv1.IngestStart{}, "b", code}, {&embeddv1.IngestStart{Collection: "mine"}, "c", codes.OK},
			{&embeddv1.IngestStart{Collection: "nosuch"}, "d", map[bool]codes.Code{false: codes.NotFound, true: codes.PermissionDenied}[keyed]},
		} {
			if err := ingest(c.start, c.id); status.Code(err) != c.code {
				t.Errorf("keyed %v, %v: %v, want %v", keyed, c.start, err, c.code)
			}
		}
		for _, of := range r.set.Load().List() {
			info, err := of.Collection.Info()
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]map[string]int{false: {"default": 2, "mine": 1}, true: {"mine": 1}}[keyed][of.Name]; info.Papers != want {
				t.Errorf("keyed %v: %s has %d papers, want %d", keyed, of.Name, info.Papers, want)
			}
		}
	}
}

// An answer says which collection it is of where it was called by another name.
func TestAnswersNameTheCollection(t *testing.T) {
	r := launchAll(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	sets, search, info := embeddv1.NewCollectionServiceClient(conn), embeddv1.NewSearchServiceClient(conn), embeddv1.NewInfoServiceClient(conn)
	settings := &embeddv1.Settings{
		Neighbours: 7, M: 8, EfConstruction: 50,
		Fields: []*embeddv1.FieldSchema{{Name: "topic", Type: embeddv1.FieldType_FIELD_TYPE_STRING, Repeated: true}, {Name: "when", Type: embeddv1.FieldType_FIELD_TYPE_DATE, Required: true}},
	}
	made, err := sets.CreateCollection(t.Context(), &embeddv1.CreateCollectionRequest{Name: "other", Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	settings.Model = "fake"
	if c := made.GetCollection(); !proto.Equal(c.GetSettings(), settings) || c.GetModel().GetId() != "fake" || time.Since(c.GetCreated().AsTime()) > time.Hour || c.GetUnavailable() != "" {
		t.Errorf("made %v", c)
	}
	check := func(collection, effective, own string) {
		t.Helper()
		found, err := search.Search(t.Context(), &embeddv1.SearchRequest{Query: text("x"), Collection: collection})
		if err != nil || found.GetEffective().GetCollection() != effective {
			t.Errorf("%q: %q %v, want %q", collection, found.GetEffective().GetCollection(), err, effective)
		}
		about, err := info.GetInfo(t.Context(), &embeddv1.GetInfoRequest{Collection: collection})
		if err != nil || about.GetCollection() != own || (own == "other") != proto.Equal(about.GetSettings(), settings) || about.GetLimits().GetCollections() != collections.Max {
			t.Errorf("%q: %v %v, want %q", collection, about, err, own)
		}
	}
	check("", "", "default")
	check("default", "", "default")
	check("other", "", "other")
	for _, alias := range []string{"papers", "default"} {
		if _, err := sets.SetAlias(t.Context(), &embeddv1.SetAliasRequest{Alias: alias, Collection: "other"}); err != nil {
			t.Fatal(err)
		}
	}
	check("", "other", "other")
	check("default", "other", "other")
	check("papers", "other", "other")
	_, err = sets.CreateCollection(t.Context(), &embeddv1.CreateCollectionRequest{Name: "x", Settings: &embeddv1.Settings{Fields: []*embeddv1.FieldSchema{{Name: "a", Type: embeddv1.FieldType_FIELD_TYPE_MIXED}}}})
	if status.Code(err) != codes.InvalidArgument || fieldOf(err) != "settings.fields[0].type" {
		t.Errorf("a field that may be anything: %v", err)
	}
}

// A filter of a key holds in every collection; in one that has no such field nobody gets in with it.
func TestAKeyWithAFilterInEveryCollection(t *testing.T) {
	k := makeKeys(t)
	r := launchAll(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	papers, sets := embeddv1.NewPaperServiceClient(conn), embeddv1.NewCollectionServiceClient(conn)
	as := func(key string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+k.secrets[key]))
	}
	for name, categories := range map[string]string{"with": "cs.CL", "without": ""} {
		if _, err := sets.CreateCollection(as("admin"), &embeddv1.CreateCollectionRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		for _, p := range []retrieval.Paper{{ID: "in"}, {ID: "out"}} {
			paper := &embeddv1.Paper{Id: p.ID, Title: "x"}
			if categories != "" && p.ID == "in" {
				paper.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{"categories": structpb.NewStringValue(categories)}}
			}
			if _, err := papers.UpsertPapers(as("write"), &embeddv1.UpsertPapersRequest{Collection: name, Papers: []*embeddv1.Paper{paper}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		collection, id string
		code           codes.Code
	}{{"with", "in", codes.OK}, {"with", "out", codes.NotFound}, {"without", "in", codes.FailedPrecondition}, {"without", "nobody", codes.FailedPrecondition}} {
		_, err := papers.GetPaper(as("filtered"), &embeddv1.GetPaperRequest{Id: c.id, Collection: c.collection})
		if status.Code(err) != c.code {
			t.Errorf("%s of %s: %v, want %v", c.id, c.collection, err, c.code)
		}
	}
	if _, err := sets.ListCollections(as("filtered"), &embeddv1.ListCollectionsRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("its counts are of all papers: %v, want PermissionDenied", err)
	}
}

// Clients that ask by an alias notice nothing while collections behind it are made, changed and deleted.
func TestAnAliasThatMovesUnderCalls(t *testing.T) {
	r := launchAll(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	sets, papers, search := embeddv1.NewCollectionServiceClient(conn), embeddv1.NewPaperServiceClient(conn), embeddv1.NewSearchServiceClient(conn)
	next := func(i int) {
		name := fmt.Sprint("v", i)
		if _, err := sets.CreateCollection(t.Context(), &embeddv1.CreateCollectionRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"a", "b"} {
			if _, err := papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Collection: name, Papers: []*embeddv1.Paper{{Id: id, Title: "paper " + id}}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sets.SetAlias(t.Context(), &embeddv1.SetAliasRequest{Alias: "default", Collection: name}); err != nil {
			t.Fatal(err)
		}
	}
	next(0)
	var stop atomic.Bool
	var calls, late atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !stop.Load() {
				res, err := search.Related(t.Context(), &embeddv1.RelatedRequest{Id: "a"})
				switch {
				case err == nil && len(res.GetHits()) == 1 && strings.HasPrefix(res.GetEffective().GetCollection(), "v"):
					calls.Add(1)
				case status.Code(err) == codes.NotFound && fieldOf(err) == "collection": // it had been given the one that was just deleted
					late.Add(1)
				default:
					t.Errorf("%v %v", res, err)
				}
			}
		})
	}
	for i := 1; i <= 4; i++ {
		next(i)
		res, err := sets.DeleteCollection(t.Context(), &embeddv1.DeleteCollectionRequest{Name: fmt.Sprint("v", i-1)})
		if err != nil || res.GetPapers() != 2 {
			t.Errorf("%v %v", res, err)
		}
	}
	stop.Store(true)
	wg.Wait()
	if calls.Load() == 0 {
		t.Error("no call was answered")
	}
	t.Logf("%d calls, %d came as their collection went", calls.Load(), late.Load())
}
