package retrieval

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// A page token has what the pages before have given, and when they were begun, so that nothing needs to be remembered here: it is good for as
// long as the store is, over restarts. Later pages have no hit twice, and no paper that was stored after the first page was begun; one that was
// removed is missing. The token is sealed, since ordinals tell how many papers there are, and so that nobody builds on it; each has 8
// bytes, so that its length does not tell either.

// page is what is known of the pages before.
type page struct {
	given   []uint64 // ordinals, in the order of the answer
	version uint64   // of the collection when the first page was begun
	newest  uint64   // the ordinals that were given out by then
}

// tokenForm is the first byte of a token's content.
const tokenForm = 2

// newSealer seals page tokens, with a key that is the store's, by its UUID.
func newSealer(uuid string) (cipher.AEAD, error) {
	key := sha256.Sum256([]byte("embedd page token " + uuid))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// readPage reads the token of a request; of none, the first page.
func (c *Collection) readPage(r SearchRequest) (page, error) {
	if r.Page == "" {
		return page{version: c.version.load(), newest: c.store.Next() - 1}, nil
	}
	bad := func(why string) (page, error) {
		return page{}, invalid("page_token", "%s; begin again without one", why)
	}
	if len(r.Page) > maxToken {
		return bad(fmt.Sprintf("has %d bytes; one of this server has at most %d", len(r.Page), maxToken))
	}
	sealed, err := base64.RawURLEncoding.DecodeString(r.Page)
	if err != nil {
		return bad("is not a next_page_token of this server")
	}
	seal, err := c.sealer()
	if err != nil {
		return page{}, internal("open a page token", err)
	}
	n := seal.NonceSize()
	if len(sealed) < n {
		return bad("is not a next_page_token of this server")
	}
	plain, err := seal.Open(nil, sealed[:n], sealed[n:], nil)
	if err != nil || len(plain) < 9 || plain[0] != tokenForm {
		return bad("is not a next_page_token of this collection")
	}
	if r.Digest == nil || binary.BigEndian.Uint64(plain[1:]) != r.Digest() {
		return bad("is of another request: only k, view, explain and facets may change from page to page")
	}
	plain = plain[9:]
	if len(plain)%8 != 0 || len(plain) < 16 {
		return bad("is not a next_page_token of this collection")
	}
	values := make([]uint64, 0, len(plain)/8)
	for ; len(plain) > 0; plain = plain[8:] {
		values = append(values, binary.BigEndian.Uint64(plain))
	}
	return page{version: values[0], newest: values[1], given: values[2:]}, nil
}

// maxToken is longer than the token of MaxK hits.
const maxToken = 16 << 10

// page cuts the hits of a page out of those of all pages up to it, and gives its token. more: there are others behind them.
func (c *Collection) page(l *looking, r SearchRequest, res *SearchResult, hits []Hit, more bool) ([]Hit, error) {
	p := &l.page
	res.Version = p.version
	if len(p.given) > 0 {
		given := make(map[uint64]struct{}, len(p.given))
		for _, ordinal := range p.given {
			given[ordinal] = struct{}{}
		}
		kept := hits[:0]
		for _, h := range hits {
			if _, was := given[h.ordinal]; !was {
				kept = append(kept, h)
			}
		}
		hits = kept
	}
	hits = hits[:min(len(hits), res.K)]
	if len(l.probes) > 0 {
		if err := c.nearestExamples(l, hits); err != nil {
			return nil, err
		}
	}
	all := len(p.given) + len(hits)
	if r.Digest == nil || !more || len(hits) < res.K || all >= MaxK {
		return hits, nil
	}
	plain := binary.BigEndian.AppendUint64([]byte{tokenForm}, r.Digest())
	plain = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(plain, p.version), p.newest)
	for _, ordinal := range p.given {
		plain = binary.BigEndian.AppendUint64(plain, ordinal)
	}
	for i := range hits {
		plain = binary.BigEndian.AppendUint64(plain, hits[i].ordinal)
	}
	seal, err := c.sealer()
	if err != nil {
		return nil, internal("seal a page token", err)
	}
	nonce := make([]byte, seal.NonceSize(), seal.NonceSize()+len(plain)+seal.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, internal("seal a page token", err)
	}
	res.Next = base64.RawURLEncoding.EncodeToString(seal.Seal(nonce, nonce, plain, nil))
	return hits, nil
}
