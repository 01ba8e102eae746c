// Package widget is what other people's pages show: the element <related-papers>, as one script, and the same as a piece of HTML for pages without scripts.
package widget

import (
	"net/http"

	"google.golang.org/grpc"

	embeddv1 "embedd/proto/embedd/v1"
)

// Register adds the routes.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface) {
	mux.HandleFunc("GET /related-papers.js", serveScript(usualScript))
	mux.HandleFunc("GET "+element.path, serveScript(fixedScript)) // of another version there is nothing
	mux.HandleFunc("GET /related-papers.json", serveTag)
	mux.Handle("GET /fragment/related", &fragments{embeddv1.NewSearchServiceClient(conn)})
}
