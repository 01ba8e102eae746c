package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"embedd/models"
	"embedd/models/onnx"
)

type modelsVerifyCmd struct {
	ID      string        `arg:"" help:"Id of the model." default:"${model}"`
	Timeout time.Duration `help:"Time that the model gets to be loaded and run." default:"60s" placeholder:"DURATION"`
	Library string        `help:"ONNX Runtime's shared library; default: lib in the .embedd folder." placeholder:"FILE"`
	outputFlags
	modelsFlags
}

func (modelsVerifyCmd) Help() string {
	return `Checks the files' hashes and the graph's inputs and outputs, refuses data outside of the file and custom operators, then
loads the model in a process of its own, which may die, compares its vectors with the manifest's golden ones and with those
of its float32 twin, and measures its speed by length. The exit status is 1 when something does not hold.

Example:
  embedd models verify all-MiniLM-L6-v2`
}

// verifyReport is what models verify prints.
type verifyReport struct {
	ID          string `json:"id"`
	Fingerprint string `json:"fingerprint"`
	Precision   string `json:"precision"`
	Dimension   int    `json:"dimension"`
	MaxTokens   int    `json:"max_tokens"`
	// OK: no check failed.
	OK     bool          `json:"ok"`
	Checks []verifyCheck `json:"checks"`
	Golden *goldenReport `json:"golden,omitempty"`
	Twin   *twinReport   `json:"twin,omitempty"`
	SIMD   simd          `json:"simd"`
	Speed  []speedReport `json:"speed,omitempty"`
}

// verifyCheck is one thing that was looked at.
type verifyCheck struct {
	// Name is files, graph, adapter, runtime, golden or twin.
	Name string `json:"name"`
	// State is ok, failed, or skipped where there is nothing to compare with.
	State  string `json:"state"`
	Detail string `json:"detail"`
}

// speedTime bounds the measuring of speed.
const speedTime = 3 * time.Second

// leastTwin is the mean cosine to the float32 twin below which the two are not taken for the same network.
const leastTwin = 0.95

func (c *modelsVerifyCmd) Run(e *env) error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout: is %v; must be above 0", c.Timeout)
	}
	f := engineFlags{Model: c.ID, Models: c.Models, Library: c.Library}
	if err := f.resolve(); err != nil {
		return err
	}
	m, err := models.Open(f.Models, f.Model)
	if err != nil {
		return err
	}
	r := &verifyReport{
		ID: m.ID, Fingerprint: m.Fingerprint(), Precision: string(m.Precision), Dimension: m.Dimension, MaxTokens: m.MaxTokens,
		SIMD: simdLevel(),
	}
	if err := r.verify(e.ctx, m, &f, c.Timeout); err != nil {
		return err
	}
	err = r.failed()
	r.OK = err == nil
	if c.JSON {
		return errors.Join(printJSON(e.stdout, r), err)
	}
	return errors.Join(r.print(e.stdout), err)
}

// verify makes the checks in order, until one fails that the next ones stand on. Its error is about the verifying, not the
// model.
func (r *verifyReport) verify(ctx context.Context, m *models.Model, f *engineFlags, limit time.Duration) error {
	graph, err := m.ReadFile(m.Files.Model)
	if err == nil {
		err = m.Verify()
	}
	if !r.check("files", err, "%s, %s: size and sha256 are the manifest's", m.Files.Model.Path, m.Files.Tokenizer.Path) {
		return nil
	}
	info, err := onnx.Inspect(graph)
	if !r.check("graph", err, "%v; no external_data, no custom operators", graphOf{info}) {
		return nil
	}
	if m.Adapter != nil {
		err := checkAdapter(m, graph)
		if !r.check("adapter", err, "%s is in the graph; it turns the vectors of %s, fingerprint %.12s", m.Adapter.Matrix.Path, m.Adapter.BaseID, m.Adapter.Base) {
			return nil
		}
	}
	twin, missing, err := twinOf(f.Models, m.Manifest)
	if err != nil {
		return err
	}
	begin := time.Now()
	t := trial{Models: f.Models, Library: f.Library, ID: m.ID, Speed: speedTime}
	if missing == "" {
		t.Twin = twin
	}
	done, err := t.inChild(ctx, limit)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !r.check("runtime", err, "loaded and run in a process of its own, %.1f s in all", time.Since(begin).Seconds()) {
		return nil
	}
	r.Golden, r.Twin, r.Speed = done.Golden, done.Twin, done.Speed
	r.checkGolden()
	switch {
	case twin == "":
		r.skip("twin", "the manifest names no float32 twin")
	case missing != "":
		r.skip("twin", missing)
	default:
		r.checkTwin()
	}
	return nil
}

// checkAdapter compares the matrix beside the graph with the one in it: stored vectors are turned by the one, texts are encoded by the other.
func checkAdapter(m *models.Model, graph []byte) error {
	beside, err := m.Matrix()
	if err != nil {
		return err
	}
	inside, err := onnx.Matrix(graph, m.Dimension)
	if err == nil && !slices.Equal(beside, inside) {
		err = fmt.Errorf("%s is not the matrix in the graph", m.Adapter.Matrix.Path)
	}
	return err
}

