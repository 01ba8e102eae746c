package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"syscall"
	"time"

	"embedd/embed"
	"embedd/internal/ingest"
	"embedd/models"
	"embedd/models/onnx"
	"embedd/samples"
)

// modelsChildCmd is what models verify, and a server before it takes a model for the first time, run in a process of its own:
// a model file is data from outside, and the runtime that reads it is a large program in C++. It reads a trial from stdin
// and writes a trialReport to stdout; it ends when stdin does.
type modelsChildCmd struct{}

// trial says what to try out on a model.
type trial struct {
	Models  string `json:"models"`
	Library string `json:"library"`
	ID      string `json:"id"`
	// Twin is the id of a model that is there, to compare with; "" for none.
	Twin string `json:"twin"`
	// Speed is for how long speed is measured; 0 for not at all.
	Speed time.Duration `json:"speed"`
}

// trialReport is what came of a trial.
type trialReport struct {
	// Refused: the file asks for what a file may not, and has not reached the runtime. Error says what is wrong with it then,
	// or with a model that cannot be loaded or run; "" is a model that works.
	Refused bool          `json:"refused,omitempty"`
	Error   string        `json:"error,omitempty"`
	Golden  *goldenReport `json:"golden,omitempty"`
	Twin    *twinReport   `json:"twin,omitempty"`
	Speed   []speedReport `json:"speed,omitempty"`
}

// goldenReport is how near a model comes to its golden vectors or scores.
type goldenReport struct {
	// Texts is how many texts, or pairs, there are.
	Texts int `json:"texts"`
	// Measure is what Worst and Bound are: "cosine" between vectors, which must be at least the bound, or "difference" between
	// scores, which must be at most the bound.
	Measure string  `json:"measure"`
	Worst   float64 `json:"worst"`
	Bound   float64 `json:"bound"`
	OK      bool    `json:"ok"`
}

// twinReport is how alike a model's vectors are to those of its float32 twin.
type twinReport struct {
	ID    string  `json:"id"`
	Texts int     `json:"texts"`
	Mean  float64 `json:"mean_cosine"`
	Worst float64 `json:"worst_cosine"`
	// Error: the two could not be compared.
	Error string `json:"error,omitempty"`
}

// speedReport is the time of one Run of one text by one thread.
type speedReport struct {
	Tokens          int     `json:"tokens"`
	Milliseconds    float64 `json:"ms"`
	TokensPerSecond float64 `json:"tokens_per_second"`
}

func (modelsChildCmd) Run(e *env) error {
	var t trial
	d := json.NewDecoder(e.stdin)
	if err := d.Decode(&t); err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	go func() { // the parent is gone, or wants no answer any more
		_, _ = io.Copy(io.Discard, e.stdin)
		os.Exit(1)
	}()
	report, err := t.run(e.ctx)
	if err != nil {
		report.Error, report.Refused = err.Error(), errors.Is(err, onnx.ErrRefused)
	}
	return json.NewEncoder(e.stdout).Encode(report)
}

func (t *trial) run(ctx context.Context) (r trialReport, err error) {
	m, err := models.Open(t.Models, t.ID)
	if err != nil {
		return r, err
	}
	most := memoryOf(m)
	var twin *models.Model
	if t.Twin != "" {
		if twin, err = models.Open(t.Models, t.Twin); err != nil {
			return r, err
		}
		most += memoryOf(twin)
	}
	if err := limitMemory(most); err != nil {
		return r, err
	}
	o := &embed.Options{Library: t.Library, Workers: min(trialWorkers, runtime.GOMAXPROCS(0))}
	w, err := openGolden(m, o)
	if err != nil {
		return r, err
	}
	defer finish(&err, w.loaded.Close)
	if r.Golden, err = w.compare(ctx, goldenOf(m.Manifest)); err != nil {
		return r, err
	}
	if twin != nil {
		if r.Twin, err = w.compareTwin(ctx, twin, o); err != nil {
			r.Twin = &twinReport{ID: twin.ID, Error: err.Error()}
		}
	}
	if t.Speed > 0 {
		r.Speed, err = w.speeds(ctx, t.Speed)
	}
	return r, err
}

// trialWorkers bounds the Runs at once, and with them the memory of a trial.
const trialWorkers = 4

// memoryOf is more than a model takes: copies of its file, the scores between the tokens of its longest text, and the rest.
func memoryOf(m *models.Model) uint64 {
	const headsAndCopies = 32
	tokens := uint64(m.MaxTokens)
	return 2<<30 + 8*uint64(m.Files.Model.Bytes) + headsAndCopies*4*tokens*tokens
}

