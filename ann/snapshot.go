package ann

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"unsafe"
)

// A snapshot is the arrays as they are in memory, so that opening one maps it and reads nothing. All numbers are little-endian; a
// section begins at a multiple of 16 KiB, which is one of a page's size, and zeros fill the gaps.
//
//	| header, 16 KiB: see headerSize and (*header).encode, with the note and its own CRC-32C |
//	| a section for each array, in the order of (*Index).sections, as long as count, highs and places say |
//	| CRC-32C u32 of each MiB before, the last may be shorter | CRC-32C u32 of these |
//
// Slots that are neither live nor a tombstone are free, and used again. Where a slot that is free had lists above level 0, the room of these is not used again
// after a snapshot was opened: which room it was is not written.

// snapshotVersion is the version that is written, and the only one that is read.
//
//	1: lists of numbers, read one by one; vectors in float32
//	2: arrays, mapped
const snapshotVersion = 2

const (
	snapshotMagic = "embedd.ann"
	sectionAlign  = 16 << 10
	headerSize    = sectionAlign
	blockSize     = 1 << 20
)

// MaxNote is the longest note of a snapshot, in bytes.
const MaxNote = 4096

// ErrSnapshot says that a snapshot cannot be used: it is damaged, cut short, or of another version.
var ErrSnapshot = errors.New("unusable snapshot")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the first page of a snapshot.
type header struct {
	Dim, M, EfConstruction uint32
	Memory, Code           uint32
	Seed                   uint64
	Count, Highs, Places   uint32 // slots, lists above level 0, places of the table
	Live, Dead             uint32
	Entry                  uint64
	Scale                  float32
	Hop, Row               float64 // see tuning
	Tuned                  uint32
	Miss                   missTable
	NoteLen                uint32
}

func (h *header) encode(note []byte) []byte {
	var b bytes.Buffer
	b.WriteString(snapshotMagic)
	_ = binary.Write(&b, binary.LittleEndian, uint16(snapshotVersion)) // a Buffer takes everything
	_ = binary.Write(&b, binary.LittleEndian, h)
	b.Write(note)
	out := make([]byte, headerSize)
	copy(out, b.Bytes())
	binary.LittleEndian.PutUint32(out[headerSize-4:], crc32.Checksum(out[:headerSize-4], castagnoli))
	return out
}

// decodeHeader reads a header and checks every field on its own.
func decodeHeader(b []byte) (h header, note []byte, err error) {
	fail := func(format string, a ...any) (header, []byte, error) {
		return header{}, nil, fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, a...))
	}
	if len(b) < len(snapshotMagic)+2 || !bytes.HasPrefix(b, []byte(snapshotMagic)) {
		return fail("it does not begin with %q", snapshotMagic)
	}
	if v := binary.LittleEndian.Uint16(b[len(snapshotMagic):]); v != snapshotVersion {
		return fail("it has version %d, this program reads %d", v, snapshotVersion)
	}
	if len(b) < headerSize {
		return fail("it ends in its header")
	}
	if sum, want := crc32.Checksum(b[:headerSize-4], castagnoli), binary.LittleEndian.Uint32(b[headerSize-4:]); sum != want {
		return fail("its header's checksum is %08x, its content's is %08x", want, sum)
	}
	body := b[len(snapshotMagic)+2 : headerSize-4]
	n, err := binary.Decode(body, binary.LittleEndian, &h)
	if err != nil {
		return fail("its header: %v", err)
	}
	switch entrySlot, entryLevel := uint32(h.Entry), h.Entry>>32; {
	case h.Dim < 1 || h.Dim > maxDim || h.M > 128 || h.EfConstruction > 4096 || h.Memory >= uint32(len(memoryNames)) || h.Code > uint32(Bit) || h.NoteLen > MaxNote:
		return fail("its header is out of range")
	case h.Count > maxSlots || h.Highs > maxSlots || h.Places > 2*maxSlots || h.Places&(h.Places-1) != 0:
		return fail("it announces %d slots, %d lists and %d places", h.Count, h.Highs, h.Places)
	case uint64(h.Live)+uint64(h.Dead) > uint64(h.Count) || h.Live > 0 && h.Places <= h.Live:
		return fail("it announces %d live slots and %d tombstones of %d, and %d places", h.Live, h.Dead, h.Count, h.Places)
	case (h.Entry == noEntry) != (h.Live+h.Dead == 0) || h.Entry != noEntry && (entrySlot >= h.Count || entryLevel > maxLevel):
		return fail("its entry point is %d of level %d", entrySlot, entryLevel)
	case h.Scale != scaleOf(int(h.Dim)):
		return fail("its codes have the scale %v, this program's %v", h.Scale, scaleOf(int(h.Dim)))
	case !(h.Hop > 0 && h.Row > 0 && h.Hop < math.MaxFloat32 && h.Row < math.MaxFloat32):
		return fail("its times are %v and %v", h.Hop, h.Row)
	case h.Tuned < 1 || h.Tuned > maxSlots || !h.Miss.valid():
		return fail("its table of recall is out of range")
	}
	return h, slices.Clone(body[n : n+int(h.NoteLen)]), nil
}

