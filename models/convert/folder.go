package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Pooling says how token vectors become one.
type Pooling string

// The poolings that a graph can express.
const (
	Mean Pooling = "mean" // over the tokens that the attention mask keeps
	CLS  Pooling = "cls"  // the first token
	Last Pooling = "last" // the last token that the attention mask keeps
	Max  Pooling = "max"  // in each dimension, over the tokens that the attention mask keeps
)

// Options say what a folder's files leave open.
type Options struct {
	// Pooling, where the folder has no 1_Pooling/config.json; else it must be "" or the folder's.
	Pooling Pooling
	// Layers keeps the first n layers; 0 keeps all.
	Layers int
	// Cosine accepts a model that was trained for another similarity than the cosine (similarity_fn_name).
	Cosine bool
}

// Network is a model read from a folder: its shape, its weights, and what sentence-transformers says of it.
type Network struct {
	// Architecture is the folder's model_type: bert, roberta, xlm-roberta or mpnet.
	Architecture string
	Pooling      Pooling
	Dimension    int
	Heads        int
	Layers       int // kept
	OfLayers     int // in the folder
	// MaxTokens is how many tokens the model reads, special tokens included.
	MaxTokens int
	// Prompts by name, from config_sentence_transformers.json.
	Prompts map[string]string

	epsilon    float32
	activation string
	words      []float32 // [vocabulary × dimension]
	vocabulary int
	positions  []float32 // [positions × dimension], from the first text token on
	types      []float32 // [types × dimension]
	pooler     *linear   // of a cross-encoder, with its classifier
	classifier *linear   // [dimension × 1]
	norm       layerNorm
	layers     []layer
	relative   []float32 // mpnet: [heads × positions × positions] bias of the attention scores
}

type layerNorm struct{ weight, bias []float32 }

// linear is y = x·w + b with w of shape [in × out], row-major.
type linear struct {
	in, out int
	w, b    []float32
}

type layer struct {
	qkv, o, i, d linear // o: attention output, i: intermediate, d: output
	norm1, norm2 layerNorm
}

// config is what is read of config.json. A field that would change the result and is not here must be refused in
// check.
type config struct {
	ModelType             string   `json:"model_type"`
	Architectures         []string `json:"architectures"`
	HiddenSize            int      `json:"hidden_size"`
	NumHiddenLayers       int      `json:"num_hidden_layers"`
	NumAttentionHeads     int      `json:"num_attention_heads"`
	IntermediateSize      int      `json:"intermediate_size"`
	HiddenAct             string   `json:"hidden_act"`
	LayerNormEps          float64  `json:"layer_norm_eps"`
	MaxPositionEmbeddings int      `json:"max_position_embeddings"`
	TypeVocabSize         int      `json:"type_vocab_size"`
	VocabSize             int      `json:"vocab_size"`
	PadTokenID            *int     `json:"pad_token_id"`
	PositionEmbeddingType string   `json:"position_embedding_type"`
	IsDecoder             bool     `json:"is_decoder"`
	AddCrossAttention     bool     `json:"add_cross_attention"`
	RelativeBuckets       int      `json:"relative_attention_num_buckets"`
	Quantization          any      `json:"quantization_config"`
	// Adapters would change every layer.
	Adapters any `json:"adapters"`
	// Labels of a classifier.
	ID2Label map[string]string `json:"id2label"`
}

// CrossEncoder tells whether the network scores pairs of texts instead of giving vectors.
func (n *Network) CrossEncoder() bool { return n.classifier != nil }

