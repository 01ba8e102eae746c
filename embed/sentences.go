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

// abbreviated is the end of a piece that only looks like the end of a sentence: an abbreviation that is usual in papers, or
// an initial.
var abbreviated = regexp.MustCompile(`(?i:(^|[\s(\[])(al|cf|ca|dr|eq|eqs|etc|fig|figs|i\.e|e\.g|no|prof|ref|refs|resp|sec|st|tab|vs|viz))\.\s*$|(^|[\s(\[])\p{Lu}\.\s*$`)

// split gives the sentences of a text, as places [begin, end) without the white space around them. One begins at each of
// breaks, and where the boundaries of Unicode's UAX #29 are, but for abbreviations and pieces of a word or two.
func split(text string, breaks []int) [][2]int {
	var places [][2]int
	cuts := slices.Clone(breaks)
	cuts = append(cuts, len(text))
	slices.Sort(cuts)
	begin := 0
	for _, cut := range cuts {
		if cut <= begin || cut > len(text) {
			continue
		}
		for _, place := range splitPart(text[begin:cut]) {
			places = append(places, [2]int{begin + place[0], begin + place[1]})
		}
		begin = cut
	}
	if len(places) > maxSentences {
		places[maxSentences-1][1] = places[len(places)-1][1]
		places = places[:maxSentences]
	}
	return places
}

// splitPart splits a part that no break falls into.
func splitPart(part string) [][2]int {
	var places [][2]int
	open := false // the last place goes on
	for s := sentences.FromString(part); s.Next(); {
		begin, end := trim(part, s.Start(), s.End())
		if begin == end {
			continue
		}
		if open {
			places[len(places)-1][1] = end
		} else {
			places = append(places, [2]int{begin, end})
		}
		last := places[len(places)-1]
		whole := part[last[0]:last[1]]
		open = abbreviated.MatchString(whole) || len(strings.Fields(whole)) < minWords
	}
	if n := len(places); n > 1 && open { // a short end goes with what is before it
		places[n-2][1] = places[n-1][1]
		places = places[:n-1]
	}
	return places
}

// trim takes white space off both ends of a place.
func trim(text string, begin, end int) (int, int) {
	s := strings.TrimRightFunc(text[begin:end], unicode.IsSpace)
	return begin + len(s) - len(strings.TrimLeftFunc(s, unicode.IsSpace)), begin + len(s)
}
