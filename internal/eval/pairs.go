package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Pair is how near a document is to a query: above 0 is relevant, the more the better.
type Pair struct {
	// A is a document's identifier or a text; with Text it is a text for sure.
	A    string
	Text bool
	// B is a document's identifier.
	B     string
	Score float64
	// Line of the file.
	Line int
}

// ReadPairs reads pairs: lines of JSON with "a", or "text" in its place, "b" and "score"; or lines of a, b and score, parted by tabs, below an optional header.
// Which of the two it is, the first byte says: {. Without a score a pair is relevant, 1. More than most pairs are an error. Errors name the file
// and the line.
func ReadPairs(path string, most int) ([]Pair, error) {
	var pairs []Pair
	first := true
	err := readLines(path, func(n int, line []byte) error {
		p := Pair{Score: 1, Line: n}
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) {
			var j struct {
				A     string   `json:"a"`
				Text  string   `json:"text"`
				B     string   `json:"b"`
				Score *float64 `json:"score"`
			}
			d := json.NewDecoder(bytes.NewReader(line))
			d.DisallowUnknownFields()
			if err := d.Decode(&j); err != nil {
				return err
			}
			if (j.A == "") == (j.Text == "") {
				return errors.New(`want "a", an identifier or a text, or "text", a text; got none or both`)
			}
			p.A, p.Text, p.B = j.A+j.Text, j.Text != "", j.B
			if j.Score != nil {
				p.Score = *j.Score
			}
		} else {
			fields := strings.Split(string(line), "\t")
			if len(fields) != 2 && len(fields) != 3 {
				return fmt.Errorf("want a, b and score, parted by tabs, or JSON; got %d fields", len(fields))
			}
			p.A, p.B = fields[0], fields[1]
			if len(fields) == 3 {
				score, err := strconv.ParseFloat(fields[2], 64)
				if err != nil {
					if first {
						first = false
						return nil // a header
					}
					return fmt.Errorf("score: want a number, got %q", fields[2])
				}
				p.Score = score
			}
		}
		first = false
		switch {
		case strings.TrimSpace(p.A) == "":
			return errors.New("a: is blank")
		case p.B == "":
			return errors.New("b: missing or empty")
		case !(math.Abs(p.Score) <= 1e6):
			return fmt.Errorf("score: is %v; must be finite, at most 1e6 either way", p.Score)
		}
		if len(pairs) == most {
			return fmt.Errorf("more than %d pairs; give fewer", most)
		}
		pairs = append(pairs, p)
		return nil
	})
	return pairs, err
}
