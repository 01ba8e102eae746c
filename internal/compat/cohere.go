package compat

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// cohere is the dialect of Cohere's API.
var cohere = &dialect{body: func(f *failure) any {
	return struct {
		Message string `json:"message"`
	}{f.text()}
}}

// cohereNames are what members are called.
var cohereNames = renamer(map[string]string{"texts": "documents", "reranker": "model"})

// document is one of a request: a text, or an object with one.
type document struct {
	text string
	// whole is the object.
	whole json.RawMessage
}

// documentsIn reads the documents of a request.
func documentsIn(raw []json.RawMessage) ([]document, *failure) {
	out := make([]document, len(raw))
	for i, item := range raw {
		at := fmt.Sprintf("documents[%d]", i)
		switch item[0] {
		case '"':
			if err := json.Unmarshal(item, &out[i].text); err != nil {
				return nil, unread(err)
			}
		case '{':
			var object struct {
				Text *string `json:"text"`
			}
			if err := json.Unmarshal(item, &object); err != nil {
				f := unread(err)
				f.field = at + ".text"
				return nil, f
			}
			if object.Text == nil {
				return nil, wrong(at+".text", "is missing")
			}
			out[i] = document{*object.Text, item}
		default:
			return nil, wrong(at, "must be a string, or an object with a text")
		}
	}
	return out, nil
}

// rerankV1 answers POST /v1/rerank, rerankV2 POST /v2/rerank.
func (c *rooms) rerankV1(r *http.Request) (any, *failure) { return c.rerankAs("1", r) }
func (c *rooms) rerankV2(r *http.Request) (any, *failure) { return c.rerankAs("2", r) }

func (c *rooms) rerankAs(version string, r *http.Request) (any, *failure) {
	var req struct {
		Model           string            `json:"model"`
		Query           *string           `json:"query"`
		Documents       []json.RawMessage `json:"documents"`
		TopN            *int              `json:"top_n"`
		ReturnDocuments bool              `json:"return_documents"`
		RankFields      []string          `json:"rank_fields"`
		// The bounds of what is read are the model's own; these are passed over, with a warning.
		MaxTokens *int `json:"max_tokens_per_doc"`
		MaxChunks *int `json:"max_chunks_per_doc"`
	}
	if f := read(r, &req); f != nil {
		return nil, f
	}
	switch {
	case req.Query == nil:
		return nil, wrong("query", "is missing")
	case req.Documents == nil:
		return nil, wrong("documents", "is missing; give an array of strings, or of objects with a text")
	case req.TopN != nil && *req.TopN < 1:
		return nil, wrong("top_n", "is %d; must be 1 or more", *req.TopN)
	case len(req.RankFields) > 1 || len(req.RankFields) == 1 && req.RankFields[0] != "text":
		return nil, wrong("rank_fields", "can be text alone")
	}
	documents, f := documentsIn(req.Documents)
	if f != nil {
		return nil, f
	}
	ask := &embeddv1.RerankRequest{Query: *req.Query, Texts: make([]string, len(documents)), Reranker: req.Model}
	for i, d := range documents {
		ask.Texts[i] = d.text
	}
	res, err := c.search.Rerank(r.Context(), ask)
	if err != nil {
		f := failed(err, cohereNames)
		if f.field == "model" || status.Code(err) == codes.FailedPrecondition {
			f.status = http.StatusNotFound // their word for a model that there is not
		}
		return nil, f
	}
	type result struct {
		Index    int32           `json:"index"`
		Score    float32         `json:"relevance_score"`
		Document json.RawMessage `json:"document,omitempty"`
	}
	type meta struct {
		APIVersion map[string]string `json:"api_version"`
		Warnings   []string          `json:"warnings,omitempty"`
	}
	out := struct {
		ID      string   `json:"id"`
		Results []result `json:"results"`
		Meta    meta     `json:"meta"`
	}{ID: newID(), Results: []result{}, Meta: meta{APIVersion: map[string]string{"version": version}}}
	for _, s := range res.GetScores() {
		if use := s.GetTextUse(); use.GetTruncated() {
			out.Meta.Warnings = append(out.Meta.Warnings, fmt.Sprintf("documents[%d] was cut: it has %d tokens together with the query, more than the model reads", s.GetIndex(), use.GetTokenCount()))
		}
		if req.TopN != nil && len(out.Results) == *req.TopN {
			continue
		}
		one := result{Index: s.GetIndex(), Score: s.GetScore()}
		if d := documents[s.GetIndex()]; req.ReturnDocuments {
			if one.Document = d.whole; d.whole == nil {
				if one.Document, err = json.Marshal(map[string]string{"text": d.text}); err != nil { // a text is one
					return nil, failed(err, nil)
				}
			}
			one.Document = bytes.TrimSpace(one.Document)
		}
		out.Results = append(out.Results, one)
	}
	if req.MaxTokens != nil || req.MaxChunks != nil {
		out.Meta.Warnings = append(out.Meta.Warnings, "max_tokens_per_doc and max_chunks_per_doc are passed over: a document is read as far as the model reads")
	}
	return out, nil
}

// newID is a random id in the form of a UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
