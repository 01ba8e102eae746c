package embed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// nasty are the parts of random texts: each is a place where a tokenizer may go another way, or an approximation show.
var nasty = map[string][]string{
	"ASCII":     {"a", "B", "z", "0", "7", "model", "Paper", "ing", "un", "q", " ", "  ", "\t", "\n", "\r\n"},
	"marks":     {".", ",", "-", "_", "'", "(", "[", "]", "#", "##", "~", "“", "—", "…", "。", "、", "¿", "؟", "‽", "\u166d"},
	"added":     {"[SEP]", "[MASK]", "[CLS]", "[UNK]", "[PAD]", "[SEP", "MASK]", "[sep]", "[S", "EP]", "[[SEP]]", "[SE\u0301P]", "[SE\x01P]", "[unused1]"},
	"controls":  {"\x01", "\x0b", "\x0c", "\x1b", "\x7f", "\u0085", "\u009f", "\u00ad", "\ue000", "\U000f0000", "\ufffd", "\uffff", "\u0378"},
	"invisible": {"\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\ufe0f", "\u00a0", "\u3000", "\u2028", "\u1680", "\u180e", "\U000e0041"},
	"combining": {"\u0301", "\u0302", "\u0323", "\u0338", "\u20d7", "\u302e", "\u302f", "\U0001d165", "\U0001d167", "\u0903", "\u0345", "\u034f", "\u05bc", "\u064e", "\u0e31"},
	"accents":   {"é", "É", "ñ", "ß", "ẞ", "İ", "ı", "ﬁ", "Ǆ", "ệ", "e\u0301", "o\u0323\u0302", "Å", "Å", "ǰ", "ŉ"},
	"alphabets": {"я", "Ж", "й", "α", "Σ", "ς", "ῥ", "ש", "ﬠ", "م", "ﷺ", "अ", "क्ष", "ि", "ท", "ำ", "ก็", "አ", "ა", "ע"},
	"Asia":      {"量", "中", "文", "豈", "更", "\U00020000", "\U0002f81a", "か", "が", "カ", "ｶ", "ﾞ", "한", "국", "ᄒ", "ᅡ", "ᆫ", "ㄅ", "々", "〇", "㈱"},
	"symbols":   {"🙂", "👩‍🔬", "🇩🇪", "👍🏽", "❤️", "½", "²", "Ⅳ", "①", "≠", "<\u0338", "≮", "€", "`", "\u1fef", "∀", "𝔹", "Ａ", "１", "！"},
}

// nastyText is a random text, of one to three alphabets, with runs of one part among the rest.
func nastyText(r *rand.Rand, parts int) string {
	var alphabet []string
	names := make([]string, 0, len(nasty))
	for name := range nasty {
		names = append(names, name)
	}
	slices.Sort(names) // a seed gives the same text again
	for range 1 + r.IntN(3) {
		alphabet = append(alphabet, nasty[names[r.IntN(len(names))]]...)
	}
	if r.IntN(4) == 0 {
		alphabet = append(alphabet, nasty["added"]...)
	}
	var text strings.Builder
	for range parts {
		part := alphabet[r.IntN(len(alphabet))]
		times := 1
		if r.IntN(40) == 0 {
			times = []int{98, 99, 100, 101, 102, 103, 250}[r.IntN(7)]
		}
		for range times {
			text.WriteString(part)
		}
	}
	return text.String()
}

// compareToPlain reads a text both ways.
func compareToPlain(t *testing.T, tok *tokenizer, text string) {
	t.Helper()
	text = clean(text)
	long, err := tok.long()
	if err != nil {
		t.Fatal(err)
	}
	want, wantTotal, err := tok.plain(text)
	if err != nil {
		t.Fatalf("plain: %q: %v", text, err)
	}
	if ids, sure := long.read(text); sure {
		if got, total, err := tok.cut(ids); err != nil || total != wantTotal || !slices.Equal(got, want) {
			t.Errorf("quick: %.2000q\n got %d of %d tokens: %v, %v\nwant %d of %d tokens: %v", text, len(got), total, got, err, len(want), wantTotal, want)
		}
	}
	got, total, err := tok.encodeLong(long, text)
	if err != nil {
		t.Fatalf("long: %q: %v", text, err)
	}
	if total != wantTotal || !slices.Equal(got, want) {
		t.Errorf("%.2000q\n got %d of %d tokens: %v\nwant %d of %d tokens: %v", text, len(got), total, got, len(want), wantTotal, want)
	}
}

