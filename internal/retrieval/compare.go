package retrieval

import (
	"context"
	"fmt"

	"embedd/ann/vec"
)

// MaxComparisons is the most of one Compare.
const MaxComparisons = 1_000_000

const _ = uint(MaxComparisons - MaxTextsPerCall*MaxTextsPerCall) // so that the two sides bound them

// CompareRequest asks how alike things are.
type CompareRequest struct {
	// Left and Right are no reading lists, and have at most MaxTextsPerCall each; without Right, Left stands on both sides. For errors they are left and right.
	Left, Right []Input
	// Pairs compares the first with the first and so on, instead of each with each.
	Pairs bool
	// Role in which texts are encoded.
	Role Role
	// Which has the scope that stored papers must be in.
	Which Which
}

// Comparison has cosine similarities, row by row: Rows for the left, Columns for the right; of pairs, a row each.
type Comparison struct {
	Scores        []float32
	Rows, Columns int
}

// Compare gives the cosine similarity of things. The order of the two makes no difference, to the bit.
func (c *Collection) Compare(ctx context.Context, r CompareRequest) (*Comparison, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	switch {
	case len(r.Left) == 0:
		return nil, invalid("left", "is empty; must have 1 to %d things to compare", MaxTextsPerCall)
	case len(r.Left) > MaxTextsPerCall:
		return nil, invalid("left", "has %d things; the limit is %d", len(r.Left), MaxTextsPerCall)
	case len(r.Right) > MaxTextsPerCall:
		return nil, invalid("right", "has %d things; the limit is %d", len(r.Right), MaxTextsPerCall)
	case r.Pairs && len(r.Right) != len(r.Left):
		return nil, invalid("right", "has %d things, and left %d; with pairs there are as many on both sides", len(r.Right), len(r.Left))
	}
	v := &vectors{c: c, role: r.Role, which: r.Which, dim: c.encoder.Model().Dimension, texts: map[textIn][]int{}}
	v.stride = (v.dim + vec.Lanes - 1) / vec.Lanes * vec.Lanes
	v.rows = make([]float32, (len(r.Left)+len(r.Right))*v.stride)
	for i := range r.Left {
		if err := v.add(ctx, i, fmt.Sprintf("left[%d]", i), &r.Left[i]); err != nil {
			return nil, err
		}
	}
	for i := range r.Right {
		if err := v.add(ctx, len(r.Left)+i, fmt.Sprintf("right[%d]", i), &r.Right[i]); err != nil {
			return nil, err
		}
	}
	if err := v.encode(ctx); err != nil {
		return nil, err
	}
	return v.compare(ctx, len(r.Left), len(r.Right), r.Pairs)
}

// vectors are those of the things of a call, side by side, each filled up with zeros to whole cache lines.
type vectors struct {
	c           *Collection
	role        Role
	which       Which
	dim, stride int
	rows        []float32
	// texts are those to be encoded, in their order, and where their vectors go. Equal ones are encoded once.
	texts  map[textIn][]int
	order  []textIn
	fields []string // of the first of each
}

// textIn is a text in a role.
type textIn struct {
	text string
	role Role
}

func (v *vectors) put(at int, vector []float32) { copy(v.rows[at*v.stride:][:v.dim], vector) }

// add puts a thing's vector in its place, or its text among those that are to be encoded.
func (v *vectors) add(ctx context.Context, at int, field string, t *Input) error {
	switch {
	case t.Paper != nil:
		return v.addPaper(ctx, at, field+".paper", t.Paper)
	case t.Text != nil:
		if err := checkText(field+".text", *t.Text); err != nil {
			return err
		}
		v.later(at, field+".text", textIn{*t.Text, v.role})
		return nil
	case t.Vector != nil:
		vector, err := unit(field+".vector", t.Vector, v.dim)
		if err == nil {
			v.put(at, vector)
		}
		return err
	}
	if t.Examples != nil {
		return invalid(field+".examples", "is a reading list, which has no one vector; compare its papers one by one")
	}
	field += ".paper_id"
	if err := checkID(field, t.PaperID); err != nil {
		return err
	}
	own := t.PaperID
	if v.which.Scope != nil {
		rec, err := v.c.record(ctx, field, t.PaperID, v.which)
		if err != nil {
			return err
		}
		own = rec.Paper.ID
	}
	return v.stored(ctx, at, field, own)
}

// addPaper adds a paper that is stored, or not.
func (v *vectors) addPaper(ctx context.Context, at int, field string, p *Paper) error {
	own, err := v.c.knows(ctx, field, p, v.which)
	if err != nil {
		return err
	}
	if own != "" {
		return v.stored(ctx, at, field+".id", own)
	}
	if v.c.settings.OwnVectors {
		vector, err := v.c.inputVector(field+".vector", p)
		if err == nil {
			v.put(at, vector)
		}
		return err
	}
	v.later(at, field, textIn{PaperText(p), Document})
	return nil
}

func (v *vectors) stored(ctx context.Context, at int, field, id string) error {
	_, vector, _, err := v.c.vectorOfAny(ctx, field, id, v.which)
	if err == nil {
		v.put(at, vector)
	}
	return err
}

// later has a text encoded with the others.
func (v *vectors) later(at int, field string, t textIn) {
	if _, ok := v.texts[t]; !ok {
		v.order, v.fields = append(v.order, t), append(v.fields, field)
	}
	v.texts[t] = append(v.texts[t], at)
}

// encode encodes the texts, few of them in the lane of those who wait.
func (v *vectors) encode(ctx context.Context) error {
	lane := Interactive
	if len(v.order) > MaxInteractiveTexts {
		lane = Bulk
	}
	for _, role := range []Role{Document, Query} {
		var texts, fields []string
		for i, t := range v.order {
			if t.role == role {
				texts, fields = append(texts, t.text), append(fields, v.fields[i])
			}
		}
		for from := 0; from < len(texts); from += MaxTextsPerCall {
			some := texts[from:min(len(texts), from+MaxTextsPerCall)]
			encodings, err := v.c.encoder.Encode(ctx, lane, role, some)
			if err != nil {
				return encodeError(err, func(i int) string { return fields[from+i] })
			}
			for i, e := range encodings {
				for _, at := range v.texts[textIn{some[i], role}] {
					v.put(at, e.Vector)
				}
			}
		}
	}
	return nil
}

// compare multiplies the first, which stand on the left, with those after them, or with themselves.
func (v *vectors) compare(ctx context.Context, left, right int, pairs bool) (*Comparison, error) {
	from := left
	if right == 0 {
		from, right = 0, left
	}
	ids := make([]uint32, right)
	for i := range ids {
		ids[i] = uint32(from + i)
	}
	out := &Comparison{Rows: left, Columns: right}
	if pairs {
		out.Columns = 1
	}
	out.Scores = make([]float32, out.Rows*out.Columns)
	for i := range left {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		with := ids
		if pairs {
			with = ids[i : i+1]
		}
		vec.DotFloats(v.rows[i*v.stride:][:v.stride], v.rows, with, out.Scores[i*out.Columns:][:out.Columns])
	}
	for i, s := range out.Scores {
		out.Scores[i] = min(1, max(-1, s))
	}
	return out, nil
}
