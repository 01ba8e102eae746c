package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// vectorRow is a vector in Parquet and JSON Lines.
type vectorRow struct {
	ID     string    `parquet:"id" json:"id"`
	Vector []float32 `parquet:"vector,list" json:"vector"`
}

// idRow is the id of a row of a NumPy file.
type idRow struct {
	ID string `parquet:"id" json:"id"`
}

// Vectors writes vectors and their ids. It is for one goroutine.
type Vectors struct {
	dim  int
	rows []vectorRow // kept for the next call
	put  func([]vectorRow) error
	end  func() error
	err  error

	ended bool
}

// NewVectors makes a writer of vectors of dim values to w: Parquet with the columns id, a string, and vector, a list of float; or JSON Lines
// with the same names. See NewNumPy for NumPy.
func NewVectors(w io.Writer, f Format, dim int, meta map[string]string) (*Vectors, error) {
	if f != Parquet && f != JSONL {
		return nil, fmt.Errorf("vectors cannot be written as %q; there are parquet, jsonl and npy", string(f))
	}
	rows, err := NewWriter[vectorRow](w, f, meta)
	if err != nil {
		return nil, err
	}
	return newVectors(dim, rows.Write, rows.Close)
}

func newVectors(dim int, put func([]vectorRow) error, end func() error) (*Vectors, error) {
	if dim < 1 || dim > MaxRowBytes/8 {
		return nil, fmt.Errorf("vectors of %d values; they may have 1 to %d", dim, MaxRowBytes/8)
	}
	return &Vectors{dim: dim, put: put, end: end}, nil
}

// Write writes the vector of each id. It keeps nothing of them. Values are finite.
func (v *Vectors) Write(ids []string, vectors [][]float32) error {
	if v.ended {
		return errors.New("the file of vectors is closed")
	}
	if v.err != nil {
		return v.err
	}
	v.err = v.write(ids, vectors)
	return v.err
}

func (v *Vectors) write(ids []string, vectors [][]float32) error {
	if len(ids) != len(vectors) {
		return fmt.Errorf("%d ids with %d vectors", len(ids), len(vectors))
	}
	defer func() {
		clear(v.rows)
		v.rows = v.rows[:0]
	}()
	for i, id := range ids {
		if len(vectors[i]) != v.dim {
			return fmt.Errorf("the vector of %.100q has %d values; those before have %d", id, len(vectors[i]), v.dim)
		}
		for _, x := range vectors[i] {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("the vector of %.100q has a value that is not finite: %v", id, x)
			}
		}
		v.rows = append(v.rows, vectorRow{id, vectors[i]})
	}
	return v.put(v.rows)
}

// Close writes what is left; it does not close what is written to. A second call does nothing.
func (v *Vectors) Close() error {
	if !v.ended && v.err == nil {
		v.err = v.end()
	}
	v.ended = true
	return v.err
}

// npyHeader is how long the header of a NumPy file is here: enough for any number of rows, and a multiple of 64, as the format wants.
const npyHeader = 128

// NewNumPy makes a writer of vectors of dim values to w, an array of little-endian float32 of a row each that numpy.load reads, also
// mapped; and of their ids in the same order to ids, JSON Lines of {"id": …}. How many rows there are is written at the beginning of w when
// it is closed: until then it is no array.
//
// The file is a header of a line and the numbers, so it is written here: the library for it in Go, npyio, wants the array as a whole.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0.
func NewNumPy(w io.WriteSeeker, ids io.Writer, dim int) (*Vectors, error) {
	names, err := NewWriter[idRow](ids, JSONL, nil)
	if err != nil {
		return nil, err
	}
	start, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("the number of vectors is written last, at the beginning: this wants a file: %w", err)
	}
	if _, err := w.Write(make([]byte, npyHeader)); err != nil {
		return nil, err
	}
	n := 0
	var b []byte
	return newVectors(dim, func(rows []vectorRow) error {
		for _, row := range rows {
			if err := names.Write([]idRow{{row.ID}}); err != nil {
				return err
			}
			for _, x := range row.Vector {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			}
			n++
			if len(b) >= blockBytes {
				if _, err := w.Write(b); err != nil {
					return err
				}
				b = b[:0]
			}
		}
		_, err := w.Write(b)
		b = b[:0]
		return err
	}, func() error {
		if err := names.Close(); err != nil {
			return err
		}
		if _, err := w.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := w.Write(numPyHeader(n, dim)); err != nil {
			return err
		}
		_, err := w.Seek(0, io.SeekEnd)
		return err
	})
}

// numPyHeader is the magic, the version, the length of the rest, and a dictionary of Python, filled with spaces to a new line.
func numPyHeader(rows, dim int) []byte {
	b := []byte("\x93NUMPY\x01\x00")
	b = binary.LittleEndian.AppendUint16(b, npyHeader-10)
	b = fmt.Appendf(b, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, dim)
	b = append(b, bytes.Repeat([]byte{' '}, npyHeader-1-len(b))...)
	return append(b, '\n')
}