// Read reads the folder dir. It reads config.json, model.safetensors, tokenizer.json and, where they are, modules.json,
// 1_Pooling/config.json, sentence_bert_config.json and config_sentence_transformers.json.
func Read(dir string, o Options) (*Network, error) {
	var c config
	if err := readJSON(dir, "config.json", &c); err != nil {
		return nil, err
	}
	n := &Network{Architecture: c.ModelType}
	if err := n.shape(&c); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "config.json"), err)
	}
	if err := n.sentence(dir, &c, o); err != nil {
		return nil, err
	}
	n.OfLayers, n.Layers = c.NumHiddenLayers, c.NumHiddenLayers
	if o.Layers != 0 {
		if o.Layers < 1 || o.Layers > n.OfLayers {
			return nil, fmt.Errorf("layers: is %d; the model has %d", o.Layers, n.OfLayers)
		}
		n.Layers = o.Layers
	}
	t, err := openTensors(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		return nil, err
	}
	if err := n.load(t, &c); err != nil {
		return nil, err
	}
	return n, nil
}

// The most tokens that a model may read, and the most values of MPNet's table of biases.
const (
	maxTokens   = 8192
	maxRelative = 64 << 20
)

// field is an error about a field of a JSON file.
func field(name, format string, a ...any) error {
	return fmt.Errorf("field %q: %s", name, fmt.Sprintf(format, a...))
}

