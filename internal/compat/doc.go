// Package compat answers over HTTP in the dialects that existing clients speak: OpenAI's embeddings, text-embeddings-inference, Cohere's re-ranking, and Semantic
// Scholar's recommendations. Each route is a call of ours and a translation; docs/compat.md says what of each dialect there is.
package compat

import (
	"net/http"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	embeddv1 "embedd/proto/embedd/v1"
)

// rooms are the services that routes call.
type rooms struct {
	search embeddv1.SearchServiceClient
	encode embeddv1.EncodeServiceClient
	info   embeddv1.InfoServiceClient
	health grpc_health_v1.HealthClient
	// model is the id of the encoder, as it was last heard.
	model atomic.Pointer[string]
}

// Register adds the routes. conn makes the calls, each with the context of the HTTP request that it is for.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface) {
	c := &rooms{
		search: embeddv1.NewSearchServiceClient(conn), encode: embeddv1.NewEncodeServiceClient(conn), info: embeddv1.NewInfoServiceClient(conn),
		health: grpc_health_v1.NewHealthClient(conn),
	}
	const get, post = http.MethodGet, http.MethodPost
	for _, r := range []struct {
		pattern, method string
		in              *dialect
		answer          answer
	}{
		{"/v1/embeddings", post, openAI, c.embeddings},
		{"/v1/models", get, openAI, c.models},
		{"/v1/models/{id...}", get, openAI, c.modelByID},
		{"/embed", post, inference, c.embed},
		{"/similarity", post, inference, c.similarity},
		{"/rerank", post, inference, c.rerank},
		{"/tokenize", post, inference, c.tokenize},
		{"/info", get, inference, c.about},
		{"/health", get, inference, c.healthy},
		{"/v1/rerank", post, cohere, c.rerankV1},
		{"/v2/rerank", post, cohere, c.rerankV2},
		{onePaper + "{id...}", get, scholar, c.forPaper},
		{"/recommendations/v1/papers", post, scholar, c.fromLists},
		{"/recommendations/v1/papers/{$}", post, scholar, c.fromLists},
	} {
		mux.Handle(r.pattern, serve(r.in, r.method, r.answer))
	}
}