// section is an array of a snapshot.
type section struct {
	bytes func() []byte                    // what is in use
	size  int                              // of it
	load  func(f *os.File, at int64) error // from a file
	loose bool                             // Delete changes it
}

// sectionOf makes a section of the first n elements of a region.
func sectionOf[T any](r *region[T], n int, keep bool) section {
	size := n * r.size()
	return section{
		size: size,
		bytes: func() []byte {
			if n == 0 {
				return nil
			}
			return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.data))), size)
		},
		load: func(f *os.File, at int64) error { return r.load(f, at, n, keep) },
	}
}

func (s section) loosely() section {
	s.loose = true
	return s
}

// sections are the arrays in the order of a snapshot.
func (x *Index) sections(count, highs, places int) []section {
	m := x.mem
	residual, floats := 0, count*x.fstride
	if x.opt.Memory == Residual {
		residual, floats = count, 0
	}
	return []section{
		sectionOf(&m.codes, count*x.stride, false),
		sectionOf(&m.fine, residual*x.stride, false),
		sectionOf(&m.steps, residual, false),
		sectionOf(&m.floats, floats, x.opt.Memory == Lean),
		sectionOf(&m.sums, count, false),
		sectionOf(&m.errs, count, false),
		sectionOf(&m.labels, count, false),
		sectionOf(&m.links, count*x.width(0), false),
		sectionOf(&m.towers, count, false),
		sectionOf(&m.levels, count, false),
		sectionOf(&m.live, words(count), false).loosely(),
		sectionOf(&m.dead, words(count), false).loosely(),
		sectionOf(&m.high, highs*x.width(1), false),
		sectionOf(&m.table.places, places, false).loosely(),
	}
}

// fileSize is how long a snapshot with these sections is before its checksums.
func fileSize(sections []section) int64 {
	size := int64(headerSize)
	for _, s := range sections {
		size += int64(roundUp(s.size, sectionAlign))
	}
	return size
}

// trailerSize is how long the checksums of so many bytes are.
func trailerSize(body int64) int64 { return 4 * ((body+blockSize-1)/blockSize + 1) }

// WriteSnapshot writes the index as it is at the beginning, and a note of the caller's of at most MaxNote bytes, for Open. Searches and
// deletions go on meanwhile, inserts wait.
func (x *Index) WriteSnapshot(w io.Writer, note []byte) error {
	if len(note) > MaxNote {
		return fmt.Errorf("the note has %d bytes, the limit is %d", len(note), MaxNote)
	}
	if err := x.ready(); err != nil {
		return err
	}
	x.writers.Lock()
	defer x.writers.Unlock()
	h, sections, err := x.freeze(note)
	if err != nil {
		return err
	}
	b := &blockWriter{w: w}
	b.write(h.encode(note))
	for _, s := range sections {
		b.write(s.bytes())
		b.write(make([]byte, roundUp(s.size, sectionAlign)-s.size))
	}
	return b.close()
}

