package atlas

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// nameWords is how many words a name has at most.
	nameWords = 3
	// nameTerms are the words of a cluster that its name may be made of, the most distinctive ones.
	nameTerms = 48
	// pairWorth is how many times as much a pair of words counts as a word: it says more.
	pairWorth = 1.6
	// longestWord in bytes.
	longestWord = 40
	// restName is the cluster's of what is in none.
	restName = "other"
)

// Names gives each cluster a name of two or three words that tell it from the others, by class-based TF-IDF (Grootendorst: BERTopic, arXiv:2203.05794,
// 2022, section 3.3) of the words of its points' titles, each counted once in a title. A word stands as it is written most often, with its plural. Two
// words that stand side by side are one where they beat their parts. No two names are the same.
func Names(ctx context.Context, c *Clusters, title func(i int) string) ([]string, error) {
	v := &vocabulary{at: map[string]uint32{}}
	// The words of the titles as numbers; noWord where others stand between.
	titles := make([][]uint32, len(c.Of))
	for i := range titles {
		if i%piece == 0 {
			if err := rest(ctx); err != nil {
				return nil, err
			}
		}
		titles[i] = v.read(title(i))
	}
	members, at := buckets(c.Of, len(c.Sizes))
	clusters := make([]terms, len(c.Sizes))
	all := terms{} // in how many titles
	var words float64
	for k := range clusters {
		if err := rest(ctx); err != nil {
			return nil, err
		}
		clusters[k] = terms{}
		for _, i := range members[at[k]:at[k+1]] {
			seen := map[uint32]bool{}
			for _, w := range titles[i] {
				if w != noWord && !seen[w] {
					seen[w] = true
					clusters[k].add(term{w, noWord})
					all.add(term{w, noWord})
					words++
				}
			}
		}
	}
	average := words / float64(max(1, len(clusters)))
	score := func(k int, t term) float64 { return clusters[k][t] * math.Log(1+average/all[t]) }
	best := make([][]term, len(clusters))
	for k := range clusters {
		if err := rest(ctx); err != nil {
			return nil, err
		}
		best[k] = clusters[k].best(func(t term) float64 { return score(k, t) }, v, nameTerms)
	}
	// Pairs are of those words alone: of all there would be too many.
	pairs := map[term]bool{}
	mine := map[uint32]bool{}
	for k := range clusters {
		clear(mine)
		for _, t := range best[k] {
			mine[t.first] = true
		}
		for n, i := range members[at[k]:at[k+1]] {
			if n%piece == 0 {
				if err := rest(ctx); err != nil {
					return nil, err
				}
			}
			for j := 1; j < len(titles[i]); j++ {
				if t := (term{titles[i][j-1], titles[i][j]}); t.pair() && t.first != noWord && mine[t.first] && mine[t.second] {
					pairs[t] = true
				}
			}
		}
	}
	seen := map[term]bool{}
	for i, list := range titles {
		if i%piece == 0 {
			if err := rest(ctx); err != nil {
				return nil, err
			}
		}
		clear(seen)
		for j := 1; j < len(list); j++ {
			if t := (term{list[j-1], list[j]}); pairs[t] && !seen[t] {
				seen[t] = true
				all.add(t)
				clusters[c.Of[i]].add(t)
			}
		}
	}
	names := make([]string, len(clusters))
	taken := map[string]bool{}
	for k := range clusters {
		ranked := best[k]
		for t := range clusters[k] {
			if t.pair() && clusters[k].beats(t) {
				ranked = append(ranked, t)
			}
		}
		worth := func(t term) float64 {
			s := score(k, t)
			if t.pair() {
				s *= pairWorth
			}
			return s
		}
		slices.SortFunc(ranked, func(a, b term) int { return cmp.Or(cmp.Compare(worth(b), worth(a)), v.compare(a, b)) })
		name := v.name(ranked, taken)
		if c.Rest && k == len(clusters)-1 {
			name = restName
		}
		taken[name] = true
		names[k] = name
	}
	return names, nil
}

