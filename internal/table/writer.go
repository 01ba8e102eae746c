package table

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

const (
	blockRows  = 64      // what parquet-go looks at together when it decides whether a page is full
	blockBytes = 1 << 20 // or fewer rows, where they are large
	groupRows  = 1 << 20 // rows of a row group
	groupBytes = 128 << 20

	pageBytes       = 256 << 10
	dictionaryBytes = 16 << 20 // a dictionary that is larger is not worth it: from there on strings are written as they are
)

// createdBy is in the footer of each file. It does not change with our version or that of a library, since the bytes would.
const createdBy = "embedd"

// Writer writes rows of T. It is for one goroutine.
type Writer[T any] struct {
	columns []column
	nul     bool // whether strings may have one

	// Rows come to put in blocks that do not depend on the calls of Write.
	held  []T
	bytes int // of held

	put   func(block []T, bytes int) error
	end   func() error
	n     int64
	err   error
	ended bool
}

// NewWriter makes a writer of T's rows to w, which it writes to in pieces as they come. meta goes into the footer of Parquet; the other formats have no place for it.
func NewWriter[T any](w io.Writer, f Format, meta map[string]string) (*Writer[T], error) {
	columns, err := columnsOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	for k, v := range meta {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return nil, fmt.Errorf("meta: %q is not valid UTF-8: %.40q", k, v)
		}
	}
	t := &Writer[T]{columns: columns, nul: true}
	switch f {
	case Parquet:
		t.parquet(w, meta)
	case JSONL:
		t.lines(w)
	case CSV, TSV:
		if len(columns) < 2 {
			return nil, errors.New("a table of one column cannot be CSV or TSV: an empty cell would be an empty line, which readers pass over; write JSONL or Parquet")
		}
		t.nul = false
		err = t.cells(w, f)
	default:
		err = fmt.Errorf("rows cannot be written as %q; there are parquet, jsonl, csv and tsv", string(f))
	}
	return t, err
}

// Write writes rows. It keeps nothing of them. After an error nothing more can be written, and the file is not whole.
func (w *Writer[T]) Write(rows []T) error {
	if w.ended {
		return errors.New("the table is closed")
	}
	if w.err != nil {
		return w.err
	}
	w.err = w.write(rows)
	return w.err
}

func (w *Writer[T]) write(rows []T) error {
	from := 0 // of the rows that are in the block, and not in held
	for i := range rows {
		size, err := weigh(w.columns, reflect.ValueOf(&rows[i]).Elem(), w.nul)
		if err != nil {
			return fmt.Errorf("row %d: %w", w.n+1, err)
		}
		w.n++
		w.bytes += size
		if len(w.held)+i+1-from < blockRows && w.bytes < blockBytes {
			continue
		}
		block := rows[from : i+1]
		if len(w.held) > 0 {
			block = append(w.held, block...)
		}
		if err := w.put(block, w.bytes); err != nil {
			return err
		}
		clear(w.held)
		w.held, w.bytes, from = w.held[:0], 0, i+1
	}
	for _, row := range rows[from:] {
		own(w.columns, reflect.ValueOf(&row).Elem())
		w.held = append(w.held, row)
	}
	return nil
}

// Close writes what is left and the footer; it does not close what is written to. A second call does nothing.
func (w *Writer[T]) Close() error {
	if w.ended {
		return w.err
	}
	w.ended = true
	if w.err == nil && len(w.held) > 0 {
		w.err = w.put(w.held, w.bytes)
	}
	if w.err == nil {
		w.err = w.end()
	}
	return w.err
}

// parquetSchema is the schema of T, called alike whatever T is.
func parquetSchema[T any]() *parquet.Schema {
	return parquet.NewSchema("schema", parquet.SchemaOf(new(T)))
}

func (w *Writer[T]) parquet(out io.Writer, meta map[string]string) {
	options := []parquet.WriterOption{
		parquetSchema[T](),
		&parquet.WriterConfig{CreatedBy: createdBy, KeyValueMetadata: meta},
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
		parquet.DataPageStatistics(false), parquet.PageBufferSize(pageBytes), parquet.DictionaryMaxBytes(dictionaryBytes),
	}
	end := &footerWriter{w: out}
	file := parquet.NewGenericWriter[T](end, options...)
	rows, size := 0, 0 // of the row group
	w.put = func(block []T, bytes int) error {
		if _, err := file.Write(block); err != nil {
			return err
		}
		rows, size = rows+len(block), size+bytes
		if rows < groupRows && size < groupBytes {
			return nil
		}
		rows, size = 0, 0
		return file.Flush()
	}
	w.end = func() error {
		if err := file.Flush(); err != nil {
			return err
		}
		end.holds = true
		if err := file.Close(); err != nil {
			return err
		}
		return end.finish()
	}
}

// lines writes JSON Lines.
func (w *Writer[T]) lines(out io.Writer) {
	buffered := bufio.NewWriterSize(out, 64<<10)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	w.put = func(block []T, _ int) error {
		for i := range block {
			if err := lines.Encode(&block[i]); err != nil {
				return err
			}
		}
		return nil
	}
	w.end = buffered.Flush
}

// cells writes CSV and TSV.
func (w *Writer[T]) cells(out io.Writer, f Format) error {
	lines := csv.NewWriter(out)
	lines.Comma = comma(f)
	record := make([]string, len(w.columns))
	for i, c := range w.columns {
		record[i] = c.name
	}
	w.put = func(block []T, _ int) (err error) {
		for i := range block {
			row := reflect.ValueOf(&block[i]).Elem()
			for j := range w.columns {
				c := &w.columns[j]
				if record[j], err = cell(c, row.Field(c.field)); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			if err := lines.Write(record); err != nil {
				return err
			}
		}
		return nil
	}
	w.end = func() error {
		lines.Flush()
		return lines.Error()
	}
	return lines.Write(record)
}

func comma(f Format) rune {
	if f == TSV {
		return '\t'
	}
	return ','
}

// plainJSON is a value as JSON, with < > & as they are.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
