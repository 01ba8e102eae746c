package compat

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

// What text-embeddings-inference calls failures, where the status does not say.
const (
	emptyInput = "Empty"
	noReranker = "Backend"
)

// inference is the dialect of Hugging Face's text-embeddings-inference.
var inference = &dialect{body: func(f *failure) any {
	kind := f.kind
	switch f.status {
	case http.StatusBadRequest:
		if kind == emptyInput {
			break
		}
		if kind == noReranker {
			f.status = http.StatusFailedDependency
			break
		}
		kind, f.status = "Validation", http.StatusUnprocessableEntity
	case http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusNotFound:
		kind = "Validation"
	case http.StatusTooManyRequests:
		kind = "Overloaded"
	case http.StatusServiceUnavailable:
		kind = "Unhealthy"
	case http.StatusUnauthorized, http.StatusForbidden:
		kind = "Unauthorized"
	default:
		kind = "Backend"
	}
	return struct {
		Error string `json:"error"`
		Type  string `json:"error_type"`
	}{f.text(), kind}
}}

// reading is how texts are to be read.
type reading struct {
	// Truncate cuts texts that are too long; otherwise they are refused.
	Truncate *bool `json:"truncate"`
	// TruncationDirection can be right alone.
	TruncationDirection string `json:"truncation_direction"`
	// PromptName is query or document.
	PromptName *string `json:"prompt_name"`
}

// role is the one that the name of a prompt stands for. in is where the name is.
func (o *reading) role(in string) (embeddv1.Role, *failure) {
	if o.TruncationDirection != "" && !strings.EqualFold(o.TruncationDirection, "right") {
		return 0, wrong(in+"truncation_direction", "is %.40q; texts are cut at their ends: Right", o.TruncationDirection)
	}
	if o.PromptName == nil {
		return embeddv1.Role_ROLE_UNSPECIFIED, nil
	}
	switch *o.PromptName {
	case "query":
		return embeddv1.Role_ROLE_QUERY, nil
	case "document", "passage":
		return embeddv1.Role_ROLE_DOCUMENT, nil
	}
	return 0, wrong(in+"prompt_name", "is %.40q; must be query or document", *o.PromptName)
}

// cut tells whether texts that are too long are to be cut.
func (o *reading) cut() bool { return o.Truncate != nil && *o.Truncate }

// tooLong refuses a text of which not all was read.
func tooLong(field string, use *embeddv1.TextUse) *failure {
	return wrong(field, "has %d tokens, more than the model reads; shorten it, or send \"truncate\": true", use.GetTokenCount())
}

// empty refuses no texts, and a blank one, as text-embeddings-inference does.
func empty(names func(string) string, texts []string) *failure {
	if len(texts) == 0 {
		return &failure{status: http.StatusBadRequest, field: names("texts"), message: "cannot be empty", kind: emptyInput}
	}
	if i := slices.IndexFunc(texts, func(text string) bool { return strings.TrimSpace(text) == "" }); i >= 0 {
		return &failure{status: http.StatusBadRequest, field: names(fmt.Sprintf("texts[%d]", i)), message: "cannot be empty", kind: emptyInput}
	}
	return nil
}

// inputNames are what members of requests with inputs are called.
var inputNames = renamer(map[string]string{"texts": "inputs", "dimension": "dimensions"})

// vectors encodes texts, and refuses those that are too long, unless they are to be cut. names are what the members of the request are called.
func (c *rooms) vectors(ctx context.Context, ask *embeddv1.EncodeRequest, cut bool, names func(string) string) ([]*embeddv1.Encoding, *failure) {
	if f := empty(names, ask.GetTexts()); f != nil {
		return nil, f
	}
	res, err := c.encode.Encode(ctx, ask)
	if err != nil {
		return nil, failed(err, names)
	}
	for i, e := range res.GetEncodings() {
		if use := e.GetTextUse(); use.GetTruncated() && !cut {
			return nil, tooLong(names(fmt.Sprintf("texts[%d]", i)), use)
		}
	}
	return res.GetEncodings(), nil
}

