package ann

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

// A snapshot, all numbers little-endian; n is the number of slots, tombstones included:
//
//	| "embedd.ann" | version u16 |                                   12 bytes
//	| dim u32 | M u32 | efConstruction u32 | seed u64 |
//	| n u32 | entry u32 | length of the note u32 | note … |
//	| label u64    | × n
//	| level u8     | × n
//	| tombstone u8 | × n        0 or 1
//	| parent u32   | × n        2^32-1 for slot 0
//	| value f32    | × n·dim    the vectors
//	| number of links u32, links u32 … | on level 0, for each slot
//	| number of links u32, links u32 … | on level 1, then 2, … of each slot of a level above 0
//	| CRC-32C u32 of all bytes before |
//
// Lists are as long as they are used. What follows from the rest (children, live labels) is not stored.

// snapshotVersion is the version that is written, and the only one that is read.
//
//	1: the first
const snapshotVersion = 1

const snapshotMagic = "embedd.ann"

// MaxNote is the longest note of a snapshot, in bytes.
const MaxNote = 4096

// ErrSnapshot says that a snapshot cannot be used: it is damaged, cut short, or of another version.
var ErrSnapshot = errors.New("unusable snapshot")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteSnapshot writes the index, and a note of the caller's of at most MaxNote bytes. Searches go on meanwhile, changes
// wait.
func (x *Index) WriteSnapshot(w io.Writer, note []byte) error {
	if len(note) > MaxNote {
		return fmt.Errorf("the note has %d bytes, the limit is %d", len(note), MaxNote)
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	sum := crc32.New(castagnoli)
	e := &encoder{w: io.MultiWriter(w, sum)}
	e.bytes([]byte(snapshotMagic))
	e.u16(snapshotVersion)
	e.u32(uint32(x.dim), uint32(x.opt.M), uint32(x.opt.EfConstruction))
	e.u64(x.opt.Seed)
	e.u32(uint32(len(x.labels)), x.entry, uint32(len(note)))
	e.bytes(note)
	e.u64(x.labels...)
	e.bytes(x.levels)
	for _, d := range x.dead {
		if d {
			e.bytes([]byte{1})
		} else {
			e.bytes([]byte{0})
		}
	}
	e.u32(x.parent...)
	for _, f := range x.vectors {
		e.u32(math.Float32bits(f))
	}
	for slot := range uint32(len(x.labels)) {
		l := x.list(slot, 0)
		e.u32(l[:1+l[0]]...)
	}
	for slot := range uint32(len(x.labels)) {
		for level := 1; level <= int(x.levels[slot]); level++ {
			l := x.list(slot, level)
			e.u32(l[:1+l[0]]...)
		}
	}
	e.flush()
	e.u32(sum.Sum32())
	e.flush()
	return e.err
}

// encoder gathers numbers into chunks. The first error stays.
type encoder struct {
	w   io.Writer
	buf []byte
	err error
}

// chunk is the size in which a snapshot is written and read.
const chunk = 64 << 10

func (e *encoder) bytes(b []byte) {
	e.buf = append(e.buf, b...)
	if len(e.buf) >= chunk {
		e.flush()
	}
}

func (e *encoder) u16(v uint16) { e.buf = binary.LittleEndian.AppendUint16(e.buf, v) }

func (e *encoder) u32(values ...uint32) {
	for _, v := range values {
		e.buf = binary.LittleEndian.AppendUint32(e.buf, v)
		if len(e.buf) >= chunk {
			e.flush()
		}
	}
}

func (e *encoder) u64(values ...uint64) {
	for _, v := range values {
		e.buf = binary.LittleEndian.AppendUint64(e.buf, v)
		if len(e.buf) >= chunk {
			e.flush()
		}
	}
}

func (e *encoder) flush() {
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

// ReadSnapshot reads what WriteSnapshot wrote: the index and the note. Whatever the bytes are, it returns a whole index
// or ErrSnapshot (or r's own error), and never takes much more memory than r has bytes.
func ReadSnapshot(r io.Reader) (*Index, []byte, error) {
	d := &decoder{r: r, sum: crc32.New(castagnoli)}
	x, note := d.index()
	if d.err != nil {
		return nil, nil, d.err
	}
	if err := x.Check(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return x, note, nil
}

// decoder reads numbers. After the first error everything is zero.
type decoder struct {
	r   io.Reader
	sum hash.Hash32
	buf [chunk]byte
	err error
}

func (d *decoder) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, a...))
	}
}

