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

// source is a file to be opened.
type source struct {
	name string
	// gzip: the file must be a gzip stream. One that need not be may be.
	gzip bool
	open func() (io.ReadCloser, error)
}

// Open reads papers from path:
//
//   - "-" is standard input, plain or gzip; Close leaves it open;
//   - a file is .jsonl or .jsonl.gz; a pipe may have any name;
//   - a folder holds either corpus.jsonl or numbered parts, corpus-0.jsonl, corpus-1.jsonl and so on, read in the order of
//     their numbers; each may end in .gz. What else it holds is passed over. Two files for the same part are an error,
//     a number left out is not.
func Open(path string) (*Reader, error) {
	if path == "-" {
		return NewReader(os.Stdin, "standard input"), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	paths := []string{path}
	switch {
	case info.IsDir():
		if paths, err = corpusFiles(path); err != nil {
			return nil, err
		}
	case info.Mode().IsRegular() && !strings.HasSuffix(path, ".jsonl") && !strings.HasSuffix(path, ".jsonl.gz"):
		return nil, fmt.Errorf("%s: want a file .jsonl or .jsonl.gz, or a folder that holds corpus.jsonl", path)
	}
	r := new(Reader)
	known := true
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		known = known && info.Mode().IsRegular()
		r.size += info.Size()
		r.sources = append(r.sources, source{
			name: p,
			gzip: strings.HasSuffix(p, ".gz"),
			open: func() (io.ReadCloser, error) { return os.Open(p) },
		})
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

var corpusFile = regexp.MustCompile(`^corpus(?:-([0-9]+))?\.jsonl(?:\.gz)?$`)

// corpusFiles finds the files of a corpus in a folder, in the order of their numbers.
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
	if len(parts) == 0 {
		return nil, &fs.PathError{Op: "open", Path: dir,
			Err: errors.New("no corpus.jsonl, corpus.jsonl.gz or corpus-<n>.jsonl[.gz] in this folder")}
	}
	slices.SortStableFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(len(a.number), len(b.number)), cmp.Compare(a.number, b.number))
	})
	var paths []string
	for i, p := range parts {
		if i > 0 && (p.whole || parts[0].whole || p.number == parts[i-1].number) {
			return nil, fmt.Errorf("%s: %s and %s: keep one of them", dir, parts[i-1].name, p.name)
		}
		paths = append(paths, filepath.Join(dir, p.name))
	}
	return paths, nil
}
