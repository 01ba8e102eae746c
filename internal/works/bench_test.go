package works

import (
	"fmt"
	"path/filepath"
	"testing"

	"embedd/internal/evalsets"
)

// BenchmarkAdd analyses and adds abstracts, and reports what a paper takes in memory.
func BenchmarkAdd(b *testing.B) {
	texts := readTexts(b, filepath.Join(evalsets.Dir(b, "arxiv"), "corpus-0.jsonl.gz"))
	x := New()
	b.ResetTimer()
	for i := range b.N {
		one := texts[i%len(texts)]
		x.Add(uint64(i%len(texts)+1), Analyze(Paper{ID: "ARXIV:" + one.ID, Title: one.Title, Abstract: one.Text, DOI: fmt.Sprintf("10.1000/%d", i%len(texts)), URL: "https://arxiv.org/abs/" + one.ID}))
	}
	b.ReportMetric(float64(x.Bytes())/float64(x.Len()), "B/paper")
}

// BenchmarkSame asks for the same work as papers that have none, as most do.
func BenchmarkSame(b *testing.B) {
	texts := readTexts(b, filepath.Join(evalsets.Dir(b, "arxiv"), "corpus-0.jsonl.gz"))
	x := New()
	for i, one := range texts {
		x.Add(uint64(i+1), Analyze(Paper{Title: one.Title, Abstract: one.Text}))
	}
	b.ResetTimer()
	for i := range b.N {
		x.Same(uint64(i%len(texts)+1), nil)
	}
}