// read gives the next n bytes, at most a chunk; they are valid until the next read.
func (d *decoder) read(n int) []byte {
	b := d.buf[:n]
	if d.err == nil {
		_, err := io.ReadFull(d.r, b)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			d.fail("it ends too early")
		case err != nil:
			d.err = fmt.Errorf("read snapshot: %w", err)
		}
	}
	if d.err != nil {
		clear(b)
	}
	d.sum.Write(b)
	return b
}

func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.read(4)) }

// many reads n values of size bytes, chunk by chunk: memory grows with what was read, not with what was announced.
func many[T any](d *decoder, n, size int, value func(b []byte) T) []T {
	var out []T
	for n > 0 && d.err == nil {
		k := min(n, chunk/size)
		b := d.read(k * size)
		out = slices.Grow(out, k)
		for i := range k {
			out = append(out, value(b[i*size:]))
		}
		n -= k
	}
	return out
}

func (d *decoder) index() (*Index, []byte) {
	if magic := d.read(len(snapshotMagic)); d.err == nil && !bytes.Equal(magic, []byte(snapshotMagic)) {
		d.fail("it does not begin with %q", snapshotMagic)
	}
	if v := binary.LittleEndian.Uint16(d.read(2)); d.err == nil && v != snapshotVersion {
		d.fail("it has version %d, this program reads %d", v, snapshotVersion)
	}
	dim, m, ef := d.u32(), d.u32(), d.u32()
	seed := binary.LittleEndian.Uint64(d.read(8))
	n, entry, noteLen := d.u32(), d.u32(), d.u32()
	if d.err != nil {
		return nil, nil
	}
	if dim > maxDim || m > 128 || m == 0 || ef > 4096 || ef == 0 || noteLen > MaxNote || n == none {
		d.fail("its header is out of range")
		return nil, nil
	}
	note := slices.Clone(d.read(int(noteLen)))
	x, err := New(int(dim), &Options{M: int(m), EfConstruction: int(ef), Seed: seed})
	if err != nil {
		d.fail("its header is out of range: %v", err)
		return nil, nil
	}
	x.entry = entry
	x.labels = many(d, int(n), 8, binary.LittleEndian.Uint64)
	x.levels = many(d, int(n), 1, func(b []byte) uint8 { return b[0] })
	x.dead = many(d, int(n), 1, func(b []byte) bool {
		if b[0] > 1 {
			d.fail("a tombstone mark is %d", b[0])
		}
		return b[0] == 1
	})
	x.parent = many(d, int(n), 4, binary.LittleEndian.Uint32)
	x.vectors = many(d, int(n)*int(dim), 4, func(b []byte) float32 {
		return math.Float32frombits(binary.LittleEndian.Uint32(b))
	})
	for slot := range len(x.vectors) / x.dim {
		x.appendCode(x.vector(uint32(slot)))
	}
	d.lists(x, int(n))
	sum := d.sum.Sum32()
	if want := d.u32(); d.err == nil && sum != want {
		d.fail("its checksum is %08x, its content's is %08x", want, sum)
	}
	if d.err != nil {
		return nil, nil
	}
	x.kids = make([]uint16, n)
	for slot, label := range x.labels {
		if p := x.parent[slot]; p < n {
			x.kids[p]++
		}
		if x.dead[slot] {
			x.tombstones++
		} else {
			x.slots[label] = uint32(slot)
		}
	}
	return x, note
}

// lists reads the links.
func (d *decoder) lists(x *Index, n int) {
	list := func(l []uint32) {
		k := d.u32()
		if int64(k) >= int64(len(l)) {
			d.fail("a slot has %d links, at most %d are allowed", k, len(l)-1)
			return
		}
		b := d.read(4 * int(k))
		l[0] = k
		for i := range k {
			l[1+i] = binary.LittleEndian.Uint32(b[4*i:])
		}
	}
	for range n {
		if d.err != nil {
			return
		}
		x.links0 = append(x.links0, make([]uint32, x.listSize0())...)
		list(x.links0[len(x.links0)-x.listSize0():])
	}
	x.upper = make([][]uint32, n)
	for slot := range n {
		if d.err != nil {
			return
		}
		if x.levels[slot] > maxLevel {
			d.fail("slot %d has level %d, at most %d is possible", slot, x.levels[slot], maxLevel)
			return
		}
		if x.levels[slot] > 0 {
			x.upper[slot] = make([]uint32, int(x.levels[slot])*x.listSize())
		}
		for level := 1; level <= int(x.levels[slot]); level++ {
			list(x.list(uint32(slot), level))
		}
	}
}
