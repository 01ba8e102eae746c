package compat

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// openAI is the dialect of OpenAI's API.
var openAI = &dialect{body: func(f *failure) any {
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	b := body{Message: f.text(), Type: "invalid_request_error"}
	code := f.kind
	switch {
	case f.status == http.StatusUnauthorized:
		code = "invalid_api_key"
	case f.status == http.StatusForbidden:
		b.Type = "permission_error"
	case f.status == http.StatusTooManyRequests:
		b.Type, code = "requests", "rate_limit_exceeded"
	case f.status >= 500:
		b.Type = "server_error"
	case f.kind == unknownMember:
		b.Message, code = "Unrecognized request argument supplied: "+f.field, ""
		f.field = ""
	}
	if f.field != "" {
		b.Param = &f.field
	}
	if code != "" {
		b.Code = &code
	}
	return map[string]body{"error": b}
}}

// anyModel is a name by which the encoder is asked for, whatever it is.
const anyModel = "embedd"

// embeddingsRequest is the body of POST /v1/embeddings.
type embeddingsRequest struct {
	Model          string          `json:"model"`
	Input          json.RawMessage `json:"input"`
	EncodingFormat string          `json:"encoding_format"`
	Dimensions     *int            `json:"dimensions"`
	// User is passed over.
	User string `json:"user"`
	// InputType and Truncate are ours: query or document; cut what is too long.
	InputType string `json:"input_type"`
	Truncate  bool   `json:"truncate"`
}

// openAINames are what members are called.
var openAINames = renamer(map[string]string{"texts": "input", "dimension": "dimensions"})

// embeddings answers POST /v1/embeddings.
func (c *rooms) embeddings(r *http.Request) (any, *failure) {
	var req embeddingsRequest
	if f := read(r, &req); f != nil {
		return nil, f
	}
	texts, one, f := textsIn("input", req.Input)
	if f != nil {
		return nil, f
	}
	names := openAINames
	if one {
		names = ofOne(names, "input")
	}
	ask := &embeddv1.EncodeRequest{Texts: texts}
	switch req.EncodingFormat {
	case "", "float":
	case "base64":
		ask.Packed = true // as bytes, little-endian, which is what is wanted
	default:
		return nil, wrong("encoding_format", "is %.40q; must be float or base64", req.EncodingFormat)
	}
	switch req.InputType {
	case "":
	case "query":
		ask.Role = embeddv1.Role_ROLE_QUERY
	case "document":
		ask.Role = embeddv1.Role_ROLE_DOCUMENT
	default:
		return nil, wrong("input_type", "is %.40q; must be query or document", req.InputType)
	}
	if ask.Dimension, f = dimensionOf(req.Dimensions); f != nil {
		return nil, f
	}
	if req.Model == "" {
		return nil, wrong("model", "is missing; give the id of the server's model, which GET /v1/models tells, or %s", anyModel)
	}
	if f := c.checkModel(r.Context(), req.Model, texts); f != nil {
		return nil, f
	}
	res, err := c.encode.Encode(r.Context(), ask)
	if err != nil {
		return nil, failed(err, names)
	}
	if f := c.heard(req.Model, res.GetModel()); f != nil {
		return nil, f
	}
	type embedding struct {
		Object    string `json:"object"`
		Index     int    `json:"index"`
		Embedding any    `json:"embedding"`
	}
	type usage struct {
		PromptTokens int64 `json:"prompt_tokens"`
		TotalTokens  int64 `json:"total_tokens"`
	}
	out := struct {
		Object string      `json:"object"`
		Data   []embedding `json:"data"`
		Model  string      `json:"model"`
		Usage  usage       `json:"usage"`
	}{Object: "list", Model: res.GetModel(), Data: make([]embedding, len(res.GetEncodings()))}
	for i, e := range res.GetEncodings() {
		if use := e.GetTextUse(); use.GetTruncated() && !req.Truncate {
			f := wrong(names(fmt.Sprintf("texts[%d]", i)), "has %d tokens, more than the model reads; shorten it, or send \"truncate\": true", use.GetTokenCount())
			f.kind = "context_length_exceeded"
			return nil, f
		}
		var v any = e.GetVector().GetValues()
		if ask.GetPacked() {
			v = base64.StdEncoding.EncodeToString(e.GetPacked().GetValues())
		}
		out.Data[i] = embedding{"embedding", i, v}
		out.Usage.PromptTokens += int64(e.GetTextUse().GetTokenCount())
	}
	out.Usage.TotalTokens = out.Usage.PromptTokens
	return out, nil
}

// ofOne leaves the index out of the name of a text that is alone.
func ofOne(names func(string) string, alone string) func(string) string {
	return func(field string) string {
		if field == "texts[0]" {
			return alone
		}
		return names(field)
	}
}

// dimensionOf is the length that vectors are wanted in; 0 for their own.
func dimensionOf(n *int) (int32, *failure) {
	switch {
	case n == nil:
		return 0, nil
	case *n < 1 || *n > math.MaxInt32:
		return 0, wrong("dimensions", "is %d; must be 1 or more", *n)
	}
	return int32(*n), nil
}

// checkModel refuses a name that is not the encoder's. Where that is not the one that was heard last, the first text is encoded, which has the caller's
// key looked at, and says what the encoder is.
func (c *rooms) checkModel(ctx context.Context, asked string, texts []string) *failure {
	if last := c.model.Load(); asked == anyModel || last != nil && *last == asked || len(texts) == 0 {
		return nil
	}
	res, err := c.encode.Encode(ctx, &embeddv1.EncodeRequest{Texts: texts[:1]})
	if err != nil {
		return failed(err, openAINames)
	}
	return c.heard(asked, res.GetModel())
}

// heard keeps what the encoder is, and refuses another name.
func (c *rooms) heard(asked, is string) *failure {
	c.model.Store(&is)
	if asked == is || asked == anyModel {
		return nil
	}
	return &failure{status: http.StatusNotFound, field: "model", kind: "model_not_found", message: fmt.Sprintf("the model %.100q is not here; the server's is %q, which %s stands for too", asked, is, anyModel)}
}

// model is one of OpenAI's list.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// modelNow asks what the encoder is.
func (c *rooms) modelNow(ctx context.Context) (string, *failure) {
	res, err := c.info.GetInfo(ctx, &embeddv1.GetInfoRequest{})
	if err == nil {
		return res.GetModel().GetId(), nil
	}
	if status.Code(err) == codes.PermissionDenied { // a key with a filter may encode, and hears it then
		encoded, other := c.encode.Encode(ctx, &embeddv1.EncodeRequest{Texts: []string{"papers"}})
		if other == nil {
			return encoded.GetModel(), nil
		}
	}
	return "", failed(err, nil)
}

// models answers GET /v1/models.
func (c *rooms) models(r *http.Request) (any, *failure) {
	id, f := c.modelNow(r.Context())
	if f != nil {
		return nil, f
	}
	return struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", []model{{ID: id, Object: "model", OwnedBy: anyModel}}}, nil
}

// modelByID answers GET /v1/models/{id}.
func (c *rooms) modelByID(r *http.Request) (any, *failure) {
	id, f := c.modelNow(r.Context())
	if f != nil {
		return nil, f
	}
	if f := c.heard(r.PathValue("id"), id); f != nil {
		return nil, f
	}
	return model{ID: id, Object: "model", OwnedBy: anyModel}, nil
}
