package lexical

import (
	"errors"
	"io"
	"testing"

	"embedd/internal/evalsets"
	"embedd/internal/ingest"
)

// BenchmarkSearch searches 118,747 abstracts for the titles of some of them, 200 papers each, on one core.
func BenchmarkSearch(b *testing.B) {
	r, err := ingest.Open(evalsets.Dir(b, "arxiv"))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	x := New()
	var titles []string
	var begun int64
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		titles = append(titles, p.Title)
		x.Add(uint64(len(titles)), Analyze(p.Title, p.Abstract))
	}
	queries := make([]Query, 1000)
	for i := range queries {
		queries[i] = ParseQuery(titles[i*7919%len(titles)])
		for _, w := range x.weigh(queries[i]) {
			for _, c := range w.chunks {
				begun += int64(len(c.list))
			}
		}
	}
	b.ReportMetric(float64(x.Bytes())/float64(x.Len()), "bytes/paper")
	b.Run("title", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, _, err := x.Search(b.Context(), queries[i%len(queries)], 200, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(begun)/float64(len(queries)), "postings/op")
	})
	b.Run("analyze", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			ParseQuery(titles[i%len(titles)])
		}
	})
	b.Logf("%d papers, %.0f bytes each", x.Len(), float64(x.Bytes())/float64(x.Len()))
}
