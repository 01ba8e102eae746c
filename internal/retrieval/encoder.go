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
	// Explain says which sentences of a text make it alike to a query, given by its vector and, where it is a passage, by its
	// text.
	Explain(ctx context.Context, query []float32, queryText *Passage, text Passage) (*Explanation, error)
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

// Explanation says which sentences make two texts alike.
type Explanation struct {
	Score float64
	// Shares: the shares of Sentences and Rest add up to Score, and so do those of Query and QueryRest.
	Shares          bool
	Sentences       []Sentence
	Rest            float64
	Query           []Sentence
	QueryRest       float64
	BestQuery, Best int     // the pair of sentences that are most alike, by index
	BestScore       float64 // of the pair; there is one where Query is not empty
}

// Sentence is a part of a paper and what it has to do with the other side.
type Sentence struct {
	// Begin and End are its place in the passage, in bytes; Collection.Explain sets the others by it.
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
