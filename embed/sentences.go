package embed

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/clipperhouse/uax29/v2/sentences"
)

// maxSentences is how many sentences of a text are told apart; the last takes the rest.
const maxSentences = 64

// minWords is the least number of words of a sentence; one with fewer goes with its neighbour.
const minWords = 3

// splitBytes is how much of a text is split: more than a model reads. What follows belongs to the last sentence.
const splitBytes = 64 << 10

// abbreviated is the end of a piece that only looks like the end of a sentence: an abbreviation that is usual in papers, or
// an initial. It is looked for in the last abbreviatedBytes.
var abbreviated = regexp.MustCompile(`(?i:(^|[\s(\[])(al|cf|ca|dr|eq|eqs|etc|fig|figs|i\.e|e\.g|no|prof|ref|refs|resp|sec|st|tab|vs|viz))\.\s*$|(^|[\s(\[])\p{Lu}\.\s*$`)

const abbreviatedBytes = 12

// split gives the sentences of a text, as places [begin, end) without the white space around them. One begins at each of
// breaks, and where the boundaries of Unicode's UAX #29 are, but for abbreviations and pieces of a word or two.
func split(text string, breaks []int) [][2]int {
	var places [][2]int
	cuts := append(slices.Clone(breaks), min(len(text), splitBytes))
	slices.Sort(cuts)
	begin := 0
	for _, cut := range cuts {
		if cut <= begin || cut > len(text) {
			continue
		}
		for _, place := range splitPart(text[begin:cut], maxSentences-len(places)) {
			places = append(places, [2]int{begin + place[0], begin + place[1]})
		}
		begin = cut
		if len(places) == maxSentences {
			break
		}
	}
	if n := len(places); n > 0 && (n == maxSentences || begin < len(text)) {
		_, places[n-1][1] = trim(text, places[n-1][0], len(text))
	}
	return places
}

// splitPart splits a part that no break falls into, and stops at so many sentences.
func splitPart(part string, most int) [][2]int {
	var places [][2]int
	words, open := 0, false // the words of the last place, and whether it goes on
	for s := sentences.FromString(part); len(places) < most && s.Next() || open && s.Next(); {
		begin, end := trim(part, s.Start(), s.End())
		if begin == end {
			continue
		}
		if open {
			places[len(places)-1][1] = end
		} else {
			places, words = append(places, [2]int{begin, end}), 0
		}
		words += countWords(part[begin:end])
		open = words < minWords || abbreviated.MatchString(part[max(places[len(places)-1][0], end-abbreviatedBytes):end])
	}
	if n := len(places); n > 1 && open { // a short end goes with what is before it
		places[n-2][1] = places[n-1][1]
		places = places[:n-1]
	}
	return places
}

// countWords counts words, two characters each in scripts that put no spaces between them.
func countWords(s string) int {
	n := len(strings.Fields(s))
	together := 0
	for _, r := range s {
		if r >= 0x0E00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) {
			together++
		}
	}
	return n + together/2
}

// trim takes white space off both ends of a place.
func trim(text string, begin, end int) (int, int) {
	s := strings.TrimRightFunc(text[begin:end], unicode.IsSpace)
	return begin + len(s) - len(strings.TrimLeftFunc(s, unicode.IsSpace)), begin + len(s)
}
