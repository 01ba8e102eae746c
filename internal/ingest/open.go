package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Options say how files are read. The zero value guesses the format of each file.
type Options struct {
	// Format is the name of a format of Formats, which all files have, or "" to guess it.
	Format string
	// Columns are which column of a table is which field, of CSV, TSV and Parquet: "title" or "metadata.lang" -> "Title". Nil maps the columns
	// by their usual names. With Columns other columns are not read.
	Columns map[string]string
	// Stdin is what "-" reads, nil for that of the process.
	Stdin io.Reader
	// Abstracts are for papers of Semantic Scholar that have none; nil: there are none. They are the caller's to close.
	Abstracts *Abstracts
	// Opened, where it is not nil, is told of each file that is begun: its format, and what is to be known of how it is read, "" where there is
	// nothing. Next calls it.
	Opened func(file string, f *Format, note string)

	form *Format // goes before Format: one that is in no table
}

// source is a file to be opened.
type source struct {
	name string
	// packing is that which the name tells: the file must be such a stream. One that need not be may be.
	packing packing
	open    func() (io.ReadCloser, error)
}

// Open reads papers from path:
//
//   - "-" is standard input; Close leaves it open;
//   - a file of any of the forms of Formats, plain or in gzip or zstd, which is recognised by its first bytes. Where what it holds does not tell
//     its form, the end of its name does;
//   - a folder that holds corpus.jsonl, or numbered parts, corpus-0.jsonl, corpus-1.jsonl and so on: these, in the order of
//     their numbers; each may end in .gz or .zst. What else it holds is passed over. Two files for the same part are an error,
//     a number left out is not;
//   - any other folder: all files in it and below whose names end as those of a format do, each by its own form, in the order of their names,
//     of which numbers count as numbers. What begins with a point is passed over, and so are links to folders; a link to a file is read.
func Open(path string, options ...Options) (*Reader, error) {
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if path == "-" {
		if o.Stdin == nil {
			o.Stdin = os.Stdin
		}
		return newReader(o.Stdin, "standard input", o), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	paths := []string{path}
	if info.IsDir() {
		if paths, err = folderFiles(path, o.Format); err != nil {
			return nil, err
		}
	}
	r := &Reader{options: o, many: len(paths) > 1}
	known := true
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		known = known && info.Mode().IsRegular()
		r.size += info.Size()
		packing, _ := packed(p)
		r.sources = append(r.sources, source{name: p, packing: packing, open: func() (io.ReadCloser, error) { return os.Open(p) }})
	}
	if !known {
		r.size = 0 // a pipe has no size
	}
	// The first file is opened now, for its error to come from Open. What is wrong inside it is for Next to say.
	if err := r.openFile(); err != nil {
		return nil, err
	}
	return r, nil
}

func (o *Options) check() error {
	if o.Format != "" && formatNamed(o.Format) == nil {
		return fmt.Errorf("format %q is not known; there are %s", shorten(o.Format), strings.Join(formatNames(), ", "))
	}
	for field, column := range o.Columns {
		if !isField(field) {
			return fmt.Errorf("columns: %q is no field of a paper; there are %s and metadata.NAME", shorten(field), strings.Join(columnFields, ", "))
		}
		if column == "" {
			return fmt.Errorf("columns: %s has no column; write %s=NAME", field, field)
		}
	}
	return nil
}

// folderFiles finds what is read of a folder.
func folderFiles(dir, format string) ([]string, error) {
	if format == "" || format == ownFormat {
		paths, err := corpusFiles(dir)
		if err != nil || len(paths) > 0 {
			return paths, err
		}
	}
	return allFiles(dir)
}

// corpusFile is a name of BEIR's.
var corpusFile = regexp.MustCompile(`^corpus(?:-([0-9]+))?\.jsonl(?:\.gz|\.zst)?$`)

// corpusFiles finds the files of a corpus in a folder, in the order of their numbers. There may be none.
func corpusFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	type part struct {
		name   string
		whole  bool
		number string // without leading zeros, so of any size
	}
	var parts []part
	for _, e := range entries {
		m := corpusFile.FindStringSubmatch(e.Name())
		if m == nil || e.IsDir() {
			continue
		}
		parts = append(parts, part{e.Name(), m[1] == "", strings.TrimLeft(m[1], "0")})
	}
	slices.SortStableFunc(parts, func(a, b part) int { return compareNumbers(a.number, b.number) })
	var paths []string
	for i, p := range parts {
		if i > 0 && (p.whole || parts[0].whole || p.number == parts[i-1].number) {
			return nil, fmt.Errorf("%s: %s and %s: keep one of them", dir, parts[i-1].name, p.name)
		}
		paths = append(paths, filepath.Join(dir, p.name))
	}
	return paths, nil
}

// maxFiles is how many files a folder may have to be read.
const maxFiles = 1_000_000

// allFiles finds the files of all formats in a folder and below.
func allFiles(dir string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != dir && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case e.IsDir() || !hasExtension(e.Name()):
			return nil
		}
		info, err := os.Stat(path) // of what a link leads to
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		if len(paths) == maxFiles {
			return fmt.Errorf("%s: more than %d files; index folders of it one by one", dir, maxFiles)
		}
		paths = append(paths, path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, &fs.PathError{Op: "open", Path: dir,
			Err: errors.New("no corpus.jsonl and no corpus-<n>.jsonl in this folder, and no file in it or below that ends in " + strings.Join(extensions(), ", "))}
	}
	slices.SortFunc(paths, compareNames)
	return paths, nil
}

// compareNames compares by characters, but numbers by their value: part-9 comes before part-10.
func compareNames(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if n, m := digitsOf(x), digitsOf(y); n > 0 && m > 0 {
			if c := compareNumbers(strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")); c != 0 {
				return c
			}
			x, y = x[n:], y[m:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

// compareNumbers compares digits without leading zeros, as many as they are.
func compareNumbers(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// digitsOf is how many digits a text begins with.
func digitsOf(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
