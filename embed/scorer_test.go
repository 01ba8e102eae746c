package embed

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"embedd/internal/native"
	"embedd/internal/testmodels"
	"embedd/models"
	"embedd/models/convert"
)

// openScorer imports the cross-encoder of package testmodels.
func openScorer(t *testing.T, workers int) *Scorer {
	t.Helper()
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "cross")
	if err := testmodels.CrossEncoder(native.Models(home), dir); err != nil {
		t.Fatal(err)
	}
	n, err := convert.Read(dir, convert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.Import(t.TempDir(), n, tokenizer, &models.ImportOptions{ID: "cross"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenScorer(m, &Options{Library: native.RuntimeLibrary(home), Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := Open(m, &Options{Library: native.RuntimeLibrary(home)}); err == nil || !strings.Contains(err.Error(), "cross-encoder") {
		t.Errorf("opened as an encoder: %v", err)
	}
	return s
}

// Scores, and how pairs that are too long are cut, are those of transformers: testdata/golden/make_scores.py.
func TestScoresAreThoseOfTheReferenceLibrary(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(golden, "scores.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Pairs []struct {
			Query, Text          string
			Tokens, Second, Read int
			Score                float64
		}
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	s := openScorer(t, 2)
	if _, err := s.WarmUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	var pairs []Pair
	for _, w := range want.Pairs {
		pairs = append(pairs, Pair{w.Query, w.Text})
	}
	got, err := s.Score(t.Context(), Bulk, pairs)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want.Pairs {
		ids, second, total, err := s.tokenizer.encodePair(pairs[i])
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) != w.Read || second != w.Second || total != w.Tokens || got[i].Tokens != w.Tokens || got[i].Truncated != (w.Read < w.Tokens) {
			t.Errorf("pair %d: %d of %d tokens, the second text from %d, %+v; want %+v", i, len(ids), total, second, got[i], w)
		}
		if d := math.Abs(float64(got[i].Score) - w.Score); !(d < 2e-5) {
			t.Errorf("pair %d: score %v, want %v", i, got[i].Score, w.Score)
		}
		alone, err := s.Score(t.Context(), Interactive, pairs[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		if alone[0] != got[i] {
			t.Errorf("pair %d: %+v alone, %+v in a call with others", i, alone[0], got[i])
		}
	}
	if len(got) < 5 || slices.Equal(got[:1], got[1:2]) {
		t.Error("nothing was compared")
	}
}

func TestScoreRefuses(t *testing.T) {
	s := openScorer(t, 1)
	for _, p := range []Pair{{"", "text"}, {"text", " "}, {"text", "\u200b"}} {
		_, err := s.Score(t.Context(), Bulk, []Pair{{"good", "pair"}, p})
		var about *TextError
		if !errors.Is(err, ErrBlank) || !errors.As(err, &about) || about.Index != 1 {
			t.Errorf("%q: %v, want ErrBlank about pair 1", p, err)
		}
	}
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.Open(native.Models(home), models.Default)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenScorer(m, &Options{Library: native.RuntimeLibrary(home)}); err == nil || !strings.Contains(err.Error(), "needs a cross-encoder") {
		t.Errorf("an encoder opened as a scorer: %v", err)
	}
}

func TestKnows(t *testing.T) {
	s := openScorer(t, 1)
	for text, want := range map[string]bool{"graph": true, "🧬": true, "": false, " ": false, "\u200b": false} {
		if got, err := s.Knows(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if _, err := s.Score(t.Context(), Bulk, []Pair{{"graph", text}}); (err == nil) != want || err != nil && !errors.Is(err, ErrBlank) {
			t.Errorf("%q: scored with %v", text, err)
		}
	}
	if err := s.Canary(t.Context()); err != nil {
		t.Error(err)
	}
}
