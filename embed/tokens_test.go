package embed

import (
	"encoding/base64"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"embedd/internal/native"
	"embedd/models"
)

// What Tokenize shows is what the graph gets: the golden ids of the reference library, of which Encode has counted as many.
func TestTokenizeShowsWhatIsRead(t *testing.T) {
	e := open(t, 1)
	texts := lines[struct{ Name, Base64 string }](t, filepath.Join(golden, "texts.jsonl"))
	want := lines[struct {
		IDs         []uint32
		TokensTotal int `json:"tokens_total"`
	}](t, filepath.Join(golden, "tokens.jsonl"))
	names, err := e.names.get()
	if err != nil {
		t.Fatal(err)
	}
	blank := 0
	for i, text := range texts {
		raw, err := base64.StdEncoding.DecodeString(text.Base64)
		if err != nil {
			t.Fatal(err)
		}
		all, err := e.Tokenize(t.Context(), Document, []string{string(raw)})
		if want[i].TokensTotal == 2 || strings.TrimSpace(string(raw)) == "" {
			blank++
			if !errors.Is(err, ErrBlank) {
				t.Errorf("%s: %v, want ErrBlank, as Encode says", text.Name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text.Name, err)
			continue
		}
		got := all[0]
		if !slices.Equal(got.IDs, want[i].IDs) || got.Total != want[i].TokensTotal || got.Truncated != (got.Total > e.manifest.MaxTokens) {
			t.Errorf("%s: %d of %d tokens, want %d of %d", text.Name, len(got.IDs), got.Total, len(want[i].IDs), want[i].TokensTotal)
		}
		if len(got.Names) != len(got.IDs) || got.Names[0] != "[CLS]" || got.Names[len(got.Names)-1] != "[SEP]" {
			t.Errorf("%s: tokens %q", text.Name, got.Names)
		}
		for j, id := range got.IDs {
			if names[id] != got.Names[j] {
				t.Errorf("%s: token %d is %q, want %q", text.Name, j, got.Names[j], names[id])
			}
		}
		if i%20 != 0 {
			continue
		}
		encoded, err := e.Encode(t.Context(), Bulk, Document, []string{string(raw)})
		if err != nil {
			t.Errorf("%s: %v", text.Name, err)
		} else if encoded[0].Tokens != got.Total || encoded[0].Truncated != got.Truncated {
			t.Errorf("%s: encoded %d tokens, tokenized %d", text.Name, encoded[0].Tokens, got.Total)
		}
	}
	if blank == len(texts) {
		t.Error("all texts are blank")
	}
	got, err := e.Tokenize(t.Context(), Query, []string{"Tokenization of neighbours", "🧬"})
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(got[0].Names, " "); s != "[CLS] token ##ization of neighbours [SEP]" {
		t.Errorf("tokens %s", s)
	}
	if s := strings.Join(got[1].Names, " "); s != "[CLS] [UNK] [SEP]" {
		t.Errorf("tokens %s", s)
	}
}

// The prompt of a role is read too.
func TestTokenizeReadsThePrompt(t *testing.T) {
	m := copyModel(t, func(m *models.Manifest, _ string) { m.Prompts.Query = "query: " })
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(m, &Options{Library: native.RuntimeLibrary(home), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for role, want := range map[Role]string{Document: "[CLS] a [SEP]", Query: "[CLS] query : a [SEP]"} {
		got, err := e.Tokenize(t.Context(), role, []string{"a"})
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := e.Encode(t.Context(), Interactive, role, []string{"a"})
		if err != nil {
			t.Fatal(err)
		}
		if s := strings.Join(got[0].Names, " "); s != want || got[0].Total != encoded[0].Tokens {
			t.Errorf("%v: %s, %d tokens; encoded %d", role, s, got[0].Total, encoded[0].Tokens)
		}
	}
}

func TestTokenizeRefuses(t *testing.T) {
	e := open(t, 1)
	for text, want := range map[string]error{" ": ErrBlank, "\u200b": ErrBlank, strings.Repeat("a", MaxTextBytes+1): ErrTooLong} {
		var about *TextError
		if _, err := e.Tokenize(t.Context(), Document, []string{"a", text}); !errors.Is(err, want) || !errors.As(err, &about) || about.Index != 1 {
			t.Errorf("%.10q: %v, want %v about the second text", text, err, want)
		}
	}
}

func TestReadVocabulary(t *testing.T) {
	added := `"added_tokens":[{"id":0,"content":"<s>"}],`
	for _, c := range []struct{ name, file string }{
		{"WordPiece", `{` + added + `"model":{"type":"WordPiece","vocab":{"[PAD]":0,"a":1,"##b":2}}}`},
		{"Unigram", `{` + added + `"model":{"type":"Unigram","vocab":[["<unk>",0],["a",-1.5],["##b",-2]]}}`},
	} {
		names, err := readVocabulary([]byte(c.file))
		if err != nil || len(names) != 3 || names[0] != "<s>" || names[1] != "a" || names[2] != "##b" {
			t.Errorf("%s: %v, %v", c.name, names, err)
		}
	}
	for _, bad := range []string{`{`, `{"model":{"type":"Unigram","vocab":{}}}`, `{"model":{"type":"BPE","vocab":[]}}`, `{"model":{"type":"Unigram","vocab":[[1,2]]}}`} {
		if names, err := readVocabulary([]byte(bad)); err == nil {
			t.Errorf("%s: %v", bad, names)
		}
	}
}
