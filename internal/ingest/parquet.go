package ingest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

func isParquet(h *beginning) bool { return bytes.HasPrefix(h.text, []byte("PAR1")) }

const (
	// maxChunkBytes is how large the chunk of a column may be that is read, by what the file says of it.
	maxChunkBytes = 4 << 30
	// maxFooterBytes is how long the description of the columns may be that is at the end of the file.
	maxFooterBytes = 256 << 20
	// rowsAtOnce is how many rows are made at once.
	rowsAtOnce = 64
)

// openParquet opens a table whose columns are the fields at the top of its schema. It is read from its end, so it must be a file, and not packed.
func openParquet(s *stream, o *Options) (records, string, error) {
	f, ok := s.in.file.(*os.File)
	if ok && s.packing == plain {
		info, err := f.Stat()
		if err != nil {
			return nil, "", err
		}
		if info.Mode().IsRegular() {
			return newParquet(f, info.Size(), s.in, o)
		}
	}
	return nil, "", at("", "Parquet is read from its end, so it must be a file as it is: not standard input, a pipe, gzip or zstd")
}

// parquetRecords are the rows of a Parquet file. Only the columns that are fields are read.
type parquetRecords struct {
	in      *input
	bytes   io.ReaderAt
	size    int64
	counted int64 // of size
	file    *parquet.File
	schema  *parquet.Schema // of the fields alone
	from    []int           // the column of the file that each of its columns is
	names   []string        // the fields of the file that are read
	mapping mapping

	group int
	rows  int64 // of all groups, done
	pages []*pages
	row   any
}

// newParquet opens a file of a size. The library panics at some files that are broken; that is an error like others here.
func newParquet(f io.ReaderAt, size int64, in *input, o *Options) (p *parquetRecords, note string, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			p, err = nil, fmt.Errorf("%w: not Parquet, or broken: %v", errLost, broken)
		}
	}()
	var end [8]byte
	if _, err := f.ReadAt(end[:], max(0, size-8)); err != nil {
		return nil, "", err
	}
	// The library makes room for as many bytes as the file says that its description has.
	if n := int64(binary.LittleEndian.Uint32(end[:4])); string(end[4:]) != "PAR1" || n > size-8 || n > maxFooterBytes {
		return nil, "", fmt.Errorf("%w: not Parquet, or cut off: the end of the file is not that of one, or says that its description has %d bytes", errLost, n)
	}
	file, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(bufferSize))
	if err != nil {
		return nil, "", fmt.Errorf("%w: not Parquet, or broken: %w", errLost, err)
	}
	p = &parquetRecords{in: in, bytes: f, size: size, counted: in.n, file: file}
	fields := file.Schema().Fields()
	var header []string
	for _, f := range fields {
		header = append(header, f.Name())
	}
	m, note, bad := mapColumns(header, o.Columns)
	if bad != nil {
		return nil, "", bad
	}
	group := parquet.Group{}
	for i, c := range m.columns {
		group[header[c]] = fields[c]
		p.names = append(p.names, header[c])
		m.columns[i] = i
	}
	p.mapping = m
	p.schema = parquet.NewSchema("paper", group)
	for _, path := range p.schema.Columns() {
		leaf, ok := file.Schema().Lookup(path...)
		if !ok {
			return nil, "", fmt.Errorf("%w: column %s is not there", errLost, strings.Join(path, "."))
		}
		p.from = append(p.from, leaf.ColumnIndex)
	}
	for i, g := range file.Metadata().RowGroups {
		for _, c := range p.from {
			if c >= len(g.Columns) {
				return nil, "", fmt.Errorf("%w: row group %d has %d columns, the schema more", errLost, i, len(g.Columns))
			}
			switch codec := g.Columns[c].MetaData.Codec; codec {
			case format.Uncompressed, format.Snappy, format.Gzip, format.Zstd:
			default: // the library's LZ4 makes room without end where a page is broken
				return nil, "", at("", "columns are compressed by %v; write the file with snappy, gzip or zstd", codec)
			}
			if n := g.Columns[c].MetaData.TotalUncompressedSize; n < 0 || n > maxChunkBytes {
				return nil, "", fmt.Errorf("%w: row group %d says that a column of it has %d bytes; at most %d are read", errLost, i, n, int64(maxChunkBytes))
			}
		}
	}
	return p, note, nil
}

func (p *parquetRecords) at() int { return 0 }

func (p *parquetRecords) raw() []byte {
	text, err := json.Marshal(p.row)
	if err != nil { // a number that JSON does not have
		text = fmt.Append(nil, p.row)
	}
	return text
}

func (p *parquetRecords) next() (paper Paper, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			paper, err = Paper{}, fmt.Errorf("%w: broken Parquet, after row %d: %v", errLost, p.rows, broken)
		}
	}()
	p.row = nil
	row, err := p.read()
	if err == io.EOF {
		p.count(p.size)
		return Paper{}, io.EOF
	}
	if err != nil {
		if p.in.err != nil {
			return Paper{}, err
		}
		return Paper{}, fmt.Errorf("%w: broken Parquet, after row %d: %w", errLost, p.rows, err)
	}
	p.rows++
	if n := p.file.NumRows(); n > 0 {
		p.count(int64(float64(p.size) * float64(p.rows) / float64(n)))
	}
	var value any
	if err := p.schema.Reconstruct(&value, row); err != nil {
		return Paper{}, at("", "row %d: %w", p.rows, err)
	}
	fields, ok := plainValue(value).(map[string]any)
	if !ok {
		return Paper{}, at("", "row %d is no row", p.rows)
	}
	p.row = fields
	return p.mapping.row(func(i int) any { return fields[p.names[i]] })
}

