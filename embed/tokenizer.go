package embed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/daulet/tokenizers"

	_ "embedd/internal/native" // the linker's path to libtokenizers.a
)

// tokenizer turns a text into the ids that a model reads. It may be used from many goroutines at once; close must come
// after all of them.
type tokenizer struct {
	t    *tokenizers.Tokenizer
	max  int
	long func() (*longReader, error) // made for the first long text, nil for tokenizers that it does not know
	// quick reads ordinary texts, where it is sure of them; nil before prepare.
	quick atomic.Pointer[longReader]
	gate  chan struct{} // held while a long text is read: as many at once as there are cores
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
	if err := checkLoad(file); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	patched, err := json.Marshal(file)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := tokenizers.FromBytes(patched)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	tok := &tokenizer{t: t, max: maxTokens, gate: make(chan struct{}, runtime.GOMAXPROCS(0))}
	tok.long = sync.OnceValues(func() (*longReader, error) { return newLongReader(patched, tok.bare, tok.around) })
	return tok, nil
}

// maxAdded is the longest added token, in bytes: loading takes the square of it.
const maxAdded = 1 << 10

// checkLoad refuses files that would end or block the process while they are loaded. The library's panics are caught there
// (scripts/setup.sh sees to it) but for one: an error message with a NUL, which can only come from the file.
func checkLoad(file map[string]json.RawMessage) error {
	for _, part := range file {
		if bytes.Contains(part, []byte(`\u0000`)) {
			return errors.New("the file has a NUL")
		}
	}
	var added []struct{ Content string }
	if err := json.Unmarshal(file["added_tokens"], &added); file["added_tokens"] != nil && err != nil {
		return err
	}
	for i, a := range added {
		if len(a.Content) > maxAdded {
			return fmt.Errorf("added_tokens[%d] has %d bytes; the limit is %d", i, len(a.Content), maxAdded)
		}
	}
	return nil
}

// encode returns at most max ids, special tokens included, and how many the whole text has. A cut text keeps its last
// id, the final special token, as truncation inside the tokenizer would.
func (t *tokenizer) encode(text string) (ids []uint32, total int, err error) {
	text = clean(text)
	if len(text) < longText {
		if quick := t.quick.Load(); quick != nil {
			if ids, sure := quick.read(text); sure {
				return t.cut(ids)
			}
		}
		return t.plain(text)
	}
	t.gate <- struct{}{}
	defer func() { <-t.gate }()
	long, err := t.long()
	if err != nil {
		return nil, 0, fmt.Errorf("tokenizer: %w", err)
	}
	if long == nil {
		return t.plain(text)
	}
	return t.encodeLong(long, text)
}

// plain is the library's answer.
func (t *tokenizer) plain(text string) (ids []uint32, total int, err error) {
	ids, err = t.library(text, true)
	if err != nil {
		return nil, 0, err
	}
	if len(ids) < 2 {
		// Two ids are the special tokens of an empty text.
		return nil, 0, fmt.Errorf("tokenizer: %d tokens for a text of %d bytes, expected at least 2", len(ids), len(text))
	}
	return t.cut(ids)
}

// prepare makes ordinary texts quicker to read, where the tokenizer is of a kind that is known. It takes a tenth of a second.
func (t *tokenizer) prepare() error {
	long, err := t.long()
	if err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	t.quick.Store(long)
	return nil
}

// cut gives those of a text's ids that the model reads, and how many there are.
func (t *tokenizer) cut(ids []uint32) (_ []uint32, total int, err error) {
	total = len(ids)
	if total > t.max {
		ids[t.max-1] = ids[total-1]
		ids = ids[:t.max]
	}
	return ids, total, nil
}

// encodeLong gives what plain gives, sooner: only as much of the text as the model reads goes through the library.
func (t *tokenizer) encodeLong(long *longReader, text string) (ids []uint32, total int, err error) {
	text = long.shorten(text)
	cut := long.head(text, t.max)
	ids, total, err = t.plain(text[:cut])
	if err != nil {
		return nil, 0, err
	}
	rest, err := long.count(text[cut:], t.bare)
	if err != nil {
		return nil, 0, err
	}
	return ids, total + rest, nil
}

// bare is a text's ids without special tokens around them.
func (t *tokenizer) bare(text string) ([]uint32, error) { return t.library(text, false) }

// around is a text's ids with special tokens around them.
func (t *tokenizer) around(text string) ([]uint32, error) { return t.library(text, true) }

// library calls the library. A panic in there while it encodes is an error here.
func (t *tokenizer) library(text string, special bool) ([]uint32, error) {
	e, err := t.t.EncodeWithOptionsErr(text, special) // no option: ids only
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return e.IDs, nil
}

// clean makes a text safe to hand over as a C string of UTF-8: what follows a NUL would be lost silently. Another control
// takes the NUL's place, not nothing: BERT's normaliser removes both, but only after it has looked for special tokens, and
// "[SE\x00P]" is none.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	return strings.ReplaceAll(text, "\x00", "\x01")
}

func (t *tokenizer) close() error { return t.t.Close() }
