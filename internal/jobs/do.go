package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"embedd/internal/retrieval"
	"embedd/internal/sealed"
	"embedd/internal/similar"
	"embedd/internal/table"
)

// doing is a job that is being done.
type doing struct {
	*Runner
	ctx  context.Context
	e    *entry
	spec Spec
	// work is the folder of its steps.
	work *os.Root
}

// do does a job, from the step behind the last that is done, and gives its report and files.
func (r *Runner) do(ctx context.Context, e *entry, spec Spec) (report map[string]string, files []File, err error) {
	defer func() { // a defect ends the job, not the server
		if v := recover(); v != nil {
			err = fmt.Errorf("a defect of the server: %v", v)
		}
	}()
	at := path.Join(folder, e.ID, workFolder)
	if err := r.root.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, err
	}
	work, err := r.root.OpenRoot(at)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, work.Close()) }()
	d := &doing{r, ctx, e, spec, work}
	names, err := d.steps()
	if err != nil {
		return nil, nil, err
	}
	if err := d.read(similar.ReportName, &report); err != nil {
		return nil, nil, err
	}
	d.told("keeping the files", 0, 0)
	files, err = d.place(names)
	return report, files, err
}

// steps does the work, and gives the names of the result files in the folder of work.
func (d *doing) steps() ([]string, error) {
	switch d.spec.Kind {
	case Pairs:
		return d.pairs()
	case Evaluate:
		return d.evaluate()
	case Export:
		return d.export()
	case ReEncode:
		return d.reEncode()
	}
	if err := d.freeze(similar.Mine, d.spec.Collection, "filter", d.spec.Filter, d.spec.Abstracts()); err != nil {
		return nil, err
	}
	if d.spec.Kind == similar.CrossSimilarity {
		if err := d.freeze(similar.Theirs, d.spec.Other, "other_filter", d.spec.OtherFilter, false); err != nil {
			return nil, err
		}
	}
	if d.spec.Kind == similar.CrossSimilarity {
		if err := d.comparable(); err != nil {
			return nil, err
		}
	}
	return similar.Files(&d.spec.Task), d.compute(d.spec.Task)
}

func (d *doing) told(stage string, done, total int) { d.Runner.told(d.e, stage, done, total) }

// compute does a task over what is frozen.
func (d *doing) compute(t similar.Task) error {
	if err := d.o.Step("compute"); err != nil {
		return err
	}
	return d.o.Compute(d.ctx, filepath.Join(d.root.Name(), folder, d.e.ID, workFolder), t, d.told)
}

// there tells whether a file of the work is.
func (d *doing) there(name string) (bool, error) {
	_, err := d.work.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// freeze keeps a collection as it is in a folder of the work.
func (d *doing) freeze(name, collection, field, filter string, abstracts bool) error {
	if there, err := d.there(name); there || err != nil {
		return err
	}
	if err := d.o.Step("freeze " + name); err != nil {
		return err
	}
	c, err := d.o.Set.Get(collection)
	if err != nil {
		return err
	}
	which, err := whichOf(field, filter)
	if err != nil {
		return err
	}
	d.told("freezing the collection", 0, 0)
	half := name + ".new"
	if err := d.work.RemoveAll(half); err != nil {
		return err
	}
	if err := d.work.Mkdir(half, 0o700); err != nil {
		return err
	}
	total := 0
	if info, err := c.Info(); err == nil {
		total = info.Papers
	}
	err = d.write(path.Join(half, similar.PapersName), func(w io.Writer) error {
		out, err := table.NewWriter[similar.Paper](w, table.Parquet, nil)
		if err != nil {
			return err
		}
		rows := make([]similar.Paper, 0, 512)
		n := 0
		err = c.Freeze(d.ctx, d.root, path.Join(folder, d.e.ID, workFolder, half, similar.IndexName),
			retrieval.FreezeRequest{Which: which, Abstracts: abstracts, DateField: d.spec.DateField}, func(papers []retrieval.Frozen) error {
				rows = rows[:0]
				for _, p := range papers {
					row := similar.Paper{Label: int64(p.Ordinal), Passages: int32(p.Passages), ID: p.Paper.ID, Title: p.Paper.Title, Date: p.Date, Year: p.Paper.Year}
					if abstracts {
						row.Abstract = p.Paper.Abstract
					}
					rows = append(rows, row)
				}
				n += len(rows)
				d.told("freezing the collection", n, max(n, total))
				return out.Write(rows)
			})
		if err != nil {
			return err
		}
		return out.Close()
	})
	if err != nil {
		return err
	}
	err = d.write(path.Join(half, modelName), func(w io.Writer) error { return json.NewEncoder(w).Encode(c.Model()) })
	if err != nil {
		return err
	}
	if err := d.work.Rename(half, name); err != nil {
		return err
	}
	return sealed.SyncFolder(d.work, path.Dir(name))
}

// modelName is the file of a frozen collection that says which model its vectors are of.
const modelName = "model.json"

// comparable refuses two frozen collections of different models: one may have been moved to another since the job was made.
func (d *doing) comparable() error {
	var mine, theirs retrieval.Model
	if err := errors.Join(d.read(path.Join(similar.Mine, modelName), &mine), d.read(path.Join(similar.Theirs, modelName), &theirs)); err != nil {
		return err
	}
	return sameModel(mine, theirs, d.spec.Collection)
}

// sameModel refuses to compare papers whose vectors are of different models.
func sameModel(mine, theirs retrieval.Model, collection string) error {
	if mine.Fingerprint == theirs.Fingerprint {
		return nil
	}
	return &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: "other", Message: fmt.Sprintf("its vectors are of the model %s, those of %s of %s; they cannot be compared", theirs.ID, collection, mine.ID)}
}

// write writes a file of the work, which gets its name when it is whole and synced.
func (d *doing) write(name string, write func(io.Writer) error) error {
	return sealed.WriteWhole(d.work, name, write)
}

// report writes what was found, as the last step.
func (d *doing) report(r similar.Report) error {
	return d.write(similar.ReportName, func(w io.Writer) error { return json.NewEncoder(w).Encode(r) })
}

// read reads a JSON file of the work.
func (d *doing) read(name string, to any) error {
	f, err := d.work.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewDecoder(f).Decode(to)
}

// place moves the result files to where they stay. It may be cut off and done again.
func (d *doing) place(names []string) (files []File, err error) {
	at := path.Join(folder, d.e.ID, fileFolder)
	if err := d.root.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	for _, name := range names {
		from, to := path.Join(folder, d.e.ID, workFolder, name), path.Join(at, name)
		if err := d.root.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		f, err := hash(d.root, to)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, errors.Join(sealed.SyncFolder(d.root, at), sealed.SyncFolder(d.root, path.Join(folder, d.e.ID)))
}
