package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	kzstd "github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// What a Parquet file may say of itself. parquet-go believes a file, and takes as much memory as it asks for.
const (
	maxFooterBytes = 8 << 20
	maxPageBytes   = 64 << 20 // not compressed
	maxPageValues  = 16 << 20
	maxListItems   = math.MaxInt16 // of the lists in a footer, as many as row groups may be
	maxHeaderBytes = 64 << 10      // of a page
)

// readParquet checks what a file says of its sizes, and then has parquet-go read it.
func readParquet[T any](r io.ReaderAt, size int64, columns []column, yield func([]T) error) (meta map[string]string, err error) {
	yielding := false
	defer func() {
		if p := recover(); p != nil {
			if yielding {
				panic(p) // not of parquet-go, which here and there indexes slices by numbers of the file
			}
			meta, err = nil, fmt.Errorf("the Parquet file is damaged: %v", p)
		}
	}()
	if err := checkFooter(r, size); err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	schema := parquetSchema[T]()
	if !parquet.EqualNodes(file.Root(), schema) {
		return nil, fmt.Errorf("the columns of the Parquet file are %s; want %s", file.Schema(), schema)
	}
	if err := checkPages(r, file); err != nil {
		return nil, err
	}
	out := batch[T]{columns: columns, nul: true, yield: func(rows []T) error {
		yielding = true
		err := yield(rows)
		yielding = false
		return err
	}}
	for _, group := range file.RowGroups() {
		if err := readGroup(group, schema, &out); err != nil {
			return nil, err
		}
	}
	if err := out.flush(); err != nil {
		return nil, err
	}
	if out.n != file.NumRows() {
		return nil, fmt.Errorf("the Parquet file has %d rows, and says that it has %d", out.n, file.NumRows())
	}
	meta = map[string]string{}
	for _, kv := range file.Metadata().KeyValueMetadata {
		meta[kv.Key] = kv.Value
	}
	return meta, nil
}

func readGroup[T any](group parquet.RowGroup, schema *parquet.Schema, out *batch[T]) (err error) {
	rows := parquet.NewGenericRowGroupReader[T](group, schema)
	defer func() { err = errors.Join(err, rows.Close()) }()
	buffer := make([]T, 16)
	for {
		clear(buffer)
		n, err := rows.Read(buffer)
		for _, row := range buffer[:n] {
			if err := out.add(row); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrNoProgress
		}
	}
}

// checkFooter decodes the footer as parquet-go will, and refuses one that asks for more memory than it can fill.
func checkFooter(r io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return fmt.Errorf("%d bytes are no Parquet file", size)
	}
	if _, err := r.ReadAt(tail[:], size-8); err != nil && err != io.EOF {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(tail[:4]))
	if string(tail[4:]) != "PAR1" {
		return errors.New("this is no Parquet file, or it is cut off: it does not end in PAR1")
	}
	if n > maxFooterBytes || n > size-12 {
		return fmt.Errorf("the footer of the Parquet file has %d bytes; it may have %d, and the file has %d", n, maxFooterBytes, size)
	}
	b := make([]byte, n)
	if _, err := r.ReadAt(b, size-8-n); err != nil && err != io.EOF {
		return err
	}
	var footer format.FileMetaData
	if _, err := decode(b, &footer); err != nil {
		return fmt.Errorf("the footer of the Parquet file: %w", err)
	}
	return nil
}

// decode decodes a value at the beginning of b, and gives its length.
func decode(b []byte, v any) (int, error) {
	r := modest{(&thrift.CompactProtocol{}).NewReaderFromBytes(b), len(b)}
	err := thrift.NewDecoder(r).Decode(v)
	return r.BytesRead(), err
}

// modest is a reader that believes in no list that is longer than what is left to read.
type modest struct {
	reader
	size int
}

type reader = thrift.Reader

func (m modest) list(n int32) error {
	if n < 0 || int(n) > m.size-m.BytesRead() || n > maxListItems {
		return fmt.Errorf("a list of %d items where %d bytes are left", n, m.size-m.BytesRead())
	}
	return nil
}

func (m modest) ReadList() (thrift.List, error) {
	l, err := m.reader.ReadList()
	return l, errors.Join(err, m.list(l.Size))
}

func (m modest) ReadSet() (thrift.Set, error) {
	l, err := m.reader.ReadSet()
	return l, errors.Join(err, m.list(l.Size))
}

func (m modest) ReadMap() (thrift.Map, error) {
	l, err := m.reader.ReadMap()
	return l, errors.Join(err, m.list(l.Size))
}

// maxBoundBytes is how long the least and the greatest value of a column may be for a footer to say them.
const maxBoundBytes = 64

// footerWriter passes a file on, and holds what follows the last row group back until finish.
type footerWriter struct {
	w     io.Writer
	holds bool
	held  []byte
}

func (f *footerWriter) Write(b []byte) (int, error) {
	if !f.holds {
		return f.w.Write(b)
	}
	f.held = append(f.held, b...)
	return len(b), nil
}

