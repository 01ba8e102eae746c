package embed

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longText is from how many bytes on a text is read by longReader: above any abstract, so that what is read every day
// goes one way, through the library.
const longText = 16 << 10

// longReader makes long texts cheap for a BERT tokenizer, exactly. The library keeps for each character where it came
// from, through six passes, and an allocation or more for each word: 0.2 to 0.9 s for a MiB. The model reads the first
// few hundred tokens only; of the rest we owe the caller their number.
//
//   - shorten takes out characters that cannot change any id, of words that are too long to be anything but [UNK].
//   - count counts a text's tokens without their ids. It works word by word, since a BERT tokenizer does: normaliser and
//     model never look past a space, a punctuation mark or an ideograph. A word with a character that count is not sure
//     of is left to the library.
//
// What each character becomes is not written down here, but asked of the library (learn).
type longReader struct {
	added    []string // matched in the raw text before anything else; the longest first
	maxChars int      // a word of more characters is one [UNK]

	// pieces is a trie of the vocabulary: from a node by a byte to the next. ends says at which nodes a piece ends.
	pieces map[edge]int32
	ends   []bool

	normal map[rune]string // what a character outside ASCII becomes inside a word
}

type edge struct {
	node int32
	b    byte
}

// The two roots of the trie: pieces that begin a word, and pieces that go on with one.
const (
	beginning int32 = iota
	continuing
)

// bertFile is what matters here of a tokenizer.json.
type bertFile struct {
	AddedTokens []struct {
		Content    string
		SingleWord bool `json:"single_word"`
		LStrip     bool
		RStrip     bool
		Normalized bool
	} `json:"added_tokens"`
	Normalizer struct {
		Type         string
		CleanText    bool  `json:"clean_text"`
		Ideographs   bool  `json:"handle_chinese_chars"`
		StripAccents *bool `json:"strip_accents"`
		Lowercase    bool
	}
	PreTokenizer struct{ Type string } `json:"pre_tokenizer"`
	Model        struct {
		Type     string
		Unknown  string `json:"unk_token"`
		Prefix   string `json:"continuing_subword_prefix"`
		MaxChars int    `json:"max_input_chars_per_word"`
		Vocab    map[string]uint32
	}
}

// newLongReader gives nil for a tokenizer of another kind than uncased BERT's. encode is the library, without special
// tokens.
func newLongReader(data []byte, encode func(string) ([]uint32, error)) (*longReader, error) {
	var kind struct {
		Model struct{ Type string }
	}
	if err := json.Unmarshal(data, &kind); err != nil || kind.Model.Type != "WordPiece" {
		return nil, err
	}
	var f bertFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	n, m := &f.Normalizer, &f.Model
	strips := n.Lowercase
	if n.StripAccents != nil {
		strips = *n.StripAccents
	}
	_, knowsUnknown := m.Vocab[m.Unknown]
	if n.Type != "BertNormalizer" || !n.CleanText || !n.Ideographs || !strips || !n.Lowercase ||
		f.PreTokenizer.Type != "BertPreTokenizer" || !knowsUnknown || m.Prefix == "" || m.MaxChars < 1 {
		return nil, nil
	}
	l := &longReader{maxChars: m.MaxChars, pieces: map[edge]int32{}, ends: make([]bool, 2), normal: map[rune]string{}}
	for _, a := range f.AddedTokens {
		c := a.Content
		if c == "" {
			continue // the library leaves it out, too
		}
		// One that begins and ends with punctuation, and is shorter than a shortened word, is found at a word's edge or not at all.
		if !isPunctuation(c[0]) || !isPunctuation(c[len(c)-1]) || len(c) > m.MaxChars || a.SingleWord || a.LStrip || a.RStrip || a.Normalized {
			return nil, nil
		}
		l.added = append(l.added, c)
	}
	slices.SortFunc(l.added, func(a, b string) int { return len(b) - len(a) })
	for piece := range m.Vocab {
		l.insert(beginning, piece)
		if rest, ok := strings.CutPrefix(piece, m.Prefix); ok {
			l.insert(continuing, rest)
		}
	}
	return l, l.learn(&f, encode)
}