// readJSON reads a file of the folder; one that is not there is fs.ErrNotExist.
func readJSON(dir, name string, v any) error {
	path := filepath.Join(dir, filepath.FromSlash(name))
	data, err := readRegular(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readRegular reads a file, and refuses what is none: a pipe would be waited for.
func readRegular(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.ReadFile(path)
}

// shape takes over config.json, or refuses it.
func (n *Network) shape(c *config) error {
	switch c.ModelType {
	case "bert", "roberta", "xlm-roberta", "mpnet":
	default:
		return field("model_type", "is %q; supported are bert, roberta, xlm-roberta and mpnet", c.ModelType)
	}
	architecture := ""
	if len(c.Architectures) > 0 {
		architecture = c.Architectures[0]
	}
	switch {
	case architecture == "BertForSequenceClassification" && c.ModelType == "bert":
		if len(c.ID2Label) != 1 {
			return field("id2label", "has %d labels; a cross-encoder has one, the score", len(c.ID2Label))
		}
		if c.TypeVocabSize != 2 {
			return field("type_vocab_size", "is %d; a cross-encoder needs 2, for the two texts", c.TypeVocabSize)
		}
		n.pooler, n.classifier = &linear{}, &linear{}
	case architecture == "" || strings.HasSuffix(architecture, "Model") || strings.HasSuffix(architecture, "ForMaskedLM") || strings.HasSuffix(architecture, "ForPreTraining"):
	default:
		return field("architectures", "is %q; supported are encoders (…Model, …ForMaskedLM, …ForPreTraining) and, of bert, the cross-encoder BertForSequenceClassification", architecture)
	}
	positive := func(name string, v, limit int) error {
		if v < 1 || v > limit {
			return field(name, "is %d, must be 1 to %d", v, limit)
		}
		return nil
	}
	if err := errors.Join(
		positive("hidden_size", c.HiddenSize, 8192),
		positive("num_hidden_layers", c.NumHiddenLayers, 128),
		positive("num_attention_heads", c.NumAttentionHeads, 256),
		positive("intermediate_size", c.IntermediateSize, 65536),
		positive("max_position_embeddings", c.MaxPositionEmbeddings, 65536),
		positive("vocab_size", c.VocabSize, 4<<20),
	); err != nil {
		return err
	}
	if c.HiddenSize%c.NumAttentionHeads != 0 {
		return field("num_attention_heads", "%d does not divide hidden_size %d", c.NumAttentionHeads, c.HiddenSize)
	}
	switch c.HiddenAct {
	case "gelu", "gelu_new", "gelu_pytorch_tanh", "relu":
	default:
		return field("hidden_act", "is %q; supported are gelu, gelu_new, gelu_pytorch_tanh and relu", c.HiddenAct)
	}
	if c.LayerNormEps <= 0 || c.LayerNormEps > 1e-2 {
		return field("layer_norm_eps", "is %v, must be above 0 and at most 0.01", c.LayerNormEps)
	}
	switch {
	case c.PositionEmbeddingType != "" && c.PositionEmbeddingType != "absolute":
		return field("position_embedding_type", "is %q; supported is absolute", c.PositionEmbeddingType)
	case c.IsDecoder:
		return field("is_decoder", "is true; supported are encoders")
	case c.AddCrossAttention:
		return field("add_cross_attention", "is true; supported are encoders")
	case c.Quantization != nil:
		return field("quantization_config", "is set; import the weights in floating point")
	case c.Adapters != nil && fmt.Sprint(c.Adapters) != "map[]":
		return field("adapters", "is set; merge the adapters into the weights first")
	case c.ModelType == "mpnet" && (c.RelativeBuckets < 4 || c.RelativeBuckets > 256 || c.RelativeBuckets%4 != 0):
		return field("relative_attention_num_buckets", "is %d, must be a multiple of 4 from 4 to 256", c.RelativeBuckets)
	}
	n.Dimension, n.Heads, n.vocabulary = c.HiddenSize, c.NumAttentionHeads, c.VocabSize
	n.activation, n.epsilon = c.HiddenAct, float32(c.LayerNormEps)
	return nil
}

// offset is the number of rows in the position table before that of a text's first token. RoBERTa and MPNet count from
// the padding token's id on.
func (c *config) offset() (int, error) {
	switch c.ModelType {
	case "bert":
		return 0, nil
	case "mpnet":
		return 2, nil // padding_idx is 1 in its embeddings, whatever config.json says
	}
	if c.PadTokenID == nil || *c.PadTokenID < 0 || *c.PadTokenID+1 >= c.MaxPositionEmbeddings {
		return 0, field("pad_token_id", "is missing or not below max_position_embeddings; positions are counted from it")
	}
	return *c.PadTokenID + 1, nil
}

// sentence reads what sentence-transformers adds to a folder.
func (n *Network) sentence(dir string, c *config, o Options) error {
	offset, err := c.offset()
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, "config.json"), err)
	}
	table := c.MaxPositionEmbeddings - offset
	if table < 3 || table > maxTokens {
		return fmt.Errorf("config.json: %w", field("max_position_embeddings", "is %d, which leaves %d tokens to read; must be 3 to %d", c.MaxPositionEmbeddings, table, maxTokens))
	}
	if c.ModelType == "mpnet" && table*table*c.NumAttentionHeads > maxRelative {
		return fmt.Errorf("config.json: %w", field("max_position_embeddings", "is %d with %d heads: the bias of each pair of positions is too large", c.MaxPositionEmbeddings, c.NumAttentionHeads))
	}
	n.MaxTokens = table

	optional := func(name string, v any) (bool, error) {
		err := readJSON(dir, name, v)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	var tokenizer struct {
		Normalizer json.RawMessage `json:"normalizer"`
	}
	if err := readJSON(dir, "tokenizer.json", &tokenizer); err != nil {
		return err
	}
	var limits struct {
		MaxSeqLength *int `json:"max_seq_length"`
		DoLowerCase  bool `json:"do_lower_case"`
	}
	if _, err := optional("sentence_bert_config.json", &limits); err != nil {
		return err
	}
	if limits.MaxSeqLength != nil {
		if *limits.MaxSeqLength < 3 || *limits.MaxSeqLength > table {
			return fmt.Errorf("sentence_bert_config.json: %w", field("max_seq_length", "is %d, the model has %d positions", *limits.MaxSeqLength, table))
		}
		n.MaxTokens = *limits.MaxSeqLength
	}
	if limits.DoLowerCase && !strings.Contains(strings.ReplaceAll(string(tokenizer.Normalizer), " ", ""), `"lowercase":true`) {
		return fmt.Errorf("sentence_bert_config.json: %w", field("do_lower_case", "is true, but tokenizer.json does not lower-case"))
	}

	if n.CrossEncoder() {
		if o.Pooling != "" {
			return fmt.Errorf("pooling: is %q; a cross-encoder has none", o.Pooling)
		}
		return nil
	}
	var modules []struct{ Type, Path string }
	if _, err := optional("modules.json", &modules); err != nil {
		return err
	}
	for _, m := range modules {
		switch kind := m.Type[strings.LastIndexByte(m.Type, '.')+1:]; kind {
		case "Transformer", "Pooling", "Normalize":
		default:
			return fmt.Errorf("modules.json: %w", field("type", "%q is not supported; supported are Transformer, Pooling and Normalize", m.Type))
		}
	}

	var st struct {
		Prompts    map[string]string `json:"prompts"`
		Default    *string           `json:"default_prompt_name"`
		Similarity *string           `json:"similarity_fn_name"`
	}
	if _, err := optional("config_sentence_transformers.json", &st); err != nil {
		return err
	}
	n.Prompts = st.Prompts
	if s := st.Similarity; s != nil && *s != "cosine" && !o.Cosine {
		return fmt.Errorf("config_sentence_transformers.json: %w", field("similarity_fn_name", "is %q, the index compares by cosine; accept the difference with --cosine", *s))
	}
	if st.Default != nil && st.Prompts[*st.Default] != "" {
		return fmt.Errorf("config_sentence_transformers.json: %w", field("default_prompt_name", "is %q: one prompt for every text; prompts go by role (query, document)", *st.Default))
	}
	return n.pool(dir, optional, c, o)
}

