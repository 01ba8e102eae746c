package models

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Errors of Open, ReadFile, Pull and Find, for errors.Is.
var (
	// ErrUnknown: no manifest with this id comes with the program.
	ErrUnknown = errors.New("unknown model")
	// ErrMissing: the model, or one of its files, is not in the models folder.
	ErrMissing = errors.New("model is not there")
	// ErrWrongFile: a file is there but is not the one in the manifest.
	ErrWrongFile = errors.New("model file is not the one in the manifest")
)

// Default is the id of the model that is used when none is named.
const Default = "all-MiniLM-L6-v2"

//go:embed manifests/*.json
var manifests embed.FS

// Builtin returns the manifests that come with the program, by id.
func Builtin() []*Manifest {
	names, err := fs.Glob(manifests, "manifests/*.json")
	if err != nil {
		panic("models: " + err.Error())
	}
	var all []*Manifest
	for _, name := range names {
		f, err := manifests.Open(name)
		if err != nil {
			panic("models: " + err.Error())
		}
		m, err := Parse(f)
		if err != nil {
			panic("models: " + name + ": " + err.Error()) // a test parses them all
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Manifest) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Find returns the manifest with this id that comes with the program, or ErrUnknown.
func Find(id string) (*Manifest, error) {
	var known []string
	for _, m := range Builtin() {
		if m.ID == id {
			return m, nil
		}
		known = append(known, m.ID)
	}
	return nil, fmt.Errorf("%w %q; known are %s", ErrUnknown, id, strings.Join(known, ", "))
}

// Model is a model's folder and its manifest.
type Model struct {
	*Manifest
	// Dir is the model's folder.
	Dir string
}

// Open reads the manifest of the model id in the folder root. It does not read the model's other files: ReadFile does,
// and checks them. A model that is not there is ErrMissing with the command that brings it.
func Open(root, id string) (*Model, error) {
	if !idForm.MatchString(id) {
		return nil, fmt.Errorf("model id %q is not 1 to 100 letters, digits, '.', '_' or '-'", id)
	}
	dir := filepath.Join(root, id)
	path := filepath.Join(dir, ManifestName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s not found; bring it with: embedd models pull %s", ErrMissing, path, id)
	}
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", id, err)
	}
	defer f.Close()
	m, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.ID != id {
		return nil, fmt.Errorf("%s: manifest field \"id\": is %q, the folder's name is %q", path, m.ID, id)
	}
	return &Model{Manifest: m, Dir: dir}, nil
}

// Installed gives the models whose folders are in root, by id. A folder without a manifest is passed over; a manifest that
// cannot be read is an error beside the models that can.
func Installed(root string) ([]*Model, error) {
	paths, err := filepath.Glob(filepath.Join(root, "*", ManifestName))
	if err != nil {
		return nil, err
	}
	var all []*Model
	var errs []error
	for _, path := range paths {
		m, err := Open(root, filepath.Base(filepath.Dir(path)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Model) int { return strings.Compare(a.ID, b.ID) })
	return all, errors.Join(errs...)
}

// ReadFile returns the content of a file of the model, read once and checked: a missing file is ErrMissing, one with
// another size or sha256 is ErrWrongFile.
func (m *Model) ReadFile(f File) ([]byte, error) {
	path := filepath.Join(m.Dir, f.Path)
	r, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s not found; bring it with: embedd models pull %s", ErrMissing, path, m.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.ID, err)
	}
	defer r.Close()
	data, err := readExactly(r, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; bring it anew with: embedd models pull --force %s", path, err, m.ID)
	}
	return data, nil
}

// readExactly reads f's content from r and checks size and hash. It never reads more than one byte beyond the size.
func readExactly(r io.Reader, f File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, f.Bytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != f.Bytes {
		than := "shorter"
		if int64(len(data)) > f.Bytes {
			than = "longer"
		}
		return nil, fmt.Errorf("%w: %s than its %d bytes", ErrWrongFile, than, f.Bytes)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != f.SHA256 {
		return nil, fmt.Errorf("%w: sha256 is %s, must be %s", ErrWrongFile, got, f.SHA256)
	}
	return data, nil
}

// Verify reads and checks every file of the model.
func (m *Model) Verify() error {
	for _, f := range []File{m.Files.Model, m.Files.Tokenizer} {
		if _, err := m.ReadFile(f); err != nil {
			return err
		}
	}
	return nil
}
