// Package widget is what other people's pages show: the element <related-papers>, as one script, and the same as a piece of HTML for pages without scripts.
package widget

import (
	"net/http"

	"google.golang.org/grpc"
)

// Register adds the routes.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface) {
}
