package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"embedd/embed"
	"embedd/models"
)

// modelsGoldenCmd is for those who write a manifest, as we do for the models that come with embedd (make goldens).
type modelsGoldenCmd struct {
	Manifests []string `arg:"" name:"manifest" help:"Manifests of models that are in the models folder."`
	Library   string   `help:"ONNX Runtime's shared library; default: lib in the .embedd folder." placeholder:"FILE"`
	modelsFlags
}

func (modelsGoldenCmd) Help() string {
	return `Encodes a few texts with a model and writes the vectors into its manifest, for embedd models verify.

Example:
  embedd models golden models/manifests/all-MiniLM-L6-v2.json`
}

func (c *modelsGoldenCmd) Run(e *env) error {
	f := engineFlags{Models: c.Models, Library: c.Library, Workers: 1}
	if err := f.resolve(); err != nil {
		return err
	}
	for _, path := range c.Manifests {
		if err := recordGolden(e, path, &f); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(e.stdout, "golden vectors are in %s\n", path); err != nil {
			return err
		}
	}
	return nil
}

// recordGolden runs the golden texts through the model of a manifest, which is in the models folder, and writes the vectors
// into the manifest.
func recordGolden(e *env, path string, f *engineFlags) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	m, err := models.Parse(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	there, err := models.Open(f.Models, m.ID)
	if err != nil {
		return err
	}
	if there.Fingerprint() != m.Fingerprint() {
		return fmt.Errorf("%s: the model in %s has another fingerprint", path, there.Dir)
	}
	g, err := makeGolden(e.ctx, there, f.Library)
	if err != nil {
		return fmt.Errorf("golden vectors of %s: %w", m.ID, err)
	}
	return models.RecordGolden(path, g)
}

// goldenTexts are encoded by a model of any language: scripts that it may not know are read as unknown words.
var goldenTexts = []models.GoldenText{
	{Role: "query", Text: "papers related to a manuscript"},
	{Role: "document", Text: "Sparse attention for long documents. We read texts of thousands of words in linear time, and lose little."},
	{Role: "document", Text: "α-β-CROWN (2021): 93.5 % verified at ℓ∞ ≤ 8/255; naïve bounds reach <50 %."},
	{Role: "document", Text: "Ανακάλυψη συναφών επιστημονικών εργασιών"},
	{Role: "query", Text: "量子誤り訂正 量子计算机"},
	{Role: "document", Text: longText},
}

// longText is repeated until no model reads all of it.
const longText = "A sentence encoder turns each text into one vector, and near vectors stand for related texts."

// The bounds that a golden vector is recorded with: CPUs round differently, and int8 makes a step of a different last bit.
const (
	goldenCosine         = 0.99999
	goldenCosineInt8     = 0.999
	goldenDifference     = 0.001
	goldenDifferenceInt8 = 0.05
)

// makeGolden runs the golden texts through a model.
func makeGolden(ctx context.Context, m *models.Model, library string) (_ *models.Golden, err error) {
	int8s := m.Precision == models.PrecisionInt8 || m.Precision == models.PrecisionInt8Dynamic
	g := &models.Golden{}
	// Each word is at least a token, and the sentence has more than eight.
	for _, t := range goldenTexts {
		if t.Text == longText {
			t.Repeat = m.MaxTokens/8 + 2
		}
		g.Texts = append(g.Texts, t)
	}
	if m.Task == models.TaskScore {
		query := g.Texts[0].Text
		for _, t := range g.Texts[1:] {
			g.Pairs = append(g.Pairs, models.GoldenPair{Query: query, Text: t.Text, Repeat: t.Repeat})
		}
		g.Texts, g.Difference = nil, goldenDifference
		if int8s {
			g.Difference = goldenDifferenceInt8
		}
	} else if g.Cosine = goldenCosine; int8s {
		g.Cosine = goldenCosineInt8
	}
	r, err := openGolden(m, &embed.Options{Library: library, Workers: 1})
	if err != nil {
		return nil, err
	}
	defer finish(&err, r.loaded.Close)
	return r.answers(ctx, g)
}

// goldenRunner answers golden texts with an encoder, or golden pairs with a scorer.
type goldenRunner struct {
	encoder *embed.Encoder // nil: it is a cross-encoder
	scorer  *embed.Scorer  // nil: it is an encoder
	loaded  interface {    // the one that is there
		Speeds(ctx context.Context, most time.Duration) ([]embed.Speed, error)
		Close() error
	}
}

func openGolden(m *models.Model, o *embed.Options) (r goldenRunner, err error) {
	if m.Task == models.TaskScore {
		r.scorer, err = embed.OpenScorer(m, o)
		r.loaded = r.scorer
	} else {
		r.encoder, err = embed.Open(m, o)
		r.loaded = r.encoder
	}
	return r, err
}

// answers gives g with the model's own vectors or scores. What the model's tokenizer finds no word in is left out.
func (r goldenRunner) answers(ctx context.Context, g *models.Golden) (*models.Golden, error) {
	out := &models.Golden{Cosine: g.Cosine, Difference: g.Difference}
	for _, t := range g.Texts {
		role := embed.Document
		if t.Role == "query" {
			role = embed.Query
		}
		enc, err := r.encoder.Encode(ctx, embed.Bulk, role, []string{t.Whole()})
		if errors.Is(err, embed.ErrBlank) {
			continue
		}
		if err != nil {
			return nil, err
		}
		t.Vector = enc[0].Vector
		out.Texts = append(out.Texts, t)
	}
	for _, p := range g.Pairs {
		scored, err := r.scorer.Score(ctx, embed.Bulk, []embed.Pair{{Query: p.Query, Text: p.Whole()}})
		if errors.Is(err, embed.ErrBlank) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p.Score = scored[0].Score
		out.Pairs = append(out.Pairs, p)
	}
	return out, nil
}

// cosine between two vectors of a length, of any norm; 0 where one is 0.
func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i, x := range a {
		y := float64(b[i])
		ab, aa, bb = ab+float64(x)*y, aa+float64(x)*float64(x), bb+y*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}
