package retrieval

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"embedd/internal/store"
)

// cards are papers as the basic view shows them, without abstract and metadata: an answer of ten papers reads ten records out of the store's blocks
// otherwise, which takes longer than to search the graph. They are made with the fields, behind a start, and when a paper is read. The cache is bounded in bytes; where it
// is full, others make room in no order. A card is one string, whose parts are the fields of what is read from it: for the garbage collector it is one
// pointer, and reading it copies no text.
//
// A card is what is stored: each change forgets the cards of its papers before it is acknowledged (invariants 1 and 5), and what was read before a change
// is not kept after it.
type cards struct {
	most  int64 // bytes
	bytes atomic.Int64
	parts [cardParts]cardPart
	// Where the paper of an id is, by the hash of the id: the ordinal of its card, which has the id.
	seed maphash.Seed
	ids  [cardParts]cardIDs
}

// cardParts are locked apart.
const cardParts = 64

// cardBytes is what the cards of one collection may take.
const cardBytes = 64 << 20

type cardPart struct {
	mu      sync.RWMutex
	changes uint64 // of papers of this part
	papers  map[uint64]card
}

type cardIDs struct {
	mu sync.RWMutex
	at map[uint64]uint64
}

func (c *cards) init() { c.most, c.seed = cardBytes, maphash.MakeSeed() }

func (c *cards) part(ordinal uint64) *cardPart { return &c.parts[ordinal%cardParts] }

func (c *cards) idsOf(hash uint64) *cardIDs { return &c.ids[hash%cardParts] }

// forget forgets papers that have changed.
func (c *cards) forget(ordinals []uint64) {
	for _, ordinal := range ordinals {
		p := c.part(ordinal)
		p.mu.Lock()
		p.changes++
		c.drop(p, ordinal)
		p.mu.Unlock()
	}
}

// drop takes a card out, where there is one. p.mu is held.
func (c *cards) drop(p *cardPart, ordinal uint64) {
	old, there := p.papers[ordinal]
	if !there {
		return
	}
	c.bytes.Add(-old.size())
	delete(p.papers, ordinal)
	hash := maphash.String(c.seed, old.id())
	ids := c.idsOf(hash)
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.at[hash] == ordinal {
		delete(ids.at, hash)
	}
}

// keep keeps what was read of a paper, if none of its part has changed since changes was read.
func (c *cards) keep(ordinal, changes uint64, full *Paper) {
	made := newCard(full)
	p := c.part(ordinal)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, there := p.papers[ordinal]; there || p.changes != changes {
		return
	}
	size := made.size()
	for other := range p.papers {
		if c.bytes.Load()+size <= c.most {
			break
		}
		c.drop(p, other)
	}
	if c.bytes.Load()+size > c.most { // others have it all
		return
	}
	if p.papers == nil {
		p.papers = map[uint64]card{}
	}
	c.bytes.Add(size)
	p.papers[ordinal] = made
	hash := maphash.String(c.seed, full.ID)
	ids := c.idsOf(hash)
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.at == nil {
		ids.at = map[uint64]uint64{}
	}
	ids.at[hash] = ordinal
}

// get gives a card, "" for none, and what keep asks for then.
func (c *cards) get(ordinal uint64) (found card, changes uint64) {
	p := c.part(ordinal)
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.papers[ordinal], p.changes
}

// ordinal gives where the paper with an id is, where its card is here.
func (c *cards) ordinal(id string) (uint64, bool) {
	hash := maphash.String(c.seed, id)
	ids := c.idsOf(hash)
	ids.mu.RLock()
	at, there := ids.at[hash]
	ids.mu.RUnlock()
	if !there {
		return 0, false
	}
	found, _ := c.get(at)
	return at, found != "" && found.id() == id
}

// card is a paper in one string: the id, behind its length; year, time of expiry and the lengths of its other texts; these texts. Numbers are varints.
type card string

// cardOverhead is about what the maps take of a card beside its bytes.
const cardOverhead = 80

func (k card) size() int64 { return int64(len(k)) + cardOverhead }

func newCard(p *Paper) card {
	texts := append([]string{p.Title, p.Venue, p.DOI, p.ArxivID, p.URL}, p.Authors...)
	var expires int64 // in nanoseconds of Unix time, and 1 more; 0: never
	if !p.Expires.IsZero() {
		expires = p.Expires.UnixNano() + 1
	}
	b := append(binary.AppendUvarint(nil, uint64(len(p.ID))), p.ID...)
	b = binary.AppendVarint(binary.AppendVarint(b, int64(p.Year)), expires)
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, text := range texts {
		b = binary.AppendUvarint(b, uint64(len(text)))
	}
	for _, text := range texts {
		b = append(b, text...)
	}
	return card(b)
}

// uvarint takes a number off the front.
func (k *card) uvarint() (v uint64) {
	for i, shift := 0, 0; ; i, shift = i+1, shift+7 {
		b := (*k)[i]
		if v |= uint64(b&0x7f) << shift; b < 0x80 {
			*k = (*k)[i+1:]
			return v
		}
	}
}

func (k *card) varint() int64 {
	v := k.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// id takes the paper's id off the front.
func (k *card) id() string {
	n := k.uvarint()
	id := string((*k)[:n])
	*k = (*k)[n:]
	return id
}

// paper is the paper, whose texts are parts of the card.
func (k card) paper(p *Paper) {
	p.ID = k.id()
	p.Year = int32(k.varint())
	if expires := k.varint(); expires != 0 {
		p.Expires = time.Unix(0, expires-1).UTC()
	}
	n := int(k.uvarint())
	lengths := make([]int, 0, 16)
	for range n {
		lengths = append(lengths, int(k.uvarint()))
	}
	next := func() (text string) {
		text, k, lengths = string(k[:lengths[0]]), k[lengths[0]:], lengths[1:]
		return text
	}
	p.Title, p.Venue, p.DOI, p.ArxivID, p.URL = next(), next(), next(), next(), next()
	if len(lengths) > 0 {
		p.Authors = make([]string, 0, len(lengths))
		for len(lengths) > 0 {
			p.Authors = append(p.Authors, next())
		}
	}
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
		found, n := c.cards.get(ordinal)
		if found != "" {
			found.paper(&records[i].Paper)
			present[i] = true
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

// ordinalOf gives where a paper is, as Store.Ordinal does.
func (c *Collection) ordinalOf(id string) (uint64, error) {
	if c.moves.underway.Load() == 0 {
		if at, there := c.cards.ordinal(id); there {
			return at, nil
		}
	}
	return c.store.Ordinal(id)
}

// changesOf gives, of some papers, what keepAll asks for: before they are read.
func (c *cards) changesOf(ordinals []uint64) []uint64 {
	changes := make([]uint64, len(ordinals))
	for i, ordinal := range ordinals {
		_, changes[i] = c.get(ordinal)
	}
	return changes
}

// keepAll keeps papers that were read for something else, as far as there is room without others making it.
func (c *cards) keepAll(ordinals, changes []uint64, records []store.Record, present []bool) {
	for i, ordinal := range ordinals {
		if present[i] && c.bytes.Load() < c.most/16*15 {
			c.keep(ordinal, changes[i], &records[i].Paper)
		}
	}
}
