package server

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

func paperInput(id, title string) *embeddv1.Input {
	return &embeddv1.Input{Kind: &embeddv1.Input_Paper{Paper: &embeddv1.Paper{Id: id, Title: title}}}
}

func idInput(id string) *embeddv1.Input {
	return &embeddv1.Input{Kind: &embeddv1.Input_PaperId{PaperId: id}}
}

func TestCompareOverTheWire(t *testing.T) {
	r := launch(t, Options{})
	conn := r.connect(t)
	call := embeddv1.NewSearchServiceClient(conn)
	put(t, conn, "a")
	things := []*embeddv1.Input{idInput("a"), text("paper a"), paperInput("a", "paper a"), paperInput("b", "paper a")}
	res, err := call.Compare(t.Context(), &embeddv1.CompareRequest{Left: things})
	if err != nil {
		t.Fatal(err)
	}
	if res.GetRows() != 4 || res.GetColumns() != 4 || len(res.GetScores()) != 16 {
		t.Fatalf("%v", res)
	}
	for _, s := range res.GetScores() { // one text in four ways
		if math.Abs(float64(s)-1) > 1e-6 {
			t.Errorf("scores %v", res.GetScores())
			break
		}
	}
	pairs, err := call.Compare(t.Context(), &embeddv1.CompareRequest{Left: things[:2], Right: []*embeddv1.Input{text("x"), text("y")}, Pairs: true})
	if err != nil || pairs.GetRows() != 2 || pairs.GetColumns() != 1 || len(pairs.GetScores()) != 2 {
		t.Errorf("%v, %v", pairs, err)
	}
	for _, c := range []struct {
		req  *embeddv1.CompareRequest
		want codes.Code
		text string
	}{
		{&embeddv1.CompareRequest{}, codes.InvalidArgument, "left: is empty"},
		{&embeddv1.CompareRequest{Left: []*embeddv1.Input{text("x"), {}}}, codes.InvalidArgument, "left[1]: is empty; set one of paper_id, text, vector, paper"},
		{&embeddv1.CompareRequest{Left: things, Right: []*embeddv1.Input{{Kind: &embeddv1.Input_Examples{}}}}, codes.InvalidArgument, "right[0].examples: is a reading list"},
		{&embeddv1.CompareRequest{Left: things, Role: 5}, codes.InvalidArgument, "role: 5 is not a Role"},
		{&embeddv1.CompareRequest{Left: things, Pairs: true}, codes.InvalidArgument, "right: has 0 things, and left 4"},
		{&embeddv1.CompareRequest{Left: []*embeddv1.Input{idInput("b")}}, codes.NotFound, `left[0].paper_id: no paper has the id "b"`},
		{&embeddv1.CompareRequest{Left: things, Right: []*embeddv1.Input{{Kind: &embeddv1.Input_Vector{Vector: &embeddv1.Vector{}}}}}, codes.InvalidArgument, "right[0].vector: has 0 values"},
	} {
		if _, err := call.Compare(t.Context(), c.req); status.Code(err) != c.want || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%v, want %v with %q", err, c.want, c.text)
		}
	}
	// Re-ranking is refused where there is nothing to do it with.
	_, err = call.Search(t.Context(), &embeddv1.SearchRequest{Query: text("x"), Rerank: &embeddv1.Rerank{}})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "rerank: the server has no cross-encoder") {
		t.Errorf("rerank: %v", err)
	}
}
