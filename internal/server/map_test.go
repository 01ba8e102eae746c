package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/access"
	embeddv1 "embedd/proto/embedd/v1"
)

// computed draws a map, and gives the last message.
func computed(ctx context.Context, maps embeddv1.MapServiceClient) (last *embeddv1.ComputeMapResponse, err error) {
	stream, err := maps.ComputeMap(ctx, &embeddv1.ComputeMapRequest{})
	for err == nil {
		var res *embeddv1.ComputeMapResponse
		if res, err = stream.Recv(); err == nil {
			last = res
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return last, err
}

// A map is drawn by who may write, read by who may read, and not for a key with a filter.
func TestMap(t *testing.T) {
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	as := func(key string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+k.secrets[key]))
	}
	maps, papers := embeddv1.NewMapServiceClient(conn), embeddv1.NewPaperServiceClient(conn)
	if _, err := maps.GetMap(as("read"), &embeddv1.GetMapRequest{}); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "embedd map") {
		t.Errorf("before it is made: %v", err)
	}
	storeMany(t, as("write"), conn, 5, 10)
	if _, err := computed(as("write"), maps); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("of 5 papers: %v", err)
	}
	ids := storeMany(t, as("write"), conn, 150, 10)
	if _, err := computed(as("read"), maps); status.Code(err) != codes.PermissionDenied {
		t.Errorf("by who may read: %v", err)
	}
	last, err := computed(as("write"), maps)
	if err != nil || last.GetPapers() != 150 || last.GetStage() != "" || len(last.GetClusters()) == 0 {
		t.Fatalf("%v, %v", last, err)
	}
	m, err := maps.GetMap(as("read"), &embeddv1.GetMapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	n := len(m.GetX())
	if n != 150 || len(m.GetY()) != n || len(m.GetCluster()) != n || len(m.GetYear()) != n || m.GetPapers() != 150 || len(m.GetClusters()) != len(last.GetClusters()) {
		t.Errorf("%d papers: %v", n, m)
	}
	for i, year := range m.GetYear() {
		if year < 2000 || year > 2004 || int(m.GetCluster()[i]) >= len(m.GetClusters()) {
			t.Fatalf("paper %d is of %d, in cluster %d", i, year, m.GetCluster()[i])
		}
	}
	found, err := maps.GetMapPapers(as("read"), &embeddv1.GetMapPapersRequest{At: []int32{3, 0, 3}, Computed: m.GetComputed()})
	if err != nil || len(found.GetPapers()) != 3 || found.GetPapers()[0].GetAt() != 3 || found.GetPapers()[1].GetPaper().GetId() != ids[0] || found.GetPapers()[1].GetPaper().GetAbstract() != "" {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := papers.DeletePapers(as("write"), &embeddv1.DeletePapersRequest{Ids: []string{ids[0]}}); err != nil {
		t.Fatal(err)
	}
	found, err = maps.GetMapPapers(as("read"), &embeddv1.GetMapPapersRequest{At: []int32{3, 0}, Computed: m.GetComputed()})
	if err != nil || len(found.GetPapers()) != 1 || found.GetPapers()[0].GetAt() != 3 {
		t.Errorf("after one was removed: %v, %v", found, err)
	}
	if now, err := maps.GetMap(as("read"), &embeddv1.GetMapRequest{}); err != nil || now.GetPapers() != 149 || proto.Equal(now.GetComputed(), m.GetComputed()) {
		t.Errorf("after one was removed: %d papers, %v", now.GetPapers(), err)
	}
	for what, req := range map[string]*embeddv1.GetMapPapersRequest{
		"at:":       {Computed: m.GetComputed()},
		"at: has":   {At: make([]int32, 101), Computed: m.GetComputed()},
		"at[1]":     {At: []int32{0, -1}, Computed: m.GetComputed()},
		"at[0]":     {At: []int32{150}, Computed: m.GetComputed()},
		"at[0]: is": {At: []int32{1<<31 - 1}, Computed: m.GetComputed()},
		"computed":  {At: []int32{0}},
		"computed:": {At: []int32{0}, Computed: &timestamppb.Timestamp{Seconds: 1 << 62}},
	} {
		if _, err := maps.GetMapPapers(as("read"), req); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := maps.GetMapPapers(as("read"), &embeddv1.GetMapPapersRequest{At: []int32{0}, Computed: timestamppb.New(time.Unix(1, 0))}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("of another map: %v", err)
	}
	for what, call := range map[string]func() error{
		"ComputeMap": func() error { _, err := computed(as("filtered"), maps); return err },
		"GetMap":     func() error { _, err := maps.GetMap(as("filtered"), &embeddv1.GetMapRequest{}); return err },
		"GetMapPapers": func() error {
			_, err := maps.GetMapPapers(as("filtered"), &embeddv1.GetMapPapersRequest{At: []int32{0}, Computed: m.GetComputed()})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s with a key that has a filter: %v", what, err)
		}
	}
}

// A second map of a collection is refused while one is drawn, with how far that is; the drawing ends with its call.
func TestOneMapAtATime(t *testing.T) {
	r := launch(t, Options{Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	storeMany(t, t.Context(), conn, 2500, 1)
	maps := embeddv1.NewMapServiceClient(conn)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := maps.ComputeMap(ctx, &embeddv1.ComputeMapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if first.GetStage() == "" {
		t.Skip("the machine draws 2,500 papers in less time than is between two messages")
	}
	if _, err := computed(t.Context(), maps); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "is being made: ") {
		t.Errorf("the second one: %v", err)
	}
	cancel()
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Canceled {
		t.Errorf("the first one: %v", err)
	}
	for begin := time.Now(); ; { // it ends soon
		last, err := computed(t.Context(), maps)
		if err == nil {
			if last.GetPapers() != 2500 {
				t.Error(last)
			}
			break
		}
		if status.Code(err) != codes.ResourceExhausted || time.Since(begin) > 20*time.Second {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// The answer of a map of a million papers is within what a message may have.
func TestAMapOfAMillionPapersFits(t *testing.T) {
	n := 1_000_000
	res := &embeddv1.GetMapResponse{X: make([]float32, n), Y: make([]float32, n), Cluster: make([]uint32, n), Year: make([]int32, n), Computed: timestamppb.Now()}
	for i := range n {
		res.X[i], res.Y[i], res.Cluster[i], res.Year[i] = -0.123, 0.456, uint32(i%100), 2025
	}
	for i := range 100 {
		res.Clusters = append(res.Clusters, &embeddv1.MapCluster{Label: fmt.Sprint(strings.Repeat("x", 120), i), X: 1, Y: 1, Papers: 10_000})
	}
	if size := proto.Size(res); size > MaxMessageBytes*3/4 {
		t.Errorf("%d bytes", size)
	}
}
