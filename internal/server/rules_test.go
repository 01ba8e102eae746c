package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"embedd/internal/access"
	embeddv1 "embedd/proto/embedd/v1"
)

// Every method of the contract has a rule, whether or not a server has the service yet. A new one without it fails here.
func TestEveryMethodOfTheContractHasARule(t *testing.T) {
	n := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("embedd.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			registered := false
			for _, desc := range services {
				registered = registered || desc.ServiceName == string(service.FullName())
			}
			if !registered {
				t.Errorf("%s is in the contract and not in the table of services", service.FullName())
			}
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				if _, err := ruleOf(string(service.FullName()), string(m.Name())); err != nil {
					t.Error(err)
				}
				n++
			}
		}
		return true
	})
	if n < 9 {
		t.Errorf("%d methods seen; the contract has 9 at least", n)
	}
}

func TestAMethodWithoutARuleKeepsTheServerFromStarting(t *testing.T) {
	for _, c := range []struct {
		name     string
		services map[string]grpc.ServiceInfo
		say      string
	}{
		{"not in the contract", map[string]grpc.ServiceInfo{"embedd.v1.SearchService": {Methods: []grpc.MethodInfo{{Name: "Guess"}}}}, "embedd.v1.SearchService/Guess"},
		{"another's service", map[string]grpc.ServiceInfo{"grpc.channelz.v1.Channelz": {Methods: []grpc.MethodInfo{{Name: "GetServers"}}}}, "grpc.channelz.v1.Channelz/GetServers"},
	} {
		if _, err := rulesOf(c.services); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want an error saying %q", c.name, err, c.say)
		}
	}
}

// someKeys are a key of each kind, with their secrets.
type someKeys struct {
	set     *access.Keys
	secrets map[string]string
}

func makeKeys(t *testing.T) someKeys {
	t.Helper()
	now := time.Now()
	out := someKeys{secrets: map[string]string{}}
	var list []access.Key
	for name, k := range map[string]access.Key{
		"read": {Role: access.Read}, "write": {Role: access.Write}, "admin": {Role: access.Admin},
		"expired": {Role: access.Admin, Expires: now.Add(-time.Minute)}, "revoked": {Role: access.Admin},
		"publishable": {Role: access.Read, Expires: now.Add(time.Hour), Origins: []string{"https://journal.example"}},
		"filtered":    {Role: access.Read, Filter: "categories:cs.CL"},
	} {
		k.Name = name
		k, secret, err := access.New(k, now)
		if err != nil {
			t.Fatal(err)
		}
		if name == "revoked" {
			k.Revoked = now
		}
		list = append(list, k)
		out.secrets[name] = secret
	}
	var err error
	if out.set, err = access.NewKeys(list); err != nil {
		t.Fatal(err)
	}
	return out
}

// caller is one way to call.
type caller struct {
	name string
	role access.Role // of the key; Nobody: UNAUTHENTICATED
	md   metadata.MD
	to   string // appended to the path
	// scoped: the key has a filter.
	scoped bool
}

// callers are all the ways to call that the table of authorisation goes through.
func callers(k someKeys) []caller {
	bearer := func(name string) string { return "Bearer " + k.secrets[name] }
	_, wrong, _ := access.New(access.Key{Role: access.Admin}, time.Now())
	cut := bearer("admin")[:len(bearer("admin"))-1]
	return []caller{
		{name: "no key"},
		{name: "wrong key", md: metadata.Pairs("authorization", "Bearer "+wrong)},
		{name: "cut key", md: metadata.Pairs("authorization", cut)},
		{name: "empty", md: metadata.Pairs("authorization", "")},
		{name: "only the scheme", md: metadata.Pairs("authorization", "Bearer ")},
		{name: "no scheme", md: metadata.Pairs("authorization", k.secrets["admin"])},
		{name: "another scheme", md: metadata.Pairs("authorization", "Basic "+k.secrets["admin"])},
		{name: "read", role: access.Read, md: metadata.Pairs("authorization", bearer("read"))},
		{name: "write", role: access.Write, md: metadata.Pairs("authorization", bearer("write"))},
		{name: "admin", role: access.Admin, md: metadata.Pairs("authorization", bearer("admin"))},
		{name: "small letters", role: access.Admin, md: metadata.Pairs("authorization", "bearer "+k.secrets["admin"])},
		{name: "x-api-key", role: access.Write, md: metadata.Pairs("x-api-key", k.secrets["write"])},
		{name: "with a filter", role: access.Read, scoped: true, md: metadata.Pairs("authorization", bearer("filtered"))},
		{name: "expired", md: metadata.Pairs("authorization", bearer("expired"))},
		{name: "revoked", md: metadata.Pairs("authorization", bearer("revoked"))},
		{name: "publishable, its origin", role: access.Read, md: metadata.Pairs("authorization", bearer("publishable"), "origin", "https://journal.example")},
		{name: "publishable, no origin", md: metadata.Pairs("authorization", bearer("publishable"))},
		{name: "publishable, another origin", md: metadata.Pairs("authorization", bearer("publishable"), "origin", "https://evil.example")},
		{name: "publishable, a longer origin", md: metadata.Pairs("authorization", bearer("publishable"), "origin", "https://journal.example.evil.example")},
		{name: "publishable, null", md: metadata.Pairs("authorization", bearer("publishable"), "origin", "null")},
		{name: "publishable, two origins", md: metadata.Pairs("authorization", bearer("publishable"), "origin", "https://journal.example", "origin", "https://evil.example")},
		{name: "two authorization headers", md: metadata.Pairs("authorization", bearer("admin"), "authorization", bearer("admin"))},
		{name: "a good one and a wrong one", md: metadata.Pairs("authorization", "Bearer "+wrong, "authorization", bearer("admin"))},
		{name: "authorization and x-api-key", md: metadata.Pairs("authorization", bearer("admin"), "x-api-key", k.secrets["admin"])},
		{name: "in another header", md: metadata.Pairs("x-embedd-key", k.secrets["admin"], "proxy-authorization", bearer("admin"), "cookie", "key="+k.secrets["admin"], "authorization-bin", bearer("admin"))},
		{name: "in the query", to: "?key=" + k.secrets["admin"]},
		{name: "smuggled identity", md: metadata.Pairs("x-embedd-internal", "true", "x-forwarded-for", "127.0.0.1", "x-forwarded-user", "admin", "grpc-metadata-authorization", bearer("admin"),
			"x-http-method-override", "POST", "x-embedd-role", "admin", "x-real-ip", "127.0.0.1", "forwarded", "for=127.0.0.1")},
	}
}

