// Package testkit has what tests of many rooms need.
package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Rand is seeded by EMBEDD_SEED or, without it, at random; the seed is printed.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("EMBEDD_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal("EMBEDD_SEED: ", err)
		}
	}
	t.Logf("EMBEDD_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Buffer is a buffer that can be read while others write to it: a log, or what a process says.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is what was written until now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// CopyStill copies a directory that a program has open, as a kill -9 would leave it: once more, until nothing in it has changed meanwhile.
func CopyStill(t testing.TB, to, from string) {
	t.Helper()
	for range 100 {
		before, err := state(from)
		if err == nil {
			err = os.CopyFS(to, os.DirFS(from))
		}
		if err == nil {
			var after string
			if after, err = state(from); err == nil && after == before {
				return
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a file that went meanwhile
			t.Fatal(err)
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s is never still", from)
}

// state has what shows that a directory has changed.
func state(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	return b.String(), err
}

// Eventually waits until something holds. The test fails where it does not within 10 seconds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}
