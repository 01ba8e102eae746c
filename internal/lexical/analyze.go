package lexical

import (
	"math"
	"slices"
	"strings"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/lang/en"
	"github.com/blevesearch/bleve/v2/registry"
)

const (
	// titleWeight is how often a word of the title counts.
	titleWeight = 2
	// maxTerm is the longest stem in bytes.
	maxTerm = 64
	// maxCount is the most that a word counts in one paper.
	maxCount = math.MaxUint16
)

// analyzer is the English one. It has no state, and may be used from many goroutines at once.
var analyzer = func() analysis.Analyzer {
	a, err := registry.NewCache().AnalyzerNamed(en.AnalyzerName)
	if err != nil {
		panic(err) // it was compiled in, or was not
	}
	return a
}()

// stems calls fn with each stem of a text. The bytes are fn's until it returns.
func stems(text string, fn func(stem []byte)) {
	for _, token := range analyzer.Analyze([]byte(strings.ToValidUTF8(text, " "))) { // which would end at what is no UTF-8
		if len(token.Term) > 0 && len(token.Term) <= maxTerm {
			fn(token.Term)
		}
	}
}

// count is a stem and how often it is there.
type count struct {
	term string
	n    uint32
}

// Doc is what the index keeps of a paper: its stems, in order.
type Doc struct {
	counts []count
	length uint32 // the sum
}

// Analyze finds the stems of a paper. It takes about a tenth of a millisecond for an abstract.
func Analyze(title, abstract string) Doc {
	seen := map[string]uint32{}
	stems(title, func(stem []byte) { seen[string(stem)] += titleWeight })
	stems(abstract, func(stem []byte) { seen[string(stem)]++ })
	d := Doc{counts: sorted(seen)}
	for i := range d.counts {
		d.length += d.counts[i].n
	}
	return d
}

// Query is a text to search with. The zero Query has no words and finds nothing.
type Query struct{ counts []wanted }

// wanted is a word of a query and how often it counts.
type wanted struct {
	term   string
	weight float64
}

// ParseQuery finds the stems of a text.
func ParseQuery(text string) Query {
	seen := map[string]uint32{}
	stems(text, func(stem []byte) { seen[string(stem)]++ })
	var q Query
	for _, t := range sorted(seen) {
		q.counts = append(q.counts, wanted{t.term, float64(t.n)})
	}
	return q
}

// Empty tells whether a query has no words but stop words.
func (q Query) Empty() bool { return len(q.counts) == 0 }

func sorted(seen map[string]uint32) []count {
	counts := make([]count, 0, len(seen))
	for term, n := range seen {
		counts = append(counts, count{term, min(n, maxCount)})
	}
	slices.SortFunc(counts, func(a, b count) int { return strings.Compare(a.term, b.term) })
	return counts
}
