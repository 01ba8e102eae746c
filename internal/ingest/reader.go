package ingest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
)

// MaxLineBytes is the length of the longest line that is read, without its end: 16 MiB.
const MaxLineBytes = 16 << 20

// bufferSize is the size of the buffers before and after gzip.
const bufferSize = 64 << 10

// Errors of Next, for errors.Is. Next wraps them in a LineError.
var (
	// ErrLineTooLong: a line is longer than MaxLineBytes.
	ErrLineTooLong = fmt.Errorf("line is longer than %d MiB", MaxLineBytes>>20)
	// ErrGzip: a gzip stream is corrupt or cut off. Nothing after it can be read.
	ErrGzip = errors.New("corrupt gzip")
)

// LineError says what is wrong with a line.
type LineError struct {
	// File is the path of the line's file, or the name given to NewReader.
	File string
	// Line counts from 1, in the file.
	Line int
	// Field is the name of the field at fault, such as "title" or "authors[2]", or "" if it is the whole line.
	Field string
	Err   error
}

func (e *LineError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s:%d: %s: %v", e.File, e.Line, e.Field, e.Err)
}

// Unwrap gives the cause.
func (e *LineError) Unwrap() error { return e.Err }

// Reader reads papers from one or more files. BytesRead and Size may be called while another goroutine is in Next; the
// other methods are for one goroutine at a time.
type Reader struct {
	// sources are the files not yet opened.
	sources []source
	size    int64
	read    atomic.Int64

	// Of the open file; in is nil between files, and lines until the first line is asked for.
	name  string
	gzip  bool
	line  int
	in    *input
	lines *bufio.Reader

	// long holds a line that does not fit into the buffer of lines.
	long []byte
	// err is what every further Next returns.
	err error
}

// NewReader reads papers from r, which it does not close. A gzip stream is recognised by its first bytes. The name stands
// for the file in errors.
func NewReader(r io.Reader, name string) *Reader {
	return &Reader{sources: []source{{
		name: name,
		open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil },
	}}}
}

// BytesRead is the number of bytes read so far from all files, as they are stored. After the last paper it is Size.
func (r *Reader) BytesRead() int64 { return r.read.Load() }

// Size is the number of bytes of all files, as they are stored, when Open looked; 0 if it is not known, as with standard
// input.
func (r *Reader) Size() int64 { return r.size }

// Close closes the open file. Next returns an error from then on.
func (r *Reader) Close() error {
	if r.err == nil || r.err == io.EOF {
		r.err = fmt.Errorf("ingest: %w", os.ErrClosed)
	}
	r.sources = nil
	return r.closeFile()
}

// Next returns the next paper, or io.EOF after the last. After a *LineError, Next goes on with the next line; if there can
// be none, as the gzip stream is corrupt, it returns another error. Any other error is final and is returned again.
func (r *Reader) Next() (Paper, error) {
	line, err := r.nextPaper()
	if err != nil {
		return Paper{}, err
	}
	p, bad := parsePaper(line)
	if bad != nil {
		return Paper{}, &LineError{File: r.name, Line: r.line, Field: bad.field, Err: bad.err}
	}
	return p, nil
}

// Count reads on to the end, and returns how many papers and *LineErrors Next would have given. It is much faster, as it does not look
// into the lines.
func (r *Reader) Count() (n int, err error) {
	for {
		_, err := r.nextPaper()
		var line *LineError
		switch {
		case err == io.EOF:
			return n, nil
		case err != nil && !errors.As(err, &line):
			return n, err
		}
		n++
	}
}

