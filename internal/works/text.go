package works

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode"
)

// What papers are compared by. See the package's documentation for what the thresholds mean.
const (
	shingleWords = 2
	// sketchSize is how many hashes there are in a sketch: the standard error of a similarity of 0.6 is 0.05, of 0.1 is 0.03.
	sketchSize = 96
	// Each of bands keys stands for bandRows hashes: papers of a similarity of 0.9, 0.8, 0.7 share a key with a probability of 0.9996, 0.99, 0.92.
	bands, bandRows = 6, 3
	// maxWords is how many words of an abstract are read.
	maxWords = 2000

	titleSimilarity = 0.06
	textSimilarity  = 0.7
	loneTitle       = 40
	minShingles     = 30
	// minTitle is how many letters and digits a title has that says something about the paper.
	minTitle = 12
)

// Features are what a paper is compared by. Two that are equal are of papers that cannot be told apart. The zero value is alike to nothing.
type Features struct {
	aliases string // hashes, of 8 bytes each, ascending
	title   uint64 // hash; 0: it has none that says something
	letters uint16 // in the title
	// shingles is how many different ones the abstract has, up to 65,535; of 0 there is no sketch.
	shingles uint16
	sketch   [sketchSize]byte
}

// Analyze gives the features of a paper. It takes some tens of microseconds.
func Analyze(p Paper) Features {
	f := Features{aliases: packAliases(Aliases(p))}
	h, n := hashLetters(p.Title)
	if f.letters = uint16(min(n, 1<<16-1)); n >= minTitle {
		f.title = max(h, 1)
	}
	f.read(p.Abstract)
	return f
}

// hashLetters hashes the letters and digits of a text, in lower case, and counts them: spaces, hyphens, marks of LaTeX make no difference.
func hashLetters(s string) (h uint64, n int) {
	h = hashBegin
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			h = (h ^ uint64(unicode.ToLower(r))) * hashPrime
			n++
		}
	}
	return mix(h), n
}

// A hash is FNV-1a, over code points, and the finalizer of MurmurHash3.
const (
	hashBegin = 14695981039346656037
	hashPrime = 1099511628211
)

func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func hashString(s string) uint64 {
	h := uint64(hashBegin)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * hashPrime
	}
	return mix(h)
}

// words calls fn with the hash of each word of a text: letters and digits in a row, in lower case; each character of a script without spaces
// is a word. It ends after maxWords.
func words(s string, fn func(h uint64)) {
	n, h, inside := 0, uint64(hashBegin), false
	end := func() {
		if inside {
			fn(mix(h))
			n, h, inside = n+1, hashBegin, false
		}
	}
	for _, r := range s {
		switch {
		case n >= maxWords:
			return
		case r >= 0x2e80 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana):
			end()
			h, inside = (h^uint64(r))*hashPrime, true
			end()
		case r < 0x80 && isASCIIWord(byte(r)), r >= 0x80 && (unicode.IsLetter(r) || unicode.IsNumber(r)):
			h, inside = (h^uint64(unicode.ToLower(r)))*hashPrime, true
		case r >= 0x80 && unicode.Is(unicode.Mn, r): // an accent that stands apart
		default:
			end()
		}
	}
	if n < maxWords {
		end()
	}
}

func isASCIIWord(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z'
}

// factors make a family of hashes of one.
var factors = func() (all [sketchSize]uint64) {
	h := uint64(1)
	for i := range all {
		h = mix(h + 0x9e3779b97f4a7c15)
		all[i] = h | 1
	}
	return all
}()

