package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// The high-water mark says, apart from Pebble's files, how far the store had come. Pebble takes its log to end at the first
// record that is damaged, and its MANIFEST too; without the mark a flipped bit there would take acknowledged papers away in
// silence. It has two slots that are written in turn, so that a write cut short leaves the other.
const (
	markName  = "EMBEDD-MARK"
	markSlots = 2
	slotSize  = 4096
)

// mark is what the store had at a moment, all of it on disk.
type mark struct {
	// Sequence counts marks. It says which slot is the newer one.
	Sequence uint64 `json:"sequence"`
	Revision uint64 `json:"revision"`
	Next     uint64 `json:"next"`
	Count    uint64 `json:"count"`
	Digest   digest `json:"digest"`
	// Clean says that the store was closed then.
	Clean    bool         `json:"clean"`
	Manifest manifestMark `json:"manifest"`
}

// manifestMark is how Pebble's MANIFEST began. It only ever grows, and another takes its place under another name.
type manifestMark struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
}

// encodeMark fills a slot: JSON, spaces, and the checksum of both.
func encodeMark(m mark) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(text) > slotSize-checksumSize {
		return nil, fmt.Errorf("a mark of %d bytes has no room in %d", len(text), slotSize-checksumSize)
	}
	slot := append(text, bytes.Repeat([]byte(" "), slotSize-checksumSize-len(text))...)
	return binary.BigEndian.AppendUint32(slot, crc32.Checksum(slot, castagnoli)), nil
}

func decodeMark(slot []byte) (m mark, err error) {
	if len(slot) != slotSize {
		return m, fmt.Errorf("has %d bytes, not %d", len(slot), slotSize)
	}
	body := slot[:slotSize-checksumSize]
	if have, want := crc32.Checksum(body, castagnoli), binary.BigEndian.Uint32(slot[len(body):]); have != want {
		return m, fmt.Errorf("checksum of the bytes is %08x, stored is %08x", have, want)
	}
	return m, json.Unmarshal(body, &m)
}

// readMark gives the newer slot that is whole, or fs.ErrNotExist. A slot may be torn by a power cut; both are only damaged by
// something else.
func readMark(fsys vfs.FS, dir string) (*mark, error) {
	f, err := fsys.Open(fsys.PathJoin(dir, markName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var newest *mark
	var errs []error
	for i := range markSlots {
		slot := make([]byte, slotSize)
		n, err := f.ReadAt(slot, int64(i)*slotSize)
		if err != nil && err != io.EOF {
			return nil, err
		}
		m, err := decodeMark(slot[:n])
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("slot %d of %s: %w", i, markName, err))
		case newest == nil || m.Sequence > newest.Sequence:
			newest = &m
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, errors.Join(errs...))
	}
	return newest, nil
}

// marker writes marks. It is not for use by several goroutines at once.
type marker struct {
	fs   vfs.FS
	dir  string
	file vfs.File
	last mark
}

// openMarker opens the file of marks, making it with m in it where it is missing. Making it is durable when openMarker returns.
func openMarker(fsys vfs.FS, dir string, m mark) (*marker, error) {
	k := &marker{fs: fsys, dir: dir, last: m}
	name := fsys.PathJoin(dir, markName)
	if _, err := fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
		// Whole before it has its name: a file of marks without one that is whole is damage.
		f, err := fsys.Create(name+".new", vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, err
		}
		slot, err := encodeMark(m)
		if err == nil {
			_, err = f.Write(bytes.Repeat(slot, markSlots))
		}
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return nil, err
		}
		if err := errors.Join(fsys.Rename(name+".new", name), syncDir(fsys, dir)); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	var err error
	k.file, err = fsys.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	return k, err
}

// write makes a mark of st, and of the MANIFEST as it is, which returns once it is on disk. Nothing is written that is there
// already.
func (k *marker) write(st state, clean bool) error {
	m := mark{Sequence: k.last.Sequence + 1, Revision: st.revision, Next: st.next, Count: st.count, Digest: st.digest, Clean: clean}
	var err error
	if m.Manifest, err = k.manifest(); err != nil {
		return err
	}
	same := m
	if same.Sequence = k.last.Sequence; same == k.last {
		return nil
	}
	slot, err := encodeMark(m)
	if err != nil {
		return err
	}
	if _, err := k.file.WriteAt(slot, int64(m.Sequence%markSlots)*slotSize); err != nil {
		return err
	}
	if err := k.file.SyncData(); err != nil {
		return &syncError{err}
	}
	k.last = m
	return nil
}

// syncError is an fsync that failed: what is on disk is unknown from then on, and asking again may hide it.
type syncError struct{ error }

func (e *syncError) Unwrap() error { return e.error }

// manifest reads what has been added to the MANIFEST since the last mark, once that is on disk.
func (k *marker) manifest() (manifestMark, error) {
	m := k.last.Manifest
	name, err := atomicfs.ReadMarker(k.fs, k.dir, "manifest")
	if err != nil {
		return m, err
	}
	if name != m.Name {
		m = manifestMark{Name: name}
	}
	path := k.fs.PathJoin(k.dir, name)
	info, err := k.fs.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k.last.Manifest, nil // another has just taken its place: next time
	}
	if err != nil || info.Size() == m.Size {
		return m, err
	}
	f, err := k.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k.last.Manifest, nil
	}
	if err != nil {
		return m, err
	}
	defer f.Close()
	added := make([]byte, info.Size()-m.Size)
	n, err := f.ReadAt(added, m.Size)
	if err != nil && err != io.EOF {
		return m, err
	}
	// Pebble may have written the end a moment ago, and not synced it.
	if err := f.Sync(); err != nil {
		return m, &syncError{err}
	}
	m.CRC = crc32.Update(m.CRC, castagnoli, added[:n])
	m.Size += int64(n)
	return m, nil
}

// check proves that the MANIFEST begins as it did, if it is still there.
func (m manifestMark) check(fsys vfs.FS, dir string) error {
	if m.Name == "" {
		return nil
	}
	current, err := atomicfs.ReadMarker(fsys, dir, "manifest")
	if err != nil {
		return err
	}
	f, err := fsys.Open(fsys.PathJoin(dir, m.Name))
	if errors.Is(err, fs.ErrNotExist) && current != m.Name {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	begin := make([]byte, m.Size)
	n, err := f.ReadAt(begin, 0)
	if err != nil && err != io.EOF {
		return err
	}
	if int64(n) < m.Size {
		return fmt.Errorf("%s has %d bytes, and had %d", m.Name, n, m.Size)
	}
	if crc := crc32.Checksum(begin, castagnoli); crc != m.CRC {
		return fmt.Errorf("the first %d bytes of %s are not those that were written (checksum %08x, was %08x)", m.Size, m.Name, crc, m.CRC)
	}
	return nil
}