// nextPaper returns the next line that is not blank. It is valid until the next call; the errors are those of Next.
func (r *Reader) nextPaper() ([]byte, error) {
	for r.err == nil {
		if r.in == nil {
			if len(r.sources) == 0 {
				r.err = io.EOF
				break
			}
			if err := r.openFile(); err != nil {
				return nil, r.stop(err)
			}
		}
		if r.lines == nil {
			if err := r.openLines(); err != nil {
				return nil, r.stop(err)
			}
		}
		line, err := r.nextLine()
		switch {
		case err == io.EOF:
			r.closeFile()
			continue
		case err == ErrLineTooLong:
			return nil, &LineError{File: r.name, Line: r.line, Err: err}
		case err != nil:
			return nil, r.stop(err)
		}
		if r.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(bytes.TrimLeft(line, blanks)) > 0 {
			return line, nil
		}
	}
	return nil, r.err
}

// stop ends reading, and returns the error of this Next. The error of the next ones is never a LineError, so that a caller
// who passes over those comes to an end, and not to io.EOF.
func (r *Reader) stop(err error) error {
	r.closeFile() // for reading only: nothing can be lost
	r.sources = nil
	if !errors.Is(err, ErrGzip) {
		r.err = err
		return err
	}
	r.err = fmt.Errorf("%s: reading ended at line %d: %w", r.name, r.line, err)
	return &LineError{File: r.name, Line: r.line, Err: err}
}

// openFile opens the next file.
func (r *Reader) openFile() error {
	src := r.sources[0]
	r.sources = r.sources[1:]
	f, err := src.open()
	if err != nil {
		return err
	}
	r.name, r.gzip, r.line = src.name, src.gzip, 0
	r.in = &input{file: f, read: &r.read}
	return nil
}

// openLines looks at the first bytes of the open file, and unzips it if it is gzip.
func (r *Reader) openLines() error {
	raw := bufio.NewReaderSize(r.in, bufferSize)
	magic, err := raw.Peek(2)
	switch {
	case err != nil && err != io.EOF:
		return r.readError(err)
	case string(magic) == "\x1f\x8b":
		unzip, err := gzip.NewReader(raw)
		if err != nil {
			r.line++
			return r.readError(err)
		}
		r.lines = bufio.NewReaderSize(unzip, bufferSize)
	case r.gzip:
		r.line++
		return fmt.Errorf("%w: the name ends in .gz, but the content is not gzip", ErrGzip)
	default:
		r.lines = raw
	}
	return nil
}

// nextLine returns the next line without its end. It is valid until the next call. A line that is too long is passed over.
func (r *Reader) nextLine() ([]byte, error) {
	r.long = r.long[:0]
	tooLong := false
	for {
		part, err := r.lines.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			r.line++
			return nil, r.readError(err) // a part of a line is not a line
		}
		content := bytes.TrimSuffix(part, []byte("\n"))
		tooLong = tooLong || len(r.long)+len(content) > MaxLineBytes
		if tooLong {
			r.long = nil
		}
		switch {
		case err == bufio.ErrBufferFull:
			if !tooLong {
				r.long = append(r.long, content...)
			}
			continue
		case err == io.EOF && len(part) == 0 && len(r.long) == 0 && !tooLong:
			return nil, io.EOF
		}
		r.line++
		if tooLong {
			return nil, ErrLineTooLong
		}
		if len(r.long) == 0 {
			return content, nil
		}
		r.long = append(r.long, content...)
		return r.long, nil
	}
}

// readError tells a fault of the file from a fault of what is in it.
func (r *Reader) readError(err error) error {
	if r.in.err != nil {
		return fmt.Errorf("%s: %w", r.name, r.in.err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return fmt.Errorf("%w: the stream is cut off", ErrGzip)
	}
	return fmt.Errorf("%w: %s", ErrGzip, strings.TrimPrefix(err.Error(), "gzip: "))
}

func (r *Reader) closeFile() error {
	if r.in == nil {
		return nil
	}
	err := r.in.file.Close()
	r.in, r.lines = nil, nil
	return err
}

// input counts what is read of a file, and remembers what went wrong.
type input struct {
	file io.ReadCloser
	read *atomic.Int64
	err  error
}

func (in *input) Read(b []byte) (int, error) {
	n, err := in.file.Read(b)
	in.read.Add(int64(n))
	if err != nil && err != io.EOF {
		in.err = err
	}
	return n, err
}
