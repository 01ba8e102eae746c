// Package pages are the server's own pages: search, a paper, a reading list, the map of a collection, and its state.
package pages

import (
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Refuse writes an error.
type Refuse func(http.ResponseWriter, *http.Request, *status.Status)

// Register adds the routes.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface, refuse Refuse) {
	registerMap(mux, conn, refuse)
}
