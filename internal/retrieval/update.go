package retrieval

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"embedd/internal/store"
)

// MetadataUpdate is what is to change of one paper.
type MetadataUpdate struct {
	ID string
	// Paper has the new values of the fields that Mask names: authors, year, venue, doi, arxiv_id, url, expires, metadata, or metadata.NAME for one member of
	// it. One that is named and has no value is taken away.
	Paper Paper
	Mask  []string
}

// maxMask is the most fields that one update names.
const maxMask = 300

// UpdateMetadata changes facts and metadata of stored papers, all or none, without encoding anything, and returns once that is durable and filters see it. An
// update is made of what is stored at its moment: of two at the same time none undoes the other. The outcomes are Updated and Unchanged.
func (c *Collection) UpdateMetadata(ctx context.Context, updates []MetadataUpdate) (results []UpsertResult, version uint64, err error) {
	err = placed(c, func(c *Collection) (err error) {
		results, version, err = c.updateHere(ctx, updates)
		return err
	})
	return results, version, err
}

// updateHere is UpdateMetadata of this collection.
func (c *Collection) updateHere(ctx context.Context, updates []MetadataUpdate) (results []UpsertResult, version uint64, err error) {
	if err := c.enter(); err != nil {
		return nil, 0, err
	}
	defer c.leave()
	if err := checkUpdates(updates); err != nil {
		return nil, 0, err
	}
	if updates, err = c.byOwnIDs(ctx, updates); err != nil {
		return nil, 0, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		u := newUpsert(c, make([]Paper, len(updates)), UpdateOnly)
		for i := range updates {
			if err := u.update(i, &updates[i]); err != nil {
				return nil, 0, err
			}
		}
		begin := time.Now()
		version, err := c.commit(ctx, u.commit)
		c.observe(ctx, OpUpsert, StageCommit, begin)
		if conflict(err) {
			continue // another writer was first
		}
		if err != nil {
			return nil, 0, err
		}
		return u.results, version, nil
	}
}

// byOwnIDs gives updates by the ids that their papers are stored under.
func (c *Collection) byOwnIDs(ctx context.Context, updates []MetadataUpdate) ([]MetadataUpdate, error) {
	updates = slices.Clone(updates)
	first := make(map[string]int, len(updates))
	for i := range updates {
		field := fmt.Sprintf("updates[%d].id", i)
		own, err := c.resolveID(ctx, field, updates[i].ID, Which{})
		if err != nil {
			return nil, err
		}
		if j, twice := first[own]; twice {
			return nil, invalid(field, "%q is the paper of updates[%d]; each paper may stand once in a call", updates[i].ID, j)
		}
		first[own], updates[i].ID = i, own
	}
	return updates, nil
}

// checkUpdates checks what does not depend on what is stored.
func checkUpdates(updates []MetadataUpdate) error {
	if err := checkDistinct("updates", ".id", len(updates), func(i int) string { return updates[i].ID }); err != nil {
		return err
	}
	for i := range updates {
		if err := checkMask(fmt.Sprintf("updates[%d].update_mask", i), updates[i].Mask); err != nil {
			return err
		}
	}
	return nil
}

const memberPrefix = "metadata."

func checkMask(field string, mask []string) error {
	const known = "authors, year, venue, doi, arxiv_id, url, expires, metadata, and metadata.NAME for one member of it"
	if len(mask) == 0 {
		return invalid(field, "is empty; it names the fields to change: %s", known)
	}
	if len(mask) > maxMask {
		return invalid(field, "has %d paths; the limit is %d", len(mask), maxMask)
	}
	seen := map[string]bool{}
	for _, path := range mask {
		switch path {
		case "authors", "year", "venue", "doi", "arxiv_id", "url", "expires", "metadata":
		case "id", "title", "abstract", "vector":
			return invalid(field, "names %s, which an update does not change; write the paper", path)
		default:
			if name, ok := strings.CutPrefix(path, memberPrefix); !ok || name == "" {
				return invalid(field, "names %.64q, which is no field; there are %s", path, known)
			}
		}
		if seen[path] {
			return invalid(field, "names %.64s twice", path)
		}
		seen[path] = true
	}
	for path := range seen {
		if seen["metadata"] && strings.HasPrefix(path, memberPrefix) {
			return invalid(field, "names %.64s and metadata, which has it; name one of them", path)
		}
	}
	return nil
}