// noWord stands for no word in a list of words.
const noWord = math.MaxUint32

// term is a word, with noWord for the second, or two that stand side by side.
type term struct{ first, second uint32 }

func (t term) pair() bool { return t.second != noWord }

// terms are in how many titles a term is.
type terms map[term]float64

func (all terms) add(t term) { all[t]++ }

// pairShare is in how many of the titles that have the rarer of two words these stand side by side, so that they are one.
const pairShare = 0.3

// beats tells whether a pair stands for its parts.
func (all terms) beats(t term) bool {
	n := all[t]
	return n >= 2 && n >= pairShare*min(all[term{t.first, noWord}], all[term{t.second, noWord}])
}

// best gives the terms with the highest scores. Of a term that is in one title alone nothing is made, where there are others.
func (all terms) best(score func(term) float64, v *vocabulary, n int) []term {
	some := make([]term, 0, len(all))
	for t, titles := range all {
		if titles >= 2 {
			some = append(some, t)
		}
	}
	if len(some) < nameWords {
		for t, titles := range all {
			if titles < 2 {
				some = append(some, t)
			}
		}
	}
	slices.SortFunc(some, func(a, b term) int { return cmp.Or(cmp.Compare(score(b), score(a)), v.compare(a, b)) })
	return some[:min(n, len(some))]
}

// vocabulary numbers words, and knows how each is written.
type vocabulary struct {
	at    map[string]uint32 // by fold
	words []word
}

// word is a word without regard to how it is written.
type word struct {
	fold  string
	forms map[string]int
}

// read gives the words of a title, noWord where there is a stop or a word that says nothing.
func (v *vocabulary) read(title string) []uint32 {
	var out []uint32
	gap := func() {
		if len(out) > 0 && out[len(out)-1] != noWord {
			out = append(out, noWord)
		}
	}
	for rest := title; rest != ""; {
		begin := strings.IndexFunc(rest, isLetter)
		if begin < 0 {
			break
		}
		if strings.ContainsFunc(rest[:begin], func(r rune) bool { return r != ' ' && r != '-' }) {
			gap()
		}
		rest = rest[begin:]
		end := strings.IndexFunc(rest, func(r rune) bool { return !isLetter(r) })
		if end < 0 {
			end = len(rest)
		}
		form := rest[:end]
		rest = rest[end:]
		for { // what is joined by hyphens or an apostrophe is one word
			r, size := utf8.DecodeRuneInString(rest)
			if r != '-' && r != '\u2010' && r != '\'' && r != '’' {
				break
			}
			next := strings.IndexFunc(rest[size:], func(r rune) bool { return !isLetter(r) })
			if next < 0 {
				next = len(rest) - size
			}
			if next == 0 {
				break
			}
			form += rest[:size+next]
			rest = rest[size+next:]
		}
		if w, ok := v.number(form); ok {
			out = append(out, w)
		} else {
			gap()
		}
	}
	return out
}

func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

// number gives the number of a word that says something.
func (v *vocabulary) number(form string) (uint32, bool) {
	form = strings.TrimSuffix(strings.TrimSuffix(form, "'s"), "’s")
	if len(form) > longestWord || utf8.RuneCountInString(form) < 2 || !strings.ContainsFunc(form, unicode.IsLetter) {
		return 0, false
	}
	lower := strings.ToLower(form)
	fold := singular(lower)
	if emptyWords[lower] || emptyWords[fold] {
		return 0, false
	}
	at, ok := v.at[fold]
	if !ok {
		at = uint32(len(v.words))
		fold = strings.Clone(fold)
		v.at[fold] = at
		v.words = append(v.words, word{fold, map[string]int{}})
	}
	parts := strings.Split(form, "-")
	for i, part := range parts {
		if !isName(part) {
			parts[i] = strings.ToLower(part)
		}
	}
	v.words[at].forms[strings.Join(parts, "-")]++
	return at, true
}

