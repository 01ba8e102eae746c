// Package compat answers over HTTP in the dialects that existing clients speak: OpenAI's embeddings, text-embeddings-inference, Cohere's re-ranking, and Semantic
// Scholar's recommendations. Each route is a call of ours and a translation; docs/http.md says what of each dialect there is.
package compat

import (
	"net/http"

	"google.golang.org/grpc"
)

// Register adds the routes.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface) {
}
