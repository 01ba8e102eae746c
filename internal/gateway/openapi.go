package gateway

import (
	"bytes"
	_ "embed"
	"net/http"
	"time"
)

// openAPI is what scripts/openapi.sh makes of the contract.
//
//go:embed openapi.json
var openAPI []byte

// serveOpenAPI answers with the description of the routes.
func serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", tagOf(openAPI))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(openAPI))
}
