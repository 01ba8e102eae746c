// Package pages are the server's own pages: search, a paper, a reading list, the map of a collection, and its state.
//
// What a page says without scripts is made here, of the same methods that everybody calls (render.go, page.html); static/ has the scripts, which take it from
// there. They are modules as they stand, without a build. All of them are under one address that has a hash of them all, so that they name each other by their
// plain names and browsers may keep them for good (assets.go).
package pages

import (
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// Refuse writes an error.
type Refuse func(http.ResponseWriter, *http.Request, *status.Status)

// Register adds the routes.
func Register(mux *http.ServeMux, conn grpc.ClientConnInterface, refuse Refuse) {
	p := &pages{papers: embeddv1.NewPaperServiceClient(conn), search: embeddv1.NewSearchServiceClient(conn)}
	mux.HandleFunc("GET /{$}", p.searchPage)
	mux.HandleFunc("GET /paper/{id...}", p.paperPage)
	mux.HandleFunc("GET /list", p.plain("list", "Reading list", "Papers like those that you have read, and unlike those that you have not."))
	mux.HandleFunc("GET /map", p.plain("map", "Map", "The collection from above: papers that are alike lie near each other."))
	mux.HandleFunc("GET /status", p.plain("status", "Status", "What this server holds, and how it is doing."))
	mux.HandleFunc("GET /static/{file}", static)
	mux.HandleFunc("GET /static/{version}/{file}", static)
	registerMap(mux, conn, refuse)
}
