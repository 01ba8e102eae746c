package table

import (
	"compress/gzip"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Format is a form of files.
type Format string

const (
	Parquet Format = "parquet"
	JSONL   Format = "jsonl" // JSON Lines: an object a line
	CSV     Format = "csv"   // RFC 4180, with lines that end in \n
	TSV     Format = "tsv"   // CSV with tabs between the cells
	NumPy   Format = "npy"   // vectors alone
)

// Formats are those that rows can be written in.
var Formats = []Format{Parquet, JSONL, CSV, TSV}

// ParseFormat gives the format of a name. NumPy is one; NewWriter refuses it.
func ParseFormat(name string) (Format, error) {
	for _, f := range append(Formats, NumPy) {
		if string(f) == name {
			return f, nil
		}
	}
	return "", fmt.Errorf("%q is no format of tables; there are parquet, jsonl, csv and tsv, and npy for vectors", name)
}

// FormatOf gives the format of a file by the ending of its name, and false where it says none. Capital letters are the same, and what
// [Unpacked] cuts off is passed over.
func FormatOf(path string) (Format, bool) {
	inner, _ := Unpacked(path)
	f, err := ParseFormat(strings.TrimPrefix(strings.ToLower(filepath.Ext(inner)), "."))
	return f, err == nil
}

// Packing is a way to compress a whole file.
type Packing string

const (
	Plain Packing = ""
	Gzip  Packing = "gz"
	Zstd  Packing = "zst"
)

// Unpacked gives the name of a file without .gz or .zst, and which it was.
func Unpacked(path string) (inner string, p Packing) {
	switch ext := filepath.Ext(path); strings.ToLower(ext) {
	case ".gz":
		return strings.TrimSuffix(path, ext), Gzip
	case ".zst":
		return strings.TrimSuffix(path, ext), Zstd
	}
	return path, Plain
}

// Pack compresses what is written. Close ends the stream, and does not close w.
func (p Packing) Pack(w io.Writer) (io.WriteCloser, error) {
	switch p {
	case Plain:
		return unclosed{w}, nil
	case Gzip:
		return gzip.NewWriter(w), nil // without a name or a time, so that the same bytes give the same
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}
	return nil, fmt.Errorf("%q is no way to compress a file; there are gz and zst", string(p))
}

type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
