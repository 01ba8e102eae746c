package retrieval

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"embedd/internal/store"
)

// cards are papers as the basic view shows them, without abstract and metadata, kept as they are read: an answer of ten papers reads ten records out of
// the store's blocks otherwise, which takes longer than to search the graph. The cache is bounded in bytes; where it is full, others make room in no order.
//
// A card is what is stored: each change forgets the cards of its papers before it is acknowledged (invariants 1 and 5), and what was read before a change
// is not kept after it.
type cards struct {
	most  int64 // bytes
	bytes atomic.Int64
	parts [cardParts]cardPart
}

// cardParts are locked apart.
const cardParts = 64

// cardBytes is what the cards of one collection may take.
const cardBytes = 64 << 20

type cardPart struct {
	mu      sync.RWMutex
	changes uint64 // of papers of this part
	papers  map[uint64]*Paper
}

func (c *cards) part(ordinal uint64) *cardPart { return &c.parts[ordinal%cardParts] }

// forget forgets papers that have changed.
func (c *cards) forget(ordinals []uint64) {
	for _, ordinal := range ordinals {
		p := c.part(ordinal)
		p.mu.Lock()
		p.changes++
		if old, there := p.papers[ordinal]; there {
			c.bytes.Add(-cardSize(old))
			delete(p.papers, ordinal)
		}
		p.mu.Unlock()
	}
}

// keep keeps what was read of a paper, if none of its part has changed since changes was read.
func (c *cards) keep(ordinal, changes uint64, full *Paper) {
	card := *full
	card.Abstract, card.Metadata, card.Vector = "", nil, nil
	p := c.part(ordinal)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, there := p.papers[ordinal]; there || p.changes != changes {
		return
	}
	size := cardSize(&card)
	for other, old := range p.papers {
		if c.bytes.Load()+size <= c.most {
			break
		}
		c.bytes.Add(-cardSize(old))
		delete(p.papers, other)
	}
	if c.bytes.Load()+size > c.most { // others have it all
		return
	}
	if p.papers == nil {
		p.papers = map[uint64]*Paper{}
	}
	c.bytes.Add(size)
	p.papers[ordinal] = &card
}

// cardSize is about how many bytes a card takes.
func cardSize(p *Paper) int64 {
	n := int(unsafe.Sizeof(*p)) + 48 + len(p.ID) + len(p.Title) + len(p.Venue) + len(p.DOI) + len(p.ArxivID) + len(p.URL)
	for _, a := range p.Authors {
		n += 16 + len(a)
	}
	return int64(n)
}

// get gives a card, and what keep asks for where there is none.
func (c *cards) get(ordinal uint64) (card *Paper, changes uint64) {
	p := c.part(ordinal)
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.papers[ordinal], p.changes
}

// records reads papers, as Store.Records does; basic: without abstract and metadata, from the cards where they are there.
func (c *Collection) records(ordinals []uint64, basic bool) (records []store.Record, present []bool, err error) {
	if !basic || c.moves.underway.Load() > 0 { // a paper may be under two ordinals, and is to be found under one
		return c.store.Records(ordinals)
	}
	records, present = make([]store.Record, len(ordinals)), make([]bool, len(ordinals))
	var lacking []uint64
	var at []int
	var changes []uint64
	for i, ordinal := range ordinals {
		card, n := c.cards.get(ordinal)
		if card != nil {
			records[i].Paper, present[i] = *card, true
			continue
		}
		lacking, at, changes = append(lacking, ordinal), append(at, i), append(changes, n)
	}
	if len(lacking) == 0 {
		return records, present, nil
	}
	read, there, err := c.store.Records(lacking)
	if err != nil {
		return nil, nil, err
	}
	for j, i := range at {
		if records[i], present[i] = read[j], there[j]; there[j] {
			c.cards.keep(lacking[j], changes[j], &read[j].Paper)
		}
	}
	return records, present, nil
}