// read makes the sketch of a text.
func (f *Features) read(text string) {
	var last [shingleWords]uint64
	var lowest [sketchSize]uint32
	for i := range lowest {
		lowest[i] = 1<<32 - 1
	}
	seen := map[uint64]struct{}{}
	n := 0
	take := func() {
		h := uint64(hashBegin)
		for _, w := range last {
			h = (h ^ w) * hashPrime
		}
		h = mix(h)
		if _, twice := seen[h]; twice {
			return
		}
		seen[h] = struct{}{}
		for i := range lowest {
			lowest[i] = min(lowest[i], uint32(h*factors[i]>>32))
		}
	}
	words(text, func(h uint64) {
		copy(last[:], last[1:])
		last[shingleWords-1] = h
		if n++; n >= shingleWords {
			take()
		}
	})
	if n > 0 && n < shingleWords {
		take()
	}
	if f.shingles = uint16(len(seen)); len(seen) == 0 {
		return
	}
	for i, v := range lowest {
		f.sketch[i] = byte(v)
	}
}

// similarity estimates the Jaccard similarity of the shingles of two abstracts; 0 where one has none. Of two hashes that differ, one in 256
// looks equal.
func (f *Features) similarity(g *Features) float64 {
	if f.shingles == 0 || g.shingles == 0 {
		return 0
	}
	equal := 0
	for i := 0; i < sketchSize; i += 8 {
		x := binary.LittleEndian.Uint64(f.sketch[i:]) ^ binary.LittleEndian.Uint64(g.sketch[i:])
		// The top bit of each byte that is not 0 (Warren, Hacker's Delight, 6-1).
		x = (x&0x7f7f7f7f7f7f7f7f + 0x7f7f7f7f7f7f7f7f) | x
		equal += 8 - bits.OnesCount64(x&0x8080808080808080)
	}
	const chance = 1.0 / 256
	return max(0, (float64(equal)/sketchSize-chance)/(1-chance))
}

// Alike tells whether two papers are versions of the same work by themselves: see the package's documentation.
func Alike(f, g *Features) bool {
	if f.shareAlias(g) {
		return true
	}
	s := f.similarity(g)
	if f.title != 0 && f.title == g.title && f.letters == g.letters {
		return s >= titleSimilarity || f.letters >= loneTitle && (f.shingles == 0 || g.shingles == 0)
	}
	return s >= textSimilarity && f.shingles >= minShingles && g.shingles >= minShingles
}

// packAliases gives the hashes of aliases, ascending, each once.
func packAliases(all []string) string {
	hashes := make([]uint64, 0, MaxAliases)
	for _, a := range all {
		hashes = append(hashes, hashString(a))
	}
	return packHashes(hashes)
}

func (f *Features) alias(i int) uint64 { return aliasAt(f.aliases, i) }

func aliasAt(s string, i int) (h uint64) {
	for j := range 8 {
		h = h<<8 | uint64(s[8*i+j])
	}
	return h
}

// shareAlias walks both lists, which ascend as strings of 8 bytes do.
func (f *Features) shareAlias(g *Features) bool {
	a, b := f.aliases, g.aliases
	for len(a) > 0 && len(b) > 0 {
		switch strings.Compare(a[:8], b[:8]) {
		case 0:
			return true
		case -1:
			a = a[8:]
		default:
			b = b[8:]
		}
	}
	return false
}

// hasAlias tells whether the paper has an alias of that hash.
func (f *Features) hasAlias(h uint64) bool {
	for i := range len(f.aliases) / 8 {
		if f.alias(i) == h {
			return true
		}
	}
	return false
}

// keys gives what buckets the paper is in, each once.
func (f *Features) keys(into []uint32) []uint32 {
	into = into[:0]
	for i := range len(f.aliases) / 8 {
		into = append(into, aliasKey(f.alias(i)))
	}
	if f.title != 0 {
		into = append(into, uint32(mix(f.title+1)))
	}
	if f.shingles >= minShingles {
		for b := range bands {
			h := uint64(b)
			for _, v := range f.sketch[b*bandRows : (b+1)*bandRows] {
				h = h<<8 | uint64(v)
			}
			into = append(into, uint32(mix(h+1)))
		}
	}
	return unique(into)
}

func aliasKey(h uint64) uint32 { return uint32(mix(h)) }
