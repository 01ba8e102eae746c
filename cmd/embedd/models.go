package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"embedd/internal/native"
	"embedd/models"
)

type modelsCmd struct {
	List    modelsListCmd    `cmd:"" help:"List the models that embedd knows, and which are there."`
	Pull    modelsPullCmd    `cmd:"" help:"Bring a model's files and check them."`
	Import  modelsImportCmd  `cmd:"" help:"Make a model of a Hugging Face folder."`
	Compare modelsCompareCmd `cmd:"" help:"How alike two models' vectors are."`
	Verify  modelsVerifyCmd  `cmd:"" help:"Check a model's files, its graph, its vectors and its speed."`
	Child   modelsChildCmd   `cmd:"" hidden:"" help:"What verify does in a process of its own."`
	Golden  modelsGoldenCmd  `cmd:"" help:"Write a model's golden vectors into its manifest."`
}

// modelsFlags say where the models are.
type modelsFlags struct {
	Models string `help:"Folder of the models; default: models in the .embedd folder." placeholder:"DIR"`
}

func (f *modelsFlags) dir() (string, error) {
	if f.Models != "" {
		return f.Models, nil
	}
	home, err := native.Home()
	if err != nil {
		return "", err
	}
	return native.Models(home), nil
}

type modelsListCmd struct {
	outputFlags
	modelsFlags
}

// modelState is a line of the list.
type modelState struct {
	ID          string `json:"id"`
	Description string `json:"description"`
	Fingerprint string `json:"fingerprint"`
	Dimension   int    `json:"dimension"`
	MaxTokens   int    `json:"max_tokens"`
	Precision   string `json:"precision"`
	License     string `json:"license"`
	Present     bool   `json:"present"`
	// Layers, where some were left out at import, and what that cost.
	Layers *models.Layers `json:"layers,omitempty"`
	// Adapter, where the model is one: of which model, what it was learned from, and what it gained.
	Adapter *models.Adapter `json:"adapter,omitempty"`
}

func stateOf(m *models.Manifest, present bool) modelState {
	return modelState{m.ID, m.Description, m.Fingerprint(), m.Dimension, m.MaxTokens, string(m.Precision), m.License, present, m.Layers, m.Adapter}
}

func (c *modelsListCmd) Run(e *env) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	installed, err := models.Installed(dir)
	if err != nil {
		return err
	}
	states := make([]modelState, 0, len(installed))
	for _, m := range installed {
		states = append(states, stateOf(m.Manifest, true))
	}
	for _, m := range models.Builtin() {
		if !slices.ContainsFunc(installed, func(i *models.Model) bool { return i.ID == m.ID }) {
			states = append(states, stateOf(m, false))
		}
	}
	slices.SortFunc(states, func(a, b modelState) int { return strings.Compare(a.ID, b.ID) })
	if c.JSON {
		return printJSON(e.stdout, states)
	}
	t := newTable(e.stdout, "ID", "PRESENT", "DIMENSION", "TOKENS", "PRECISION", "LAYERS", "LICENCE", "FINGERPRINT")
	for _, s := range states {
		present := "no"
		if s.Present {
			present = "yes"
		}
		layers := "all"
		if l := s.Layers; l != nil {
			layers = fmt.Sprintf("%d of %d (%.0f %% same)", l.Kept, l.Of, 100*l.Overlap)
		}
		t.row(s.ID, present, fmt.Sprint(s.Dimension), fmt.Sprint(s.MaxTokens), s.Precision, layers, s.License, s.Fingerprint[:12])
	}
	return t.flush()
}

type modelsPullCmd struct {
	ID       string `arg:"" optional:"" help:"Id of the model; default: ${model}."`
	Manifest string `help:"Pull the model that this manifest describes, instead of one that embedd knows." placeholder:"FILE"`
	Force    bool   `help:"Fetch the files even if the right ones are there; with --manifest, replace another model of the same id." env:"-"`
	modelsFlags
}

func (modelsPullCmd) Help() string {
	return `A download that is cut short, by Ctrl-C too, goes on at the next pull.

Examples:
  embedd models pull all-MiniLM-L6-v2
  embedd models pull --manifest my-model.json`
}

func (c *modelsPullCmd) Run(e *env) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	m, err := c.manifest(dir)
	if err != nil {
		return err
	}
	d := downloads{e: e}
	model, err := models.Pull(e.ctx, dir, m, &models.PullOptions{Force: c.Force, Progress: d.say, Downloaded: d.show})
	d.done()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%s is in %s, fingerprint %s\n", m.ID, model.Dir, m.Fingerprint()[:12])
	return err
}

// manifest is the one of --manifest, else the one that comes with embedd, else that of a model in the folder dir.
func (c *modelsPullCmd) manifest(dir string) (*models.Manifest, error) {
	if c.Manifest == "" {
		id := c.ID
		if id == "" {
			id = models.Default
		}
		m, unknown := models.Find(id)
		if unknown == nil {
			return m, nil
		}
		there, err := models.Open(dir, id)
		if errors.Is(err, models.ErrMissing) {
			return nil, fmt.Errorf("%w; pull another with --manifest FILE", unknown)
		}
		if err != nil {
			return nil, err
		}
		return there.Manifest, nil
	}
	m, err := models.Load(c.Manifest)
	if err != nil {
		return nil, err
	}
	if c.ID != "" && c.ID != m.ID {
		return nil, fmt.Errorf("%s: manifest field \"id\": is %q, the command says %q; leave one out", c.Manifest, m.ID, c.ID)
	}
	if c.Force {
		return m, nil
	}
	switch there, err := models.Open(dir, m.ID); {
	case errors.Is(err, models.ErrMissing):
	case err != nil:
		return nil, err
	case there.Fingerprint() != m.Fingerprint():
		return nil, fmt.Errorf("another model %s is in %s, with fingerprint %s; choose another id, or replace it with --force", m.ID, there.Dir, there.Fingerprint()[:12])
	}
	return m, nil
}

// downloads shows what models.Pull tells: lines, and a bar for each file that is downloaded.
type downloads struct {
	e    *env
	path string
	bar  *progress
}

func (d *downloads) say(line string) {
	d.done()
	fmt.Fprintln(d.e.stderr, line)
}

func (d *downloads) show(path string, done, total int64) {
	const unit = 1000
	if d.bar == nil || path != d.path {
		d.done()
		d.path, d.bar = path, newProgress(d.e, path, "kB")
		d.bar.from = int(done / unit)
	}
	d.bar.Set(int(done/unit), int(total/unit))
}

// done ends the bar.
func (d *downloads) done() {
	if d.bar != nil {
		d.bar.Done()
		d.bar = nil
	}
}
