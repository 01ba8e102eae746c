package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// line is a good line.
func line(id string) string { return fmt.Sprintf(`{"id":%q,"title":"T"}`+"\n", id) }

func zip(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readIDs reads all papers, passing over bad lines, and returns what is told of them with the error at the end.
func readIDs(r *Reader) (ids, bad []string, err error) {
	for {
		p, err := r.Next()
		if e, ok := errors.AsType[*LineError](err); ok {
			bad = append(bad, e.Error())
			continue
		}
		if err != nil {
			return ids, bad, err
		}
		ids = append(ids, p.ID)
	}
}

// wantIDs reads all papers of r, all of whose lines are good.
func wantIDs(t *testing.T, r *Reader, want ...string) {
	t.Helper()
	ids, bad, err := readIDs(r)
	if err != io.EOF || bad != nil {
		t.Errorf("bad lines %q, end %v", bad, err)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("got %q, want %q", ids, want)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestLineEnds(t *testing.T) {
	a, b := strings.TrimSuffix(line("a"), "\n"), strings.TrimSuffix(line("b"), "\n")
	for name, text := range map[string]string{
		"unix":             a + "\n" + b + "\n",
		"no last end":      a + "\n" + b,
		"windows":          a + "\r\n" + b + "\r\n",
		"blank lines":      "\n\n \t\r\n" + a + "\n\n" + b + "\n \n",
		"byte order mark":  "\ufeff" + a + "\n" + b,
		"mark, then blank": "\ufeff\n" + a + "\n" + b,
	} {
		t.Run(name, func(t *testing.T) {
			wantIDs(t, NewReader(strings.NewReader(text), name), "a", "b")
			wantIDs(t, NewReader(iotest.OneByteReader(strings.NewReader(text)), name), "a", "b")
			wantIDs(t, NewReader(bytes.NewReader(zip(t, text)), name), "a", "b")
		})
	}
	for name, text := range map[string]string{"empty": "", "blank": " \n\n", "only a mark": "\ufeff"} {
		t.Run(name, func(t *testing.T) { wantIDs(t, NewReader(strings.NewReader(text), name)) })
	}
}

// Blank lines are passed over, but counted.
func TestLineNumbers(t *testing.T) {
	_, bad, _ := readIDs(NewReader(strings.NewReader("\n\nx\n"+line("a")+"\ny"), "f"))
	if len(bad) != 2 || !strings.HasPrefix(bad[0], "f:3: ") || !strings.HasPrefix(bad[1], "f:6: ") {
		t.Errorf("%q", bad)
	}
}

func TestLongLines(t *testing.T) {
	padded := func(size int) string {
		head, tail := `{"id":"long","title":"`, `"}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	for _, test := range []struct {
		size int
		ok   bool
	}{
		{bufferSize - 1, true}, {bufferSize, true}, {bufferSize + 1, true}, {2 * bufferSize, true},
		{MaxLineBytes, true}, {MaxLineBytes + 1, false}, {MaxLineBytes + bufferSize, false}, {2 * MaxLineBytes, false},
	} {
		for _, end := range []string{"", "\n", "\n" + line("b")} {
			t.Run(fmt.Sprintf("%d%.2q", test.size, end), func(t *testing.T) {
				r := NewReader(strings.NewReader(line("a")+padded(test.size)+end), "f")
				ids, bad, err := readIDs(r)
				want, wantBad := []string{"a"}, []string(nil)
				if test.ok {
					want = append(want, "long")
				} else {
					wantBad = []string{"f:2: line is longer than 16 MiB"}
				}
				if len(end) > 1 {
					want = append(want, "b")
				}
				if err != io.EOF || !slices.Equal(ids, want) || !slices.Equal(bad, wantBad) {
					t.Errorf("papers %q, bad lines %q, end %v", ids, bad, err)
				}
			})
		}
	}
	_, err := NewReader(strings.NewReader(padded(MaxLineBytes+1)), "f").Next()
	if !errors.Is(err, ErrLineTooLong) {
		t.Errorf("got %v", err)
	}
}

// Lines of every length around the size of the buffer come back whole.
func TestLinesAcrossBuffers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var text strings.Builder
	var want []string
	for range 200 {
		id := strings.Repeat("i", 1+rng.IntN(3*bufferSize/(1+rng.IntN(100))))
		want = append(want, id)
		text.WriteString(line(id))
	}
	wantIDs(t, NewReader(strings.NewReader(text.String()), "f"), want...)
	wantIDs(t, NewReader(bytes.NewReader(zip(t, text.String())), "f"), want...)
}

// A gzip stream may be of several members, as bgzip and cat make them.
func TestGzipMembers(t *testing.T) {
	whole := line("a") + line("b")
	wantIDs(t, NewReader(bytes.NewReader(append(zip(t, whole[:15]), zip(t, whole[15:])...)), "f"), "a", "b")
}

func TestCorruptGzip(t *testing.T) {
	var text strings.Builder
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 20000 {
		text.WriteString(line(fmt.Sprintf("%d-%x", i, rng.Uint64())))
	}
	good := zip(t, text.String())
	damaged := slices.Clone(good)
	damaged[len(damaged)/2] ^= 0xff
	badSum := slices.Clone(good)
	badSum[len(badSum)-8] ^= 0xff
	for name, content := range map[string][]byte{
		"header only":    good[:5],
		"cut off":        good[:len(good)/2],
		"no checksum":    good[:len(good)-8],
		"half checksum":  good[:len(good)-4],
		"damaged":        damaged,
		"wrong checksum": badSum,
		"more after it":  append(slices.Clone(good), line("x")...),
		"no gzip":        []byte(line("x")),
		"empty":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := write(t, dir, "corpus-0.jsonl.gz", content)
			write(t, dir, "corpus-1.jsonl", []byte(line("next")))
			r, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			lines := 0 // until the fault is found, what was damaged may come as bad lines
			for ; ; lines++ {
				if _, err = r.Next(); err == io.EOF || errors.Is(err, ErrGzip) {
					break
				}
			}
			bad, ok := errors.AsType[*LineError](err)
			if !ok || bad.File != path || bad.Line <= lines {
				t.Fatalf("after %d lines: %v", lines, err)
			}
			// A caller who passes over bad lines comes to an end, but not to io.EOF, and not to the next file.
			for range 3 {
				p, err := r.Next()
				if _, ok := errors.AsType[*LineError](err); ok || err == nil || err == io.EOF || !errors.Is(err, ErrGzip) {
					t.Fatalf("afterwards: %+v, %v", p, err)
				}
			}
		})
	}
}

// A fault of the disk is not a bad line, in gzip or out of it.
func TestReadError(t *testing.T) {
	fault := errors.New("fault")
	for name, content := range map[string][]byte{"plain": []byte(line("a")), "gzip": zip(t, line("a")), "nothing": nil} {
		r := NewReader(io.MultiReader(bytes.NewReader(content), iotest.ErrReader(fault)), "f")
		_, bad, err := readIDs(r)
		if bad != nil || !errors.Is(err, fault) || !strings.HasPrefix(err.Error(), "f: ") {
			t.Errorf("%s: bad lines %q, end %v", name, bad, err)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("%s: afterwards %v", name, again)
		}
	}
}

// Count gives as many as Next does, of papers and of lines that are none.
func TestCount(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		content []byte
		want    int
	}{
		"empty":         {nil, 0},
		"two":           {[]byte(line("a") + line("b")), 2},
		"no last end":   {[]byte(line("a") + strings.TrimSpace(line("b"))), 2},
		"blank lines":   {[]byte("\n \t\r\n" + line("a") + "\n\n" + line("b") + "\n"), 2},
		"a mark":        {[]byte("\ufeff\n" + line("a")), 1},
		"bad lines":     {[]byte(line("a") + "{\n{}\n" + line("b")), 4},
		"a long line":   {[]byte(line("a") + strings.Repeat("x", MaxLineBytes+1) + "\n" + line("b")), 3},
		"gzip":          {zip(t, line("a")+"\n"+line("b")), 2},
		"gzip, cut off": {zip(t, line("a"))[:20], 1},
	} {
		path := write(t, dir, "papers.jsonl", c.content)
		open := func() *Reader {
			r, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Close() })
			return r
		}
		n, countErr := open().Count()
		given := 0
		var nextErr error
		for r := open(); ; given++ {
			_, err := r.Next()
			var line *LineError
			if err != nil && !errors.As(err, &line) {
				if err != io.EOF {
					nextErr = err
				}
				break
			}
		}
		if n != c.want || given != c.want || (countErr == nil) != (nextErr == nil) {
			t.Errorf("%s: Count gives %d, %v; Next gave %d, %v; want %d", name, n, countErr, given, nextErr, c.want)
		}
	}
}

func TestOpenFile(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"a.jsonl":        []byte(line("a") + line("b")),
		"a.jsonl.gz":     zip(t, line("a")+line("b")),
		"unnamed.jsonl":  zip(t, line("a")+line("b")), // gzip is recognised without its name
		"corpus-1.jsonl": []byte(line("a") + line("b")),
	} {
		r, err := Open(write(t, dir, name, content))
		if err != nil {
			t.Fatal(err)
		}
		if r.Size() != int64(len(content)) || r.BytesRead() != 0 {
			t.Errorf("%s: %d of %d bytes at the start", name, r.BytesRead(), r.Size())
		}
		wantIDs(t, r, "a", "b")
		if r.BytesRead() != r.Size() {
			t.Errorf("%s: %d of %d bytes at the end", name, r.BytesRead(), r.Size())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "none.jsonl"), ""} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestOpenFolder(t *testing.T) {
	for _, test := range []struct {
		name  string
		files []string // each holds one paper whose id is the file's name
		want  []string // nil: an error
		err   string
	}{
		{"one", []string{"corpus.jsonl"}, []string{"corpus.jsonl"}, ""},
		{"one, gzip", []string{"corpus.jsonl.gz"}, []string{"corpus.jsonl.gz"}, ""},
		{"in numeric order", []string{"corpus-10.jsonl", "corpus-9.jsonl.gz", "corpus-0.jsonl", "corpus-100.jsonl"},
			[]string{"corpus-0.jsonl", "corpus-9.jsonl.gz", "corpus-10.jsonl", "corpus-100.jsonl"}, ""},
		{"leading zeros", []string{"corpus-00.jsonl", "corpus-2.jsonl", "corpus-01.jsonl"},
			[]string{"corpus-00.jsonl", "corpus-01.jsonl", "corpus-2.jsonl"}, ""},
		{"numbers of any size", []string{"corpus-99999999999999999999.jsonl", "corpus-100000000000000000000.jsonl"},
			[]string{"corpus-99999999999999999999.jsonl", "corpus-100000000000000000000.jsonl"}, ""},
		{"others are passed over", []string{"corpus.jsonl", "corpus-x.jsonl", "corpus.jsonl.bak", "mycorpus.jsonl", "queries.jsonl"},
			[]string{"corpus.jsonl"}, ""},
		{"twice", []string{"corpus.jsonl", "corpus.jsonl.gz"}, nil, "corpus.jsonl and corpus.jsonl.gz: keep one"},
		{"part twice", []string{"corpus-1.jsonl", "corpus-01.jsonl"}, nil, "keep one"},
		{"part twice, gzip", []string{"corpus-0.jsonl", "corpus-0.jsonl.gz"}, nil, "keep one"},
		{"whole and part", []string{"corpus.jsonl", "corpus-0.jsonl"}, nil, "keep one"},
		{"whole and later part", []string{"corpus.jsonl", "corpus-7.jsonl"}, nil, "keep one"},
		{"none", []string{"papers.md", ".papers.jsonl"}, nil, "no corpus.jsonl"},
		{"all that may have papers", []string{"b/10.jsonl", "b/9.jsonl.gz", "a.ndjson", "notes.md", ".git/x.jsonl", "B.JSONL"}, []string{"B.JSONL", "a.ndjson", "b/9.jsonl.gz", "b/10.jsonl"}, ""},
		{"empty", nil, nil, "no corpus.jsonl"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			var size int64
			for _, name := range test.files {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
					t.Fatal(err)
				}
				content := []byte(strings.TrimSuffix(line(name), "\n")) // files do not run into each other
				if strings.HasSuffix(name, ".gz") {
					content = zip(t, string(content))
				}
				write(t, dir, name, content)
				if slices.Contains(test.want, name) {
					size += int64(len(content))
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "corpus-5.jsonl"), 0o700); err != nil { // a folder is not a part
				t.Fatal(err)
			}
			r, err := Open(dir)
			if test.want == nil {
				if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), dir) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if r.Size() != size {
				t.Errorf("size %d, want %d", r.Size(), size)
			}
			wantIDs(t, r, test.want...)
			if r.BytesRead() != size {
				t.Errorf("read %d of %d bytes", r.BytesRead(), size)
			}
		})
	}
}

// An error names the file of the folder, and its own line.
func TestFolderErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "corpus-0.jsonl", []byte(line("a")+line("b")))
	path := write(t, dir, "corpus-1.jsonl", []byte("\ufeff"+line("c")+"{}\n"))
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ids, bad, err := readIDs(r)
	if err != io.EOF || len(ids) != 3 || len(bad) != 1 || !strings.HasPrefix(bad[0], path+":2: id: ") {
		t.Errorf("papers %q, bad lines %q, end %v", ids, bad, err)
	}
}

// A file that goes away between Open and its turn is an error, not the end.
func TestFileGoesAway(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "corpus-0.jsonl", []byte(line("a")))
	path := write(t, dir, "corpus-1.jsonl", []byte(line("b")))
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	ids, bad, err := readIDs(r)
	if len(ids) != 1 || bad != nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("papers %q, bad lines %q, end %v", ids, bad, err)
	}
}

func TestStandardInput(t *testing.T) {
	defer func(f *os.File) { os.Stdin = f }(os.Stdin)
	for name, content := range map[string][]byte{"plain": []byte(line("a") + "{}\n"), "gzip": zip(t, line("a")+"{}\n")} {
		t.Run(name, func(t *testing.T) {
			in, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			os.Stdin = in
			go func() {
				out.Write(content)
				out.Close()
			}()
			r, err := Open("-")
			if err != nil {
				t.Fatal(err)
			}
			ids, bad, err := readIDs(r)
			if err != io.EOF || !slices.Equal(ids, []string{"a"}) || len(bad) != 1 || !strings.HasPrefix(bad[0], "standard input:2: ") {
				t.Errorf("papers %q, bad lines %q, end %v", ids, bad, err)
			}
			if r.Size() != 0 || r.BytesRead() != int64(len(content)) {
				t.Errorf("%d of %d bytes", r.BytesRead(), r.Size())
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if _, err := in.Stat(); err != nil {
				t.Errorf("standard input is closed: %v", err)
			}
		})
	}
}

// A pipe may have any name, and has no size.
func TestOpenPipe(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := fmt.Sprintf("/dev/fd/%d", in.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	content := zip(t, line("a"))
	go func() {
		out.Write(content)
		out.Close()
	}()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Size() != 0 {
		t.Errorf("size %d", r.Size())
	}
	wantIDs(t, r, "a")
}

func TestClose(t *testing.T) {
	path := write(t, t.TempDir(), "a.jsonl", []byte(line("a")+line("b")))
	for reads := range 4 {
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for range reads {
			r.Next()
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Errorf("close after %d reads: %v", reads, err)
			}
			if _, err := r.Next(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("next after close: %v", err)
			}
		}
	}
}

// A progress bar looks from another goroutine. Worth something under -race only.
func TestProgress(t *testing.T) {
	content := strings.Repeat(line("a"), 10000)
	r, err := Open(write(t, t.TempDir(), "a.jsonl.gz", zip(t, content)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := int64(0); last < r.Size(); {
			n := r.BytesRead()
			if n < last {
				t.Errorf("from %d back to %d", last, n)
				return
			}
			last = n
		}
	}()
	if _, _, err := readIDs(r); err != io.EOF {
		t.Fatal(err)
	}
	<-done
}

func BenchmarkNext(b *testing.B) {
	text := `{"_id":"2505.16152","title":"Compressing Human Body Video","text":"` + strings.Repeat("In this paper, we — propose \\\"it\\\". ", 35) +
		`","metadata":{"categories":["cs.CV","cs.LG"],"authors":["A B","C D"],"listed":"2025-05-23"}}` + "\n"
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	r := NewReader(&repeat{text: text}, "f")
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// repeat reads a text again and again.
type repeat struct {
	text string
	i    int
}

func (r *repeat) Read(b []byte) (int, error) {
	n := copy(b, r.text[r.i:])
	r.i = (r.i + n) % len(r.text)
	return n, nil
}
