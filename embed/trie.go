package embed

import "strings"

// trie finds the longest piece of a vocabulary that a word begins with. Its edges lie in one table of open addressing, so that a
// step is one look into memory.
type trie struct {
	edges []edge
	shift uint32   // of a hash, to a place in edges
	ids   []uint32 // by node: the id of the piece that ends there, plus one; 0 for none
}

// edge leads from a node by a byte to the next node. key is 0 for a free place.
type edge struct {
	key  uint32 // node<<8 | byte, plus one
	next uint32
}

// The two roots of the trie: pieces that begin a word, and pieces that go on with one.
const (
	beginning uint32 = iota
	continuing
)

// newTrie makes one of a vocabulary; pieces that go on with a word have the prefix.
func newTrie(vocabulary map[string]uint32, prefix string) *trie {
	bytes := 0
	for piece := range vocabulary {
		bytes += 2 * len(piece)
	}
	bits := 6
	for 1<<bits < 2*bytes {
		bits++
	}
	t := &trie{edges: make([]edge, 1<<bits), shift: uint32(32 - bits), ids: make([]uint32, 2)}
	for piece, id := range vocabulary {
		t.insert(beginning, piece, id)
		if rest, ok := strings.CutPrefix(piece, prefix); ok {
			t.insert(continuing, rest, id)
		}
	}
	return t
}

func (t *trie) insert(node uint32, piece string, id uint32) {
	if piece == "" {
		return
	}
	for _, b := range []byte(piece) {
		e := t.at(node, b)
		if e.key == 0 {
			*e = edge{node<<8 | uint32(b) + 1, uint32(len(t.ids))}
			t.ids = append(t.ids, 0)
		}
		node = e.next
	}
	t.ids[node] = id + 1
}

// at is the edge from a node by a byte, or the free place where it belongs. At most half of the table is taken.
func (t *trie) at(node uint32, b byte) *edge {
	key := node<<8 | uint32(b) + 1
	for i := key * 2654435761 >> t.shift; ; i++ { // Knuth's multiplicative hash
		if e := &t.edges[i%uint32(len(t.edges))]; e.key == key || e.key == 0 {
			return e
		}
	}
}

// longest gives the id and the length of the longest piece that a word begins with; size 0 for none.
func (t *trie) longest(root uint32, word []byte) (id uint32, size int) {
	node := root
	for i, b := range word {
		e := t.at(node, b)
		if e.key == 0 {
			break
		}
		node = e.next
		if found := t.ids[node]; found > 0 {
			id, size = found-1, i+1
		}
	}
	return id, size
}
