package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed static page.html
var files embed.FS

// asset is a static file.
type asset struct {
	body, kind, tag string
}

// assets are the static files by name, and version the name of all of them as they are.
var assets, version = load()

func load() (map[string]asset, string) {
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		panic(err) // it is in the program
	}
	all, of := sha256.New(), map[string]asset{}
	for _, e := range entries {
		body, err := fs.ReadFile(files, path.Join("static", e.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		_, _ = fmt.Fprintf(all, "%s %x\n", e.Name(), sum) // never fails
		of[e.Name()] = asset{body: string(body), kind: kindOf(e.Name()), tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return of, hex.EncodeToString(all.Sum(nil)[:6])
}

// kindOf is a file's media type, whatever the machine's own table says.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// static serves a file. Below the version it is kept for good: another content has another address.
func static(w http.ResponseWriter, r *http.Request) {
	a, ok := assets[r.PathValue("file")]
	of := r.PathValue("version")
	if !ok || of != "" && of != version {
		// A page that was open while the server was replaced asks for modules that are no more; it loads anew when it is told so.
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.tag)
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	if of != "" {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", started, strings.NewReader(a.body))
}
