package table

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
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

// Seek stays where it is: what matters is how much is written.
func (*counter) Seek(int64, int) (int64, error) { return 0, nil }

// processor is how long this process has had a core, in seconds: what a machine that does other work as well leaves of a measurement.
func processor(b *testing.B) float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
}

func benchmark[T any](b *testing.B, f Format, rows []T) {
	var c counter
	before := processor(b)
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
	b.ReportMetric((processor(b)-before)/float64(b.N), "CPU-s/file")
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

// BenchmarkVectors writes 20,000 vectors of 384 values.
func BenchmarkVectors(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	ids, vectors := make([]string, 20_000), make([][]float32, 20_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("ARXIV:%02d%02d.%05d", random.IntN(25), 1+random.IntN(12), random.IntN(100000))
		vectors[i] = make([]float32, 384)
		for j := range vectors[i] {
			vectors[i][j] = float32(random.NormFloat64()) / 20
		}
	}
	for _, f := range []Format{NumPy, Parquet, JSONL} {
		b.Run(string(f), func(b *testing.B) {
			var c counter
			before := processor(b)
			for b.Loop() {
				c.n = 0
				w, err := NewVectors(&c, f, 384, nil)
				if f == NumPy {
					w, err = NewNumPy(&c, &c, 384)
				}
				if err != nil {
					b.Fatal(err)
				}
				for i := 0; i < len(ids); i += 100 {
					if err := w.Write(ids[i:i+100], vectors[i:i+100]); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(c.n)/1e6, "MB/file")
			b.ReportMetric((processor(b)-before)/float64(b.N), "CPU-s/file")
		})
	}
}

type edge struct {
	Source string  `parquet:"source" json:"source"`
	Target string  `parquet:"target" json:"target"`
	Rank   int32   `parquet:"rank" json:"rank"`
	Score  float32 `parquet:"score" json:"score"`
}
