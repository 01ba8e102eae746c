package models

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
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

// Load reads the manifest of a model that does not come with the program, for Pull. A relative path of a source.folder is
// made absolute: it is relative to the manifest's folder.
func Load(path string) (*Manifest, error) {
	m, err := load(path)
	if err != nil {
		return nil, err
	}
	if _, err := Find(m.ID); err == nil {
		return nil, fmt.Errorf("%s: %w", path, bad("id", "%q is that of a model that comes with embedd; choose another", m.ID))
	}
	return m, nil
}

func load(path string) (*Manifest, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	for _, f := range m.files() {
		f.Source.resolve(filepath.Dir(abs))
	}
	return m, nil
}

// Open reads the manifest of the model id in the folder root, as Load does. It does not read the model's other files:
// ReadFile does, and checks them. A model that is not there is ErrMissing with the command that brings it.
func Open(root, id string) (*Model, error) {
	if !modelForm.MatchString(id) {
		return nil, fmt.Errorf("model id %q is not 1 to 100 letters, digits, '.', '_', '-' or '+'", id)
	}
	dir := filepath.Join(root, id)
	path := filepath.Join(dir, ManifestName)
	m, err := load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		way := "embedd models import, or embedd models pull --manifest FILE"
		if _, err := Find(id); err == nil {
			way = "embedd models pull " + id
		}
		return nil, fmt.Errorf("%w: %s not found; bring it with: %s", ErrMissing, path, way)
	case err != nil:
		return nil, fmt.Errorf("open model %s: %w", id, err)
	}
	if m.ID != id {
		return nil, fmt.Errorf("%s: manifest field \"id\": is %q, the folder's name is %q", path, m.ID, id)
	}
	return &Model{Manifest: m, Dir: dir}, nil
}

// Installed gives the models whose folders are in root, by id. A folder without a manifest is passed over; a manifest that
// cannot be read is an error beside the models that can.
func Installed(root string) ([]*Model, error) {
	manifests, err := fs.Glob(os.DirFS(root), "*/"+ManifestName)
	if err != nil {
		return nil, err
	}
	var all []*Model
	var errs []error
	for _, manifest := range manifests {
		m, err := Open(root, path.Dir(manifest))
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
	var data []byte
	err := m.read(f, func(r io.Reader) (err error) {
		data, err = io.ReadAll(r)
		return err
	})
	return data, err
}

// Verify reads and checks every file of the model.
func (m *Model) Verify() error {
	for _, f := range m.inOrder() {
		if err := m.check(context.Background(), f); err != nil {
			return err
		}
	}
	return nil
}

// check reads a file of the model without keeping it, with the errors of ReadFile.
func (m *Model) check(ctx context.Context, f File) error {
	return m.read(f, func(r io.Reader) error {
		_, err := io.Copy(io.Discard, stoppable{ctx, r})
		return err
	})
}

// read gives use the checked content of a file of the model. Its errors say what brings the right file.
func (m *Model) read(f File, use func(r io.Reader) error) error {
	path := filepath.Join(m.Dir, filepath.FromSlash(f.Path))
	r, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s not found; %s", ErrMissing, path, m.remedy(f, "bring it with: embedd models pull "+m.ID))
	}
	if err != nil {
		return fmt.Errorf("model %s: %w", m.ID, err)
	}
	defer r.Close()
	err = use(exactly(r, f))
	if errors.Is(err, ErrWrongFile) {
		return fmt.Errorf("%s: %w; %s", path, err, m.remedy(f, "bring it anew with: embedd models pull --force "+m.ID))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// remedy is the next step for a file that is missing or wrong: to pull it, where it has a source.
func (m *Model) remedy(f File, pull string) string {
	if f.Source != nil {
		return pull
	}
	if m.Adapter != nil {
		return "its manifest names no source; copy the folder of the model anew, or learn the adapter again with: embedd distil"
	}
	return fmt.Sprintf("its manifest names no source; import it again with: embedd models import FOLDER --id %s --force", m.ID)
}

// exactly gives r's content and ends in ErrWrongFile, instead of io.EOF, unless size and hash are f's. It never reads
// more than one byte beyond the size.
func exactly(r io.Reader, f File) io.Reader {
	return &exact{r: io.LimitReader(r, f.Bytes+1), f: f, hash: sha256.New()}
}

type exact struct {
	r    io.Reader
	f    File
	n    int64
	hash hash.Hash
}

func (e *exact) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	e.hash.Write(b[:n])
	e.n += int64(n)
	if err == io.EOF {
		if wrong := e.f.compare(e.n, e.hash); wrong != nil {
			return n, wrong
		}
	}
	return n, err
}

// compare returns ErrWrongFile unless n bytes that were written to h are the file's content.
func (f *File) compare(n int64, h hash.Hash) error {
	switch got := hex.EncodeToString(h.Sum(nil)); {
	case n < f.Bytes:
		return fmt.Errorf("%w: shorter than its %d bytes", ErrWrongFile, f.Bytes)
	case n > f.Bytes:
		return fmt.Errorf("%w: longer than its %d bytes", ErrWrongFile, f.Bytes)
	case got != f.SHA256:
		return fmt.Errorf("%w: sha256 is %s, must be %s", ErrWrongFile, got, f.SHA256)
	}
	return nil
}

// stoppable is a reader that ends when ctx does.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s stoppable) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}

// openRegular opens a file, and refuses what is none: a pipe would be waited for.
func openRegular(path string) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.Open(path)
}