// finish writes what was held back, with a footer that leaves out the bounds of columns where they are long. parquet-go would say them whole:
// a footer with an abstract or two for each group. It can be told to leave them out, but then writes an index of pages that says that all
// texts are empty, by which a reader with a condition finds nothing.
func (f *footerWriter) finish() error {
	tail := len(f.held) - 8
	if tail < 0 {
		return errors.New("parquet-go has written no footer")
	}
	start := tail - int(binary.LittleEndian.Uint32(f.held[tail:]))
	if start < 0 {
		return errors.New("parquet-go has written a footer of another length than it says")
	}
	var footer format.FileMetaData
	if err := thrift.Unmarshal(&thrift.CompactProtocol{}, f.held[start:tail], &footer); err != nil {
		return fmt.Errorf("the footer that parquet-go has written: %w", err)
	}
	for i := range footer.RowGroups {
		for j := range footer.RowGroups[i].Columns {
			if s := &footer.RowGroups[i].Columns[j].MetaData.Statistics; len(s.MinValue) > maxBoundBytes || len(s.MaxValue) > maxBoundBytes {
				s.MinValue, s.MaxValue = nil, nil
			}
		}
	}
	b, err := thrift.Marshal(&thrift.CompactProtocol{}, &footer)
	if err != nil {
		return err
	}
	out := append(f.held[:start], b...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(b)))
	_, err = f.w.Write(append(out, "PAR1"...))
	return err
}

// checkPages goes through the pages of a file: each is where the footer says, as large as it says, and not too large.
func checkPages(r io.ReaderAt, file *parquet.File) error {
	unpack, err := kzstd.NewReader(nil, kzstd.WithDecoderConcurrency(1), kzstd.WithDecoderMaxMemory(maxPageBytes), kzstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return err
	}
	defer unpack.Close()
	p := pages{r: r, unpack: unpack}
	for i, group := range file.Metadata().RowGroups {
		for j := range group.Columns {
			if err := p.check(&group.Columns[j].MetaData, file.Size()); err != nil {
				return fmt.Errorf("the Parquet file, group %d, column %d: %w", i, j, err)
			}
		}
	}
	return nil
}

type pages struct {
	r            io.ReaderAt
	unpack       *kzstd.Decoder
	packed, free []byte // kept for the next
}

func (p *pages) check(c *format.ColumnMetaData, size int64) error {
	if c.Codec != format.Zstd && c.Codec != format.Uncompressed {
		return fmt.Errorf("the pages are compressed by %v, which is not written here", c.Codec)
	}
	at := c.DataPageOffset
	if d := c.DictionaryPageOffset; d > 0 {
		at = min(at, d)
	}
	if at < 4 || c.TotalCompressedSize < 0 || at > size || c.TotalCompressedSize > size-at {
		return fmt.Errorf("%d bytes at %d are not in the file, which has %d", c.TotalCompressedSize, at, size)
	}
	for end := at + c.TotalCompressedSize; at < end; {
		b := make([]byte, min(maxHeaderBytes, end-at))
		if _, err := p.r.ReadAt(b, at); err != nil && err != io.EOF {
			return err
		}
		var h format.PageHeader
		n, err := decode(b, &h)
		if err != nil {
			return fmt.Errorf("the header of a page at %d: %w", at, err)
		}
		at += int64(n)
		packed, plain := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
		if packed < 0 || packed > end-at || plain < 0 || plain > maxPageBytes {
			return fmt.Errorf("a page at %d has %d bytes, and %d when they are unpacked; a page may have %d", at, packed, plain, maxPageBytes)
		}
		levels, values, isPacked := int64(0), int32(0), c.Codec == format.Zstd
		switch d := h.DataPageHeaderV2; {
		case h.Type == format.DataPageV2 && d.Valid:
			values = d.V.NumValues
			levels = int64(d.V.RepetitionLevelsByteLength) + int64(d.V.DefinitionLevelsByteLength)
			isPacked = isPacked && (!d.V.IsCompressed.Valid || d.V.IsCompressed.V)
			if d.V.RepetitionLevelsByteLength < 0 || d.V.DefinitionLevelsByteLength < 0 || levels > packed || d.V.NumNulls < 0 || d.V.NumNulls > values {
				return fmt.Errorf("the header of a page at %d says what cannot be", at)
			}
		case h.Type == format.DictionaryPage && h.DictionaryPageHeader.Valid:
			values = h.DictionaryPageHeader.V.NumValues
		default:
			return fmt.Errorf("a page at %d is of the type %v, which is not written here", at, h.Type)
		}
		if values < 0 || values > maxPageValues {
			return fmt.Errorf("a page at %d has %d values; it may have %d", at, values, maxPageValues)
		}
		if isPacked {
			if err := p.unpacks(at+levels, int(packed-levels), int(plain)); err != nil {
				return fmt.Errorf("a page at %d: %w", at, err)
			}
		}
		at += packed
	}
	return nil
}

// unpacks unpacks a page into the room that it says it needs, since parquet-go gives it more.
func (p *pages) unpacks(at int64, packed, plain int) error {
	if cap(p.packed) < packed {
		p.packed = make([]byte, packed)
	}
	if cap(p.free) < plain {
		p.free = make([]byte, plain)
	}
	if _, err := p.r.ReadAt(p.packed[:packed], at); err != nil && err != io.EOF {
		return err
	}
	_, err := p.unpack.DecodeAll(p.packed[:packed], p.free[:0:plain])
	return err
}
