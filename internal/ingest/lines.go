package ingest

import (
	"bufio"
	"bytes"
	"io"
)

// lineRecords are records that are a line each. Blank lines are passed over, but counted.
type lineRecords struct {
	lines *bufio.Reader
	parse func(line []byte) (Paper, error)

	line int
	text []byte
	// long holds a line that does not fit into the buffer of lines.
	long []byte
}

func (l *lineRecords) next() (Paper, error) {
	line, err := l.take()
	if err != nil {
		return Paper{}, err
	}
	return l.parse(line)
}

func (l *lineRecords) at() int     { return l.line }
func (l *lineRecords) raw() []byte { return l.text }

// take gives the next line that is not blank. It is valid until the next call.
func (l *lineRecords) take() ([]byte, error) {
	for {
		line, err := l.nextLine()
		l.text = line
		if err != nil {
			return nil, err
		}
		if l.line == 1 {
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		if len(bytes.TrimLeft(line, blanks)) > 0 {
			return line, nil
		}
	}
}

const byteOrderMark = "\ufeff"

// nextLine returns the next line without its end. It is valid until the next call. A line that is too long is passed over.
func (l *lineRecords) nextLine() ([]byte, error) {
	l.long = l.long[:0]
	tooLong := false
	for {
		part, err := l.lines.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			l.line++
			return nil, err // a part of a line is not a line
		}
		content := bytes.TrimSuffix(part, []byte("\n"))
		tooLong = tooLong || len(l.long)+len(content) > MaxLineBytes
		if tooLong {
			l.long = nil
		}
		switch {
		case err == bufio.ErrBufferFull:
			if !tooLong {
				l.long = append(l.long, content...)
			}
			continue
		case err == io.EOF && len(part) == 0 && len(l.long) == 0 && !tooLong:
			return nil, io.EOF
		}
		l.line++
		if tooLong {
			return nil, &errorAt{err: ErrLineTooLong}
		}
		if len(l.long) == 0 {
			return content, nil
		}
		l.long = append(l.long, content...)
		return l.long, nil
	}
}
