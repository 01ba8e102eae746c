package ingest

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

var mutants = flag.Int("mutants", 1000, "how many mutants of the samples of each form are read")

// mutate changes a text in a few places, as damage and bad programs do.
func mutate(rng *rand.Rand, in []byte) []byte {
	out := slices.Clone(in)
	for range 1 + rng.IntN(4) {
		if len(out) == 0 {
			return out
		}
		i := rng.IntN(len(out))
		j := min(len(out), i+1+rng.IntN(1+rng.IntN(200)))
		switch rng.IntN(10) {
		case 0: // a bit
			out[i] ^= 1 << rng.IntN(8)
		case 1: // a byte
			out[i] = byte(rng.Uint32())
		case 2: // what forms are made of
			out[i] = `<>&{}[]"',:;=@#\()/-`[rng.IntN(20)]
		case 3: // cut off
			if rng.IntN(4) == 0 {
				out = out[:i]
			}
		case 4: // without a part
			out = slices.Delete(out, i, j)
		case 5: // a part twice
			out = slices.Insert(out, i, slices.Clone(out[i:j])...)
		case 6: // a part elsewhere
			at := rng.IntN(len(out))
			out = slices.Insert(out, at, slices.Clone(out[i:j])...)
		case 7: // a tag or a line less
			if k := bytes.IndexAny(out[i:], "<\n{"); k >= 0 {
				if l := bytes.IndexAny(out[i+k+1:], ">\n}"); l >= 0 {
					out = slices.Delete(out, i+k, i+k+1+l+1)
				}
			}
		case 8: // zeros
			clear(out[i:j])
		case 9: // a number that is large
			if k := bytes.IndexAny(out[i:], "0123456789"); k >= 0 {
				out = slices.Insert(out, i+k, []byte("9999999999")[:1+rng.IntN(10)]...)
			}
		}
	}
	return out
}

// result is what came of a file.
type result struct {
	papers, rejected, passed int
	err                      error // at the end
}

func (r result) all() int { return r.papers + r.rejected + r.passed }

// readAll reads a file to its end, whatever that is, and holds what comes of it against the promises.
func readAll(t *testing.T, path, format string, size int) (res result) {
	t.Helper()
	r, err := Open(path, Options{Format: format})
	if err != nil {
		return result{err: err}
	}
	defer r.Close()
	for calls := 0; ; calls++ {
		if calls > size+10 {
			t.Fatalf("reading does not end: %d calls for %d bytes", calls, size)
		}
		p, err := r.Next()
		if bad, ok := errors.AsType[*LineError](err); ok {
			if len(bad.Text) > 3*MaxTextBytes || bad.Error() == "" {
				t.Fatalf("a text of %d bytes", len(bad.Text))
			}
			res.rejected++
			continue
		}
		if err != nil {
			res.err = err
			break
		}
		check(t, p)
		res.papers++
	}
	for _, n := range r.Passed() {
		res.passed += n
	}
	if _, again := r.Next(); again != res.err {
		t.Fatalf("after %v comes %v", res.err, again)
	}
	return res
}

