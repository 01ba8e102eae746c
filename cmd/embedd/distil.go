package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"embedd/internal/collections"
	"embedd/internal/distil"
	"embedd/models"
	embeddv1 "embedd/proto/embedd/v1"
)

type distilCmd struct {
	Dir         string `arg:"" optional:"" help:"A folder with queries and judgments in BEIR's form; its papers are not read: those of the collection are."`
	Task        string `help:"Use queries-TASK.jsonl and qrels-TASK.tsv of the folder, where it has several." placeholder:"TASK"`
	ExcludeSelf bool   `help:"Leave out the document that has the query's own id: for tasks from paper to paper."`
	Queries     string `help:"Queries in BEIR's form, in a file of their own; with --qrels, or with --teacher." placeholder:"FILE" env:"EMBEDD_DISTIL_QUERIES"`
	Qrels       string `help:"Judgments of these queries, in BEIR's form." placeholder:"FILE" env:"EMBEDD_DISTIL_QRELS"`
	Pairs       string `help:"Judged pairs instead: lines of JSON with a (a paper's id, or a text), b (a paper's id) and score; or these three, parted by tabs." placeholder:"FILE" env:"EMBEDD_DISTIL_PAIRS"`
	Teacher     string `help:"Cross-encoder whose scores are learned from, instead of judgments: it scores the nearest papers of each of --queries, or of titles of the collection." placeholder:"ID" env:"EMBEDD_DISTIL_TEACHER"`
	Candidates  int    `help:"Papers that the teacher scores for each query, 2 to 200." default:"30" placeholder:"N" env:"EMBEDD_DISTIL_CANDIDATES"`
	Titles      int    `help:"Titles that are asked where the teacher has no queries; at least 50." default:"500" placeholder:"N" env:"EMBEDD_DISTIL_TITLES"`

	Name    string  `help:"Name of the adapter: letters, digits, ., _ and -. The new model is called as the collection's, with + and the name behind." required:"" placeholder:"NAME" env:"EMBEDD_DISTIL_NAME"`
	Papers  int     `help:"Papers that lists are made of, drawn by chance where the collection has more; those that are judged are among them." default:"100000" placeholder:"N" env:"EMBEDD_DISTIL_PAPERS"`
	HeldOut float64 `help:"Share of the queries that measure the gain and are not learned from, 0.01 to 0.5." default:"0.2" placeholder:"SHARE" env:"EMBEDD_DISTIL_HELD_OUT"`
	Rounds  int     `help:"The most times that the queries are gone over, 1 to 1,000." default:"60" placeholder:"N" env:"EMBEDD_DISTIL_ROUNDS"`
	Rate    float64 `help:"Rate of learning, up to 0.01." default:"0.0001" placeholder:"RATE" env:"EMBEDD_DISTIL_RATE"`
	Seed    uint64  `help:"Seed of all chance: the same gives the same adapter." default:"1" placeholder:"N" env:"EMBEDD_DISTIL_SEED"`
	Anyway  bool    `help:"Write the model also where no gain is shown." env:"-"`
	Force   bool    `help:"Replace a model of the same id." env:"-"`

	outputFlags
	clientFlags
}

func (distilCmd) Help() string {
	return `Learns an adapter from judgments: a matrix by which the vectors of this collection rank its papers better, and that turns stored vectors without
encoding them anew. It is measured on queries that it did not learn from, and becomes a model of its own. Where no gain is shown, nothing is written and
the exit status is 1. See docs/distil.md.

Examples:
  embedd distil --data papers --name clicks --pairs clicks.tsv
  embedd distil --data papers --name experts path/to/scifact --task train
  embedd distil --data papers --name taught --teacher ms-marco-MiniLM-L6-v2`
}

