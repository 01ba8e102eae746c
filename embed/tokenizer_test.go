package embed

import (
	"os"
	"slices"
	"testing"
)

// Random texts have the tokens that the Hugging Face library gives in Python, both in the way of ordinary texts and in that
// of long ones. `make fuzz-tokenizer` writes the file; testdata/golden/fuzz_texts.py says what is in it.
func TestTokensOfRandomTexts(t *testing.T) {
	path := os.Getenv("EMBEDD_TOKEN_TEXTS")
	if path == "" {
		t.Skip("EMBEDD_TOKEN_TEXTS names no file; make fuzz-tokenizer makes one")
	}
	e := open(t, 1)
	long, err := e.tokenizer.long()
	if err != nil || long == nil {
		t.Fatalf("no way for long texts: %v", err)
	}
	all := lines[struct {
		Text        string
		IDs         []uint32
		TokensTotal int `json:"tokens_total"`
	}](t, path)
	differ := 0
	for i, want := range all {
		for way, read := range map[string]func(string) ([]uint32, int, error){
			"plain": e.tokenizer.plain,
			"long":  func(text string) ([]uint32, int, error) { return e.tokenizer.encodeLong(long, text) },
		} {
			ids, total, err := read(clean(want.Text))
			if err == nil && total == want.TokensTotal && slices.Equal(ids, want.IDs) {
				continue
			}
			if differ++; differ <= 10 {
				t.Errorf("text %d, %s: %.500q\n got %d tokens: %v %v\nwant %d tokens: %v", i, way, want.Text, total, ids, err, want.TokensTotal, want.IDs)
			}
		}
	}
	t.Logf("%d texts, %d differences", len(all), differ)
	if len(all) == 0 {
		t.Error("no texts")
	}
}