// within reads a file in bounds of time and memory, which hold for files of a few kilobytes.
func within(t *testing.T, path, format string, size int, mostMemory uint64) (res result) {
	t.Helper()
	const mostTime = 20 * time.Second
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	res = readAll(t, path, format, size)
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	if took > mostTime {
		t.Errorf("it took %v", took)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > mostMemory {
		t.Errorf("%d MiB were allocated", n>>20)
	}
	return res
}

// TestMutants reads mutants of the samples of each form. Whatever they are, reading ends, in bounds of time and memory, each record is a paper,
// rejected or passed over, and where records can be counted otherwise none is missing.
func TestMutants(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	n := *mutants
	if testing.Short() {
		n = min(n, 100)
	}
	byForm := map[string][]string{}
	for _, file := range samples(t) {
		form := filepath.Base(filepath.Dir(file))
		byForm[form] = append(byForm[form], file)
	}
	for form, files := range byForm {
		t.Run(form, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(len(form))))
			var sum result
			ended := map[bool]int{}
			path := filepath.Join(t.TempDir(), "mutant")
			for i := range n {
				file := files[i%len(files)]
				original, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				mutant := mutate(rng, original)
				if err := os.WriteFile(path, mutant, 0o600); err != nil {
					t.Fatal(err)
				}
				format := form
				if i%5 == 0 { // guessed
					format = ""
				}
				failed := t.Failed()
				res := within(t, path, format, len(mutant), 256<<20)
				if format != "" && res.err == io.EOF {
					if want, ok := recordsIn(form, file, mutant); ok && want != res.all() {
						t.Errorf("%d papers, %d rejected, %d passed over; there are %d records", res.papers, res.rejected, res.passed, want)
					}
				}
				if t.Failed() && !failed {
					kept := filepath.Join(os.TempDir(), "mutant-"+form)
					if err := os.WriteFile(kept, mutant, 0o600); err != nil {
						t.Fatal(err)
					}
					t.Fatalf("mutant %d of %s is kept in %s", i, file, kept)
				}
				sum.papers, sum.rejected, sum.passed = sum.papers+res.papers, sum.rejected+res.rejected, sum.passed+res.passed
				ended[res.err == io.EOF]++
			}
			t.Logf("%d mutants: %d papers, %d rejected, %d passed over; %d ended in an error", n, sum.papers, sum.rejected, sum.passed, ended[false])
			if sum.papers == 0 || sum.rejected == 0 && ended[false] == 0 {
				t.Error("the mutants are not what they should be")
			}
		})
	}
}

var recordTags = map[string]*regexp.Regexp{
	"pubmed": regexp.MustCompile(`<(PubmedArticle|PubmedBookArticle|DeleteCitation|DeleteDocument)[ \t\r\n/><]`),
	"oai":    regexp.MustCompile(`<record[ \t\r\n/><]`),
}

// brokenProlog is an instruction that reaches over tags.
var brokenProlog = regexp.MustCompile(`<\?[^?]*(<|$)`)

// recordsIn counts the records of a file in another way, where there is one.
func recordsIn(form, file string, text []byte) (n int, ok bool) {
	if tags := recordTags[form]; tags != nil {
		if bytes.Contains(text, []byte("<!--")) || bytes.Contains(text, []byte("<![CDATA[")) || brokenProlog.Match(text) {
			return 0, false
		}
		return len(tags.FindAll(text, -1)), true
	}
	switch {
	case strings.HasSuffix(file, ".jsonl") || form == "arxiv":
		first, _, _ := bytes.Cut(bytes.TrimLeft(text, blanks), []byte("\n"))
		if len(first) == 0 || first[0] != '{' || opens(first) || form != "jsonl" && len(firstKeys(text)) == 0 {
			return 0, false
		}
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			if len(bytes.TrimLeft(line, blanks)) > 0 {
				n++
			}
		}
		return n, true
	}
	return 0, false
}

// TestPackedMutants reads mutants of packed files: they end, and not in io.EOF where something is missing.
func TestPackedMutants(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	text := strings.Repeat(line("a")+line("b"), 2000)
	for name, good := range map[string][]byte{"papers.jsonl.gz": zip(t, text), "papers.jsonl.zst": pack(t, text)} {
		path := filepath.Join(t.TempDir(), name)
		for range min(*mutants, 1000) / 5 {
			mutant := mutate(rng, good)
			if err := os.WriteFile(path, mutant, 0o600); err != nil {
				t.Fatal(err)
			}
			if res := within(t, path, "", 1<<20, 6*maxWindow); res.err == io.EOF && !bytes.Equal(mutant, good) && res.all() < 4000 && len(mutant) > 0 {
				t.Errorf("%s: %d records of 4000, and no error", name, res.all())
			}
		}
	}
}

// pack compresses by zstd.
func pack(t testing.TB, text string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll([]byte(text), nil)
}
