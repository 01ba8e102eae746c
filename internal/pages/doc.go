// Package pages are the server's own pages: search, a paper, a reading list, the map of a collection, and its state.
package pages

import (
	"net/http"

	"google.golang.org/grpc"
)

// Register adds the routes.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface) {
}