// limitMemory bounds what this process may allocate, so that a model that asks for more than a model may is an error here
// and not a want of memory for every process of the machine. Where the system knows no such limit it does nothing.
func limitMemory(bytes uint64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_DATA, &l); err != nil {
		return fmt.Errorf("memory limit: %w", err)
	}
	l.Cur = min(bytes, l.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &l); err != nil {
		return fmt.Errorf("memory limit: %w", err)
	}
	return nil
}

// goldenOf is a model's golden vectors: its manifest's, else those that come with the program for the same fingerprint, which
// a manifest that was pulled earlier lacks; nil where there are none.
func goldenOf(m *models.Manifest) *models.Golden {
	if m.Golden == nil {
		if known := m.Known(); known != nil {
			return known.Golden
		}
	}
	return m.Golden
}

// compare runs the golden texts. Where there are none, a text shows that the model runs.
func (w goldenRunner) compare(ctx context.Context, want *models.Golden) (*goldenReport, error) {
	switch {
	case want == nil && w.scorer != nil:
		_, err := w.scorer.Score(ctx, embed.Bulk, []embed.Pair{{Query: "related", Text: "papers"}})
		return nil, err
	case want == nil:
		return nil, w.encoder.Canary(ctx)
	}
	got, err := w.answers(ctx, want)
	if err != nil {
		return nil, err
	}
	r := &goldenReport{Texts: len(want.Texts) + len(want.Pairs)}
	if len(got.Texts)+len(got.Pairs) != r.Texts {
		return nil, errors.New("the tokenizer finds no word in a golden text")
	}
	if w.scorer != nil {
		r.Measure, r.Bound = "difference", want.Difference
		for i, p := range want.Pairs {
			r.Worst = max(r.Worst, math.Abs(float64(p.Score)-float64(got.Pairs[i].Score)))
		}
		r.OK = r.Worst <= r.Bound
		return r, nil
	}
	r.Measure, r.Bound, r.Worst = "cosine", want.Cosine, 1
	for i, t := range want.Texts {
		r.Worst = min(r.Worst, cosine(t.Vector, got.Texts[i].Vector))
	}
	r.OK = r.Worst >= r.Bound
	return r, nil
}

// twinPapers is how many of the sample papers are compared with a twin.
const twinPapers = 64

// compareTwin encodes sample papers with the model and with its twin.
func (w goldenRunner) compareTwin(ctx context.Context, twin *models.Model, o *embed.Options) (_ *twinReport, err error) {
	if w.encoder == nil {
		return nil, errors.New("a cross-encoder gives no vectors to compare")
	}
	if twin.Precision != models.PrecisionFP32 || twin.Dimension != w.encoder.Manifest().Dimension {
		return nil, fmt.Errorf("it has precision %s and %d dimensions, must have %s and %d",
			twin.Precision, twin.Dimension, models.PrecisionFP32, w.encoder.Manifest().Dimension)
	}
	other, err := embed.Open(twin, o)
	if err != nil {
		return nil, err
	}
	defer finish(&err, other.Close)
	papers, _, err := takePapers(ingest.NewReader(bytes.NewReader(samples.Papers), "sample papers"), twinPapers)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, p := range papers {
		texts = append(texts, textOf(p))
	}
	var sides [2][]embed.Encoding
	for i, encoder := range []*embed.Encoder{w.encoder, other} {
		if sides[i], err = encoder.Encode(ctx, embed.Bulk, embed.Document, texts); err != nil {
			return nil, err
		}
	}
	r := &twinReport{ID: twin.ID, Texts: len(texts), Worst: 1}
	for i, one := range sides[0] {
		c := cosine(one.Vector, sides[1][i].Vector)
		r.Mean += c / float64(r.Texts)
		r.Worst = min(r.Worst, c)
	}
	return r, nil
}

// speeds measures how long Runs take, by their length.
func (w goldenRunner) speeds(ctx context.Context, most time.Duration) ([]speedReport, error) {
	all, err := w.loaded.Speeds(ctx, most)
	var out []speedReport
	for _, s := range all {
		out = append(out, speedReport{Tokens: s.Tokens, Milliseconds: s.Run.Seconds() * 1e3, TokensPerSecond: float64(s.Tokens) / s.Run.Seconds()})
	}
	return out, err
}
