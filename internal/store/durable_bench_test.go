package store

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"embedd/internal/testkit"
)

// BenchmarkDurableCommit is what Put costs beside the least that it could: 16 writers, one paper of about 1.3 KB and 384 floats a
// commit, against bare Pebble with the same keys and the same bytes in one synced batch. The two take turns, and ratio is the median over
// the rounds of how many commits Put makes in the time of one of Pebble's.
func BenchmarkDurableCommit(b *testing.B) {
	const writers, rounds = 16, 21
	identity := testIdentity
	identity.Dimension = 384
	s, err := Open(filepath.Join(b.TempDir(), "store"), identity, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	bare := openBare(b)
	defer bare.close(b)
	rng := testkit.Rand(b)
	papers := make([]Write, 512)
	for i := range papers {
		papers[i] = durableWrite(rng, identity.Dimension)
	}
	var next atomic.Int64 // papers, ever: each has an id of its own
	round := func(commit func(n int, w Write) error) (perSecond float64) {
		per := max(1, b.N/writers)
		begin := time.Now()
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range per {
					n := int(next.Add(1))
					if err := commit(n, papers[n%len(papers)]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return float64(per*writers) / time.Since(begin).Seconds()
	}
	put := func(n int, w Write) error {
		w.Record.Paper.ID = fmt.Sprintf("ARXIV:%010d", n)
		_, _, err := s.Put([]Write{w})
		return err
	}
	var ours, theirs, ratios []float64
	for i := range rounds {
		var a, z float64
		if i%2 == 0 { // neither is always the one after the other
			a, z = round(put), round(bare.put)
		} else {
			z, a = round(bare.put), round(put)
		}
		ours, theirs, ratios = append(ours, a), append(theirs, z), append(ratios, a/z)
	}
	b.ReportMetric(middle(ours), "put/s")
	b.ReportMetric(middle(theirs), "bare/s")
	b.ReportMetric(middle(ratios), "ratio")
}

func middle(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

func durableWrite(rng *rand.Rand, dimension int) Write {
	word := func() string { return strings.Repeat(string(rune('a'+rng.IntN(26))), 2+rng.IntN(9)) }
	var abstract []string
	for range 180 {
		abstract = append(abstract, word())
	}
	w := Write{Record: Record{Paper: Paper{
		Title: word() + " " + word() + " " + word(), Abstract: strings.Join(abstract, " "), Authors: []string{"Emmy Noether", "Émilie du Châtelet"},
		Year: 2020, Venue: "arXiv", URL: "https://example.org/" + word(), Metadata: json.RawMessage(`{"categories":"cs.IR"}`),
	}}}
	var sum float64
	for range dimension {
		x := rng.NormFloat64()
		w.Vector, sum = append(w.Vector, float32(x)), sum+x*x
	}
	for i := range w.Vector {
		w.Vector[i] /= float32(math.Sqrt(sum))
	}
	return w
}

// barePebble stores the bytes of a paper and nothing else: nothing is looked up, checked, summed or kept in step.
type barePebble struct{ db *pebble.DB }

func openBare(b *testing.B) *barePebble {
	options := (&Store{log: &logger{}}).pebbleOptions(&Options{}) // the same but for the file system
	options.FS = nil
	db, err := pebble.Open(filepath.Join(b.TempDir(), "bare"), options)
	if err != nil {
		b.Fatal(err)
	}
	return &barePebble{db}
}

func (p *barePebble) close(b *testing.B) {
	if err := p.db.Close(); err != nil {
		b.Error(err)
	}
}

func (p *barePebble) put(n int, w Write) error {
	w.Record.Paper.ID = fmt.Sprintf("ARXIV:%010d", n)
	record, err := encodeRecord(&w.Record)
	if err != nil {
		return err
	}
	ordinal := uint64(n)
	batch := p.db.NewBatch()
	defer batch.Close()
	for _, kv := range []struct{ key, body []byte }{
		{vectorKey(ordinal), encodeVector(w.Vector)},
		{recordKey(ordinal), record},
		{ordinalKey(w.Record.Paper.ID), encodeEntry(entry{ordinal: ordinal})},
		{logKey(ordinal), encodeChanges([]Change{{ordinal, Added}})},
		{[]byte(keyState), encodeState(state{next: ordinal + 1, revision: ordinal})},
	} {
		if _, err := set(batch, kv.key, kv.body); err != nil {
			return err
		}
	}
	return batch.Commit(pebble.Sync)
}
