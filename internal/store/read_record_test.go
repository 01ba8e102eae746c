package store

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// sameRecord compares the quick reader with encoding/json, and tells whether it has read the record.
func sameRecord(t *testing.T, body []byte) bool {
	t.Helper()
	got, ok := readRecord(body)
	if !ok {
		return false
	}
	want, err := parseRecord(body)
	if err != nil {
		t.Fatalf("%q is read, and is %v", body, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is read as\n%+v, want\n%+v", body, got, want)
	}
	return true
}

func randomRecord(rng *rand.Rand) *Record {
	pieces := []string{"word ", "\\alpha", `"`, "\n", "\t", "ü", "漢", "<", "\u2028", "\x00", "\x7f", "😀", "/", "'"}
	text := func() string {
		var b strings.Builder
		for range rng.IntN(12) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		return b.String()
	}
	r := &Record{Paper: Paper{ID: "id" + text(), Title: text(), Abstract: text(), Venue: text(), DOI: text(), ArxivID: text(), URL: text()}}
	for range rng.IntN(4) {
		r.Paper.Authors = append(r.Paper.Authors, text())
	}
	if rng.IntN(2) == 0 {
		r.Paper.Expires = time.Unix(rng.Int64N(1<<33), rng.Int64N(1e9)).UTC()
		r.Paper.Year, r.Tokens, r.Truncated = rng.Int32()-1<<30, rng.IntN(1000), rng.IntN(2) == 0
	}
	if rng.IntN(2) == 0 {
		m, err := json.Marshal(map[string]any{text(): []any{text(), 1.5, nil}, "deep": map[string]any{"}": text()}})
		if err != nil {
			panic(err)
		}
		r.Paper.Metadata = m
	}
	for i := range r.Content {
		r.Content[i] = byte(rng.Uint32())
	}
	return r
}

// TestReadRecord: what is written is read by the quick reader, as encoding/json reads it.
func TestReadRecord(t *testing.T) {
	rng := testkit.Rand(t)
	for range 5000 {
		body, err := encodeRecord(randomRecord(rng))
		if err != nil {
			t.Fatal(err)
		}
		if !sameRecord(t, body) {
			t.Fatalf("%q is not read", body)
		}
		// Where it is damaged, and the checksum right all the same, both say so or neither.
		for range 5 {
			damaged := append([]byte{}, body...)
			damaged[rng.IntN(len(damaged))] = "\"\\{}[]:,0a\x80 "[rng.IntN(12)]
			sameRecord(t, damaged)
			sameRecord(t, body[:rng.IntN(len(body))])
		}
	}
	const content = `"content":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`
	for _, body := range []string{
		`{"paper":{"id":"a"}}`, `{"paper":{"id":"a","id":"b"},` + content + `}`, `{"Paper":{"id":"a"},` + content + `}`, `{ "paper":{"id":"a"},` + content + `}`,
		`{"paper":{"id":"a","year":01},` + content + `}`, `{"paper":{"id":"a","year":1e3},` + content + `}`, `{"paper":{"id":"a","more":1},` + content + `}`,
		`{"paper":null,` + content + `}`, `{"paper":{"id":"a","authors":[]},` + content + `}`, `{"paper":{"id":"a","metadata":{"a":1,}},` + content + `}`, ``,
	} {
		if sameRecord(t, []byte(body)) {
			t.Errorf("%s is read: it is not as records are written", body)
		}
	}
}

// TestReadEachField: a field that the quick reader does not know would make it useless, and nothing else would say so.
func TestReadEachField(t *testing.T) {
	full := Paper{ID: "a", Title: "b", Abstract: "c", Authors: []string{"d"}, Year: 1, Venue: "e", DOI: "f", ArxivID: "g", URL: "h", Metadata: json.RawMessage(`{"i":1}`),
		Expires: time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		if f := v.Type().Field(i); v.Field(i).IsZero() && f.Tag.Get("json") != "-" {
			t.Errorf("give %s a value here, and see to it that readRecord knows it", f.Name)
		}
	}
	body, err := encodeRecord(&Record{Paper: full, Tokens: 1, Truncated: true})
	if err != nil {
		t.Fatal(err)
	}
	if !sameRecord(t, body) {
		t.Errorf("%s is not read", body)
	}
}

func FuzzReadRecord(f *testing.F) {
	body, err := encodeRecord(randomRecord(rand.New(rand.NewPCG(1, 2))))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) { sameRecord(t, body) })
}

// BenchmarkDecodeRecord reads a paper with an abstract of 1,300 bytes.
func BenchmarkDecodeRecord(b *testing.B) {
	r := &Record{Paper: Paper{
		ID: "2505.16152", Title: strings.Repeat("title ", 12), Abstract: strings.Repeat("abstract of a paper, ", 62),
		Metadata: json.RawMessage(`{"authors":["Ada Lovelace","Grace Hopper","Emmy Noether","Lise Meitner","+5"],"categories":["eess.IV","cs.CV"],"listed":"2025-05-23"}`),
	}, Tokens: 200}
	body, err := encodeRecord(r)
	if err != nil {
		b.Fatal(err)
	}
	for name, decode := range map[string]func([]byte) (Record, error){"quick": decodeRecord, "json": parseRecord} {
		b.Run(fmt.Sprint("reader=", name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