// isName tells whether a word is written in another way than words are at the beginning of a title, as BERT and mRNA.
func isName(form string) bool {
	for i, r := range form {
		if i > 0 && unicode.IsUpper(r) {
			return true
		}
	}
	return false
}

// singular gives a word without the plural's ending, near enough to put the two together.
func singular(w string) string {
	switch {
	case len(w) > 4 && strings.HasSuffix(w, "ies"):
		return w[:len(w)-3] + "y"
	case len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && !strings.HasSuffix(w, "us") && !strings.HasSuffix(w, "is"):
		return w[:len(w)-1]
	}
	return w
}

// text is a word as it is written most often.
func (v *vocabulary) text(w uint32) string {
	best, most := "", 0
	for form, n := range v.words[w].forms {
		if n > most || n == most && form > best { // small letters before capitals
			best, most = form, n
		}
	}
	return best
}

// like tells whether a term has a word, or one that begins alike, as mitigate and mitigation.
func (v *vocabulary) like(t term, w uint32) bool {
	const share, least = 3, 5 // all but a third of the shorter one
	a := v.words[w].fold
	for _, other := range []uint32{t.first, t.second} {
		if other == noWord {
			continue
		}
		b := v.words[other].fold
		same := 0
		for same < min(len(a), len(b)) && a[same] == b[same] {
			same++
		}
		if other == w || same >= least && share*same >= (share-1)*min(len(a), len(b)) {
			return true
		}
	}
	return false
}

// compare orders terms by their words.
func (v *vocabulary) compare(a, b term) int {
	fold := func(w uint32) string {
		if w == noWord {
			return ""
		}
		return v.words[w].fold
	}
	return cmp.Or(strings.Compare(fold(a.first), fold(b.first)), strings.Compare(fold(a.second), fold(b.second)))
}

// name makes a name of terms, the best first, that is not taken: of the next ones where it is, at last with a number.
func (v *vocabulary) name(ranked []term, taken map[string]bool) string {
	name := ""
	phrases := map[term]bool{}
	for _, t := range ranked {
		phrases[t] = t.pair()
	}
	for skip := range 4 {
		var parts [][]uint32
		var chosen []term
		words := 0
		for i, t := range ranked {
			n := 1
			if t.pair() {
				n = 2
			}
			if words+n > nameWords || i > 0 && i <= skip || slices.ContainsFunc(chosen, func(c term) bool {
				return v.like(c, t.first) || t.pair() && v.like(c, t.second)
			}) {
				continue
			}
			part := []uint32{t.first, t.second}[:n]
			parts, chosen, words = append(parts, part), append(chosen, t), words+n
			if words == nameWords {
				break
			}
		}
		if name = v.join(parts, phrases); name != "" && !taken[name] {
			return name
		}
	}
	if name == "" {
		name = "without a name"
	}
	for n := 2; taken[name]; n++ {
		base, _, _ := strings.Cut(name, " (")
		name = fmt.Sprintf("%s (%d)", base, n)
	}
	return name
}

// join writes the parts of a name, as one where the last word of one and the first of another are a pair.
func (v *vocabulary) join(parts [][]uint32, phrases map[term]bool) string {
	for i := 0; i < len(parts); i++ {
		for j := range parts {
			if i == j || !phrases[term{parts[i][len(parts[i])-1], parts[j][0]}] {
				continue
			}
			parts[i] = slices.Concat(parts[i], parts[j])
			if parts = slices.Delete(parts, j, j+1); j < i {
				i--
			}
			i--
			break
		}
	}
	texts := make([]string, len(parts))
	for i, part := range parts {
		for k, w := range part {
			if k > 0 {
				texts[i] += " "
			}
			texts[i] += v.text(w)
		}
	}
	return strings.Join(texts, ", ")
}
