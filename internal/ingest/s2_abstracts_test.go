package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// Papers get the abstracts of the other dataset, by CorpusId, in whatever order they come; of two the later. A map is the slow truth.
func TestAbstracts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Setenv("TMPDIR", t.TempDir())
	var abstracts, papers strings.Builder
	want := map[string]string{}
	for i := range 3000 {
		id := rng.IntN(2000)
		text := strings.TrimSpace(strings.Repeat(fmt.Sprintf("Text %d é. ", i), rng.IntN(40)))
		fmt.Fprintf(&abstracts, `{"corpusid":%d,"openaccessinfo":{"externalids":{}},"abstract":%q}`+"\n", id, text)
		if text != "" {
			want[fmt.Sprintf("S2:%d", id)] = text
		}
	}
	abstracts.WriteString(`{"corpusid":"x","abstract":"a"}` + "\n")
	for id := range 2500 {
		fmt.Fprintf(&papers, `{"corpusid":%d,"externalids":{},"title":"Paper %d","authors":[]}`+"\n", id, id)
	}
	dir := t.TempDir()
	bad, last := 0, int64(0)
	a, err := LoadAbstracts(t.Context(), write(t, dir, "abstracts.jsonl.zst", pack(t, abstracts.String())), func(*LineError) { bad++ },
		func(read, size int64) { last = read })
	if err != nil {
		t.Fatal(err)
	}
	if bad != 1 || last == 0 {
		t.Errorf("%d lines were rejected; progress up to %d", bad, last)
	}
	r, err := Open(write(t, dir, "papers.jsonl", []byte(papers.String())), Options{Abstracts: a})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for ; ; n++ {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Abstract != want[p.ID] || p.Title == "" {
			t.Fatalf("%s has the abstract %q, want %q", p.ID, p.Abstract, want[p.ID])
		}
	}
	if n != 2500 {
		t.Errorf("%d papers", n)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := LoadAbstracts(ctx, dir+"/abstracts.jsonl.zst", func(*LineError) {}, func(_, _ int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left after an interrupt: %v, %v", left, err)
	}
}
