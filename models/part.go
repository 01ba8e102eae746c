package models

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// part is the beginning of a file that is being downloaded: <sha256>.part in the folder where the file will be, with the
// server's ETag beside it in <sha256>.etag. Both outlive the process, so that a later pull goes on from there. Whoever
// holds one has the folder's lock.
type part struct {
	want File
	file *os.File
	size int64
	hash hash.Hash // of the size bytes
	etag string    // "" where the server gave none that can stand for the bytes
	told func(size int64)
}

// etagForm is a strong ETag. A weak one says that two contents mean the same, not that their bytes are.
var etagForm = regexp.MustCompile(`^"[!#-~]{0,200}"$`)

// openPart opens the part of f in dir, which may be empty, and reads what is there. told is called as the part grows.
func openPart(dir string, f File, told func(size int64)) (*part, error) {
	file, err := os.OpenFile(filepath.Join(dir, f.SHA256+".part"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &part{want: f, file: file, hash: sha256.New(), told: told}
	if p.size, err = io.Copy(p.hash, io.LimitReader(file, f.Bytes+1)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if p.size > f.Bytes {
		if err := p.restart(""); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	etag, err := os.ReadFile(p.etagPath())
	if err == nil && etagForm.Match(etag) {
		p.etag = string(etag)
	}
	return p, nil
}

func (p *part) etagPath() string {
	return filepath.Join(filepath.Dir(p.file.Name()), p.want.SHA256+".etag")
}

// Write appends b.
func (p *part) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.hash.Write(b[:n])
	p.size += int64(n)
	p.told(p.size)
	return n, err
}

// restart throws away what is there; what follows is from the beginning of a content with this ETag, "" for none.
func (p *part) restart(etag string) error {
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p.size, p.etag = 0, ""
	p.hash.Reset()
	if !etagForm.MatchString(etag) {
		return os.RemoveAll(p.etagPath())
	}
	p.etag = etag
	return os.WriteFile(p.etagPath(), []byte(etag), 0o644)
}

// finish makes the part the file at path, if it is what was wanted; else it is thrown away.
func (p *part) finish(path string) error {
	if err := p.want.compare(p.size, p.hash); err != nil {
		return errors.Join(err, p.restart(""))
	}
	if err := errors.Join(p.file.Chmod(0o644), p.file.Sync()); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), path); err != nil {
		return err
	}
	return os.RemoveAll(p.etagPath())
}

// close leaves the part for another pull, where there is something in it.
func (p *part) close() error {
	if p.size > 0 {
		return p.file.Close()
	}
	return errors.Join(p.file.Close(), os.RemoveAll(p.file.Name()), os.RemoveAll(p.etagPath()))
}
