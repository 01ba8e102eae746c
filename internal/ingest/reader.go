package ingest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

const (
	// MaxLineBytes is the length of the longest line that is read, without its end: 16 MiB.
	MaxLineBytes = 16 << 20
	// MaxRecordBytes is the length of the longest record that is not a line.
	MaxRecordBytes = 16 << 20
	// MaxTextBytes is how much of a record a LineError has.
	MaxTextBytes = 4 << 10
)

// Errors of Next, for errors.Is. Next wraps them in a LineError.
var (
	// ErrLineTooLong: a line is longer than MaxLineBytes.
	ErrLineTooLong = fmt.Errorf("line is longer than %d MiB", MaxLineBytes>>20)
	// ErrRecordTooLong: a record is longer than MaxRecordBytes.
	ErrRecordTooLong = fmt.Errorf("record is longer than %d MiB", MaxRecordBytes>>20)
	// ErrGzip, ErrZstd: a stream is corrupt or cut off. Nothing after it can be read.
	ErrGzip = errors.New("corrupt gzip")
	ErrZstd = errors.New("corrupt zstd")
	// ErrCutOff: a file ends within what it is made of, as XML without the end of its first element. The records before are whole.
	ErrCutOff = errors.New("the file is cut off")
)

// LineError says what is wrong with a record: with a line, where records are lines.
type LineError struct {
	// File is the path of the line's file, or the name given to NewReader.
	File string
	// Line counts from 1, in the file. It is the line that the record begins at; 0 in a form without lines, as Parquet.
	Line int
	// Record counts the file's records from 1, those that are passed over too. 0 where the error is about no record.
	Record int
	// ID is the id of the paper, or "" where it is not known.
	ID string
	// Field is the name of the field at fault, such as "title" or "authors[2]", or "" if it is the whole line.
	Field string
	// Text is the record, at most its first MaxTextBytes, with what is not UTF-8 as U+FFFD.
	Text string
	Err  error
}

