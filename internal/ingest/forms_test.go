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
