package main

import (
	"testing"

	"google.golang.org/protobuf/proto"

	embeddv1 "embedd/proto/embedd/v1"
)

// --collection is said in every request that says nothing else, and in those that are in one; the caller's own stays as it is.
func TestRequestsNameTheCollection(t *testing.T) {
	for _, c := range []struct{ req, want proto.Message }{
		{&embeddv1.GetInfoRequest{}, &embeddv1.GetInfoRequest{Collection: "c"}},
		{&embeddv1.GetInfoRequest{Collection: "other"}, &embeddv1.GetInfoRequest{Collection: "other"}},
		{&embeddv1.SearchRequest{Query: textInput("x")}, &embeddv1.SearchRequest{Query: textInput("x"), Collection: "c"}},
		{
			&embeddv1.SearchManyRequest{Searches: []*embeddv1.SearchRequest{{}, {Collection: "other"}}},
			&embeddv1.SearchManyRequest{Searches: []*embeddv1.SearchRequest{{Collection: "c"}, {Collection: "other"}}},
		},
		{&embeddv1.EncodeStreamRequest{Request: &embeddv1.EncodeRequest{}}, &embeddv1.EncodeStreamRequest{Request: &embeddv1.EncodeRequest{Collection: "c"}}},
		{&embeddv1.SetAliasRequest{Alias: "a"}, &embeddv1.SetAliasRequest{Alias: "a"}},
	} {
		before := proto.Clone(c.req)
		if got := aboutCollection(c.req, "c").(proto.Message); !proto.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.req, got, c.want)
		}
		if !proto.Equal(c.req, before) {
			t.Errorf("%v was %v", c.req, before)
		}
	}
}