// count counts bytes as read: Parquet's own reader goes where it wants.
func (p *parquetRecords) count(n int64) {
	if n = min(n, p.size); n > p.counted {
		p.in.read.Add(n - p.counted)
		p.counted = n
	}
}

// read gives the values of the next row.
func (p *parquetRecords) read() (parquet.Row, error) {
	groups := p.file.RowGroups()
	for {
		if p.pages == nil {
			if p.group == len(groups) {
				if p.rows != p.file.NumRows() {
					return nil, fmt.Errorf("%d rows, where the file says that there are %d", p.rows, p.file.NumRows())
				}
				return nil, io.EOF
			}
			for _, c := range p.from {
				if err := checkChunk(p.bytes, p.size, &p.file.Metadata().RowGroups[p.group].Columns[c].MetaData); err != nil {
					return nil, fmt.Errorf("row group %d: %w", p.group, err)
				}
				p.pages = append(p.pages, &pages{from: groups[p.group].ColumnChunks()[c].Pages()})
			}
			p.group++
		}
		var row parquet.Row
		ended := 0
		for column, pages := range p.pages {
			n := len(row)
			var err error
			if row, err = pages.row(row); err == io.EOF {
				ended++
				continue
			} else if err != nil {
				return nil, err
			}
			for i := n; i < len(row); i++ {
				row[i].SetColumnIndex(column)
			}
		}
		switch ended {
		case 0:
			return row, nil
		case len(p.pages):
			if err := p.closePages(); err != nil {
				return nil, err
			}
		default:
			return nil, errors.New("some columns have more rows than others")
		}
	}
}

func (p *parquetRecords) closePages() error {
	var errs []error
	for _, pages := range p.pages {
		errs = append(errs, pages.close())
	}
	p.pages = nil
	return errors.Join(errs...)
}

// Close gives back what is kept of the open row group.
func (p *parquetRecords) Close() (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("%w: %v", errLost, broken)
		}
	}()
	return p.closePages()
}

// pages are the values of one column of a row group.
type pages struct {
	from   parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buffer [rowsAtOnce]parquet.Value
	have   []parquet.Value
}

// maxValues is how many values one column may have in one row: of a vector, or a list of authors.
const maxValues = 1 << 20

// row appends the values of the next row: one, and all behind it that repeat.
func (p *pages) row(to parquet.Row) (parquet.Row, error) {
	for n := 0; ; n++ {
		if len(p.have) == 0 {
			err := p.fill()
			if err == io.EOF && n > 0 {
				return to, nil
			}
			if err != nil {
				return to, err
			}
		}
		if n > 0 && p.have[0].RepetitionLevel() == 0 {
			return to, nil
		}
		if n == maxValues {
			return to, fmt.Errorf("a column has more than %d values in one row", maxValues)
		}
		to = append(to, p.have[0].Clone())
		p.have = p.have[1:]
	}
}

// fill reads on.
func (p *pages) fill() error {
	for {
		if p.page == nil {
			page, err := p.from.ReadPage()
			if err != nil {
				return err
			}
			p.page, p.values = page, page.Values()
		}
		n, err := p.values.ReadValues(p.buffer[:])
		p.have = p.buffer[:n]
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF {
			for i := range p.have { // the page's memory is used again
				p.have[i] = p.have[i].Clone()
			}
			parquet.Release(p.page)
			p.page = nil
		}
		if n > 0 {
			return nil
		}
	}
}

func (p *pages) close() error {
	if p.page != nil {
		parquet.Release(p.page)
		p.page = nil
	}
	return p.from.Close()
}

// plainValue makes values as JSON has them of what the library gives: bytes become texts, and lists, which Parquet writes as groups of groups,
// lists.
func plainValue(v any) any {
	switch v := v.(type) {
	case nil, string, bool, int32, int64, uint32, uint64, float32, float64, time.Time:
		return v
	case []byte:
		return string(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plainValue(v[i])
			if m, ok := list[i].(map[string]any); ok && len(m) == 1 {
				for name, inside := range m {
					if name == "element" || name == "item" || name == "array" || name == "array_element" {
						list[i] = inside
					}
				}
			}
		}
		return list
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, inside := range v {
			out[name] = plainValue(inside)
		}
		if len(out) == 1 {
			for name, inside := range out {
				if list, ok := inside.([]any); ok && (name == "list" || name == "bag" || name == "array") {
					return list
				}
			}
		}
		return out
	}
	return reflected(v)
}

// reflected is plainValue of lists and maps of other types.
func reflected(v any) any {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer:
		if r.IsNil() {
			return nil
		}
		return plainValue(r.Elem().Interface())
	case reflect.Slice, reflect.Array:
		list := make([]any, r.Len())
		for i := range list {
			list[i] = r.Index(i).Interface()
		}
		return plainValue(list)
	case reflect.Map:
		out := make(map[string]any, r.Len())
		for _, key := range r.MapKeys() {
			out[fmt.Sprint(key.Interface())] = r.MapIndex(key).Interface()
		}
		return plainValue(out)
	case reflect.Struct:
		out := make(map[string]any, r.NumField())
		for i := range r.NumField() {
			if f := r.Type().Field(i); f.IsExported() {
				out[strings.ToLower(f.Name)] = r.Field(i).Interface()
			}
		}
		return plainValue(out)
	}
	return fmt.Sprint(v)
}
