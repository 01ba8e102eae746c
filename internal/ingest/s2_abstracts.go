package ingest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Abstracts are the abstracts of Semantic Scholar's dataset "abstracts", by CorpusId, for the papers of its dataset "papers", which have none.
// The texts lie in a temporary file, and 16 bytes of each in memory. After Close there are none.
type Abstracts struct {
	file  *os.File
	out   *bufio.Writer
	size  int64
	index []abstractPlace // in the order of the ids, of one id the last
}

// abstractPlace is where an abstract lies: its length as a varint, and then the text.
type abstractPlace struct{ id, at uint64 }

// MaxAbstracts is how many abstracts are kept, of which the places take 320 MB.
const MaxAbstracts = 20_000_000

// LoadAbstracts reads the dataset "abstracts" from path, a file or a folder as for Open. rejected is told of each line that cannot be read, and
// progress, now and then, how many bytes were read of how many. Of two abstracts with one id the later one stays.
func LoadAbstracts(ctx context.Context, path string, rejected func(*LineError), progress func(read, size int64)) (a *Abstracts, err error) {
	r, err := Open(path, Options{form: &Format{Name: "abstracts", open: openJSON(parseAbstract, "data")}})
	if err != nil {
		return nil, err
	}
	defer r.Close() // of what was read
	a = new(Abstracts)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
			a = nil
		}
	}()
	if a.file, err = os.CreateTemp("", "embedd-abstracts-"); err != nil {
		return a, err
	}
	a.out = bufio.NewWriterSize(a.file, 1<<20)
	for n := 0; ; n++ {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return a, err
			}
			progress(r.BytesRead(), r.Size())
		}
		p, err := r.Next()
		if bad, ok := errors.AsType[*LineError](err); ok {
			rejected(bad)
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return a, err
		}
		if err := a.add(p.ID, p.Abstract); err != nil {
			return a, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := a.out.Flush(); err != nil {
		return a, err
	}
	slices.SortStableFunc(a.index, func(x, y abstractPlace) int { return cmp.Compare(x.id, y.id) })
	return a, nil
}

// add keeps an abstract. The id has passed corpusNumber.
func (a *Abstracts) add(id, text string) error {
	n, _ := corpusNumber(id)
	if len(a.index) == MaxAbstracts {
		return fmt.Errorf("more than %d abstracts; index the dataset in parts", MaxAbstracts)
	}
	length := binary.AppendUvarint(nil, uint64(len(text)))
	if _, err := a.out.Write(length); err != nil {
		return err
	}
	if _, err := a.out.WriteString(text); err != nil {
		return err
	}
	a.index = append(a.index, abstractPlace{n, uint64(a.size)})
	a.size += int64(len(length) + len(text))
	return nil
}

// Len is how many abstracts there are.
func (a *Abstracts) Len() int { return len(a.index) }

// get gives the abstract of a paper, "" where there is none.
func (a *Abstracts) get(id string) (string, error) {
	n, ok := corpusNumber(id)
	if !ok {
		return "", nil
	}
	i, _ := slices.BinarySearchFunc(a.index, n+1, func(p abstractPlace, n uint64) int { return cmp.Compare(p.id, n) })
	if i == 0 || a.index[i-1].id != n {
		return "", nil
	}
	at := int64(a.index[i-1].at)
	var head [binary.MaxVarintLen64]byte
	if n, err := a.file.ReadAt(head[:], at); err != nil && (err != io.EOF || n == 0) {
		return "", err
	}
	length, n2 := binary.Uvarint(head[:])
	if n2 <= 0 || length > MaxRecordBytes {
		return "", errors.New("the temporary file of abstracts is damaged")
	}
	text := make([]byte, length)
	if _, err := a.file.ReadAt(text, at+int64(n2)); err != nil && length > 0 {
		return "", err
	}
	return string(text), nil
}

// Close removes the temporary file.
func (a *Abstracts) Close() error {
	if a.file == nil {
		return nil
	}
	err := errors.Join(a.file.Close(), os.Remove(a.file.Name()))
	a.file, a.index = nil, nil
	return err
}

// corpusNumber reads S2: and the number of a CorpusId.
func corpusNumber(id string) (uint64, bool) {
	digits, ok := strings.CutPrefix(id, "S2:")
	n, err := strconv.ParseUint(digits, 10, 63)
	return n, ok && err == nil
}

// parseAbstract reads a line of the dataset "abstracts".
func parseAbstract(record []byte) (Paper, error) {
	var s struct {
		CorpusID loose
		Abstract string
	}
	if bad := pick(record, &s, "corpusid", "abstract"); bad != nil {
		return Paper{}, bad
	}
	p := Paper{ID: "S2:" + clean(string(s.CorpusID)), Abstract: clean(s.Abstract)}
	switch _, ok := corpusNumber(p.ID); {
	case !ok:
		return p, at("corpusid", "want a number, got %q", shorten(string(s.CorpusID)))
	case p.Abstract == "":
		return p, passedOver("an empty abstract")
	}
	return p, nil
}

// openS2 opens papers of Semantic Scholar. Those without an abstract get that of the options.
func openS2(s *stream, o *Options) (records, string, error) {
	parse := parseS2
	if o.Abstracts != nil {
		parse = func(record []byte) (Paper, error) {
			p, err := parseS2(record)
			if err != nil || p.Abstract != "" {
				return p, err
			}
			if p.Abstract, err = o.Abstracts.get(p.ID); err != nil {
				return p, fmt.Errorf("the abstract of %s: %w", p.ID, err)
			}
			return p, nil
		}
	}
	return openJSON(parse, "data", "recommendedPapers")(s, o)
}
