package server

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	embeddv1 "embedd/proto/embedd/v1"
)

// rawCodec sends and receives bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = slices.Clone(data)
	return nil
}

// answers are what a client may be told of whatever it has sent.
var answers = []codes.Code{codes.OK, codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.ResourceExhausted, codes.DeadlineExceeded}

// FuzzRequest sends bytes as a request of each method, through a real connection and the real handlers: the answer is a result or an error
// that is one of those documented, in time.
func FuzzRequest(f *testing.F) {
	s := launch(f, Options{Backups: f.TempDir()})
	conn := s.connect(f)
	_, err := embeddv1.NewPaperServiceClient(conn).UpsertPapers(f.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: "graph networks"}, {Id: "b", Title: "vision"}}})
	if err != nil {
		f.Fatal(err)
	}
	var methods []string
	for _, desc := range services {
		for _, m := range desc.Methods {
			if m.MethodName != "CreateBackup" { // which fills the disk
				methods = append(methods, "/"+desc.ServiceName+"/"+m.MethodName)
			}
		}
	}
	slices.Sort(methods)
	k, text := int32(3), "graph"
	for i, m := range []proto.Message{
		&embeddv1.SearchRequest{Query: &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: text}}, K: &k},
		&embeddv1.SearchRequest{Query: &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: "a"}}, Exact: true},
		&embeddv1.RelatedRequest{Id: "a", K: &k},
		&embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "c", Title: text, Authors: []string{"x"}, Year: 2020}}},
		&embeddv1.DeletePapersRequest{Ids: []string{"c"}},
		&embeddv1.ListPapersRequest{PageToken: "YQ"},
		&embeddv1.EncodeRequest{Texts: []string{text}},
		&embeddv1.GetPaperRequest{Id: "a"},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		for j := range methods {
			if i == 0 || j%3 == i%3 {
				f.Add(uint8(j), data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, request []byte) {
		method := methods[int(which)%len(methods)]
		begin := time.Now()
		var answer []byte
		err := conn.Invoke(t.Context(), method, request, &answer, grpc.ForceCodec(rawCodec{}))
		if code := status.Code(err); !slices.Contains(answers, code) {
			t.Errorf("%s: %v", method, err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s: took %v", method, took)
		}
		if fmt.Sprint(err) == "" {
			t.Error("an error without a word")
		}
	})
}
