package retrieval

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"embedd/ann"
	"embedd/internal/store"
)

// Passages: a text that is longer than the model reads is kept in several parts, each with a vector in the index. The first has the paper's ordinal
// for a label, the others have those after it. What is found is put down to the paper here, before anything else sees it: a paper counts by its best
// passage, and all else knows papers alone.

// passages are the papers that have several.
type passages struct {
	mu    sync.RWMutex
	of    map[uint64]uint64 // the paper of each label that is not a paper's own
	count map[uint64]int    // of each paper that has several
}

// load reads them from the store.
func (p *passages) load(s *store.Store) error {
	p.of, p.count = map[uint64]uint64{}, map[uint64]int{}
	return s.Passages(func(ordinal uint64, of store.Passage) error {
		p.count[of.Paper]++
		if of.Index > 0 {
			p.of[ordinal] = of.Paper
		}
		return nil
	})
}

// add notes that a paper has n passages, before they are in the index.
func (p *passages) add(paper uint64, n int) {
	if n < 2 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count[paper] = n
	for i := 1; i < n; i++ {
		p.of[paper+uint64(i)] = paper
	}
}

// take gives the labels of a paper, its own first, and forgets it.
func (p *passages) take(paper uint64) []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []uint64{paper}
	for i := 1; i < p.count[paper]; i++ {
		all = append(all, paper+uint64(i))
		delete(p.of, paper+uint64(i))
	}
	delete(p.count, paper)
	return all
}

// len is how many labels there are that are no paper's own.
func (p *passages) len() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.of)
}

// part tells whether a label is no paper's own.
func (p *passages) part(label uint64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, part := p.of[label]
	return part
}

// paper is the paper of a label.
func (p *passages) paper(label uint64) uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if paper, part := p.of[label]; part {
		return paper
	}
	return label
}

// labels are those of a paper.
func (p *passages) labels(paper uint64) []uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := []uint64{paper}
	for i := 1; i < p.count[paper]; i++ {
		all = append(all, paper+uint64(i))
	}
	return all
}

// several tells whether a paper has more labels than its own.
func (p *passages) several(paper uint64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.count[paper] > 1
}

// with gives the labels of some papers.
func (p *passages) with(papers iter.Seq[uint64]) iter.Seq[uint64] {
	if p.len() == 0 {
		return papers
	}
	return func(yield func(uint64) bool) {
		p.mu.RLock()
		defer p.mu.RUnlock()
		for paper := range papers {
			for i := range max(1, p.count[paper]) {
				if !yield(paper + uint64(i)) {
					return
				}
			}
		}
	}
}

// fold puts neighbours, the nearest first, down to papers: each stands where its best passage does. Equal ones stay in their order: the labels of a paper
// follow its own, and are before those of papers that were stored later.
func (p *passages) fold(near []ann.Neighbor) []ann.Neighbor {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(p.of) == 0 {
		return near
	}
	seen := make(map[uint64]struct{}, len(near))
	folded := near[:0]
	for _, n := range near {
		if paper, ok := p.of[n.Label]; ok {
			n.Label = paper
		}
		if _, again := seen[n.Label]; !again {
			seen[n.Label] = struct{}{}
			folded = append(folded, n)
		}
	}
	return folded
}

// searchIndex searches the index for papers. Where several passages of one are found, it looks for more, so that there are as many papers as
// were asked for, or all.
func (c *Collection) searchIndex(v []float32, q ann.Query) (ann.Answer, error) {
	k := q.K
	for {
		answer, err := c.index.Search(v, q)
		if err != nil {
			return answer, err
		}
		found := len(answer.Neighbors)
		answer.Neighbors = c.passages.fold(answer.Neighbors)
		if len(answer.Neighbors) >= k || found < q.K || q.K >= k*store.MaxPassages {
			answer.Neighbors = answer.Neighbors[:min(k, len(answer.Neighbors))]
			return answer, nil
		}
		q.K *= 2
	}
}

// distancesTo gives the distances of a vector and papers: those of the nearest passage of each; NaN for one that is not in the index.
func (c *Collection) distancesTo(v []float32, papers []uint64) ([]float32, error) {
	if c.passages.len() == 0 {
		return c.index.Distances(v, papers)
	}
	best, _, err := c.nearestPassages(v, papers)
	return best, err
}

