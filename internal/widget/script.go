package widget

import (
	"bytes"
	"crypto/sha512"
	_ "embed" // for the script
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

//go:embed static/related-papers.js
var source []byte

// element is the script of <related-papers>, as it is served.
var element = newScript(source)

// script is a file of JavaScript and what is known by its bytes.
type script struct {
	text      []byte
	integrity string // for the attribute of this name (Subresource Integrity)
	tag       string // an ETag, weak, since answers may be compressed
	path      string // where these bytes are, and never others
}

// newScript leaves out of a source what browsers pass over: comments that begin a line or follow a space, and indentation.
func newScript(source []byte) *script {
	var text bytes.Buffer
	comment := regexp.MustCompile(`(^|\s+)// .*$`)
	for line := range strings.Lines(string(source)) {
		if line = comment.ReplaceAllString(strings.TrimSpace(line), ""); line != "" {
			text.WriteString(line + "\n")
		}
	}
	sum := sha512.Sum384(text.Bytes())
	name := hex.EncodeToString(sum[:8])
	return &script{text.Bytes(), "sha384-" + base64.StdEncoding.EncodeToString(sum[:]), `W/"` + name + `"`, "/related-papers." + name + ".js"}
}

// How long a browser may keep a script without asking.
const (
	usualScript = "public, max-age=3600"
	fixedScript = "public, max-age=31536000, immutable"
)

// serveScript answers with the script. Pages of every site may load and check it: it is the same for all, and says nothing about anyone.
func serveScript(keep string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		open(w)
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		answer(w, r, http.StatusOK, keep, element.tag, element.text)
	}
}

// serveTag says by which tag a page includes the script with its hash. src is a path of this server; a page of another site writes the server before it.
func serveTag(w http.ResponseWriter, r *http.Request) {
	open(w)
	w.Header().Set("Content-Type", "application/json")
	var body bytes.Buffer
	to := json.NewEncoder(&body)
	to.SetEscapeHTML(false)          // to be read and copied
	_ = to.Encode(map[string]string{ // strings alone
		"src": element.path, "integrity": element.integrity,
		"tag": fmt.Sprintf(`<script defer src="%s" integrity="%s" crossorigin="anonymous"></script>`, element.path, element.integrity),
	})
	answer(w, r, http.StatusOK, "no-cache", element.tag, body.Bytes())
}

// open lets pages of every origin read an answer that has no paper in it.
func open(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
}

// answer writes a body, or that the client has it.
func answer(w http.ResponseWriter, r *http.Request, code int, keep, tag string, body []byte) {
	w.Header().Set("Cache-Control", keep)
	if tag != "" {
		w.Header().Set("ETag", tag)
		for has := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
			if has = strings.TrimSpace(has); has == "*" || strings.TrimPrefix(has, "W/") == strings.TrimPrefix(tag, "W/") {
				w.Header().Del("Content-Type")
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
	}
	w.WriteHeader(code)
	_, _ = w.Write(body) // a client that has gone
}