func (l *longReader) insert(node int32, piece string) {
	if piece == "" {
		return
	}
	for _, b := range []byte(piece) {
		next, ok := l.pieces[edge{node, b}]
		if !ok {
			next = int32(len(l.ends))
			l.pieces[edge{node, b}] = next
			l.ends = append(l.ends, false)
		}
		node = next
	}
	l.ends[node] = true
}

// learn asks the library what the letters and marks of the alphabets become. Each stands between two zeros, and a letter
// alone, too; if the answer is one word that the vocabulary knows, its pieces one after the other are the normalised
// word, and what stands between the zeros is what the character becomes: its lower case, its base letter, nothing. Of
// other answers nothing is learned.
//
// A character becomes the same in every word: the normaliser works by character, but for the order of combining marks, and
// those it removes.
func (l *longReader) learn(f *bertFile, encode func(string) ([]uint32, error)) error {
	piece := make(map[uint32]string, len(f.Model.Vocab))
	for p, id := range f.Model.Vocab {
		piece[id] = p
	}
	var asked []string
	for r := rune(0x80); r < 0x3100; r++ {
		if isLetter(r) {
			asked = append(asked, "0"+string(r)+"0", string(r))
		} else if isMark(r) {
			asked = append(asked, "0"+string(r)+"0")
		}
	}
	stop, ok := f.Model.Vocab["."]
	if !ok {
		return nil
	}
	ids, err := encode(strings.Join(asked, ".") + ".")
	if err != nil {
		return err
	}
	for _, a := range asked {
		end := slices.Index(ids, stop)
		if end < 0 {
			return fmt.Errorf("no answer about %q", a)
		}
		var word strings.Builder
		known := end > 0
		for i, id := range ids[:end] {
			p := piece[id]
			if i > 0 {
				p, ok = strings.CutPrefix(p, f.Model.Prefix)
				known = known && ok // else it begins a second word
			}
			word.WriteString(p)
			known = known && p != f.Model.Unknown
		}
		ids = ids[end+1:]
		if !known {
			continue
		}
		if strings.HasPrefix(a, "0") {
			l.normal[[]rune(a)[1]] = strings.TrimSuffix(strings.TrimPrefix(word.String(), "0"), "0")
		} else {
			l.normal[[]rune(a)[0]] = word.String()
		}
	}
	return nil
}