// nearestPassages gives, of each paper, the distance of the passage that is nearest to a vector, NaN where none is in the index, and its label.
func (c *Collection) nearestPassages(v []float32, papers []uint64) (distances []float32, labels []uint64, err error) {
	var all []uint64
	ends := make([]int, len(papers))
	for i, paper := range papers {
		all = append(all, c.passages.labels(paper)...)
		ends[i] = len(all)
	}
	of, err := c.index.Distances(v, all)
	if err != nil {
		return nil, nil, err
	}
	distances, labels = make([]float32, len(papers)), make([]uint64, len(papers))
	begin := 0
	for i, end := range ends {
		distances[i], labels[i] = unknown, papers[i]
		for j := begin; j < end; j++ {
			if of[j] < distances[i] || distances[i] != distances[i] && of[j] == of[j] {
				distances[i], labels[i] = of[j], all[j]
			}
		}
		begin = end
	}
	return distances, labels, nil
}

// placePassages puts the passages of a paper into the index, but for the first. The paper itself comes after them: who finds that it was removed
// meanwhile takes them out again.
func (c *Collection) placePassages(paper uint64, passages []store.NewPassage) error {
	c.passages.add(paper, len(passages))
	for i := 1; i < len(passages); i++ {
		label := paper + uint64(i)
		if err := c.index.Insert(label, passages[i].Vector); err != nil {
			return err
		}
		c.snapshots.changes.Add(1)
		if c.moves.came(label) {
			c.index.Delete(label)
		}
	}
	return nil
}

// removePaper takes a paper with all its passages out of the index; what is not there yet will be taken out when it comes.
func (c *Collection) removePaper(paper uint64) {
	c.remove(paper) // before its passages are asked for: those that are noted later are taken out by who notes them
	for _, label := range c.passages.take(paper)[1:] {
		c.remove(label)
	}
	c.chart.leave(paper)
}

// FoundPassage is the part of a paper's text that was found.
type FoundPassage struct {
	// Index is from 0.
	Index int
	Text  string

	begin int // in the paper's text
}

// namePassages says of hits that have several passages which one was found by a vector.
func (c *Collection) namePassages(v []float32, hits []Hit) error {
	if v == nil || c.passages.len() == 0 {
		return nil
	}
	_, labels, err := c.nearestPassages(v, ordinalsOf(hits))
	if err != nil {
		return internal("compare with passages", err)
	}
	for i := range hits {
		if hits[i].label = labels[i]; !c.passages.several(hits[i].ordinal) {
			continue
		}
		if hits[i].Why.Passage, err = c.passage(labels[i], &hits[i].Paper); err != nil {
			return err
		}
	}
	return nil
}

// passage is the one that a label stands for; nil where its paper is one piece, or has gone or got another text meanwhile.
func (c *Collection) passage(label uint64, p *Paper) (*FoundPassage, error) {
	stored, err := c.store.Passage(label)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storeError("read passage", err)
	}
	text := PaperText(p)
	if int(stored.End) > len(text) {
		return nil, nil
	}
	return &FoundPassage{stored.Index, text[stored.Begin:stored.End], int(stored.Begin)}, nil
}

// hasPassages tells whether a stored paper, of which the model did not read all, has the passages that it should have: one that was rescued from a
// damaged store may not.
func (c *Collection) hasPassages(ordinal uint64, r *store.Record) bool {
	if !c.settings.Passages || c.settings.OwnVectors || r.Tokens <= c.encoder.Model().MaxTokens {
		return true
	}
	return c.passages.several(ordinal)
}

// encodePassages fills the passages of those of some papers that are longer than the model reads.
func (u *upsert) encodePassages(ctx context.Context, which []int) error {
	if !u.c.settings.Passages || u.c.settings.OwnVectors {
		return nil
	}
	var texts []Passage
	var long []int
	for _, i := range which {
		if u.writes[i].Record.Truncated {
			texts, long = append(texts, passageOf(&u.papers[i])), append(long, i)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	begin := time.Now()
	all, err := u.c.encoder.Passages(ctx, Bulk, texts, store.MaxPassages)
	u.c.observe(ctx, OpUpsert, StagePassages, begin)
	if err != nil {
		return encodeError(err, func(j int) string { return fmt.Sprintf("papers[%d]", long[j]) })
	}
	for j, i := range long {
		parts := all[j]
		if len(parts) < 2 {
			continue
		}
		w := &u.writes[i]
		w.Passages = nil
		for k, p := range parts {
			n := store.NewPassage{Begin: uint32(p.Begin), End: uint32(p.End), Vector: p.Vector}
			if k == 0 {
				w.Vector, n.Vector = p.Vector, nil
			}
			w.Passages = append(w.Passages, n)
		}
		w.Record.Truncated = parts[len(parts)-1].End < len(texts[j].Text)
		u.results[i].TextUse.Truncated = w.Record.Truncated
	}
	return nil
}
