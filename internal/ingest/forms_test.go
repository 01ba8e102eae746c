package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

var update = flag.Bool("update", false, "write the golden files of testdata/forms anew")

// samples are the files of testdata/forms, each in the folder that has the name of its form.
func samples(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/forms/*/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	return slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, ".golden") })
}

// told writes what a reader gives, a line for each: papers in our own form, then what was rejected and passed over.
func told(t testing.TB, r *Reader) string {
	t.Helper()
	var out strings.Builder
	for {
		p, err := r.Next()
		var bad *LineError
		switch {
		case err == nil:
			check(t, p)
			out.Write(ownLine(t, p))
			out.WriteByte('\n')
			continue
		case errors.As(err, &bad):
			fmt.Fprintf(&out, "rejected: %s, record %d, id %q\n", strings.ReplaceAll(bad.Error(), bad.File, filepath.Base(bad.File)), bad.Record, bad.ID)
			continue
		case err != io.EOF:
			fmt.Fprintf(&out, "ended: %v\n", strings.ReplaceAll(err.Error(), r.source.name, filepath.Base(r.source.name)))
		}
		break
	}
	var passed []string
	for reason, n := range r.Passed() {
		passed = append(passed, fmt.Sprintf("passed over: %d: %s\n", n, reason))
	}
	slices.Sort(passed)
	return out.String() + strings.Join(passed, "")
}

// ownLine writes a paper in our own form.
func ownLine(t testing.TB, p Paper) []byte {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(struct {
		ID       string          `json:"id"`
		Title    string          `json:"title,omitempty"`
		Abstract string          `json:"abstract,omitempty"`
		Authors  []string        `json:"authors,omitempty"`
		Year     int32           `json:"year,omitempty"`
		Venue    string          `json:"venue,omitempty"`
		DOI      string          `json:"doi,omitempty"`
		ArxivID  string          `json:"arxiv_id,omitempty"`
		URL      string          `json:"url,omitempty"`
		Metadata json.RawMessage `json:"metadata,omitempty"`
		Vector   []float32       `json:"vector,omitempty"`
	}{p.ID, p.Title, p.Abstract, p.Authors, p.Year, p.Venue, p.DOI, p.ArxivID, p.URL, p.Metadata, p.Vector}); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(out.Bytes())
}

// TestForms reads a sample of each form, as it is published, and compares what comes out with the golden file beside it.
func TestForms(t *testing.T) {
	had := map[string]bool{}
	for _, file := range samples(t) {
		form := filepath.Base(filepath.Dir(file))
		had[form] = true
		t.Run(form+"/"+filepath.Base(file), func(t *testing.T) {
			var said string
			r, err := Open(file, Options{Opened: func(_ string, f *Format, note string) { said = f.Name + ": " + note }})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got := told(t, r)
			if name, note, _ := strings.Cut(said, ": "); name != form {
				t.Errorf("guessed %q", name)
			} else if note != "" {
				got = "note: " + note + "\n" + got
			}
			golden := file + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s: got\n%s\nwant\n%s", golden, got, want)
			}
		})
	}
	for _, f := range Formats() {
		if !had[f.Name] {
			t.Errorf("the form %s has no sample", f.Name)
		}
	}
}

// FuzzForms: whatever comes in as a file of a form, reading ends, a paper is in order, and an error comes again.
func FuzzForms(f *testing.F) {
	forms := Formats()
	for _, file := range samples(f) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		form := filepath.Base(filepath.Dir(file))
		f.Add(uint8(slices.IndexFunc(forms, func(f *Format) bool { return f.Name == form })), text)
	}
	f.Fuzz(func(t *testing.T, form uint8, text []byte) {
		o := Options{}
		if int(form) < len(forms) { // else it is guessed
			o.Format = forms[form].Name
		}
		r := newReader(bytes.NewReader(text), "fuzz", o)
		defer r.Close()
		for calls := 0; ; calls++ {
			if calls > len(text)+10 {
				t.Fatalf("%d calls for %d bytes", calls, len(text))
			}
			p, err := r.Next()
			if _, ok := errors.AsType[*LineError](err); ok {
				continue
			}
			if err != nil {
				if _, again := r.Next(); again != err {
					t.Fatalf("after %v comes %v", err, again)
				}
				return
			}
			check(t, p)
		}
	})
}

// A table that embedd's own libraries write is read too: lists that repeat without a group around them.
func TestParquetOfTheLibrary(t *testing.T) {
	type row struct {
		ID       string            `parquet:"id"`
		Title    string            `parquet:"title,optional"`
		Authors  []string          `parquet:"authors"`
		Year     int32             `parquet:"year"`
		Vector   []float32         `parquet:"vector,list"`
		Metadata map[string]string `parquet:"metadata"`
	}
	var rows []row
	for i := range 5000 {
		r := row{ID: fmt.Sprint(i), Title: fmt.Sprintf("Paper %d", i), Year: int32(1900 + i%100), Metadata: map[string]string{"a": fmt.Sprint(i)}}
		for j := range i % 5 {
			r.Authors = append(r.Authors, fmt.Sprintf("A. %d", j))
			r.Vector = append(r.Vector, float32(j)/4)
		}
		rows = append(rows, r)
	}
	path := filepath.Join(t.TempDir(), "papers.parquet")
	if err := parquet.WriteFile(path, rows, parquet.MaxRowsPerRowGroup(700)); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, want := range rows {
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if p.ID != want.ID || p.Title != want.Title || !slices.Equal(p.Authors, want.Authors) || p.Year != want.Year || !slices.Equal(p.Vector, want.Vector) ||
			string(p.Metadata) != fmt.Sprintf(`{"a":"%s"}`, want.ID) {
			t.Fatalf("%+v of %+v, metadata %s", p, want, p.Metadata)
		}
	}
	if _, err := r.Next(); err != io.EOF || r.BytesRead() != r.Size() {
		t.Errorf("at the end: %v, %d of %d bytes", err, r.BytesRead(), r.Size())
	}
}
