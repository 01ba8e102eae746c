package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	tables "embedd/internal/table"
)

// newFile is a file that is written beside its name, and gets it when it is whole.
type newFile struct {
	*os.File
	path string
}

// createBeside makes a file that path will name once keep is called. Until then path is what it was.
func createBeside(path string) (*newFile, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("--out: %s is no file that can be replaced", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	return &newFile{f, path}, nil
}

// finish makes sure that all of the file is on the disk. It has no name yet.
func (f *newFile) finish() error { return errors.Join(f.Chmod(0o644), f.Sync(), f.Close()) }

// keep gives the finished file its name.
func (f *newFile) keep() error { return os.Rename(f.Name(), f.path) }

// drop removes the file.
func (f *newFile) drop() error {
	err := f.Close()
	if errors.Is(err, os.ErrClosed) { // it was finished
		err = nil
	}
	return errors.Join(err, os.Remove(f.Name()))
}

// outFlags say where a table goes, and how.
type outFlags struct {
	Out    string `help:"File to write, whole or not at all; - is standard output." placeholder:"FILE" env:"-"`
	Format string `help:"How: parquet, jsonl, csv, tsv or npy; default: by the ending of --out, which .gz or .zst may follow." placeholder:"FORMAT" env:"-"`
}

// format is how the table is written, which may be one of some. jsonl goes to standard output where nothing is said.
func (f *outFlags) format(may ...tables.Format) (tables.Format, tables.Packing, error) {
	_, packing := tables.Unpacked(f.Out)
	format, known := tables.FormatOf(f.Out)
	if f.stdout() {
		format, packing, known = tables.JSONL, tables.Plain, true
	}
	if f.Format != "" {
		given, err := tables.ParseFormat(f.Format)
		if err != nil {
			return "", "", fmt.Errorf("--format: %w", err)
		}
		if known && !f.stdout() && given != format {
			return "", "", fmt.Errorf("--format: %s, but the file is called %s; leave out --format, or call it otherwise", given, f.Out)
		}
		format, known = given, true
	}
	if !known {
		return "", "", fmt.Errorf("--out: %s does not say how to write it; call it as name.%s, or give --format", f.Out, may[0])
	}
	for _, m := range may {
		if m != format {
			continue
		}
		if packing != tables.Plain && (format == tables.Parquet || format == tables.NumPy) {
			return "", "", fmt.Errorf("--out: %s: a file of %s is not compressed as a whole, its readers want it as it is; leave out .%s", f.Out, format, packing)
		}
		return format, packing, nil
	}
	var names []string
	for _, m := range may {
		names = append(names, string(m))
	}
	return "", "", fmt.Errorf("this cannot be written as %s; there are %s", format, strings.Join(names, ", "))
}

func (f *outFlags) stdout() bool { return f.Out == "" || f.Out == "-" }

// packed is a stream into a file, or to standard output.
type packed struct {
	io.WriteCloser
	file *newFile // nil for standard output
}

// open makes what is written to.
func (f *outFlags) open(e *env, packing tables.Packing) (*packed, error) {
	if f.stdout() {
		w, err := packing.Pack(e.stdout)
		return &packed{WriteCloser: w}, err
	}
	file, err := createBeside(f.Out)
	if err != nil {
		return nil, err
	}
	w, err := packing.Pack(file)
	if err != nil {
		return nil, errors.Join(err, file.drop())
	}
	return &packed{w, file}, nil
}

// end ends streams that belong together: where err is nil and all are whole, their files get their names, else they are removed, and it says so.
func end(e *env, err error, streams ...*packed) error {
	for _, p := range streams {
		if err == nil {
			err = p.Close()
		}
		if err == nil && p.file != nil {
			err = p.file.finish()
		}
	}
	for _, p := range streams {
		if p.file == nil {
			continue
		}
		if err == nil {
			err = p.file.keep()
		}
		if err != nil {
			err = errors.Join(err, p.file.drop())
			fmt.Fprintf(e.stderr, "embedd: %s was not written; what there was of it is removed\n", p.file.path)
		}
	}
	return err
}
