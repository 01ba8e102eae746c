package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A pull that is interrupted in the middle of a download says that the next one goes on from there, and it does.
func TestInterruptedPullGoesOn(t *testing.T) {
	text := strings.Repeat("graph", 1000)
	interrupted, interrupt := context.WithCancel(t.Context())
	ranges := make(chan string, 2)
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ranges <- r.Header.Get("Range")
		if interrupted.Err() != nil {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
			return
		}
		_, _ = w.Write([]byte(text[:3000]))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_TOKEN", "none")
	t.Setenv("HF_HUB_OFFLINE", "")

	dir := t.TempDir()
	sum := sha256.Sum256([]byte(text))
	manifest := fmt.Sprintf(`{"format":1,"id":"tiny","description":"","license":"MIT","architecture":"bert","precision":"fp32","dimension":4,
		"max_tokens":16,"pooling":"mean","normalize":true,"prompts":{"query":"","document":""},"inputs":["input_ids","attention_mask"],"output":"o",
		"files":{"model":{"path":"model.onnx","sha256":%[1]q,"bytes":%[2]d,
			"source":{"huggingface":{"repository":"org/name","revision":"0123456789abcdef0123456789abcdef01234567","path":"model.onnx"}}},
		"tokenizer":{"path":"tokenizer.json","sha256":%[1]q,"bytes":%[2]d,"source":{"folder":{"path":"graph"}}}}}`, hex.EncodeToString(sum[:]), len(text))
	path := filepath.Join(dir, "tiny.json")
	if err := errors.Join(os.WriteFile(path, []byte(manifest), 0o644), os.WriteFile(filepath.Join(dir, "graph"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	pull := func(ctx context.Context, stderr *bytes.Buffer) error {
		c := modelsPullCmd{Manifest: path, modelsFlags: modelsFlags{Models: filepath.Join(dir, "models")}}
		return c.Run(&env{ctx: ctx, stdout: &bytes.Buffer{}, stderr: stderr})
	}
	part := filepath.Join(dir, "models", "tiny", hex.EncodeToString(sum[:])+".part")
	go func() {
		for ; interrupted.Err() == nil; time.Sleep(time.Millisecond) {
			if fi, err := os.Stat(part); err == nil && fi.Size() == 3000 {
				interrupt()
			}
		}
	}()
	var stderr bytes.Buffer
	if err := pull(interrupted, &stderr); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if !strings.Contains(stderr.String(), "model.onnx: 3000 of 5000 bytes are kept; pulling again goes on from there") {
		t.Errorf("stderr:\n%s", &stderr)
	}
	if err := pull(t.Context(), &stderr); err != nil {
		t.Error(err)
	}
	if first, second := <-ranges, <-ranges; first != "" || second != "bytes=3000-" {
		t.Errorf("ranges %q and %q, want none and the rest", first, second)
	}
}