// update makes a write of what is stored and of an update to it.
func (u *upsert) update(i int, x *MetadataUpdate) error {
	field := fmt.Sprintf("updates[%d]", i)
	old, err := u.c.store.Stored(x.ID)
	if errors.Is(err, store.ErrNotFound) {
		return notFound(field+".id", x.ID)
	}
	if err != nil {
		return storeError("read paper", err)
	}
	rec, err := old.Record()
	if err != nil {
		return storeError("read paper", err)
	}
	if u.c.gone(&rec.Paper) {
		return notFound(field+".id", x.ID)
	}
	r := &u.results[i]
	r.ID, r.Outcome, r.TextUse = x.ID, Updated, TextUse{rec.Tokens, rec.Truncated}
	if err := x.apply(&rec.Paper); err != nil {
		return &Error{Kind: Invalid, Field: field + ".paper.metadata", Message: err.Error(), Err: err}
	}
	if _, same := old.Same(&rec.Paper); same {
		r.Outcome = Unchanged
		return nil
	}
	if err := u.c.checkExpires(field+".paper.expires", &rec.Paper); err != nil {
		return err
	}
	if err := u.c.checkPaper(field+".paper", &rec.Paper); err != nil {
		return err
	}
	u.writes[i] = store.Write{Record: rec, Keep: old.Ordinal, Was: old}
	u.state[i].sameWords = true
	return nil
}

// apply sets the fields that the mask names. The error is about the metadata.
func (x *MetadataUpdate) apply(p *Paper) error {
	var members, from map[string]json.RawMessage // of the metadata, where one of them changes
	had := 0
	for _, path := range x.Mask {
		switch path {
		case "authors":
			p.Authors = x.Paper.Authors
		case "year":
			p.Year = x.Paper.Year
		case "venue":
			p.Venue = x.Paper.Venue
		case "doi":
			p.DOI = x.Paper.DOI
		case "arxiv_id":
			p.ArxivID = x.Paper.ArxivID
		case "url":
			p.URL = x.Paper.URL
		case "expires":
			p.Expires = x.Paper.Expires.UTC().Round(0)
		case "metadata":
			p.Metadata = x.Paper.Metadata
		default:
			if members == nil {
				var err error
				if members, err = membersOf(p.Metadata); err != nil {
					return err
				}
				had = len(members)
				if from, err = membersOf(x.Paper.Metadata); err != nil {
					return err
				}
			}
			if err := setMember(members, from, strings.TrimPrefix(path, memberPrefix)); err != nil {
				return err
			}
		}
	}
	if members == nil {
		return nil
	}
	if len(members) == 0 {
		if had > 0 {
			p.Metadata = nil
		}
		return nil
	}
	text, err := encodeJSON(members)
	p.Metadata = text
	return err
}

// setMember gives a member the value that it has in from, or takes it away where it has none there. A name with points is a member of that name, where
// there is one here or there, and otherwise one of a member that is an object, as it is in a filter.
func setMember(members, from map[string]json.RawMessage, name string) error {
	value, given := from[name]
	outer, inner, dotted := strings.Cut(name, ".")
	_, here := members[name]
	if !dotted || here {
		assign(members, name, value, given)
		return nil
	}
	within, err := objectOf(members[outer])
	if err != nil {
		return err
	}
	theirs, err := objectOf(from[outer])
	if err != nil {
		return err
	}
	if within == nil && (given || theirs == nil) {
		assign(members, name, value, given)
		return nil
	}
	if within == nil {
		within = map[string]json.RawMessage{}
	}
	if given {
		theirs = map[string]json.RawMessage{inner: value}
	}
	if err := setMember(within, theirs, inner); err != nil {
		return err
	}
	text, err := encodeJSON(within)
	assign(members, outer, text, len(within) > 0)
	return err
}

// assign sets a member, or takes it away.
func assign(members map[string]json.RawMessage, name string, value json.RawMessage, there bool) {
	if there {
		members[name] = value
	} else {
		delete(members, name)
	}
}

// objectOf are the members of a value that is an object, nil of another one.
func objectOf(value json.RawMessage) (map[string]json.RawMessage, error) {
	if value = bytes.TrimSpace(value); len(value) == 0 || value[0] != '{' {
		return nil, nil
	}
	return membersOf(value)
}

// encodeJSON is json.Marshal that leaves <, > and & as they are.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// membersOf are those of a JSON object; of nothing, none.
func membersOf(object json.RawMessage) (map[string]json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	if len(object) == 0 {
		return members, nil
	}
	err := json.Unmarshal(object, &members)
	return members, err
}