func (r *verifyReport) checkGolden() {
	g := r.Golden
	if g == nil {
		r.skip("golden", "no golden vectors in the manifest")
		return
	}
	side, what := "at least", "cosine to the recorded vectors"
	if g.Measure == "difference" {
		side, what = "at most", "difference to the recorded scores"
	}
	text := fmt.Sprintf("%d texts: %s %.7f at worst; must be %s %v", g.Texts, what, g.Worst, side, g.Bound)
	var err error
	if !g.OK {
		err = errors.New(text)
	}
	r.check("golden", err, "%s", text)
}

func (r *verifyReport) checkTwin() {
	t := r.Twin
	var err error
	switch {
	case t.Error != "":
		err = fmt.Errorf("%s: %s", t.ID, t.Error)
	case !(t.Mean >= leastTwin):
		err = fmt.Errorf("%s: the cosine is %.5f on average, below %v: they are not the same network, or int8 does not suit it", t.ID, t.Mean, leastTwin)
	}
	r.check("twin", err, "%s, %d papers: cosine %.5f on average, %.5f at worst", t.ID, t.Texts, t.Mean, t.Worst)
}

// check adds a check, which has failed where err is not nil, and says whether it holds.
func (r *verifyReport) check(name string, err error, format string, a ...any) bool {
	if err != nil {
		r.Checks = append(r.Checks, verifyCheck{name, "failed", err.Error()})
		return false
	}
	r.Checks = append(r.Checks, verifyCheck{name, "ok", fmt.Sprintf(format, a...)})
	return true
}

func (r *verifyReport) skip(name, why string) {
	r.Checks = append(r.Checks, verifyCheck{name, "skipped", why})
}

// failed is an error that tells each check that failed, or nil.
func (r *verifyReport) failed() error {
	var errs []error
	for _, c := range r.Checks {
		if c.State == "failed" {
			errs = append(errs, fmt.Errorf("model %s: %s: %s", r.ID, c.Name, c.Detail))
		}
	}
	return errors.Join(errs...)
}

// print writes the report for people. What failed is told by the error.
func (r *verifyReport) print(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s, %d dimensions, %d tokens, fingerprint %s\n", r.ID, r.Precision, r.Dimension, r.MaxTokens, r.Fingerprint)
	t := newTable(w)
	for _, c := range r.Checks {
		detail := c.Detail
		if c.State == "failed" {
			detail = "see the error"
		}
		t.row("  "+c.Name, c.State, detail)
	}
	t.row("  cpu", r.SIMD.Level, r.SIMD.Int8)
	if err := t.flush(); err != nil || len(r.Speed) == 0 {
		return err
	}
	fmt.Fprintln(w, "\nOne text a Run, on one core:")
	t = newTable(w, "  TOKENS", "MS", "TOKENS/S")
	for _, s := range r.Speed {
		t.row(fmt.Sprintf("  %d", s.Tokens), fmt.Sprintf("%.2f", s.Milliseconds), fmt.Sprintf("%.0f", s.TokensPerSecond))
	}
	return t.flush()
}

// graphOf writes a graph's inputs and outputs in a line.
type graphOf struct{ *onnx.Info }

func (g graphOf) String() string {
	var inputs []string
	for _, name := range slices.Sorted(maps.Keys(g.Inputs)) {
		inputs = append(inputs, name+" "+strings.ToLower(strings.TrimPrefix(g.Inputs[name].String(), "DATA_TYPE_")))
	}
	return strings.Join(inputs, ", ") + " -> " + strings.Join(g.Outputs, ", ")
}

// twinOf is the id of a model's float32 twin, "" for none; missing says how to bring one that is not there.
func twinOf(root string, m *models.Manifest) (id, missing string, err error) {
	id = m.Twin
	if known := m.Known(); id == "" && known != nil {
		id = known.Twin
	}
	if id == "" {
		return "", "", nil
	}
	_, err = models.Open(root, id)
	if !errors.Is(err, models.ErrMissing) {
		return id, "", err
	}
	way := "embedd models import FOLDER --precision fp32 --id " + id
	if _, unknown := models.Find(id); unknown == nil {
		way = "embedd models pull " + id
	}
	return id, fmt.Sprintf("%s is not there; bring it with: %s", id, way), nil
}

// inChild runs the trial in a process of its own. An error says what is wrong with the model, or how the process ended.
func (t *trial) inChild(ctx context.Context, limit time.Duration) (*trialReport, error) {
	input, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	cmd, err := thisProgram("models", "child")
	if err != nil {
		return nil, err
	}
	out, err := runChild(ctx, limit, cmd, append(input, '\n'))
	if err != nil {
		return nil, fmt.Errorf("the process that loads it: %w", err)
	}
	var r trialReport
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&r); err != nil {
		return nil, fmt.Errorf("the process that loads it gave no report: %w", err)
	}
	// The child has read the model file, whose names are in its errors.
	if r.Twin != nil {
		r.Twin.Error = printable(r.Twin.Error)
	}
	if r.Error != "" {
		return &r, errors.New(printable(r.Error))
	}
	return &r, nil
}
