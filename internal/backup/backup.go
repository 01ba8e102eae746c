// Package backup keeps folders as they were: it seals one with the hashes of its files, proves that a sealed folder is whole, and
// puts a copy of it in a place of one's own.
//
// A sealed folder has two files more:
//
//	backup.json   what is in it: format, store, revision, papers, model, the number of files and their bytes
//	SHA256SUMS    the hash of every other file, as sha256sum -c reads it
//
// All names come from the folder itself, never from these two: what they say can only lead to a refusal. Links and other things that
// are no plain files are refused.
package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	infoName = "backup.json"
	sumsName = "SHA256SUMS"

	formatVersion = 1
	// maxFiles and maxInfoBytes bound what a folder that is not ours may make us do.
	maxFiles     = 100_000
	maxInfoBytes = 64 << 10
)

// ErrDamaged: the folder is not what was sealed.
var ErrDamaged = errors.New("backup is damaged")

// Info is what a sealed folder says of itself.
type Info struct {
	Format      int       `json:"format"`
	Made        time.Time `json:"made"`
	Version     string    `json:"version"` // of the program
	Store       string    `json:"store"`   // its UUID
	Revision    uint64    `json:"revision"`
	Papers      int       `json:"papers"`
	Model       string    `json:"model"`
	Fingerprint string    `json:"fingerprint"`
	Files       int       `json:"files"` // without SHA256SUMS and backup.json
	Bytes       int64     `json:"bytes"`
}

// Progress is called with the bytes that were read, of those that there are.
type Progress func(done, total int64)

// Seal adds the two files to a folder. It returns when they are on disk.
func Seal(ctx context.Context, root *os.Root, info Info) (Info, error) {
	files, err := list(root)
	if err != nil {
		return info, err
	}
	info.Format, info.Files, info.Bytes = formatVersion, len(files), 0
	var sums bytes.Buffer
	for _, f := range files {
		sum, err := hash(ctx, root, f.name, nil)
		if err != nil {
			return info, err
		}
		info.Bytes += f.size
		fmt.Fprintf(&sums, "%s  %s\n", sum, f.name)
	}
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return info, err
	}
	text = append(text, '\n')
	sum := sha256.Sum256(text)
	fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), infoName)
	// gofail: var beforeSeal struct{}

	return info, errors.Join(write(root, infoName, text), write(root, sumsName, sums.Bytes()), syncDir(root))
}

// Verify reads every byte and proves that the folder is what was sealed, or returns ErrDamaged with the file that is not.
func Verify(ctx context.Context, dir string, progress Progress) (Info, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Info{}, err
	}
	defer root.Close()
	return verify(ctx, root, progress)
}

func verify(ctx context.Context, root *os.Root, progress Progress) (info Info, err error) {
	files, err := list(root)
	if err != nil {
		return info, err
	}
	sums, err := readSums(root, len(files)+1)
	if err != nil {
		return info, err
	}
	text, err := readSmall(root, infoName)
	if err != nil {
		return info, err
	}
	sum := sha256.Sum256(text)
	if want, ok := sums[infoName]; !ok || want != hex.EncodeToString(sum[:]) {
		return info, fmt.Errorf("%w: %s is not what was sealed", ErrDamaged, infoName)
	}
	if err := json.Unmarshal(text, &info); err != nil {
		return info, fmt.Errorf("%w: %s: %w", ErrDamaged, infoName, err)
	}
	if info.Format != formatVersion {
		return info, fmt.Errorf("the backup has format %d, this embedd reads %d; use the embedd that made it, version %s", info.Format, formatVersion, info.Version)
	}
	var total int64
	for _, f := range files {
		total += f.size
	}
	if len(files) != info.Files || total != info.Bytes || len(sums) != len(files)+1 {
		return info, fmt.Errorf("%w: it has %d files of %d bytes, and had %d of %d", ErrDamaged, len(files), total, info.Files, info.Bytes)
	}
	done := int64(0)
	for _, f := range files {
		want, ok := sums[f.name]
		if !ok {
			return info, fmt.Errorf("%w: %s was not there when it was sealed", ErrDamaged, f.name)
		}
		sum, err := hash(ctx, root, f.name, func(n int64) {
			if done += n; progress != nil {
				progress(done, total)
			}
		})
		if err != nil {
			return info, err
		}
		if sum != want {
			return info, fmt.Errorf("%w: %s is not what was sealed", ErrDamaged, f.name)
		}
	}
	return info, nil
}

