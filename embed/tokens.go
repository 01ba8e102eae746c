package embed

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"embedd/models"
)

// Tokens are what the model reads of a text.
type Tokens struct {
	// IDs are those that the graph gets, at most the model's MaxTokens, prompt and special tokens included. They must not be changed.
	IDs []uint32
	// Names are the tokens as the vocabulary has them, one for each of IDs.
	Names []string
	// Total and Truncated are an Encoding's Tokens and Truncated.
	Total     int
	Truncated bool
}

// Tokenize gives what Encode reads of each text in a role, in order, and under its rules: a *TextError names the text. It takes no place in a
// lane.
func (e *Encoder) Tokenize(ctx context.Context, role Role, texts []string) ([]Tokens, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	names, err := e.names.get()
	if err != nil {
		return nil, err
	}
	out := make([]Tokens, len(texts))
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := checkText(text); err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		ids, total, err := e.tokenize(e.prompt(role)+text, role)
		if err != nil {
			return nil, &TextError{Index: i, Err: err}
		}
		out[i] = Tokens{IDs: ids, Names: make([]string, len(ids)), Total: total, Truncated: total > e.manifest.MaxTokens}
		for j, id := range ids {
			name, ok := names[id]
			if !ok {
				return nil, &TextError{Index: i, Err: fmt.Errorf("tokenizer: the vocabulary has no token %d", id)}
			}
			out[i].Names[j] = name
		}
	}
	return out, nil
}

// vocabulary has the tokens' names by id. They take some MiB, and are read from the model's file, whose hash is the manifest's, when they are
// asked for.
type vocabulary struct {
	model *models.Model

	mu  sync.Mutex
	all map[uint32]string
}

func (v *vocabulary) get() (map[uint32]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all == nil {
		data, err := v.model.ReadFile(v.model.Files.Tokenizer)
		if err != nil {
			return nil, err
		}
		if v.all, err = readVocabulary(data); err != nil {
			return nil, fmt.Errorf("tokenizer: %w", err)
		}
	}
	return v.all, nil
}

// readVocabulary gives the names of a tokenizer.json: WordPiece, BPE and WordLevel have a map of ids, Unigram a list of pairs; added tokens go
// before both.
func readVocabulary(data []byte) (map[uint32]string, error) {
	var file struct {
		AddedTokens []struct {
			ID      uint32
			Content string
		} `json:"added_tokens"`
		Model struct {
			Type  string
			Vocab json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	names := map[uint32]string{}
	if file.Model.Type == "Unigram" {
		var list [][2]json.RawMessage
		if err := json.Unmarshal(file.Model.Vocab, &list); err != nil {
			return nil, err
		}
		for id, pair := range list {
			var name string
			if err := json.Unmarshal(pair[0], &name); err != nil {
				return nil, err
			}
			names[uint32(id)] = name
		}
	} else {
		var ids map[string]uint32
		if err := json.Unmarshal(file.Model.Vocab, &ids); err != nil {
			return nil, err
		}
		for name, id := range ids {
			names[id] = name
		}
	}
	for _, a := range file.AddedTokens {
		names[a.ID] = a.Content
	}
	return names, nil
}