// distilReport is what distil prints.
type distilReport struct {
	// Model is the id of the adapter, Base that of the collection's model.
	Model string `json:"model"`
	Base  string `json:"base"`
	From  string `json:"from"`
	// Written: the model is in Folder, with this fingerprint. Otherwise Refused says why not.
	Written     bool   `json:"written"`
	Folder      string `json:"folder,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Refused     string `json:"refused,omitempty"`
	// UnknownJudgments are about papers that the collection does not have.
	UnknownJudgments int `json:"unknown_judgments"`
	*distil.Result
}

func (c *distilCmd) Run(e *env) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	from, err := c.read()
	if err != nil {
		return err
	}
	c.here = []string{"models", "library", "workers"} // the adapter is written on this machine, and a teacher runs here
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	shut := false
	closeOnce := func() error {
		if shut {
			return nil
		}
		shut = true
		return cl.close()
	}
	defer finish(&err, closeOnce)
	info, err := cl.info.GetInfo(e.ctx, &embeddv1.GetInfoRequest{})
	if err != nil {
		return err
	}
	f := engineFlags{Models: c.Engine.Models, Library: c.Engine.Library, Workers: c.Engine.Workers}
	if err := f.resolve(); err != nil {
		return err
	}
	base, err := c.base(f.Models, info)
	if err != nil {
		return err
	}
	o := &models.AdaptOptions{Name: c.Name, Replace: c.Force, Learned: models.Learned{From: from.name}}
	if err := models.Adaptable(f.Models, base, o); err != nil {
		return err
	}
	g := &gatherer{e: e, cl: cl, from: from, most: c.Papers, seed: c.Seed, texts: c.Teacher != ""}
	set, err := g.gather(base.Dimension, c.Titles)
	if err != nil {
		return c.nothing(e, err)
	}
	if err := closeOnce(); err != nil { // another process may have the data directory now
		return err
	}
	if c.Teacher != "" {
		if err := c.teach(e, g, set, &f); err != nil {
			return c.nothing(e, err)
		}
	}
	bar := newProgress(e, "learning", "rounds")
	result, err := distil.Learn(e.ctx, set, &distil.Options{Seed: c.Seed, HeldOut: c.HeldOut, Rounds: c.Rounds, Rate: c.Rate, Progress: bar.Set})
	bar.Done()
	if err != nil {
		return c.nothing(e, err)
	}
	r := distilReport{Model: base.ID + "+" + c.Name, Base: base.ID, From: from.name, UnknownJudgments: g.unknown, Result: result}
	gains := result.Gains()
	if gains == nil || c.Anyway {
		o.Matrix = result.Matrix
		o.Learned = models.Learned{
			From: from.name, Queries: result.Trained + result.Validated, Pairs: result.Pairs, HeldOut: result.HeldOut,
			Before: result.All.Before, After: result.All.After, Low: result.All.Low, High: result.All.High,
		}
		m, err := models.Adapt(f.Models, base, o)
		if err != nil {
			return err
		}
		manifest := filepath.Join(m.Dir, models.ManifestName)
		if err := recordGolden(e, manifest, &f); err != nil { // a folder without a manifest is no model
			return c.nothing(e, errors.Join(err, os.Remove(manifest)))
		}
		r.Written, r.Folder, r.Fingerprint = true, m.Dir, m.Fingerprint()
	} else {
		r.Refused = gains.Error()
	}
	if c.JSON {
		err = printJSON(e.stdout, r)
	} else {
		err = r.print(e, c.next(e, r.Model))
	}
	if err == nil && !r.Written {
		err = fmt.Errorf("%w; no model was written: give more judgments, or write it all the same with --anyway", gains)
	}
	return err
}

// nothing says of an interrupt that it left nothing behind.
func (c *distilCmd) nothing(e *env, err error) error {
	if e.ctx.Err() != nil {
		fmt.Fprintln(e.stderr, "embedd: no model was written; run the same command again to begin anew")
	}
	return err
}

// check refuses flags that do not go together.
func (c *distilCmd) check() error {
	sources := 0
	for _, given := range []bool{c.Dir != "", c.Queries != "" || c.Qrels != "", c.Pairs != ""} {
		if given {
			sources++
		}
	}
	switch {
	case sources > 1:
		return errors.New("a folder, --queries with --qrels, and --pairs are three ways to give judgments; give one of them")
	case sources == 0 && c.Teacher == "":
		return errors.New("there is nothing to learn from: give a folder in BEIR's form, --queries with --qrels, --pairs, or a --teacher")
	case c.Teacher != "" && (c.Dir != "" || c.Pairs != "" || c.Qrels != ""):
		return errors.New("--teacher: its scores take the place of judgments; give --queries with it, or nothing")
	case c.Queries != "" && c.Qrels == "" && c.Teacher == "":
		return errors.New("--queries: needs judgments, --qrels FILE, or a --teacher")
	case c.Queries == "" && c.Qrels != "":
		return errors.New("--qrels: needs the queries, --queries FILE")
	case c.Task != "" && c.Dir == "":
		return errors.New("--task: is for a folder in BEIR's form")
	case c.ExcludeSelf && (c.Pairs != "" || c.Dir == "" && c.Queries == ""):
		return errors.New("--exclude-self: is for queries with ids; in pairs a paper is known by its id")
	case c.Candidates < 2 || c.Candidates > 200:
		return fmt.Errorf("--candidates: is %d; must be 2 to 200", c.Candidates)
	case c.Titles < distil.MinQueries || c.Titles > maxDistilQueries:
		return fmt.Errorf("--titles: is %d; must be %d to %d", c.Titles, distil.MinQueries, maxDistilQueries)
	case c.Papers < 1:
		return fmt.Errorf("--papers: is %d; must be 1 or more", c.Papers)
	case !(c.HeldOut >= 0.01 && c.HeldOut <= 0.5):
		return fmt.Errorf("--held-out: is %v; must be 0.01 to 0.5", c.HeldOut)
	case c.Rounds < 1 || c.Rounds > 1000:
		return fmt.Errorf("--rounds: is %d; must be 1 to 1000", c.Rounds)
	case !(c.Rate >= 1e-9 && c.Rate <= 0.01):
		return fmt.Errorf("--rate: is %v; must be above 0 and at most 0.01", c.Rate)
	}
	return nil
}

// base is the collection's model, which must be on this machine too.
func (c *distilCmd) base(root string, info *embeddv1.GetInfoResponse) (*models.Model, error) {
	if info.GetSettings().GetOwnVectors() {
		return nil, errors.New("the papers of the collection bring their own vectors; there is no model to adapt")
	}
	id := info.GetModel().GetId()
	m, err := models.Open(root, id)
	if err != nil {
		return nil, err
	}
	switch {
	case int(info.GetModel().GetDimension()) != m.Dimension:
		return nil, fmt.Errorf("the collection's vectors are cut to %d of the %d values of model %s; an adapter is of whole vectors", info.GetModel().GetDimension(), m.Dimension, id)
	case info.GetModel().GetFingerprint() != m.Fingerprint():
		return nil, fmt.Errorf("the collection's model has the fingerprint %.12s, model %s in %s has %.12s; bring the same model", info.GetModel().GetFingerprint(), id, root, m.Fingerprint())
	}
	return m, nil
}

// next is the command that makes use of the new model.
func (c *distilCmd) next(e *env, id string) string {
	place := ""
	if c.Data != "" {
		place = " --data " + shellWord(c.Data)
		if model := e.flag("model"); model != nil && flagText(model) != model.Default {
			place += " --model " + shellWord(flagText(model))
		}
	} else if e.isGiven("server") {
		place = " --server " + shellWord(c.Server)
	}
	return fmt.Sprintf("%s migrations start %s --to %s%s", program(), shellWord(cmp.Or(c.Collection, collections.Default)), shellWord(id), place)
}

// print writes the report for people.
func (r *distilReport) print(e *env, next string) error {
	w := e.stdout
	fmt.Fprintf(w, "%s, learned from %s\n", r.Model, r.From)
	fmt.Fprintf(w, "%d queries, %d of which say when to end; %d pairs, %d papers; %d rounds in %.1f s, distance of the matrix from the identity %.2f\n\n",
		r.Trained+r.Validated, r.Validated, r.Pairs, r.Papers, r.Result.Rounds, r.Seconds, r.Distance)
	t := newTable(w, "HELD OUT", "QUERIES", "BEFORE", "AFTER", "GAIN", "95 %")
	for _, m := range []struct {
		name string
		distil.Measured
	}{{"all", r.All}, {"about new papers", r.New}} {
		if m.Queries == 0 {
			t.row(m.name, "0", "", "", "", "")
			continue
		}
		t.row(m.name, fmt.Sprint(m.Queries), fmt.Sprintf("%.4f", m.Before), fmt.Sprintf("%.4f", m.After), fmt.Sprintf("%+.4f", m.Gain), fmt.Sprintf("%+.4f to %+.4f", m.Low, m.High))
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprint(w, "\nnDCG@10 of dense search, exact. New papers are those that no judgment speaks of that was learned from.\n")
	if n := r.New.Queries; n < 10 {
		fmt.Fprintf(w, "With %d held-out queries about them, what the adapter does for new papers is not known.\n", n)
	}
	if !r.Written {
		return nil
	}
	_, err := fmt.Fprintf(w, "The model is in %s; to use it, move the collection to it:\n  %s\n", r.Folder, next)
	return err
}

// sourceName is how a file is called in reports: without its folder, which is of this machine.
func sourceName(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return strings.ToValidUTF8(filepath.Base(path), "?")
}

// readable refuses what is no regular file before anything else is done.
func readable(path string) error {
	fi, err := os.Stat(path)
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	return err
}