// Restore verifies a sealed folder and only then puts a copy of what it had in target, which must be missing or empty, and is whole
// or as before when Restore returns, and whenever the process is killed; see swap. With replace, what was there is kept beside it, under
// the name that is returned. What an earlier Restore to target that was killed has left half done is removed.
func Restore(ctx context.Context, dir, target string, replace bool, progress Progress) (info Info, kept string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return info, "", err
	}
	defer root.Close()
	target = filepath.Clean(target)
	if real, err := filepath.EvalSymlinks(target); err == nil {
		target = real // what a link points to is put in its place, not the link
	}
	switch entries, err := os.ReadDir(target); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return info, "", err
	case len(entries) > 0 && !replace:
		return info, "", fmt.Errorf("%s is not empty: choose another folder, or put the backup in its place with --force", target)
	case len(entries) > 0:
		kept = fmt.Sprintf("%s.before-%s", target, time.Now().UTC().Format("20060102T150405.000Z"))
	}
	if info, err = verify(ctx, root, progress); err != nil {
		return info, "", err
	}
	parent := filepath.Dir(target)
	if err := makeFolder(parent); err != nil {
		return info, "", err
	}
	making, done, err := begin(parent, filepath.Base(target)+halfDone)
	if err != nil {
		return info, "", err
	}
	defer done()
	if err := copyAll(ctx, root, making); err != nil {
		return info, "", err
	}
	// The copy is proved too: a disk that lies is found before anything is given up for it.
	if err := compare(ctx, root, making); err != nil {
		return info, "", err
	}
	// gofail: var beforeRestoreSwap struct{}

	if kept != "" {
		err = swap(making, target, kept, exchange)
	} else if err = os.Remove(target); err == nil || errors.Is(err, fs.ErrNotExist) {
		// gofail: var beforeRestoreRename struct{}

		err = os.Rename(making, target)
	}
	if err != nil {
		return info, "", err
	}
	// gofail: var afterRestoreSwap struct{}

	d, err := os.OpenRoot(parent)
	if err != nil {
		return info, kept, err
	}
	return info, kept, errors.Join(syncDir(d), d.Close())
}

// makeFolder makes a folder and those that it is in, so that they survive power loss.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(d), d.Close())
}

// halfDone stands in the name of a copy that is not complete, after the target's.
const halfDone = ".restoring-"

// begin makes a folder for a copy, and removes those of processes that were killed. done removes the folder, if it still has its name.
func begin(parent, prefix string) (making string, done func(), err error) {
	root, err := os.OpenRoot(parent)
	if err != nil {
		return "", nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return "", nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		left, err := root.Open(e.Name())
		if err != nil {
			continue // it has gone, or is not ours
		}
		if claim(left) {
			err = root.RemoveAll(e.Name())
		}
		if err := errors.Join(err, left.Close()); err != nil {
			return "", nil, fmt.Errorf("remove what an earlier restore has left: %w", err)
		}
	}
	if making, err = os.MkdirTemp(parent, prefix+"*"); err != nil {
		return "", nil, err
	}
	folder, err := os.Open(making)
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(making))
	}
	claim(folder) // where it cannot be, nobody else can claim it either
	return making, func() { _ = errors.Join(os.RemoveAll(making), folder.Close()) }, nil
}

// swap puts a complete copy in the place of target, and what was there under the name kept, where the copy waits before: one step, by
// exchange, takes both to their places. A process that is killed just before it leaves under that name the copy, complete; in the
// target there is always the one or the other. Where names cannot be exchanged there are two steps, and a moment without a target: after
// a kill in it the old one is under the name kept, and the copy is made again.
func swap(copied, target, kept string, exchange func(a, b string) error) error {
	if err := os.Rename(copied, kept); err != nil {
		return err
	}
	// gofail: var betweenRestoreSteps struct{}

	err := exchange(kept, target)
	if err == nil {
		return nil
	}
	if e := os.Rename(kept, copied); e != nil || !errors.Is(err, errors.ErrUnsupported) {
		return errors.Join(err, e)
	}
	if err := os.Rename(target, kept); err != nil {
		return err
	}
	if err := os.Rename(copied, target); err != nil {
		if e := os.Rename(kept, target); e != nil { // a server began a new one there
			return fmt.Errorf("%w; what was in %s is now in %s: %w", err, target, kept, e)
		}
		return err
	}
	return nil
}