// embed answers POST /embed.
func (c *rooms) embed(r *http.Request) (any, *failure) {
	var req struct {
		Inputs     json.RawMessage `json:"inputs"`
		Normalize  *bool           `json:"normalize"`
		Dimensions *int            `json:"dimensions"`
		// Of reading: package json would call them by the name of that.
		Truncate            *bool   `json:"truncate"`
		TruncationDirection string  `json:"truncation_direction"`
		PromptName          *string `json:"prompt_name"`
	}
	if f := read(r, &req); f != nil {
		return nil, f
	}
	texts, one, f := textsIn("inputs", req.Inputs)
	if f != nil {
		return nil, f
	}
	names := inputNames
	if one {
		names = ofOne(names, "inputs")
	}
	if req.Normalize != nil && !*req.Normalize {
		return nil, wrong("normalize", "is false; vectors have norm 1 here, always")
	}
	ask := &embeddv1.EncodeRequest{Texts: texts}
	how := reading{req.Truncate, req.TruncationDirection, req.PromptName}
	if ask.Role, f = how.role(""); f != nil {
		return nil, f
	}
	if ask.Dimension, f = dimensionOf(req.Dimensions); f != nil {
		return nil, f
	}
	encodings, f := c.vectors(r.Context(), ask, how.cut(), names)
	if f != nil {
		return nil, f
	}
	out := make([][]float32, len(encodings))
	for i, e := range encodings {
		out[i] = e.GetVector().GetValues()
	}
	return out, nil
}

// similarity answers POST /similarity.
func (c *rooms) similarity(r *http.Request) (any, *failure) {
	var req struct {
		Inputs *struct {
			Source    *string  `json:"source_sentence"`
			Sentences []string `json:"sentences"`
		} `json:"inputs"`
		Parameters reading `json:"parameters"`
	}
	if f := read(r, &req); f != nil {
		return nil, f
	}
	switch {
	case req.Inputs == nil:
		return nil, wrong("inputs", "is missing; give an object with source_sentence and sentences")
	case req.Inputs.Source == nil:
		return nil, wrong("inputs.source_sentence", "is missing")
	case len(req.Inputs.Sentences) == 0:
		return nil, &failure{status: http.StatusBadRequest, field: "inputs.sentences", message: "cannot be empty", kind: emptyInput}
	}
	role, f := req.Parameters.role("parameters.")
	if f != nil {
		return nil, f
	}
	names := func(field string) string {
		var i int
		switch n, _ := fmt.Sscanf(field, "texts[%d]", &i); {
		case n == 0 && field == "texts":
			return "inputs.sentences"
		case n == 0:
			return field
		case i == 0:
			return "inputs.source_sentence"
		}
		return fmt.Sprintf("inputs.sentences[%d]", i-1)
	}
	encodings, f := c.vectors(r.Context(), &embeddv1.EncodeRequest{Texts: append([]string{*req.Inputs.Source}, req.Inputs.Sentences...), Role: role}, req.Parameters.cut(), names)
	if f != nil {
		return nil, f
	}
	out := make([]float32, len(encodings)-1)
	source := encodings[0].GetVector().GetValues()
	for i, e := range encodings[1:] {
		var dot float64 // of norm 1, both
		for j, x := range e.GetVector().GetValues() {
			dot += float64(x) * float64(source[j])
		}
		out[i] = float32(min(1, max(-1, dot)))
	}
	return out, nil
}

// unreadLogit stands for the logit of a text of which the cross-encoder knows no word: less than any that it gives, and a number.
const unreadLogit = -100

// rerank answers POST /rerank.
func (c *rooms) rerank(r *http.Request) (any, *failure) {
	var req struct {
		Query *string  `json:"query"`
		Texts []string `json:"texts"`
		Raw   bool     `json:"raw_scores"`
		Text  bool     `json:"return_text"`
		// Of reading, without prompts.
		Truncate            *bool  `json:"truncate"`
		TruncationDirection string `json:"truncation_direction"`
	}
	if f := read(r, &req); f != nil {
		return nil, f
	}
	how := reading{Truncate: req.Truncate, TruncationDirection: req.TruncationDirection}
	if _, f := how.role(""); f != nil {
		return nil, f
	}
	if req.Query == nil {
		return nil, wrong("query", "is missing")
	}
	same := func(field string) string { return field }
	if f := empty(same, req.Texts); f != nil {
		return nil, f
	}
	if strings.TrimSpace(*req.Query) == "" {
		return nil, &failure{status: http.StatusBadRequest, field: "query", message: "cannot be empty", kind: emptyInput}
	}
	res, err := c.search.Rerank(r.Context(), &embeddv1.RerankRequest{Query: *req.Query, Texts: req.Texts})
	if err != nil {
		f := failed(err, same)
		if status.Code(err) == codes.FailedPrecondition {
			f.kind = noReranker
		}
		return nil, f
	}
	type rank struct {
		Index int32   `json:"index"`
		Text  *string `json:"text,omitempty"`
		Score float32 `json:"score"`
	}
	out := make([]rank, len(res.GetScores()))
	for i, s := range res.GetScores() {
		if use := s.GetTextUse(); use.GetTruncated() && !how.cut() {
			return nil, wrong(fmt.Sprintf("texts[%d]", s.GetIndex()), "has %d tokens together with the query, more than the model reads; shorten it, or send \"truncate\": true", use.GetTokenCount())
		}
		out[i] = rank{Index: s.GetIndex(), Score: s.GetScore()}
		if req.Raw {
			if out[i].Score = unreadLogit; s.Logit != nil {
				out[i].Score = s.GetLogit()
			}
		}
		if req.Text {
			out[i].Text = &req.Texts[s.GetIndex()]
		}
	}
	return out, nil
}

