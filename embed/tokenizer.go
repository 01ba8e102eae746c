package embed

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/daulet/tokenizers"

	_ "embedd/internal/native" // the linker's path to libtokenizers.a
)

// tokenizer turns a text into the ids that a model reads. It may be used from many goroutines at once; close must come
// after all of them.
type tokenizer struct {
	t   *tokenizers.Tokenizer
	max int
}

// newTokenizer loads a tokenizer.json. The file's own padding and truncation are switched off first: published files
// carry settings for training (all-MiniLM-L6-v2's pads and cuts every text to 128 tokens), and the limit is the
// manifest's.
func newTokenizer(data []byte, maxTokens int) (*tokenizer, error) {
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	file["padding"] = json.RawMessage("null")
	file["truncation"] = json.RawMessage("null")
	patched, err := json.Marshal(file)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := tokenizers.FromBytes(patched)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return &tokenizer{t: t, max: maxTokens}, nil
}

// encode returns at most max ids, special tokens included, and how many the whole text has. A cut text keeps its last
// id, the final special token, as truncation inside the tokenizer would.
func (t *tokenizer) encode(text string) (ids []uint32, total int, err error) {
	enc, err := t.t.EncodeWithOptionsErr(clean(text), true) // ids alone: EncodeErr makes a string of each token
	if err != nil {
		return nil, 0, fmt.Errorf("tokenizer: %w", err)
	}
	ids = enc.IDs
	total = len(ids)
	if total < 2 {
		// The library reports a panic of its own as an empty result. Two ids are the special tokens of an empty text.
		return nil, 0, fmt.Errorf("tokenizer: %d tokens for a text of %d bytes, expected at least 2", total, len(text))
	}
	if total > t.max {
		ids[t.max-1] = ids[total-1]
		ids = ids[:t.max]
	}
	return ids, total, nil
}

// clean makes a text safe to hand over as a C string of UTF-8: what follows a NUL would be lost silently.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "")
	}
	return text
}

func (t *tokenizer) close() error { return t.t.Close() }