// file is one plain file of a folder, by its path with slashes.
type file struct {
	name string
	size int64
}

// list gives the plain files of a folder, but for those that sealing adds, in the order of their names.
func list(root *os.Root) (files []file, err error) {
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if name == infoName || name == sumsName {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%w: %s is not a plain file", ErrDamaged, name)
		}
		if len(files) == maxFiles {
			return fmt.Errorf("%w: it has more than %d files", ErrDamaged, maxFiles)
		}
		if strings.ContainsAny(name, "\n\\") {
			return fmt.Errorf("%w: a file is called %q", ErrDamaged, name)
		}
		fi, err := d.Info()
		if err == nil {
			files = append(files, file{name, fi.Size()})
		}
		return err
	})
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, err
}

func readSums(root *os.Root, most int) (map[string]string, error) {
	f, err := root.Open(sumsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it has no file %s; is it a backup of embedd?", ErrDamaged, sumsName)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	read := int64(0)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		read += int64(len(lines.Bytes())) + 1
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if _, twice := sums[name]; !ok || len(sum) != 2*sha256.Size || twice || len(sums) == most {
			return nil, fmt.Errorf("%w: line %d of %s is not what was sealed", ErrDamaged, len(sums)+1, sumsName)
		}
		sums[name] = sum
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, sumsName, err)
	}
	if read != fi.Size() {
		return nil, fmt.Errorf("%w: the last line of %s has no end", ErrDamaged, sumsName)
	}
	return sums, nil
}

func readSmall(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it has no file %s", ErrDamaged, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxInfoBytes+1))
	if err == nil && len(text) > maxInfoBytes {
		err = fmt.Errorf("%w: %s has more than %d bytes", ErrDamaged, name, maxInfoBytes)
	}
	return text, err
}

// hash reads a file. read is called with the bytes that were, as they are.
func hash(ctx context.Context, root *os.Root, name string, read func(n int64)) (string, error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	for b := make([]byte, 1<<20); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := f.Read(b)
		h.Write(b[:n])
		if read != nil {
			read(int64(n))
		}
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

func write(root *os.Root, name string, text []byte) error {
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// copyAll copies the files of a folder, and syncs them and the folders that they are in.
func copyAll(ctx context.Context, from *os.Root, dir string) error {
	to, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	files, err := list(from)
	if err != nil {
		return err
	}
	folders := map[string]bool{}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if folder := path.Dir(f.name); folder != "." && !folders[folder] {
			if err := to.MkdirAll(filepath.FromSlash(folder), 0o755); err != nil {
				return err
			}
			folders[folder] = true
		}
		if err := copyFile(from, to, filepath.FromSlash(f.name)); err != nil {
			return err
		}
		// gofail: var duringRestore struct{}
	}
	for folder := range folders {
		sub, err := to.OpenRoot(filepath.FromSlash(folder))
		if err != nil {
			return err
		}
		if err := errors.Join(syncDir(sub), sub.Close()); err != nil {
			return err
		}
	}
	return syncDir(to)
}

func copyFile(from, to *os.Root, name string) error {
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// compare proves that a copy has what its original has.
func compare(ctx context.Context, from *os.Root, dir string) error {
	to, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	sums, err := readSums(from, maxFiles+1)
	if err != nil {
		return err
	}
	files, err := list(to)
	if err != nil {
		return err
	}
	if len(files)+1 != len(sums) {
		return fmt.Errorf("%d files were copied of %d", len(files), len(sums)-1)
	}
	for _, f := range files {
		sum, err := hash(ctx, to, f.name, nil)
		if err != nil {
			return err
		}
		if sum != sums[f.name] {
			return fmt.Errorf("%w: the copy of %s is not what was sealed", ErrDamaged, f.name)
		}
	}
	return nil
}

func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
