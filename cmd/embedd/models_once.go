package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"embedd/models"
)

// firstUseLimit is the time that a model gets before its first use. Loading a large one from a slow disk takes a while.
const firstUseLimit = 5 * time.Minute

// verifyOnce tries a model that does not come with the program in a process of its own, before this one loads it for the first
// time with this runtime: one that would end a process must not end a server's. What was tried is kept beside the manifest.
func verifyOnce(ctx context.Context, f *engineFlags, id string, log *slog.Logger) error {
	m, err := models.Open(f.Models, id)
	if err != nil || m.Known() != nil {
		return err
	}
	runtime, err := sha256Of(f.Library)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ONNX Runtime not found at %s; run make setup", f.Library)
	}
	if err != nil {
		return err
	}
	stamp := models.Stamp{Fingerprint: m.Fingerprint(), Runtime: runtime}
	if m.Stamp() == stamp {
		return nil
	}
	t := trial{Models: f.Models, Library: f.Library, ID: m.ID}
	r, err := t.inChild(ctx, firstUseLimit)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("model %s does not hold, tried before its first use: %w", m.ID, err)
	case r.Golden != nil && !r.Golden.OK:
		return fmt.Errorf("model %s does not give its golden vectors; see: embedd models verify %s", m.ID, m.ID)
	}
	if err := m.SetStamp(stamp); err != nil {
		log.Warn("the model will be tried again at the next start: that it holds cannot be written down", "model", m.ID, "error", err)
	}
	return nil
}

func sha256Of(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