// The way of long texts gives the ids and the number of tokens that the library gives, wherever the model's limit lies.
func TestLongTextsAreReadAsTheLibraryReadsThem(t *testing.T) {
	e := open(t, 1)
	if long, err := e.tokenizer.long(); err != nil || long == nil {
		t.Fatalf("the default model has no way for long texts: %v", err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		tok := &tokenizer{t: e.tokenizer.t, long: e.tokenizer.long, max: 2 + r.IntN(40)}
		compareToPlain(t, tok, nastyText(r, 1+r.IntN(120)))
		if t.Failed() {
			return
		}
	}
	for range 20 {
		compareToPlain(t, e.tokenizer, nastyText(r, 10_000))
	}
}

func FuzzLongText(f *testing.F) {
	e := open(f, 1)
	r := rand.New(rand.NewPCG(1, 0))
	for range 50 {
		f.Add(nastyText(r, 60), uint8(10))
	}
	f.Fuzz(func(t *testing.T, text string, limit uint8) {
		compareToPlain(t, &tokenizer{t: e.tokenizer.t, long: e.tokenizer.long, max: 2 + int(limit)}, text)
	})
}

// What shorten takes for granted of each character, asked of the library: 101 letters are one word, too long to be known;
// so are 51 letters, a mark, and 51 letters.
func TestLettersAndMarksDoNotEndAWord(t *testing.T) {
	e := open(t, 1)
	half := strings.Repeat("a", 51)
	unknown, err := e.tokenizer.bare(half + half)
	if err != nil || len(unknown) != 1 {
		t.Fatalf("%v, %v", unknown, err)
	}
	letters, marks := 0, 0
	for r := rune(0); r <= utf8.MaxRune; r++ {
		text := half + string(r) + half
		switch {
		case isLetter(r):
			letters++
			text = strings.Repeat(string(r), 101)
		case isMark(r):
			marks++
		default:
			continue
		}
		if ids, err := e.tokenizer.bare(text); err != nil || !slices.Equal(ids, unknown) {
			t.Errorf("%U: %v, %v; want one [UNK]", r, ids, err)
		}
	}
	t.Logf("%d letters, %d marks", letters, marks)
}

// An ideograph is a word of its own, and one token.
func TestAnIdeographIsOneToken(t *testing.T) {
	e := open(t, 1)
	var text strings.Builder
	n := 0
	for r := rune(0x80); r <= utf8.MaxRune; r++ {
		if isIdeograph(r) {
			n++
			fmt.Fprintf(&text, "a%c\u0301", r)
		}
	}
	if ids, err := e.tokenizer.bare(text.String()); err != nil || len(ids) != 2*n {
		t.Errorf("%d ideographs between letters: %d tokens, want %d; %v", n, len(ids), 2*n, err)
	}
}

func BenchmarkTokenize1MiB(b *testing.B) {
	e := open(b, 1)
	r := rand.New(rand.NewPCG(1, 0))
	random := func(alphabet string) string {
		runes := []rune(alphabet)
		var text strings.Builder
		for text.Len() < 1<<20-4 {
			text.WriteRune(runes[r.IntN(len(runes))])
		}
		return text.String()
	}
	ideographs := make([]rune, 5000)
	for i := range ideographs {
		ideographs[i] = rune(0x4e00 + i)
	}
	if _, err := e.tokenizer.long(); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, text string }{
		{"one letter", strings.Repeat("a", 1<<20)},
		{"ideographs", random(string(ideographs))},
		{"letters and points", random("abcdefghijklmnopqrstuvwxyz.,-/")},
		{"words with points", strings.Repeat("a.", 1<<19)},
		{"Cyrillic", random("абвгдежзийклмнопрстуфхцчшщъыьэюя")},
		{"Cyrillic and points", random("абвгдежзийклмнопрстуфхцчшщъыьэюя...,,-/")},
		{"Thai", random("กขคงจชซญดตถทนบปผพมยรลวสหอะัาิีึืุู็่้๊๋์")},
		{"kana and points", random("あいうえおかきくけこさしすせそがぎぐげごアイウエオ。、")},
		{"Hangul and points", random("가나다라마바사아자차카타파하국어장..")},
		{"emoji", random("🙂👍🏽👩‍🔬❤️🧬")},
		{"zero width", strings.Repeat("\u200b", 1<<20/3)},
		{"English", strings.Repeat("Newspaper pages are segmented before their text is recognised. ", 1<<14)},
	} {
		for _, way := range []struct {
			name string
			read func(string) ([]uint32, int, error)
		}{{"plain", e.tokenizer.plain}, {"long", e.tokenizer.encode}} {
			b.Run(c.name+"/"+way.name, func(b *testing.B) {
				for b.Loop() {
					if _, _, err := way.read(c.text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
