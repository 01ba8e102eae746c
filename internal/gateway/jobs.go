package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// jobFiles answers GET /v1/jobs/{id}/files/{name} with the file itself, whose length and tag are known beforehand.
type jobFiles struct{ jobs embeddv1.JobServiceClient }

// fileTypes are what the files of jobs are.
var fileTypes = map[string]string{
	".parquet": "application/vnd.apache.parquet", ".jsonl": "application/x-ndjson", ".csv": "text/csv; charset=utf-8", ".npy": "application/octet-stream", ".txt": "text/plain; charset=utf-8",
}

// ServeHTTP implements http.Handler. HEAD has no body, and a client that has the file already none either.
func (h jobFiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, name := r.PathValue("id"), r.PathValue("name")
	res, err := h.jobs.GetJob(r.Context(), &embeddv1.GetJobRequest{Id: id})
	if err != nil {
		WriteError(w, r, status.Convert(err))
		return
	}
	stream, err := h.jobs.ReadJobFile(r.Context(), &embeddv1.ReadJobFileRequest{Id: id, Name: name})
	var first *embeddv1.ReadJobFileResponse
	if err == nil {
		first, err = stream.Recv() // what is refused is refused here
	}
	if err != nil && !errors.Is(err, io.EOF) {
		WriteError(w, r, status.Convert(err))
		return
	}
	files := res.GetJob().GetFiles()
	at := slices.IndexFunc(files, func(f *embeddv1.JobFile) bool { return f.GetName() == name })
	if at < 0 { // it has come to its end between the two calls
		WriteError(w, r, status.New(codes.Unavailable, "the job has just ended; ask again"))
		return
	}
	header := w.Header()
	tag := `"` + files[at].GetSha256() + `"`
	header.Set("ETag", tag)
	header.Set("Cache-Control", "private, no-cache")
	for has := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimSpace(has) == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	header.Set("Content-Type", fileTypes[path.Ext(name)])
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": id + "-" + name}))
	header.Set("Content-Length", strconv.FormatInt(files[at].GetBytes(), 10))
	if r.Method == http.MethodHead {
		return
	}
	for ; err == nil; first, err = stream.Recv() {
		if _, err := w.Write(first.GetData()); err != nil {
			return // the client has gone
		}
	}
	if !errors.Is(err, io.EOF) {
		panic(http.ErrAbortHandler) // the client sees that it is not whole
	}
}
