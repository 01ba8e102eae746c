package retrieval

import (
	"context"
	"time"
)

// Encoder is what a collection needs of a sentence encoder. Package embed has the real one; tests of this package use a
// small fake, so that they need no native library. All methods may be called from many goroutines at once.
type Encoder interface {
	// Encode returns a vector of norm 1 and Model().Dimension values for each text, in order. An error that is about one
	// of the texts is a *TextError; a call that there is no room or time for is a *BusyError.
	Encode(ctx context.Context, lane Lane, role Role, texts []string) ([]Encoding, error)
	// Sentences encodes each sentence of each text on its own, as a document, and gives those in which there is something to encode, in order, at
	// most 64 of a text. Errors are those of Encode.
	Sentences(ctx context.Context, lane Lane, texts []Passage) ([][]Part, error)
	// Passages cuts each text that is longer than the model reads into parts that it reads, up to so many, and encodes each on its own, as a
	// document; of a text that it reads whole there are none. Errors are those of Encode.
	Passages(ctx context.Context, lane Lane, texts []Passage, most int) ([][]Part, error)
	// Explain says, for each of some texts, which of its sentences make it alike to a query. They are read beside each other, and the query
	// once. When ctx ends, the explanations that are not there yet are nil, and the error is that of ctx, or a *BusyError.
	Explain(ctx context.Context, query Asked, texts []Passage) ([]*Explanation, error)
	// Model describes the encoder; it does not change.
	Model() Model
}

// Role is the side of a comparison that a text stands on.
type Role uint8

const (
	// Document is a text to be found.
	Document Role = iota
	// Query is a text to find others with.
	Query
)

// Lane says who waits for an encoding.
type Lane uint8

const (
	// Interactive texts go first.
	Interactive Lane = iota
	// Bulk texts come in numbers.
	Bulk
)

// Encoding is a text's vector and what the model read of the text.
type Encoding struct {
	Vector []float32
	TextUse
}

// Part is a sentence of a text with a vector of its own.
type Part struct {
	// Begin and End are its place in the text, in bytes.
	Begin, End int
	Vector     []float32
}

// TextUse says what the model read of a text.
type TextUse struct {
	// Tokens in the whole text, special tokens included.
	Tokens int
	// Truncated: Tokens is over Model.MaxTokens, and the rest is not in the vector.
	Truncated bool
}

// Passage is a text, and the places in it, in bytes, where a sentence surely begins.
type Passage struct {
	Text   string
	Breaks []int
}

// Asked is what texts are explained against.
type Asked struct {
	Vector []float32
	// Text is what was encoded in a role, nil where there is only the vector.
	Text *Passage
	Role Role
}

// Explanation says which sentences make two texts alike.
type Explanation struct {
	Score float64
	// Shares: the shares of Sentences and Rest add up to Score, and so do those of Query and QueryRest.
	Shares          bool
	Sentences       []Sentence
	Rest            float64
	Query           []Sentence
	QueryRest       float64
	Pair            bool    // there is a pair of sentences that are most alike
	BestQuery, Best int     // the pair, by index
	BestScore       float64 // of the pair
	// Terms are words that both sides have, the rarest first.
	Terms []SharedTerm
}

// Sentence is a part of a paper and what it has to do with the other side.
type Sentence struct {
	// Begin and End are its place in the passage, in bytes; Collection.Explain sets Text and Field by it.
	Begin, End  int
	Text, Field string
	// Share of the score, and the cosine of the sentence's own vector and the other side's.
	Share, Score float64
	// Read: the model read at least a part of it.
	Read bool
}

// Model describes an encoder.
type Model struct {
	ID, Fingerprint string
	Dimension       int
	// Dimensions are the lengths below it that a vector may be cut to, ascending; none for most models.
	Dimensions         []int
	MaxTokens          int
	Pooling, Precision string
	License            string
}

// TextError is an encoder's error about one text of a call.
type TextError struct {
	// Index of the text in the call.
	Index int
	// Blank: the text has nothing to encode.
	Blank bool
	Err   error
}

func (e *TextError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *TextError) Unwrap() error { return e.Err }

// BusyError is an encoder's refusal of a call that it has no room for, or no time before the call's deadline.
type BusyError struct {
	// Wait is how long to wait before another try.
	Wait time.Duration
	Err  error
}

func (e *BusyError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *BusyError) Unwrap() error { return e.Err }