// SnapshotSize is how many bytes WriteSnapshot would write now.
func (x *Index) SnapshotSize() int64 {
	x.writers.Lock()
	defer x.writers.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return 0
	}
	body := fileSize(x.sections(int(x.look().n), int(x.highs), len(x.mem.table.places.data)))
	return body + trailerSize(body)
}

// freeze gives the header and the sections of a snapshot. Those that Delete changes are copied, so that it need not wait. The caller
// holds writers.
func (x *Index) freeze(note []byte) (header, []section, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return header{}, nil, ErrClosed
	}
	v, t := x.look(), x.tuning.Load()
	h := header{
		Dim: uint32(x.dim), M: uint32(x.opt.M), EfConstruction: uint32(x.opt.EfConstruction), Memory: uint32(x.opt.Memory), Code: uint32(x.opt.Code), Seed: x.opt.Seed,
		Count: v.n, Highs: uint32(x.highs), Places: uint32(len(x.mem.table.places.data)), Live: uint32(x.Len()), Dead: uint32(x.Tombstones()),
		Entry: v.entry, Scale: x.scale, Hop: t.hop, Row: t.row, Tuned: uint32(t.n), Miss: t.miss, NoteLen: uint32(len(note)),
	}
	sections := x.sections(int(h.Count), int(h.Highs), int(h.Places))
	for i := range sections {
		if s := &sections[i]; s.loose {
			frozen := slices.Clone(s.bytes())
			s.bytes = func() []byte { return frozen }
		}
	}
	return h, sections, nil
}

// blockWriter writes, and at the end the checksums of what it wrote. The first error stays.
type blockWriter struct {
	w    io.Writer
	sum  uint32
	n    int // bytes of the block
	sums []byte
	err  error
}

func (b *blockWriter) write(p []byte) {
	for len(p) > 0 && b.err == nil {
		k := min(len(p), blockSize-b.n)
		b.sum = crc32.Update(b.sum, castagnoli, p[:k])
		if _, b.err = b.w.Write(p[:k]); b.err != nil {
			return
		}
		p = p[k:]
		if b.n += k; b.n == blockSize {
			b.end()
		}
	}
}

func (b *blockWriter) end() {
	b.sums = binary.LittleEndian.AppendUint32(b.sums, b.sum)
	b.sum, b.n = 0, 0
}

func (b *blockWriter) close() error {
	if b.n > 0 {
		b.end()
	}
	if b.err != nil {
		return b.err
	}
	_, err := b.w.Write(binary.LittleEndian.AppendUint32(b.sums, crc32.Checksum(b.sums, castagnoli)))
	return err
}

