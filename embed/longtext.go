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

// longReader makes texts cheap for a BERT tokenizer, exactly. The library keeps for each character where it came
// from, through six passes, and an allocation or more for each word: 0.2 to 0.9 s for a MiB, and for a title of 20 words up to
// 80 µs, a thirtieth of a Run. It works word by word, since a BERT tokenizer does: normaliser and model never look past a space,
// a punctuation mark or an ideograph.
//
//   - read gives the ids of a text all of whose characters it is sure of. The library reads others.
//   - shorten takes out characters that cannot change any id, of words that are too long to be anything but [UNK].
//   - count counts the tokens of a long text. A word with a character that it is not sure of is left to the library.
//
// What each character becomes is not written down here, but asked of the library (learn).
type longReader struct {
	added    []addedToken // matched in the raw text before anything else; the longest first
	maxChars int          // a word of more characters is one [UNK]
	unknown  uint32       // [UNK]
	begin    uint32       // [CLS] and [SEP], around a text
	end      uint32
	pieces   *trie
	normal   map[rune]string // what a character outside ASCII becomes inside a word
}

type addedToken struct {
	content string
	id      uint32
}

// bertFile is what matters here of a tokenizer.json.
type bertFile struct {
	AddedTokens []struct {
		ID         uint32
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

// newLongReader gives nil for a tokenizer of another kind than uncased BERT's. encode is the library without special tokens,
// special with them.
func newLongReader(data []byte, encode, special func(string) ([]uint32, error)) (*longReader, error) {
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
	l := &longReader{maxChars: m.MaxChars, unknown: m.Vocab[m.Unknown], pieces: newTrie(m.Vocab, m.Prefix), normal: map[rune]string{}}
	for _, a := range f.AddedTokens {
		c := a.Content
		if c == "" {
			continue // the library leaves it out, too
		}
		// One that begins and ends with punctuation, and is shorter than a shortened word, is found at a word's edge or not at all.
		if !isPunctuation(c[0]) || !isPunctuation(c[len(c)-1]) || len(c) > m.MaxChars || a.SingleWord || a.LStrip || a.RStrip || a.Normalized {
			return nil, nil
		}
		l.added = append(l.added, addedToken{c, a.ID})
	}
	slices.SortFunc(l.added, func(a, b addedToken) int { return len(b.content) - len(a.content) })
	around, err := special("")
	if err != nil {
		return nil, err
	}
	if len(around) != 2 {
		return nil, nil
	}
	l.begin, l.end = around[0], around[1]
	return l, l.learn(&f, encode)
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
	_, end := l.scan(nil, text, n, func(string) bool { return true })
	return end
}

// read gives the ids of a whole text, special tokens around it included, if it is sure of all its characters.
func (l *longReader) read(text string) (ids []uint32, sure bool) {
	sure = true
	ids = append(make([]uint32, 0, 8+len(text)/4), l.begin)
	ids, _ = l.scan(ids, text, math.MaxInt, func(string) bool {
		sure = false
		return false
	})
	return append(ids, l.end), sure
}

// count gives the number of a text's tokens, special tokens around it not included.
func (l *longReader) count(text string, encode func(string) ([]uint32, error)) (int, error) {
	var unsure strings.Builder
	sure, _ := l.scan(nil, text, math.MaxInt, func(word string) bool {
		unsure.WriteString(word)
		unsure.WriteByte(' ')
		return true
	})
	if unsure.Len() == 0 {
		return len(sure), nil
	}
	ids, err := encode(unsure.String())
	return len(sure) + len(ids), err
}

// scan appends the ids of a text up to the end of the first word with which there are enough, and gives where that word ends.
// Words that it is not sure of are left out and handed to unsure, which says whether to go on.
func (l *longReader) scan(ids []uint32, text string, enough int, unsure func(word string) bool) (_ []uint32, end int) {
	for end < len(text) && len(ids) < enough {
		b := text[end]
		switch {
		case isSpace(b):
			end++
			continue
		case isPunctuation(b):
			id, size := l.mark(text[end:])
			ids = append(ids, id)
			end += size
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
					var sure bool
					ids, sure = l.word(ids, text[end:end+size])
					end += size
					begin = end
					if !sure && !unsure(text[end-size:end]) {
						return ids, end
					}
					if len(ids) >= enough {
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
		var sure bool
		if ids, sure = l.word(ids, text[begin:end]); !sure && !unsure(text[begin:end]) {
			break
		}
	}
	return ids, end
}

// mark gives the punctuation mark that a text begins with, and its length: a byte, or that of an added token.
func (l *longReader) mark(text string) (id uint32, size int) {
	for _, a := range l.added {
		if strings.HasPrefix(text, a.content) {
			return a.id, len(a.content)
		}
	}
	if id, size := l.pieces.longest(beginning, []byte(text[:1])); size == 1 {
		return id, 1
	}
	return l.unknown, 1
}

// word appends the pieces of a word: the longest that fits, again and again; if none does, the word is one [UNK].
func (l *longReader) word(ids []uint32, raw string) (_ []uint32, sure bool) {
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
			if !ok && isUnified(r) {
				s, ok = string(r), true
			}
			if !ok {
				return ids, false
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
		return append(ids, l.unknown), true
	}
	before := len(ids)
	for root := beginning; len(word) > 0; root = continuing {
		id, size := l.pieces.longest(root, word)
		if size == 0 {
			return append(ids[:before], l.unknown), true
		}
		ids = append(ids, id)
		word = word[size:]
	}
	return ids, true
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

// isUnified tells the ideographs that normalising leaves as they are; the others are compatibility forms of these.
func isUnified(r rune) bool {
	return isIdeograph(r) && (r < 0xF900 || r > 0xFAFF) && (r < 0x2F800 || r > 0x2FA1F)
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