// The table of authorisation: every method that the server has, from its descriptors, called in every way.
func TestAuthorisation(t *testing.T) {
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	var methods []string
	for m := range r.rules {
		methods = append(methods, m)
	}
	sort.Strings(methods)
	if len(methods) < 14 {
		t.Fatalf("%d methods: %v", len(methods), methods)
	}
	called := 0
	for _, method := range methods {
		rule := r.rules[method]
		stream := rule.stream || rule.class == embeddv1.Class_CLASS_ADMIN
		for _, c := range callers(k) {
			ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), c.md), 10*time.Second)
			err := invoke(ctx, conn, method+c.to, stream)
			for status.Code(err) == codes.ResourceExhausted && len(c.md["origin"]) == 1 { // there are more methods than a publishable key may call at once
				time.Sleep(time.Second / publishableRate)
				err = invoke(ctx, conn, method+c.to, stream)
			}
			cancel()
			if errors.Is(err, io.EOF) { // a stream without an answer, of which there are none here
				err = nil
			}
			got := status.Code(err)
			var want string
			ok := false
			switch {
			case c.to != "":
				want, ok = "Unimplemented", got == codes.Unimplemented
			case c.scoped && !rule.open && !rule.scoped:
				want, ok = "PermissionDenied", got == codes.PermissionDenied
			case rule.open || c.role >= rule.role:
				// An empty request of a method that asks for more is refused by the method itself.
				want, ok = "let in", got == codes.OK || got == codes.InvalidArgument || got == codes.NotFound || got == codes.FailedPrecondition
			case c.role == access.Nobody:
				want, ok = "Unauthenticated", got == codes.Unauthenticated
			default:
				want, ok = "PermissionDenied", got == codes.PermissionDenied
			}
			if !ok {
				t.Errorf("%s, %s: %v, want %s", method, c.name, err, want)
			}
			called++
		}
	}
	t.Logf("%d methods, %d calls", len(methods), called)
	for name, secret := range k.secrets {
		if strings.Contains(r.log.String(), secret[len(secret)-20:]) {
			t.Errorf("the log has the secret of the key %s", name)
		}
	}
	if l := r.Load(); l.Refused["unauthenticated"] == 0 || l.Refused["permission_denied"] == 0 {
		t.Errorf("counted %v", l.Refused)
	}
}

// invoke calls a method with an empty request, without knowing its messages.
func invoke(ctx context.Context, conn *grpc.ClientConn, method string, stream bool) error {
	empty := func() *dynamicpb.Message {
		return dynamicpb.NewMessage((&embeddv1.GetInfoRequest{}).ProtoReflect().Descriptor())
	}
	if !stream {
		return conn.Invoke(ctx, method, empty(), empty())
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	if err := errors.Join(s.SendMsg(empty()), s.CloseSend()); err != nil && !errors.Is(err, io.EOF) { // RecvMsg says why
		return err
	}
	if err := s.RecvMsg(empty()); !errors.Is(err, io.EOF) { // a stream may have nothing to say
		return err
	}
	return nil
}

// Reflection is served to an admin's key, and to everybody only where that was asked for and there are no keys.
func TestReflection(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		code codes.Code
	}{
		{"without keys", Options{}, codes.Unimplemented},
		{"asked for", Options{Reflection: true}, codes.InvalidArgument}, // an empty request
		{"asked for, with keys", Options{Reflection: true, Keys: func() *access.Keys { k, _ := access.NewKeys(nil); return k }}, codes.Unauthenticated},
	} {
		r := launch(t, c.o)
		for _, version := range []string{"v1", "v1alpha"} {
			err := invoke(t.Context(), r.connect(t), fmt.Sprintf("/grpc.reflection.%s.ServerReflection/ServerReflectionInfo", version), true)
			if status.Code(err) != c.code {
				t.Errorf("%s, %s: %v, want %v", c.name, version, err, c.code)
			}
		}
	}
}

// A key that is revoked while the server runs is refused at once, as soon as its set of keys says so.
func TestKeysThatChange(t *testing.T) {
	k := makeKeys(t)
	none, err := access.NewKeys(nil)
	if err != nil {
		t.Fatal(err)
	}
	current := k.set
	r := launch(t, Options{Keys: func() *access.Keys { return current }})
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+k.secrets["read"]))
	info := embeddv1.NewInfoServiceClient(r.connect(t))
	if _, err := info.GetInfo(ctx, &embeddv1.GetInfoRequest{}); err != nil {
		t.Fatal(err)
	}
	current = none
	if _, err := info.GetInfo(ctx, &embeddv1.GetInfoRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("%v, want Unauthenticated", err)
	}
}
