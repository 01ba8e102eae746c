package ingest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

const (
	// bufferSize is the size of the buffers before and after decompression, and of what a guess may look at.
	bufferSize = 64 << 10
	// maxWindow is how far back a zstd stream may refer, 128 MiB: what zstd reads without being asked to, and writes with --long. Twice
	// that is the memory that such a stream takes.
	maxWindow = 128 << 20
)

// packing is how a file is compressed.
type packing int

const (
	plain packing = iota
	gzipped
	zstandard
)

// packings are their first bytes, suffixes, and the error of a stream that is corrupt.
var packings = [...]struct {
	name, magic, suffix string
	err                 error
}{
	gzipped:   {"gzip", "\x1f\x8b", ".gz", ErrGzip},
	zstandard: {"zstd", "\x28\xb5\x2f\xfd", ".zst", ErrZstd},
}

// packed gives the packing that a file's name tells, and the name without.
func packed(name string) (packing, string) {
	for p := gzipped; p <= zstandard; p++ {
		if rest, ok := strings.CutSuffix(name, packings[p].suffix); ok {
			return p, rest
		}
	}
	return plain, name
}

// stream is what a file holds, decompressed.
type stream struct {
	*bufio.Reader
	in      *input
	packing packing
	zstd    *zstd.Decoder
}

// newStream looks at the first bytes of a file, and unpacks it. want is the packing that its name tells.
func newStream(in *input, want packing) (*stream, error) {
	raw := bufio.NewReaderSize(in, bufferSize)
	s := &stream{Reader: raw, in: in}
	for p := gzipped; p <= zstandard; p++ {
		magic, err := raw.Peek(len(packings[p].magic))
		if err != nil && err != io.EOF {
			return s, err
		}
		if string(magic) == packings[p].magic {
			s.packing = p
			break
		}
	}
	var unpacked io.Reader
	switch {
	case s.packing == gzipped:
		unzip, err := gzip.NewReader(raw)
		if err != nil {
			return s, err
		}
		unpacked = unzip
	case s.packing == zstandard:
		var err error
		if s.zstd, err = zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err != nil {
			return s, err
		}
		unpacked = s.zstd
	case want != plain:
		s.packing = want
		p := packings[want]
		return s, fmt.Errorf("%w: the name ends in %s, but the content is not %s", p.err, p.suffix, p.name)
	default:
		return s, nil
	}
	s.Reader = bufio.NewReaderSize(unpacked, bufferSize)
	return s, nil
}

// head gives the beginning of what the file holds: at least min bytes of it, where there are as many. It may be called again with more.
func (s *stream) head(min int) (text []byte, whole bool, err error) {
	text, err = s.Peek(min)
	if err == nil && s.Buffered() > len(text) {
		text, err = s.Peek(s.Buffered())
	}
	if err == io.EOF {
		return text, true, nil
	}
	return text, false, err
}

// firstLine gives the beginning up to a line end at least, or all that a guess may look at. It does not wait for more, which from a pipe may be
// long in coming.
func (s *stream) firstLine() ([]byte, error) {
	for n := 1; ; n = min(2*n, bufferSize) {
		text, whole, err := s.head(n)
		if err != nil || whole || len(text) >= bufferSize || bytes.IndexByte(bytes.TrimLeft(text, blanks), '\n') > 0 {
			return text, err
		}
		n = max(n, len(text))
	}
}

// fault tells a fault of the file from a fault of what is in it: errors.Is(err, ErrGzip) or ErrZstd.
func (s *stream) fault(err error) error {
	switch {
	case s.in.err != nil:
		return s.in.err
	case s.packing == plain || errors.Is(err, packings[s.packing].err):
		return err
	}
	p := packings[s.packing]
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return fmt.Errorf("%w: the stream is cut off", p.err)
	}
	return fmt.Errorf("%w: %s", p.err, strings.TrimPrefix(err.Error(), p.name+": "))
}

func (s *stream) close() {
	if s.zstd != nil {
		s.zstd.Close()
	}
}

// input counts what is read of a file, and remembers what went wrong.
type input struct {
	file io.ReadCloser
	read *atomic.Int64
	n    int64 // of this file
	err  error
}

func (in *input) Read(b []byte) (int, error) {
	n, err := in.file.Read(b)
	in.read.Add(int64(n))
	in.n += int64(n)
	if err != nil && err != io.EOF {
		in.err = err
	}
	return n, err
}

// window is the part of a stream that is in memory, of which records are cut off at its beginning.
type window struct {
	r     io.Reader
	buf   []byte
	start int // what is before is done with
	line  int // of start, from 1
	err   error
}

func newWindow(r io.Reader) *window {
	return &window{r: r, buf: make([]byte, 0, 4*bufferSize), line: 1}
}

// text is what is there. It is valid until more.
func (w *window) text() []byte { return w.buf[w.start:] }

// more reads on, behind text. It gives false at the end of the stream, and when there is a fault, which err has.
func (w *window) more() bool {
	if w.err != nil {
		return false
	}
	if w.start > 0 && len(w.buf) == cap(w.buf) {
		w.buf = w.buf[:copy(w.buf, w.buf[w.start:])]
		w.start = 0
	}
	if len(w.buf) == cap(w.buf) {
		w.buf = append(w.buf, make([]byte, cap(w.buf))...)[:len(w.buf)]
	}
	for tries := 0; ; tries++ {
		n, err := w.r.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		if err == nil && n == 0 && tries > 100 {
			err = io.ErrNoProgress
		}
		if err != nil {
			w.err = err
		}
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
}

// skip is done with the first n bytes of text.
func (w *window) skip(n int) {
	w.line += bytes.Count(w.buf[w.start:w.start+n], []byte("\n"))
	w.start += n
	if cap(w.buf) > 4*MaxRecordBytes/3 && len(w.buf)-w.start < bufferSize { // one long record need not stay
		w.buf, w.start = append(make([]byte, 0, 4*bufferSize), w.text()...), 0
	}
}

// fault is the error at the end of the stream, nil where that is all of it.
func (w *window) fault() error {
	if w.err == io.EOF {
		return nil
	}
	return w.err
}
