package embed

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"unicode"

	"embedd/embed/lane"
)

// Part is a sentence of a text with a vector of its own.
type Part struct {
	// Begin and End are its place in the text, in bytes.
	Begin, End int
	// Vector is that of Encode.
	Vector []float32
}

// Sentences encodes each sentence of each text on its own, as a document, and gives those in which the tokenizer finds a word, in order; at
// most 64 of a text, of which the last takes the rest. Errors are those of Encode.
func (e *Encoder) Sentences(ctx context.Context, l Lane, texts []Passage) ([][]Part, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	return e.parts(ctx, l, texts, func(p Passage) ([][2]int, error) { return split(p.Text, p.Breaks), nil })
}

// Passages cuts each text that is longer than the model reads at ends of sentences into parts that it reads whole, up to so many, each of which
// begins with the last sentence of the one before where that is short, and encodes each on its own, as a document. Of a text that the model reads
// whole there are none. What is beyond the last part of a text is in none of them. Errors are those of Encode.
func (e *Encoder) Passages(ctx context.Context, l Lane, texts []Passage, most int) ([][]Part, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	return e.parts(ctx, l, texts, func(p Passage) ([][2]int, error) { return e.windows(p, most) })
}

// parts encodes the parts of texts that cut gives, each on its own.
func (e *Encoder) parts(ctx context.Context, l Lane, texts []Passage, cut func(Passage) ([][2]int, error)) (out [][]Part, err error) {
	type part struct {
		text       int
		begin, end int
		blank      bool
	}
	var all []part
	tokens := 0
	for i, p := range texts {
		if err := checkText(p.Text); err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		places, err := cut(p)
		if err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		for _, place := range places {
			all = append(all, part{text: i, begin: place[0], end: place[1]})
			tokens += e.guess(p.Text[place[0]:place[1]])
		}
	}
	defer func() { e.metrics.called(Document.String(), len(all), err) }()
	out = make([][]Part, len(texts))
	if len(all) == 0 {
		return out, ctx.Err()
	}
	prompt := e.prompt(Document)
	results, err := e.run(ctx, l, len(all), tokens, func(i int) (lane.Text, error) {
		s := &all[i]
		key := prompt + texts[s.text].Text[s.begin:s.end]
		ids, total, err := e.tokenizer.encode(key)
		s.blank = total == 2 && prompt == "" // its two special tokens are run, and nobody looks at what comes of them
		return lane.Text{Key: key, IDs: ids}, err
	})
	if err != nil {
		return nil, ofText(err, func(i int) int { return all[i].text })
	}
	for i, r := range results {
		s := all[i]
		if s.blank {
			continue
		}
		v := r.Vector
		if e.dim < len(v) {
			v = v[:e.dim:e.dim]
			if err := normalize(v); err != nil {
				return nil, &TextError{Index: s.text, Err: err}
			}
		}
		out[s.text] = append(out[s.text], Part{s.begin, s.end, v})
	}
	return out, nil
}

const (
	// unitWords is how many words of a sentence that is longer than the model reads go together into a passage at least, and unitRunes how
	// many characters where there are no words.
	unitWords, unitRunes = 32, 128
	// overlapShare is the part of what the model reads that a passage may have of the one before.
	overlapShare = 4
)

// windows gives the places of a text's passages; none where the model reads it whole.
func (e *Encoder) windows(p Passage, most int) ([][2]int, error) {
	prompt := e.prompt(Document)
	_, total, err := e.tokenizer.encode(prompt + p.Text)
	if err != nil || total <= e.manifest.MaxTokens {
		return nil, err
	}
	_, special, err := e.tokenizer.encode(prompt + "a") // which is one token
	if err != nil {
		return nil, err
	}
	room := max(1, e.manifest.MaxTokens-(special-1))
	length := func(place [2]int) (int, error) {
		_, n, err := e.tokenizer.encode(p.Text[place[0]:place[1]])
		return max(1, n-2), err
	}
	var out [][2]int
	var open [2]int // the passage that is being filled
	has := 0        // its tokens; 0: there is none
	var last [2]int // its last unit
	lastHas := 0
	for u, err := range e.units(p, room, length) {
		if err != nil {
			return nil, err
		}
		unit, n := u.place, u.tokens
		if has > 0 && has+n > room {
			if out = append(out, open); len(out) == most {
				return out, nil
			}
			if open, has = unit, 0; lastHas <= room/overlapShare && lastHas+n <= room {
				open[0], has = last[0], lastHas
			}
		} else if has == 0 {
			open = unit
		}
		open[1], has = unit[1], has+n
		last, lastHas = unit, n
	}
	if has > 0 {
		out = append(out, open)
	}
	return out, nil
}

// unit is a part of a text that is not cut, and how many tokens it has.
type unit struct {
	place  [2]int
	tokens int
}

// units are the sentences of a text, and the parts of those that the model does not read whole.
func (e *Encoder) units(p Passage, room int, length func([2]int) (int, error)) iter.Seq2[unit, error] {
	return func(yield func(unit, error) bool) {
		begin := 0
		for _, cut := range append(slices.Clone(p.Breaks), len(p.Text)) {
			if cut <= begin || cut > len(p.Text) {
				continue
			}
			for _, s := range splitPart(p.Text[begin:cut], math.MaxInt) {
				s := [2]int{begin + s[0], begin + s[1]}
				n, err := length(s)
				if err != nil || n <= room {
					if !yield(unit{s, n}, err) {
						return
					}
					continue
				}
				for _, piece := range pieces(p.Text[s[0]:s[1]]) {
					at := [2]int{s[0] + piece[0], s[0] + piece[1]}
					n, err := length(at)
					if !yield(unit{at, n}, err) {
						return
					}
				}
			}
			begin = cut
		}
	}
}

// pieces cuts a long sentence behind every unitWords words, and within a word of more than unitRunes characters.
func pieces(s string) (out [][2]int) {
	begin, words, runes := 0, 0, 0
	add := func(end int) {
		if b, e := trim(s, begin, end); b < e {
			out = append(out, [2]int{b, e})
		}
		begin, words, runes = end, 0, 0
	}
	for i, r := range s {
		if unicode.IsSpace(r) {
			if words++; words >= unitWords {
				add(i)
			}
			runes = 0
			continue
		}
		if runes++; runes > unitRunes {
			add(i)
		}
	}
	add(len(s))
	return out
}

// ofText names, in an error about a part of a text, the text.
func ofText(err error, of func(part int) int) error {
	var about *TextError
	if errors.As(err, &about) {
		return &TextError{Index: of(about.Index), Err: about.Err}
	}
	return err
}
