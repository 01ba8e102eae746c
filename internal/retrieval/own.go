package retrieval

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// ownVectors is the encoder of a collection whose papers bring their own vectors. It encodes nothing.
type ownVectors struct{ dimension int }

// maxOwnDimension is what the store takes.
const maxOwnDimension = 65536

func newOwnVectors(dimension int) (ownVectors, error) {
	if dimension < 1 || dimension > maxOwnDimension {
		return ownVectors{}, invalid("dimension", "is %d; vectors of their own have 1 to %d values", dimension, maxOwnDimension)
	}
	return ownVectors{dimension}, nil
}

// noModel refuses what takes a model.
var noModel = &Error{Kind: FailedPrecondition, Message: "the papers of this collection bring their own vectors, and there is no model that encodes a text; search by a paper, by a vector, or in the mode lexical"}

// Encode implements Encoder.
func (ownVectors) Encode(context.Context, Lane, Role, []string) ([]Encoding, error) {
	return nil, noModel
}

// Explain implements Encoder.
func (ownVectors) Explain(context.Context, Asked, []Passage) ([]*Explanation, error) {
	return nil, noModel
}

// Sentences implements Encoder.
func (ownVectors) Sentences(context.Context, Lane, []Passage) ([][]Part, error) { return nil, noModel }

// Passages implements Encoder.
func (ownVectors) Passages(context.Context, Lane, []Passage, int) ([][]Part, error) {
	return nil, noModel
}

// Model implements Encoder. Its fingerprint keeps vectors of other dimensions, and those of models, apart from these.
func (o ownVectors) Model() Model {
	return Model{ID: "own vectors", Fingerprint: fmt.Sprintf("own-vectors-%d", o.dimension), Dimension: o.dimension}
}

// checkOwnVector scales the vector that a paper brings to norm 1, where papers bring their own, and refuses one where they do not.
func (c *Collection) checkOwnVector(field string, p *Paper) error {
	if !c.settings.OwnVectors {
		if p.Vector != nil {
			return invalid(field, "is given, and the vectors of this collection are made by its model; leave it out")
		}
		return nil
	}
	if p.Vector == nil {
		return invalid(field, "is missing; the papers of this collection bring their own vectors, of %d values", c.settings.Dimension)
	}
	v, err := unit(field, p.Vector, c.settings.Dimension)
	if err == nil && !isUnit(p.Vector) {
		p.Vector = v
	}
	return err
}

// inputVector is the vector that a paper that is searched with brings.
func (c *Collection) inputVector(field string, p *Paper) ([]float32, error) {
	copied := *p
	err := c.checkOwnVector(field, &copied)
	return copied.Vector, err
}

// isUnit tells whether a vector has norm 1 but for rounding: one that has been scaled is not scaled again, and so stays the same.
func isUnit(v []float32) bool {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Abs(sum-1) < 1e-6
}

// hashVector is the hash of a vector's bits.
func hashVector(v []float32) [32]byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return sha256.Sum256(b)
}

// usual is the mode of a search that names none: without a model, a text is searched for by its words.
func (c *Collection) usual(r *SearchRequest) {
	if e := r.Input.Examples; c.settings.OwnVectors && r.Mode == UsualMode && (r.Input.Text != nil || e != nil && e.Text != nil && len(e.Positive) == 0) {
		r.Mode = Lexical
	}
}