// Open opens a snapshot: the index and its note. It maps the file, in a time that does not depend on its size; whatever is in it, a
// search is safe. Verify proves the rest, and runs by itself before the first change. The file must not be changed or cut, but may be
// removed, while the index is open. Errors: ErrSnapshot, or the file's own.
func Open(path string) (_ *Index, note []byte, err error) {
	if fi, err := os.Stat(path); err != nil {
		return nil, nil, err
	} else if !fi.Mode().IsRegular() { // opening a pipe would wait for somebody to write into it
		return nil, nil, fmt.Errorf("%w: %s is no plain file", ErrSnapshot, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	return OpenFile(f)
}

// OpenFile is Open for a file that is open for reading, and becomes the index's. Options.Dir is the folder of its name.
func OpenFile(f *os.File) (_ *Index, note []byte, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	b := make([]byte, headerSize)
	n, err := io.ReadFull(f, b)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, nil, fmt.Errorf("read snapshot: %w", err)
	}
	h, note, err := decodeHeader(b[:n])
	if err != nil {
		return nil, nil, err
	}
	x, err := New(int(h.Dim), &Options{M: int(h.M), EfConstruction: int(h.EfConstruction), Memory: Memory(h.Memory), Code: Code(h.Code), Seed: h.Seed, Dir: filepath.Dir(f.Name())})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: its header is out of range: %w", ErrSnapshot, err)
	}
	sections := x.sections(int(h.Count), int(h.Highs), int(h.Places))
	body := fileSize(sections)
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if want := body + trailerSize(body); fi.Size() != want {
		return nil, nil, fmt.Errorf("%w: it has %d bytes, its header says %d", ErrSnapshot, fi.Size(), want)
	}
	at := int64(headerSize)
	for _, s := range sections {
		if s.size > 0 {
			if err := s.load(f, at); err != nil {
				return nil, nil, errors.Join(fmt.Errorf("read snapshot: %w", err), x.Close())
			}
		}
		at += int64(roundUp(s.size, sectionAlign))
	}
	x.highs = int(h.Highs)
	x.mem.table.used = int(h.Live)
	x.size.Store(int64(h.Live))
	x.deads.Store(int64(h.Dead))
	x.tuning.Store(&tuning{hop: h.Hop, row: h.Row, n: int(h.Tuned), miss: h.Miss})
	x.publish(int(h.Count))
	x.count.Store(h.Count)
	x.entry.Store(h.Entry)
	a := x.arrays.Load()
	for i := words(int(h.Count)) - 1; i >= 0; i-- { // free slots, the first to be used last in the list
		for unused := ^(a.live[i] | a.dead[i]); unused != 0; {
			bit := bits.Len64(unused) - 1
			unused &^= 1 << bit
			if slot := uint32(i*64 + bit); slot < h.Count {
				x.free = append(x.free, slot)
			}
		}
	}
	x.unverified = &unverified{file: f, body: body}
	return x, note, nil
}

// unverified is a snapshot whose content has not been proved yet.
type unverified struct {
	file *os.File
	body int64
}

// Verify proves a snapshot that was opened: the checksum of each block, and the invariants that are about numbers of slots, so that
// changes are safe too. It then takes the arrays into memory of their own, in huge pages where the system has them, apart from the
// float32 vectors of Lean. Searches go on meanwhile. After ErrSnapshot the index refuses changes, and what it answers may be wrong.
// For an index that was not opened, or was verified, it does nothing.
func (x *Index) Verify(ctx context.Context) error {
	x.verifying.Lock()
	defer x.verifying.Unlock()
	u := x.unverified
	if u == nil || x.damaged != nil {
		return x.damaged
	}
	err := x.verify(ctx, u)
	if err != nil && !errors.Is(err, ErrSnapshot) {
		return err // may be tried again
	}
	x.damaged = err
	x.unverified = nil
	return errors.Join(err, u.file.Close())
}

func (x *Index) verify(ctx context.Context, u *unverified) error {
	trailer := make([]byte, trailerSize(u.body))
	if _, err := u.file.ReadAt(trailer, u.body); err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	sums, last := trailer[:len(trailer)-4], trailer[len(trailer)-4:]
	if crc32.Checksum(sums, castagnoli) != binary.LittleEndian.Uint32(last) {
		return fmt.Errorf("%w: its checksums are damaged", ErrSnapshot)
	}
	block := make([]byte, blockSize)
	for at := int64(0); at < u.body; at += blockSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := block[:min(blockSize, u.body-at)]
		if _, err := u.file.ReadAt(b, at); err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(sums[at/blockSize*4:]) {
			return fmt.Errorf("%w: block %d is damaged", ErrSnapshot, at/blockSize)
		}
	}
	x.writers.Lock()
	defer x.writers.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	c := checker{x: x, w: x.look()}
	c.labels()
	c.links()
	if len(c.errs) == 0 {
		c.tree()
	}
	if len(c.errs) > 0 {
		return fmt.Errorf("%w: %w", ErrSnapshot, errors.Join(c.errs...))
	}
	return x.mem.settle()
}

// ready proves a snapshot before the first change.
func (x *Index) ready() error { return x.Verify(context.Background()) }