// shorten gives a text with the same ids. A word of more than maxChars characters is one [UNK], so of a run of letters, with
// the marks among them, all after the first maxChars+1 letters is left out.
func (l *longReader) shorten(text string) string {
	var out strings.Builder
	kept := 0    // what stands before is in out, or left out
	letters := 0 // of the run
	from := 0    // where the run has letters enough
	leave := func(to int) {
		if letters > l.maxChars {
			out.WriteString(text[kept:from])
			kept = to
		}
		letters = 0
	}
	for i, r := range text {
		switch {
		case isLetter(r):
			letters++
			if letters == l.maxChars+1 {
				from = i + utf8.RuneLen(r)
			}
		case !isMark(r):
			leave(i)
		}
	}
	leave(len(text))
	if out.Len() == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// head gives where a text may be cut so that at least n tokens stand before the cut, and none is cut.
func (l *longReader) head(text string, n int) int {
	_, end := l.scan(text, n, func(string) {})
	return end
}

// count gives the number of a text's tokens, special tokens around it not included.
func (l *longReader) count(text string, encode func(string) ([]uint32, error)) (int, error) {
	var unsure strings.Builder
	n, _ := l.scan(text, math.MaxInt, func(word string) {
		unsure.WriteString(word)
		unsure.WriteByte(' ')
	})
	if unsure.Len() == 0 {
		return n, nil
	}
	ids, err := encode(unsure.String())
	return n + len(ids), err
}

// scan counts tokens up to the end of the first word with which there are enough, and gives where that word ends. Words
// that it is not sure of are not counted, but handed to unsure.
func (l *longReader) scan(text string, enough int, unsure func(word string)) (tokens, end int) {
	for end < len(text) && tokens < enough {
		b := text[end]
		switch {
		case isSpace(b):
			end++
			continue
		case isPunctuation(b):
			end += l.addedAt(text[end:])
			tokens++
			continue
		}
		begin := end
		for end < len(text) {
			b := text[end]
			if b < utf8.RuneSelf {
				if isSpace(b) || isPunctuation(b) {
					break
				}
				end++
				continue
			}
			r, size := utf8.DecodeRuneInString(text[end:])
			if isIdeograph(r) {
				if end == begin { // a word of its own, in the vocabulary or not
					tokens++
					end += size
					begin = end
					if tokens >= enough {
						break
					}
					continue
				}
				break
			}
			end += size
		}
		if begin == end {
			continue
		}
		if n, sure := l.word(text[begin:end]); sure {
			tokens += n
		} else {
			unsure(text[begin:end])
		}
	}
	return tokens, end
}

// addedAt gives the length of the punctuation mark that a text begins with: a byte, or that of an added token.
func (l *longReader) addedAt(text string) int {
	for _, a := range l.added {
		if strings.HasPrefix(text, a) {
			return len(a)
		}
	}
	return 1
}

// word counts the pieces of a word: the longest that fits, again and again; if none does, the word is one [UNK].
func (l *longReader) word(raw string) (pieces int, sure bool) {
	var memory [128]byte
	word, chars := memory[:0], 0
	for _, r := range raw {
		switch {
		case 0xAC00 <= r && r <= 0xD7A3: // a Hangul syllable: two letters or three (The Unicode Standard, 3.12)
			n := r - 0xAC00
			word = utf8.AppendRune(word, 0x1100+n/(21*28))
			word = utf8.AppendRune(word, 0x1161+n/28%21)
			chars += 2
			if n%28 > 0 {
				word = utf8.AppendRune(word, 0x11A7+n%28)
				chars++
			}
		case r >= utf8.RuneSelf:
			s, ok := l.normal[r]
			if !ok {
				return 0, false
			}
			word = append(word, s...)
			chars += utf8.RuneCountInString(s)
		case 'A' <= r && r <= 'Z':
			word = append(word, byte(r)+'a'-'A')
			chars++
		case r > ' ' && r != 0x7f: // of ASCII only letters, digits and controls are in a word; controls vanish
			word = append(word, byte(r))
			chars++
		}
	}
	if chars > l.maxChars {
		return 1, true
	}
	for root := beginning; len(word) > 0; root = continuing {
		fits, node := 0, root
		for i, b := range word {
			next, ok := l.pieces[edge{node, b}]
			if !ok {
				break
			}
			node = next
			if l.ends[node] {
				fits = i + 1
			}
		}
		if fits == 0 {
			return 1, true
		}
		word = word[fits:]
		pieces++
	}
	return pieces, true
}

// isSpace tells the ASCII characters that the normaliser takes for a space. The other controls it removes.
func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

// isPunctuation tells ASCII punctuation: each mark is a word of its own.
func isPunctuation(b byte) bool {
	return '!' <= b && b <= '/' || ':' <= b && b <= '@' || '[' <= b && b <= '`' || '{' <= b && b <= '~'
}

// isIdeograph tells the characters that BERT puts spaces around: the same ranges.
func isIdeograph(r rune) bool {
	return r >= 0x3400 && (r <= 0x4DBF || 0x4E00 <= r && r <= 0x9FFF || 0xF900 <= r && r <= 0xFAFF ||
		0x20000 <= r && r <= 0x2A6DF || 0x2A700 <= r && r <= 0x2B73F || 0x2B740 <= r && r <= 0x2B81F ||
		0x2B920 <= r && r <= 0x2CEAF || 0x2F800 <= r && r <= 0x2FA1F)
}

// isLetter tells characters that are one character of a word or more, whatever stands beside them: letters, digits,
// emoji. The library's Unicode tables are older than Go's; where they differ, a test finds it.
func isLetter(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	case isIdeograph(r), r == '\u166D', r == '\u1FEF', r == utf8.RuneError: // the last vanishes, the others are punctuation
		return false
	}
	return unicode.In(r, unicode.L, unicode.N, unicode.So, unicode.Sk)
}

// isMark tells characters that never end a word: they vanish, or belong to it.
func isMark(r rune) bool {
	return r >= utf8.RuneSelf && r != '\U000111C9' && unicode.In(r, unicode.Mn, unicode.Cf)
}