func (e *LineError) Error() string {
	place := fmt.Sprintf("%s:%d", e.File, e.Line)
	if e.Line == 0 {
		place = fmt.Sprintf("%s, record %d", e.File, e.Record)
	}
	if e.Field == "" {
		return fmt.Sprintf("%s: %v", place, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", place, e.Field, e.Err)
}

// Unwrap gives the cause.
func (e *LineError) Unwrap() error { return e.Err }

// records are those of one file, in order.
type records interface {
	// next reads one. The error is io.EOF after the last; an *errorAt, where the record is rejected; passedOver, where it is no paper; and else
	// of the whole file: nothing more can be read of it.
	next() (Paper, error)
	// at is the line that the last record begins at, 0 in a form without lines.
	at() int
	// raw are the bytes of the last record, which are valid until next.
	raw() []byte
}

// passedOver is why a record is no paper, in words that do not depend on the record.
type passedOver string

func (p passedOver) Error() string { return string(p) }

// Reader reads papers from one or more files. BytesRead and Size may be called while another goroutine is in Next; the
// other methods are for one goroutine at a time.
type Reader struct {
	options Options
	// sources are the files not yet opened.
	sources []source
	many    bool // there was more than one
	size    int64
	read    atomic.Int64

	// Of the open file; in is nil between files, stream and records until the first record is asked for.
	source  source
	format  *Format
	record  int
	in      *input
	stream  *stream
	records records

	passed map[string]int
	// err is what every further Next returns.
	err error
}

// NewReader reads papers in our own and BEIR's form from r, which it does not close. A stream of gzip or zstd is recognised by its first
// bytes. The name stands for the file in errors.
func NewReader(r io.Reader, name string) *Reader {
	return newReader(r, name, Options{Format: ownFormat})
}

func newReader(r io.Reader, name string, o Options) *Reader {
	return &Reader{options: o, sources: []source{{
		name: name,
		open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil },
	}}}
}

// BytesRead is the number of bytes read so far from all files, as they are stored. After the last paper it is Size.
func (r *Reader) BytesRead() int64 { return r.read.Load() }

// Size is the number of bytes of all files, as they are stored, when Open looked; 0 if it is not known, as with standard
// input.
func (r *Reader) Size() int64 { return r.size }

// Passed counts the records so far that are no papers, by the reason that they were passed over for: BibTeX's comments, records that a
// repository has deleted. It is a copy.
func (r *Reader) Passed() map[string]int {
	all := make(map[string]int, len(r.passed))
	for reason, n := range r.passed {
		all[reason] = n
	}
	return all
}

// Position is where the record of the last Next stood: the file, the line that it began at, and its number in the file, both from 1. The line
// is 0 in a form without lines, as Parquet.
func (r *Reader) Position() (file string, line, record int) {
	if r.records != nil {
		line = r.records.at()
	}
	return r.source.name, line, r.record
}

// Close closes the open file. Next returns an error from then on.
func (r *Reader) Close() error {
	if r.err == nil || r.err == io.EOF {
		r.err = fmt.Errorf("ingest: %w", os.ErrClosed)
	}
	r.sources = nil
	return r.closeFile()
}

// Next returns the next paper, or io.EOF after the last. After a *LineError, Next goes on with the next record; if there can
// be none, as the gzip stream is corrupt, it returns another error. Any other error is final and is returned again.
func (r *Reader) Next() (Paper, error) {
	return r.step(func() (Paper, error) { return r.records.next() })
}

// Skip is Next for a record that is not wanted. It gives the same errors, but for lines of our own form it does not look into a line, which is
// much faster.
func (r *Reader) Skip() error {
	_, err := r.step(func() (Paper, error) {
		if l, ok := r.records.(*lineRecords); ok && r.format.Name == ownFormat {
			_, err := l.take()
			return Paper{}, err
		}
		return r.records.next()
	})
	return err
}

// Count reads on to the end, and returns how many papers and *LineErrors Next would have given. It is as fast as Skip.
func (r *Reader) Count() (n int, err error) {
	for {
		err := r.Skip()
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

// step goes on to the next record that is a paper or rejected, of the files in their order.
func (r *Reader) step(next func() (Paper, error)) (Paper, error) {
	for r.err == nil {
		if r.in == nil {
			if len(r.sources) == 0 {
				r.err = io.EOF
				break
			}
			if err := r.openFile(); err != nil {
				return Paper{}, r.stop(err)
			}
		}
		if r.records == nil {
			if err := r.openRecords(); err != nil {
				return Paper{}, err
			}
			continue
		}
		p, err := next()
		var bad *errorAt
		var passed passedOver
		switch {
		case err == nil:
			r.record++
			return p, nil
		case err == io.EOF:
			r.closeFile()
		case errors.As(err, &passed):
			r.record++
			if r.passed == nil {
				r.passed = map[string]int{}
			}
			r.passed[string(passed)]++
		case errors.As(err, &bad):
			r.record++
			return Paper{}, r.rejected(bad, p.ID)
		default:
			return Paper{}, r.stop(r.stream.fault(err))
		}
	}
	return Paper{}, r.err
}

// rejected is the error about the record that was read last.
func (r *Reader) rejected(bad *errorAt, id string) *LineError {
	line := r.records.at()
	if bad.line > 0 {
		line = bad.line
	}
	return &LineError{File: r.source.name, Line: line, Record: r.record, ID: shorten(id), Field: bad.field, Text: cutText(r.records.raw()), Err: bad.err}
}

// cutText gives the beginning of a record as text.
func cutText(text []byte) string {
	if len(text) > MaxTextBytes {
		text = text[:MaxTextBytes]
		for range utf8.UTFMax - 1 { // not in the middle of a character
			if r, n := utf8.DecodeLastRune(text); r != utf8.RuneError || n != 1 {
				break
			}
			text = text[:len(text)-1]
		}
	}
	return strings.ToValidUTF8(string(text), "\ufffd")
}

// stop ends reading, and returns the error of this Next. The error of the next ones is never a LineError, so that a caller
// who passes over those comes to an end, and not to io.EOF.
func (r *Reader) stop(err error) error {
	line := 1
	if r.records != nil {
		line = r.records.at()
	}
	opened := r.in != nil
	r.closeFile() // for reading only: nothing can be lost
	r.sources = nil
	if !errors.Is(err, ErrGzip) && !errors.Is(err, ErrZstd) && !errors.Is(err, ErrCutOff) && !errors.Is(err, errLost) {
		if opened { // else it has the name
			err = fmt.Errorf("%s: %w", r.source.name, err)
		}
		r.err = err
		return err
	}
	r.err = fmt.Errorf("%s: reading ended at line %d: %w", r.source.name, line, err)
	return &LineError{File: r.source.name, Line: line, Record: r.record + 1, Err: err}
}

// errLost: nothing after this can be told apart.
var errLost = errors.New("what follows cannot be read")

// openFile opens the next file.
func (r *Reader) openFile() error {
	r.source, r.sources = r.sources[0], r.sources[1:]
	f, err := r.source.open()
	if err != nil {
		return err
	}
	r.record, r.format = 0, nil
	r.in = &input{file: f, read: &r.read}
	return nil
}

// openRecords looks at the first bytes of the open file, unpacks it, and finds its format. Of several files one whose format is not known is
// rejected alone.
func (r *Reader) openRecords() error {
	var err error
	if r.stream, err = newStream(r.in, r.source.packing); err != nil {
		return r.stop(r.stream.fault(err))
	}
	f, err := r.options.formatOf(r.stream, r.source)
	var unknown *unknownFormat
	switch {
	case errors.As(err, &unknown) && r.many:
		name := r.source.name
		r.closeFile()
		return &LineError{File: name, Line: 1, Err: err}
	case errors.As(err, &unknown):
		return r.stop(err)
	case err != nil:
		return r.stop(r.stream.fault(err))
	}
	records, note, err := f.open(r.stream, &r.options)
	var bad *errorAt
	if errors.As(err, &bad) { // the file is not as its format wants it
		err = bad.err
		if r.many {
			name := r.source.name
			r.closeFile()
			return &LineError{File: name, Line: 1, Field: bad.field, Err: err}
		}
		return r.stop(err)
	}
	if err != nil {
		return r.stop(r.stream.fault(err))
	}
	r.format, r.records = f, records
	if r.options.Opened != nil {
		r.options.Opened(r.source.name, f, note)
	}
	return nil
}

// Format is the form of the file that is read, nil before its first record.
func (r *Reader) Format() *Format { return r.format }

func (r *Reader) closeFile() error {
	if r.in == nil {
		return nil
	}
	if c, ok := r.records.(io.Closer); ok {
		c.Close() // of what was read
	}
	if r.stream != nil {
		r.stream.close()
	}
	err := r.in.file.Close()
	r.in, r.stream, r.records = nil, nil, nil
	return err
}
