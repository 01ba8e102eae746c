package table

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

type dictionaryEdge struct {
	Source string  `parquet:"source,dict" json:"source"`
	Target string  `parquet:"target,dict" json:"target"`
	Rank   int32   `parquet:"rank" json:"rank"`
	Score  float32 `parquet:"score" json:"score"`
}

type deltaEdge struct {
	Source string  `parquet:"source,delta" json:"source"`
	Target string  `parquet:"target,delta" json:"target"`
	Rank   int32   `parquet:"rank" json:"rank"`
	Score  float32 `parquet:"score" json:"score"`
}

// edges are the neighbours of papers, as a graph of a whole corpus has them.
func edges(papers, k int) []edge {
	random := rand.New(rand.NewPCG(1, 1))
	ids := make([]string, papers)
	for i := range ids {
		ids[i] = fmt.Sprintf("ARXIV:%02d%02d.%05d", random.IntN(25), 1+random.IntN(12), random.IntN(100000))
	}
	rows := make([]edge, 0, papers*k)
	for i := range ids {
		score := float32(0.95)
		for rank := range k {
			score -= 0.03 * random.Float32()
			rows = append(rows, edge{ids[i], ids[random.IntN(papers)], int32(rank + 1), score})
		}
	}
	return rows
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) { c.n += int64(len(b)); return len(b), nil }

func benchmark[T any](b *testing.B, f Format, rows []T) {
	var c counter
	for b.Loop() {
		c.n = 0
		w, err := NewWriter[T](&c, f, nil)
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < len(rows); i += 1000 {
			if err := w.Write(rows[i:min(i+1000, len(rows))]); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(c.n)/1e6, "MB/file")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/file")
}

// BenchmarkEdges writes the ten nearest of 118,747 papers: 1.2 million rows.
func BenchmarkEdges(b *testing.B) {
	rows := edges(118_747, 10)
	for _, f := range Formats {
		b.Run(string(f), func(b *testing.B) { benchmark(b, f, rows) })
	}
	b.Run("parquet-dictionaries", func(b *testing.B) {
		other := make([]dictionaryEdge, len(rows))
		for i, r := range rows {
			other[i] = dictionaryEdge(r)
		}
		benchmark(b, Parquet, other)
	})
	b.Run("parquet-delta", func(b *testing.B) {
		other := make([]deltaEdge, len(rows))
		for i, r := range rows {
			other[i] = deltaEdge(r)
		}
		benchmark(b, Parquet, other)
	})
}

type edge struct {
	Source string  `parquet:"source" json:"source"`
	Target string  `parquet:"target" json:"target"`
	Rank   int32   `parquet:"rank" json:"rank"`
	Score  float32 `parquet:"score" json:"score"`
}
