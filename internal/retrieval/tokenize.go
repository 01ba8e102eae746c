package retrieval

import (
	"context"
	"fmt"
)

// Tokenizer is an Encoder that shows what it reads of texts. Its method may be called from many goroutines at once.
type Tokenizer interface {
	// Tokenize gives what Encode reads of each text in the role, prompt and special tokens included, in order. An error that is about one
	// of the texts is a *TextError.
	Tokenize(ctx context.Context, role Role, texts []string) ([]Tokens, error)
}

// Tokens are what the model reads of a text.
type Tokens struct {
	// IDs are at most Model.MaxTokens, Tokens as many: as the vocabulary has them.
	IDs    []uint32
	Tokens []string
	// TextUse counts those of the whole text.
	TextUse
}

// MaxTokensPerCall is the most tokens of one Tokenize, so that its answer is one message.
const MaxTokensPerCall = 500_000

// Tokenize gives what the model reads of each text, in order, without encoding it. Texts are bounded as those of Encode.
func (c *Collection) Tokenize(ctx context.Context, role Role, texts []string) ([]Tokens, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	if err := checkTexts(texts); err != nil {
		return nil, err
	}
	t, ok := c.encoder.(Tokenizer)
	if !ok {
		return nil, &Error{Kind: FailedPrecondition, Message: "the collection's texts are not read by a model: there are no tokens"}
	}
	out, n := make([]Tokens, 0, len(texts)), 0
	for i, text := range texts { // one by one: of texts whose tokens are too many for an answer, no more are made than fit
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tokens, err := t.Tokenize(ctx, role, []string{text})
		if err != nil {
			return nil, encodeError(err, func(int) string { return textField(i) })
		}
		if n += len(tokens[0].IDs); n > MaxTokensPerCall {
			return nil, invalid(textField(i), "brings the tokens of the texts up to %d; the limit is %d; send fewer texts in one call", n, MaxTokensPerCall)
		}
		out = append(out, tokens[0])
	}
	return out, nil
}

func textField(i int) string { return fmt.Sprintf("texts[%d]", i) }

// checkTexts checks the texts of a call.
func checkTexts(texts []string) error {
	if len(texts) == 0 {
		return invalid("texts", "is empty; must have 1 to %d texts", MaxTextsPerCall)
	}
	if len(texts) > MaxTextsPerCall {
		return invalid("texts", "has %d texts; the limit is %d", len(texts), MaxTextsPerCall)
	}
	for i, text := range texts {
		if err := checkText(textField(i), text); err != nil {
			return err
		}
	}
	return nil
}
