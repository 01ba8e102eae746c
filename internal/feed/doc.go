// Package feed is Atom feeds (RFC 4287) of what is new and related to a paper, a text or a reading list.
package feed

import (
	"net/http"

	"google.golang.org/grpc"
)

// Register adds the routes.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface) {
}