// pool reads 1_Pooling/config.json.
func (n *Network) pool(dir string, optional func(string, any) (bool, error), c *config, o Options) error {
	var p map[string]any
	found, err := optional("1_Pooling/config.json", &p)
	if err != nil {
		return err
	}
	poolings := []Pooling{Mean, CLS, Last, Max}
	if o.Pooling != "" && !slices.Contains(poolings, o.Pooling) {
		return fmt.Errorf("pooling: is %q; supported are %v", o.Pooling, poolings)
	}
	if !found {
		if o.Pooling == "" {
			return fmt.Errorf("%s has no 1_Pooling/config.json, which would say how token vectors become one; name it with --pooling (%v)", dir, poolings)
		}
		n.Pooling = o.Pooling
		return nil
	}
	names := map[string]Pooling{
		"pooling_mode_mean_tokens": Mean, "pooling_mode_cls_token": CLS, "pooling_mode_lasttoken": Last, "pooling_mode_max_tokens": Max,
		// The square root of the length scales the whole vector, which its norm takes out again.
		"pooling_mode_mean_sqrt_len_tokens": Mean,
	}
	for key, value := range p {
		on, isBool := value.(bool)
		pooling, known := names[key]
		switch {
		case key == "word_embedding_dimension":
			if d, ok := value.(float64); !ok || int(d) != c.HiddenSize {
				return fmt.Errorf("1_Pooling/config.json: %w", field(key, "is %v, hidden_size is %d", value, c.HiddenSize))
			}
		case key == "include_prompt":
			if isBool && !on {
				return fmt.Errorf("1_Pooling/config.json: %w", field(key, "is false; a prompt's tokens are always pooled"))
			}
		case known && isBool && on && n.Pooling != "":
			return fmt.Errorf("1_Pooling/config.json: %w", field(key, "is true beside another mode; one pooling is supported"))
		case known && isBool && on:
			n.Pooling = pooling
		case isBool && on:
			return fmt.Errorf("1_Pooling/config.json: %w", field(key, "is true; supported poolings are %v", poolings))
		}
	}
	if n.Pooling == "" {
		return fmt.Errorf("1_Pooling/config.json: %w", field("pooling_mode_mean_tokens", "and all other modes are false"))
	}
	if o.Pooling != "" && o.Pooling != n.Pooling {
		return fmt.Errorf("pooling: is %q, 1_Pooling/config.json says %q", o.Pooling, n.Pooling)
	}
	return nil
}
