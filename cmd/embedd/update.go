package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	embeddv1 "embedd/proto/embedd/v1"
)

type updateCmd struct {
	ID    string   `arg:"" optional:"" help:"Id of the paper."`
	Set   []string `help:"A field and its new value, as year=2020 or metadata.venue_type=journal; a value that is JSON is taken as such." placeholder:"FIELD=VALUE" sep:"none" env:"-"`
	Unset []string `help:"A field to take away." placeholder:"FIELD" sep:"none" env:"-"`
	File  string   `help:"Instead of an id: a JSONL file of updates, or - for standard input." placeholder:"FILE" env:"-"`

	outputFlags
	clientFlags
}

func (updateCmd) Help() string {
	return `Fields are authors, year, venue, doi, arxiv_id, url, expires, metadata, and metadata.NAME for one member of it. Title and abstract stay, and nothing
is encoded. A line of a file is an object with the id and the new values; null takes a field away:
  {"id": "ARXIV:1908.10084", "year": 2020, "metadata.venue_type": "journal", "doi": null}
Updates are made a thousand at a time, all of these or none.

Example:
  embedd update ARXIV:1908.10084 --set year=2019 --set metadata.venue_type=conference --unset url`
}

func (c *updateCmd) Run(e *env) (err error) {
	switch {
	case (c.ID == "") == (c.File == ""):
		return errors.New("give the id of a paper, or --file")
	case c.File != "" && len(c.Set)+len(c.Unset) > 0:
		return errors.New("--set, --unset: are about the paper whose id is given; the lines of --file say what changes")
	case c.ID != "" && len(c.Set)+len(c.Unset) == 0:
		return errors.New("nothing says what changes; give --set or --unset")
	}
	next := c.one()
	if c.File != "" {
		in := e.stdin
		if c.File != "-" {
			f, err := os.Open(c.File)
			if err != nil {
				return err
			}
			defer finish(&err, f.Close)
			in = f
		}
		next = updatesOf(in, c.File)
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	return c.send(e, cl, next)
}

// updatesPerCall is the most updates of one call.
const updatesPerCall = 1000

// send sends the updates that next gives until io.EOF.
func (c *updateCmd) send(e *env, cl *client, next func() (*embeddv1.MetadataUpdate, error)) error {
	all := &embeddv1.UpdateMetadataResponse{}
	for over := false; !over; {
		req := &embeddv1.UpdateMetadataRequest{}
		for len(req.GetUpdates()) < updatesPerCall {
			u, err := next()
			if errors.Is(err, io.EOF) {
				over = true
				break
			}
			if err != nil {
				return err
			}
			req.Updates = append(req.Updates, u)
		}
		if len(req.GetUpdates()) == 0 {
			break
		}
		res, err := cl.papers.UpdateMetadata(e.ctx, req)
		if err != nil {
			if n := len(all.GetResults()); n > 0 {
				fmt.Fprintf(e.stderr, "embedd: %d updates were made before\n", n)
			}
			return err
		}
		all.Results, all.IndexVersion = append(all.Results, res.GetResults()...), res.GetIndexVersion()
	}
	if c.JSON {
		return printMessage(e.stdout, all)
	}
	updated := 0
	for _, r := range all.GetResults() {
		if r.GetOutcome() == embeddv1.UpsertOutcome_UPSERT_OUTCOME_UPDATED {
			updated++
		}
	}
	_, err := fmt.Fprintf(e.stdout, "%d updated, %d unchanged\n", updated, len(all.GetResults())-updated)
	return err
}

// one gives the update of the flags.
func (c *updateCmd) one() func() (*embeddv1.MetadataUpdate, error) {
	done := false
	return func() (*embeddv1.MetadataUpdate, error) {
		if done {
			return nil, io.EOF
		}
		done = true
		values := map[string]json.RawMessage{}
		for _, set := range c.Set {
			field, value, ok := strings.Cut(set, "=")
			if !ok {
				return nil, fmt.Errorf("--set: %q has no =; it is FIELD=VALUE", set)
			}
			if _, twice := values[field]; twice {
				return nil, fmt.Errorf("--set: %s is given twice; a list is written as %s='[\"a\", \"b\"]'", field, field)
			}
			values[field] = valueOf(field, value)
		}
		for _, field := range c.Unset {
			if _, twice := values[field]; twice {
				return nil, fmt.Errorf("--unset: %s is given twice", field)
			}
			values[field] = json.RawMessage("null")
		}
		u, err := updateOf(c.ID, values)
		if err != nil {
			return nil, fmt.Errorf("--set, --unset: %w", err)
		}
		return u, nil
	}
}

// valueOf is what a flag says of a field: JSON, or otherwise a text. Fields that are texts are taken as they are.
func valueOf(field, value string) json.RawMessage {
	switch field {
	case "venue", "doi", "arxiv_id", "url", "expires":
	default:
		if json.Valid([]byte(value)) {
			return json.RawMessage(value)
		}
		if field == "authors" {
			value = "[" + strconv.Quote(value) + "]"
			if json.Valid([]byte(value)) {
				return json.RawMessage(value)
			}
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return json.RawMessage("null") // a string can be marshalled
	}
	return text
}

// fieldForms are the fields of a paper that an update changes, and what a value of each looks like. Of title and abstract the server says that it
// does not change them.
var fieldForms = map[string]string{
	"authors": `a list of texts, as ["A. Author", "B. Author"]`, "year": "a whole number", "venue": "a text", "doi": "a text", "arxiv_id": "a text",
	"url": "a text", "expires": "a time, as 2030-12-31T23:59:59Z", "metadata": `an object, as {"read": true}`, "title": "a text", "abstract": "a text",
}

// checkNames refuses a field that a paper does not have.
func checkNames(values map[string]json.RawMessage) error {
	for _, field := range slices.Sorted(maps.Keys(values)) {
		if name, ok := strings.CutPrefix(field, "metadata."); ok && name != "" {
			continue
		}
		if _, ok := fieldForms[field]; !ok {
			return fmt.Errorf("a paper has no field %s; what is not authors, year, venue, doi, arxiv_id, url or expires is metadata, and is written metadata.%s", printable(field), printable(field))
		}
	}
	return nil
}

// wrongValue says which of some fields has a value that it cannot have, as decoding all of them has ended with err.
func wrongValue(fields map[string]json.RawMessage, err error) error {
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		one, failed := json.Marshal(map[string]json.RawMessage{field: fields[field]})
		if failed != nil || protojson.Unmarshal(one, &embeddv1.Paper{}) != nil {
			return fmt.Errorf("%s: is %s; must be %s", field, printable(firstRunes(string(fields[field]), 60)), fieldForms[field])
		}
	}
	return err
}

// updateOf puts an update into the words of the wire.
func updateOf(id string, values map[string]json.RawMessage) (*embeddv1.MetadataUpdate, error) {
	if err := checkNames(values); err != nil {
		return nil, err
	}
	paper, members := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	u := &embeddv1.MetadataUpdate{Id: id, Paper: &embeddv1.Paper{}, UpdateMask: &fieldmaskpb.FieldMask{}}
	for _, field := range slices.Sorted(maps.Keys(values)) {
		u.UpdateMask.Paths = append(u.UpdateMask.Paths, field)
		value := values[field]
		if string(value) == "null" {
			continue
		}
		if name, ok := strings.CutPrefix(field, "metadata."); ok {
			members[name] = value
		} else {
			paper[field] = value
		}
	}
	if len(members) > 0 {
		if _, both := paper["metadata"]; both {
			return nil, errors.New("metadata and members of it are given; give one of them")
		}
		text, err := json.Marshal(members)
		if err != nil {
			return nil, err
		}
		paper["metadata"] = text
	}
	text, err := json.Marshal(paper)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(text, u.Paper); err != nil {
		return nil, wrongValue(paper, err)
	}
	return u, nil
}

// maxUpdateLine is the longest line of a file of updates.
const maxUpdateLine = 16 << 20

// updatesOf reads updates, one a line.
func updatesOf(in io.Reader, name string) func() (*embeddv1.MetadataUpdate, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxUpdateLine)
	n := 0
	return func() (*embeddv1.MetadataUpdate, error) {
		for lines.Scan() {
			n++
			if strings.TrimSpace(lines.Text()) == "" {
				continue
			}
			u, err := updateLine(lines.Bytes())
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
			return u, nil
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n+1, err)
		}
		return nil, io.EOF
	}
}

func updateLine(line []byte) (*embeddv1.MetadataUpdate, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(line, &values); err != nil {
		return nil, err
	}
	var id string
	if err := json.Unmarshal(values["id"], &id); err != nil || id == "" {
		return nil, errors.New("id: is missing, or no text")
	}
	delete(values, "id")
	if len(values) == 0 {
		return nil, errors.New("has no field but the id; there is nothing to change")
	}
	return updateOf(id, values)
}
