package metadata

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"embedd/internal/evalsets"
)

// arxiv are the papers of the evaluation set arxiv, each with what a store would hold of it.
var arxiv = sync.OnceValues(func() ([]Paper, error) {
	files, err := filepath.Glob(filepath.Join(arxivDir, "corpus-*.jsonl.gz"))
	if err != nil {
		return nil, err
	}
	var papers []Paper
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var line struct {
				ID       string `json:"_id"`
				Metadata struct {
					Authors    []string `json:"authors"`
					Categories []string `json:"categories"`
					Listed     string   `json:"listed"`
				} `json:"metadata"`
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				return nil, err
			}
			m := line.Metadata
			year, err := strconv.Atoi(m.Listed[:4])
			if err != nil {
				return nil, err
			}
			text, err := json.Marshal(map[string]any{"categories": m.Categories, "listed": m.Listed, "pages": len(lines.Bytes())})
			if err != nil {
				return nil, err
			}
			papers = append(papers, Paper{
				ID: "ARXIV:" + line.ID, Authors: m.Authors, Year: int32(year), ArxivID: line.ID,
				URL: "https://arxiv.org/abs/" + line.ID, Metadata: text,
			})
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return papers, nil
})

var arxivDir string

func corpus(b *testing.B) []Paper {
	arxivDir = evalsets.Dir(b, "arxiv")
	papers, err := arxiv()
	if err != nil {
		b.Fatal(err)
	}
	return papers
}

func build(b *testing.B, papers []Paper) *Index {
	x := New()
	for i, p := range papers {
		if err := x.Add(uint64(i+1), fields(b, p)); err != nil {
			b.Fatal(err)
		}
	}
	return x
}

// BenchmarkBuild makes an index of all papers; heap is what the machine's memory says of what Bytes says.
func BenchmarkBuild(b *testing.B) {
	papers := corpus(b)
	read := make([]Fields, len(papers))
	b.Run("fields", func(b *testing.B) {
		for b.Loop() {
			for i, p := range papers {
				read[i] = fields(b, p)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(papers)), "ns/paper")
	})
	b.Run("add", func(b *testing.B) {
		var x *Index
		var before, after runtime.MemStats
		for b.Loop() {
			x = nil
			runtime.GC()
			runtime.ReadMemStats(&before)
			x = New()
			for i, f := range read {
				if err := x.Add(uint64(i+1), f); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(papers)), "ns/paper")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(x.Bytes())/float64(len(papers)), "bytes/paper")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(papers)), "heap/paper")
		check(b, x)
	})
}

var selects = []struct{ name, text string }{
	{"category", `categories:cs.CL`},
	{"category-dates", `categories:cs.CL AND listed >= "2025-06" AND listed < "2025-09"`},
	{"category-year", `categories:cs.CL AND listed >= 2026`},
	{"categories-dates", `categories:(cs.CL OR cs.LG OR cs.CV OR cs.AI) AND listed > "2025-04-02" AND NOT categories:cs.RO`},
	{"not", `NOT categories:cs.CL`},
	{"unequal", `year != 2025`},
	{"prefix", `categories:"cond-mat.*"`},
	{"number", `pages > 1500`},
	{"id", `id = "ARXIV:2505.16152"`},
	{"id-prefix", `arxiv_id = "25*"`},
	{"id-range", `arxiv_id > "2504.5" AND arxiv_id < "2512"`},
	{"author", `authors = "Wei Wang"`},
	{"author-prefix", `authors = "Wei *"`},
	{"sixty", sixty()},
}

// sixty is a filter as large as may be, of ranges.
func sixty() string {
	text := `pages > 1`
	for i := range MaxConditions - 1 {
		text += fmt.Sprintf(` OR (pages > %d)`, 100*i)
	}
	return text
}

// BenchmarkSelect answers filters of each kind on all papers.
func BenchmarkSelect(b *testing.B) {
	x := build(b, corpus(b))
	for _, s := range selects {
		b.Run(s.name, func(b *testing.B) { times(b, x, s.text) })
	}
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := Parse(selects[1].text); err != nil {
				b.Fatal(err)
			}
		}
	})
	// While one paper after the other is replaced.
	for _, every := range []time.Duration{0, 100 * time.Microsecond} {
		b.Run(fmt.Sprintf("beside-writer-%v", every), func(b *testing.B) {
			papers := corpus(b)
			stop, stopped := make(chan struct{}), make(chan int)
			go func() {
				rng, n := rand.New(rand.NewPCG(1, 1)), 0
				for {
					select {
					case <-stop:
						stopped <- n
						return
					default:
					}
					o := rng.IntN(len(papers))
					if err := x.Add(uint64(o+1), fields(b, papers[o])); err != nil {
						b.Error(err)
					}
					n++
					time.Sleep(every)
				}
			}()
			times(b, x, selects[1].text)
			close(stop)
			b.ReportMetric(float64(<-stopped)/b.Elapsed().Seconds(), "writes/s")
		})
	}
	check(b, x)
}

// times reports the distribution of the times that a filter takes.
func times(b *testing.B, x *Index, text string) {
	f, err := Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	n := 0
	for b.Loop() {
		begin := time.Now()
		set, err := x.Select(f)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
		n = set.Len()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	b.ReportMetric(float64(n), "papers")
}

// BenchmarkFacets counts within a large and a small set, of fields with few and with many values.
func BenchmarkFacets(b *testing.B) {
	x := build(b, corpus(b))
	for _, set := range []struct{ name, text string }{{"1000", `listed = "2025-08-0*"`}, {"cs.CL", `categories:cs.CL`}, {"all", ``}} {
		f, err := Parse(set.text)
		if err != nil {
			b.Fatal(err)
		}
		s, err := x.Select(f)
		if err != nil {
			b.Fatal(err)
		}
		for _, field := range []string{"metadata.categories", "metadata.listed", "authors", "id"} {
			for _, how := range []string{"again", "first", "alone"} {
				b.Run(set.name+"/"+field+"/"+how, func(b *testing.B) {
					for b.Loop() {
						if how == "first" {
							b.StopTimer()
							x.fields[field].column = nil
							b.StartTimer()
						}
						if _, err := x.Facets(b.Context(), field, s, 10, how == "alone"); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(s.Len()), "papers")
				})
			}
		}
	}
	b.Run("Bytes", func(b *testing.B) {
		for b.Loop() {
			x.Bytes()
		}
	})
	b.Run("Fields", func(b *testing.B) {
		for b.Loop() {
			x.Fields()
		}
	})
}
