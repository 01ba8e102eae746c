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
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	readRows = 256 // rows that are given to yield at once, at most

	// maxLine is the longest line or record that is read. A byte of a string has six in JSON at most.
	maxLine = 6*MaxRowBytes + 1<<20
)

// Read gives the rows of a file that NewWriter wrote, in order, some at a time; yield may keep the strings and lists in them, but not the
// slice of rows. meta is that of NewWriter, for Parquet. It ends with the first error, its own or that of yield.
func Read[T any](r io.ReaderAt, size int64, f Format, yield func([]T) error) (meta map[string]string, err error) {
	columns, err := columnsOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	switch f {
	case Parquet:
		return readParquet(r, size, columns, yield)
	case JSONL:
		return nil, readLines(io.NewSectionReader(r, 0, size), columns, yield)
	case CSV, TSV:
		return nil, readCells(io.NewSectionReader(r, 0, size), f, columns, yield)
	}
	return nil, fmt.Errorf("rows cannot be read from %q; there are parquet, jsonl, csv and tsv", string(f))
}

// batch collects rows for yield.
type batch[T any] struct {
	columns []column
	nul     bool // whether strings may have one
	rows    []T
	bytes   int
	n       int64
	yield   func([]T) error
}

func (b *batch[T]) add(row T) error {
	v := reflect.ValueOf(&row).Elem()
	b.n++
	size, err := weigh(b.columns, v, b.nul)
	if err != nil {
		return fmt.Errorf("row %d: %w", b.n, err)
	}
	for _, c := range b.columns {
		if l := v.Field(c.field); (c.kind == texts || c.kind == numbers) && l.Len() == 0 {
			l.SetZero()
		}
	}
	b.rows, b.bytes = append(b.rows, row), b.bytes+size
	if len(b.rows) < readRows && b.bytes < blockBytes {
		return nil
	}
	return b.flush()
}

func (b *batch[T]) flush() error {
	if len(b.rows) == 0 {
		return nil
	}
	err := b.yield(b.rows)
	clear(b.rows)
	b.rows, b.bytes = b.rows[:0], 0
	return err
}

func readLines[T any](r io.Reader, columns []column, yield func([]T) error) error {
	out := batch[T]{columns: columns, nul: true, yield: yield}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		var row T
		if err := strictJSON(lines.Bytes(), &row); err != nil {
			return fmt.Errorf("line %d: %w", out.n+1, err)
		}
		if err := out.add(row); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", out.n+1, err)
	}
	return out.flush()
}

// strictJSON reads one value that fills b.
func strictJSON(b []byte, v any) error {
	if !utf8.Valid(b) {
		return errors.New("not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if rest := bytes.TrimSpace(b[d.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("there is more after the value: %.20q", rest)
	}
	return nil
}

func readCells[T any](r io.Reader, f Format, columns []column, yield func([]T) error) error {
	out := batch[T]{columns: columns, yield: yield}
	bounded := &recordReader{r: r}
	cells := csv.NewReader(&returns{r: bounded})
	cells.Comma, cells.ReuseRecord = comma(f), true
	for first := true; ; first = false {
		bounded.read = 0
		record, err := cells.Read()
		if err == io.EOF && first {
			return errors.New("the line with the names of the columns is missing")
		}
		if err == io.EOF {
			return out.flush()
		}
		if err != nil {
			return err
		}
		if first {
			names := slices.Collect(func(yield func(string) bool) {
				for _, c := range columns {
					yield(c.name)
				}
			})
			if !slices.Equal(record, names) {
				return fmt.Errorf("the columns are %.200q; want %q", record, names)
			}
			continue
		}
		var row T
		v := reflect.ValueOf(&row).Elem()
		for i := range columns {
			c := &columns[i]
			if err := setCell(c, v.Field(c.field), strings.Clone(record[i])); err != nil {
				line, _ := cells.FieldPos(i)
				return fmt.Errorf("line %d: %w", line, err)
			}
		}
		if err := out.add(row); err != nil {
			return err
		}
	}
}

// recordReader ends in an error where a record is too long, and does not know where records begin: who reads sets read to 0 there.
type recordReader struct {
	r    io.Reader
	read int
}

func (r *recordReader) Read(b []byte) (int, error) {
	if r.read > maxLine {
		return 0, fmt.Errorf("a record is longer than %d bytes", maxLine)
	}
	n, err := r.r.Read(b)
	r.read += n
	return n, err
}

// returns doubles a carriage return before a new line. Package csv drops one there, also in a cell, where it belongs to the text: the lines
// that we write end without.
type returns struct {
	r    io.Reader
	held []byte // what has been read and not given
	last bool   // whether a carriage return was the last that was read
}

func (r *returns) Read(b []byte) (int, error) {
	if len(r.held) == 0 {
		in := make([]byte, 32<<10)
		n, err := r.r.Read(in)
		if n == 0 {
			return 0, err
		}
		for _, c := range in[:n] {
			if c == '\n' && r.last {
				r.held = append(r.held, '\r')
			}
			r.held, r.last = append(r.held, c), c == '\r'
		}
	}
	n := copy(b, r.held)
	r.held = r.held[n:]
	return n, nil
}