// specials are the tokens that models put before and behind texts.
var specials = []string{"[CLS]", "[SEP]", "[PAD]", "<s>", "</s>", "<pad>", "<cls>", "<sep>", "<bos>", "<eos>"}

// tokenize answers POST /tokenize.
func (c *rooms) tokenize(r *http.Request) (any, *failure) {
	var req struct {
		Inputs     json.RawMessage `json:"inputs"`
		Special    *bool           `json:"add_special_tokens"`
		PromptName *string         `json:"prompt_name"`
	}
	if f := read(r, &req); f != nil {
		return nil, f
	}
	texts, one, f := textsIn("inputs", req.Inputs)
	if f != nil {
		return nil, f
	}
	names := inputNames
	if one {
		names = ofOne(names, "inputs")
	}
	if f := empty(names, texts); f != nil {
		return nil, f
	}
	how := reading{PromptName: req.PromptName}
	role, f := how.role("")
	if f != nil {
		return nil, f
	}
	res, err := c.encode.Tokenize(r.Context(), &embeddv1.TokenizeRequest{Texts: texts, Role: role})
	if err != nil {
		return nil, failed(err, names)
	}
	type token struct {
		ID      uint32 `json:"id"`
		Text    string `json:"text"`
		Special bool   `json:"special"`
		Start   *int   `json:"start"`
		Stop    *int   `json:"stop"`
	}
	out := make([][]token, len(res.GetTexts()))
	for i, t := range res.GetTexts() {
		if t.GetTextUse().GetTruncated() {
			return nil, wrong(names(fmt.Sprintf("texts[%d]", i)), "has %d tokens, more than the model reads; shorten it", t.GetTextUse().GetTokenCount())
		}
		all := t.GetTokens()
		begin, end := 0, len(all)
		for begin < end && slices.Contains(specials, all[begin]) {
			begin++
		}
		for end > begin && slices.Contains(specials, all[end-1]) {
			end--
		}
		out[i] = make([]token, 0, len(all))
		for j, text := range all {
			special := j < begin || j >= end
			if !special || req.Special == nil || *req.Special {
				out[i] = append(out[i], token{ID: t.GetIds()[j], Text: text, Special: special})
			}
		}
	}
	return out, nil
}

// about answers GET /info.
func (c *rooms) about(r *http.Request) (any, *failure) {
	res, err := c.info.GetInfo(r.Context(), &embeddv1.GetInfoRequest{})
	if err != nil {
		return nil, failed(err, nil)
	}
	m := res.GetModel()
	atOnce := int32(0)
	for _, class := range res.GetLimits().GetClasses() {
		if class.GetClass() == embeddv1.Class_CLASS_ENCODE {
			atOnce = class.GetRunning() + class.GetWaiting()
		}
	}
	type embedding struct {
		Pooling string `json:"pooling"`
	}
	return struct {
		ModelID     string               `json:"model_id"`
		ModelSHA    string               `json:"model_sha"`
		DType       string               `json:"model_dtype"`
		Served      string               `json:"served_model_name"`
		Type        map[string]embedding `json:"model_type"`
		Concurrent  int32                `json:"max_concurrent_requests"`
		InputLength int32                `json:"max_input_length"`
		ClientBatch int32                `json:"max_client_batch_size"`
		Truncate    bool                 `json:"auto_truncate"`
		Version     string               `json:"version"`
		SHA         *string              `json:"sha"`
		Docker      *string              `json:"docker_label"`
	}{
		ModelID: m.GetId(), ModelSHA: m.GetFingerprint(), DType: m.GetPrecision(), Served: m.GetId(), Type: map[string]embedding{"embedding": {m.GetPooling()}},
		Concurrent: atOnce, InputLength: m.GetMaxTokens(), ClientBatch: res.GetLimits().GetTextsPerCall(), Version: res.GetVersion(),
	}, nil
}

// healthy answers GET /health, for which no key is needed.
func (c *rooms) healthy(r *http.Request) (any, *failure) {
	res, err := c.health.Check(r.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return nil, failed(err, nil)
	}
	if res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return nil, &failure{status: http.StatusServiceUnavailable, message: "the server is starting or stopping; try again"}
	}
	return nil, nil
}
