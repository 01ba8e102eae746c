package server

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// judge is a cross-encoder without a model: it likes long texts, reads eight bytes, and cannot read a question mark.
type judge string

func (j judge) Name() string { return string(j) }

func (j judge) Score(_ context.Context, query string, texts []string) ([]retrieval.Judged, error) {
	out := make([]retrieval.Judged, len(texts))
	for i, text := range texts {
		if out[i].Logit = float32(math.NaN()); text != "?" {
			n := len(query) + len(text)
			out[i] = retrieval.Judged{Logit: float32(len(text)) - 4, TextUse: retrieval.TextUse{Tokens: n, Truncated: n > 8}}
		}
	}
	return out, nil
}

func TestRerankOverTheWire(t *testing.T) {
	r := launchOver(t, Options{Limits: Limits{Classes: classes(nil)}}, judge("judge"), judge("other"))
	call := embeddv1.NewSearchServiceClient(r.connect(t))
	res, err := call.Rerank(t.Context(), &embeddv1.RerankRequest{Query: "q", Texts: []string{"?", "aa", "aaaaaaaa", "bb"}, Reranker: "other"})
	if err != nil || res.GetReranker() != "other" {
		t.Fatalf("%v, %v", res, err)
	}
	var order []int32
	for _, s := range res.GetScores() {
		order = append(order, s.GetIndex())
		read := s.GetIndex() != 0
		if (s.Logit != nil) != read || (s.GetTextUse() != nil) != read || (s.GetScore() > 0) != read || s.GetTextUse().GetTruncated() != (s.GetIndex() == 2) {
			t.Errorf("%v", s)
		}
	}
	if !slices.Equal(order, []int32{2, 1, 3, 0}) {
		t.Errorf("order %v", order)
	}
	without := embeddv1.NewSearchServiceClient(launch(t, Options{}).connect(t))
	for _, c := range []struct {
		of   embeddv1.SearchServiceClient
		req  *embeddv1.RerankRequest
		want codes.Code
		text string
	}{
		{call, &embeddv1.RerankRequest{Texts: []string{"x"}}, codes.InvalidArgument, "query: is blank"},
		{call, &embeddv1.RerankRequest{Query: "x"}, codes.InvalidArgument, "texts: is empty"},
		{call, &embeddv1.RerankRequest{Query: "x", Texts: []string{"a", ""}}, codes.InvalidArgument, "texts[1]: is blank"},
		{call, &embeddv1.RerankRequest{Query: "x", Texts: []string{"a"}, Reranker: "none"}, codes.InvalidArgument, `reranker: "none" is not a cross-encoder`},
		{call, &embeddv1.RerankRequest{Query: "x", Texts: []string{"a"}, Collection: "none"}, codes.NotFound, "collection"},
		{without, &embeddv1.RerankRequest{Query: "x", Texts: []string{"a"}}, codes.FailedPrecondition, "start it with --reranker"},
	} {
		if _, err := c.of.Rerank(t.Context(), c.req); status.Code(err) != c.want || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%v, want %v with %q", err, c.want, c.text)
		}
	}
}
