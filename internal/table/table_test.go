package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"embedd/internal/testkit"
)

// everything has a column of each kind.
type everything struct {
	ID      string    `parquet:"id" json:"id"`
	Kind    string    `parquet:"kind,dict,optional" json:"kind,omitempty"`
	Year    int32     `parquet:"year,optional" json:"year,omitempty"`
	Count   int64     `parquet:"count" json:"count"`
	Score   float32   `parquet:"score" json:"score"`
	Weight  float64   `parquet:"weight,optional" json:"weight,omitempty"`
	Open    bool      `parquet:"open" json:"open"`
	Authors []string  `parquet:"authors,list,optional" json:"authors,omitempty"`
	Vector  []float32 `parquet:"vector,list" json:"vector"`
}

// hostile are strings that some reader or other has stumbled over.
var hostile = []string{
	"", " ", " a ", `"`, `""`, `a"b`, "a,b", "a;b", "a\tb", "a\nb", "a\r\nb", "a\rb", "\r", "\n", "\r\n", "a\r", "\na", `\`, `\n`, `\.`, "'", "`",
	"=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "#", "NULL", "null", "nan", "NaN", "None", "true", "0", "007", "1e9", "2401.00001", "1970-01-01",
	"<b>&amp;</b>", "\u2028", "\u2029", "\ufeff", "\u0085", "\x01\x1f\x7f", "ü", "漢字", "😀", "👩‍👩‍👧", "a\u0301", "\U0010ffff", "שלום", "\u202eabc", strings.Repeat("long, \"x\"\n", 2000),
}

// random makes rows of hostile strings.
func random(r *rand.Rand, n int, nul bool) []everything {
	text := func() string {
		s := hostile[r.IntN(len(hostile)-1)]
		switch r.IntN(400) {
		case 0:
			s += hostile[len(hostile)-1]
		case 1:
			if nul {
				s += "\x00"
			}
		}
		if r.IntN(20) == 0 {
			s += hostile[r.IntN(len(hostile)-1)]
		}
		return s
	}
	rows := make([]everything, n)
	for i := range rows {
		row := &rows[i]
		*row = everything{ID: text(), Kind: hostile[r.IntN(10)], Year: int32(r.IntN(3)) - 1, Count: int64(r.Uint64()), Score: r.Float32() - 0.5, Weight: r.NormFloat64(), Open: r.IntN(2) == 0}
		switch r.IntN(20) {
		case 0:
			row.Year, row.Count, row.Score, row.Weight = math.MinInt32, math.MinInt64, math.SmallestNonzeroFloat32, -math.MaxFloat64
		case 1:
			row.Score, row.Weight = float32(math.Copysign(0, -1)), 0
		}
		for range r.IntN(4) {
			row.Authors = append(row.Authors, text())
		}
		row.Vector = []float32{r.Float32(), -r.Float32(), 1e-30}[:1+r.IntN(3)]
	}
	return rows
}

var metadata = map[string]string{"model": "m", "k": "10", "a": "ü"}

// write gives the file of rows, which come in calls of the sizes that next says.
func write[T any](t testing.TB, f Format, rows []T, next func() int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter[T](&b, f, metadata)
	if err != nil {
		t.Fatal(err)
	}
	for len(rows) > 0 {
		n := min(next(), len(rows))
		part := slices.Clone(rows[:n])
		if err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		clear(part) // it is the caller's again
		rows = rows[n:]
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read reads a file whole.
func read[T any](f Format, b []byte) (rows []T, meta map[string]string, err error) {
	meta, err = Read(bytes.NewReader(b), int64(len(b)), f, func(some []T) error {
		rows = append(rows, some...)
		return nil
	})
	return rows, meta, err
}

// What goes in comes out, and the bytes do not depend on how it went in.
func TestRows(t *testing.T) {
	r := testkit.Rand(t)
	for _, f := range Formats {
		t.Run(string(f), func(t *testing.T) {
			for _, n := range []int{0, 1, 63, 64, 65, 1000, 5000} {
				rows := random(r, n, f == Parquet || f == JSONL)
				first := write(t, f, rows, func() int { return n })
				for range 3 {
					if again := write(t, f, rows, func() int { return 1 + r.IntN(200) }); !bytes.Equal(first, again) {
						t.Fatalf("%d rows give %d bytes, and %d when they come in other pieces", n, len(first), len(again))
					}
				}
				got, meta, err := read[everything](f, first)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != n {
					t.Fatalf("%d rows came back of %d", len(got), n)
				}
				for i := range rows {
					if !reflect.DeepEqual(got[i], rows[i]) {
						t.Fatalf("row %d\ngot  %.300q\nwant %.300q", i, fmt.Sprint(got[i]), fmt.Sprint(rows[i]))
					}
				}
				if f == Parquet && !reflect.DeepEqual(meta, metadata) {
					t.Errorf("the metadata are %v", meta)
				}
			}
		})
	}
}

// The list under a row's field is the caller's after Write.
func TestListsAreNotKept(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter[vectorRow](&b, JSONL, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := []float32{1}
	for i := range 3 {
		v[0] = float32(i)
		if err := w.Write([]vectorRow{{"a", v}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != `{"id":"a","vector":[0]}`+"\n"+`{"id":"a","vector":[1]}`+"\n"+`{"id":"a","vector":[2]}`+"\n" {
		t.Error(got)
	}
}

// Row groups end where they are large, and a file of large rows is read as well.
func TestLargeRows(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	r := testkit.Rand(t)
	b := make([]byte, 8<<20)
	for j := range b {
		b[j] = 'a' + byte(r.IntN(2)) // zstd can do little with it
	}
	rows := make([]everything, 24)
	for i := range rows {
		rows[i] = everything{ID: string(b[i:]), Vector: []float32{1}}
	}
	file := write(t, Parquet, rows, func() int { return 7 })
	n := 0
	_, err := Read(bytes.NewReader(file), int64(len(file)), Parquet, func(some []everything) error {
		for _, row := range some {
			if row.ID != rows[n].ID {
				t.Errorf("row %d differs", n)
			}
			n++
		}
		return nil
	})
	if err != nil || n != len(rows) {
		t.Errorf("%d rows, %v", n, err)
	}
	if n := binary.LittleEndian.Uint32(file[len(file)-8:]); n > 20000 {
		t.Errorf("the footer has %d bytes", n)
	}
}

// What a format cannot keep is refused, and so is all that comes after.
func TestRefused(t *testing.T) {
	large := everything{ID: strings.Repeat("x", MaxRowBytes)}
	for _, test := range []struct {
		f    Format
		row  everything
		want string
	}{
		{Parquet, everything{ID: "a\xff"}, `row 2: id is not valid UTF-8: "a\xff"`},
		{JSONL, everything{Authors: []string{"\xed\xa0\x80"}}, `row 2: authors is not valid UTF-8`},
		{CSV, everything{Kind: "a\x00b"}, `row 2: kind has a NUL, which CSV and TSV cannot keep; JSONL and Parquet can: "a\x00b"`},
		{TSV, everything{Kind: "\x00"}, `row 2: kind has a NUL`},
		{CSV, large, "row 2: the row has"},
		{Parquet, large, "row 2: the row has"},
		{JSONL, everything{Score: float32(math.NaN())}, "unsupported value: NaN"},
	} {
		w, err := NewWriter[everything](io.Discard, test.f, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = w.Write([]everything{{}, test.row})
		if err == nil {
			err = w.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %s", test.f, err, test.want)
		}
		if again := w.Close(); again == nil {
			t.Errorf("%s: a file that is not whole was closed as if it were", test.f)
		}
		if again := w.Write([]everything{{}}); again == nil {
			t.Errorf("%s: written to after an error", test.f)
		}
	}
	for _, err := range []error{
		second(NewWriter[struct{ A string }](io.Discard, CSV, nil)),
		second(NewWriter[struct {
			A string `parquet:"a" json:"b"`
		}](io.Discard, CSV, nil)),
		second(NewWriter[struct {
			A string `parquet:"a,optional" json:"a"`
		}](io.Discard, CSV, nil)),
		second(NewWriter[struct {
			A []float64 `parquet:"a,list" json:"a"`
		}](io.Discard, CSV, nil)),
		second(NewWriter[struct {
			A []float32 `parquet:"a" json:"a"`
		}](io.Discard, Parquet, nil)),
		second(NewWriter[struct {
			A string `parquet:"a" json:"a"`
			B string `parquet:"A" json:"A"`
		}](io.Discard, Parquet, nil)),
		second(NewWriter[idRow](io.Discard, CSV, nil)),
		second(NewWriter[string](io.Discard, CSV, nil)),
		second(NewWriter[everything](io.Discard, NumPy, nil)),
		second(NewWriter[everything](io.Discard, "", nil)),
		second(NewWriter[everything](io.Discard, Parquet, map[string]string{"a": "\xff"})),
		second(NewVectors(io.Discard, CSV, 3, nil)),
		second(NewVectors(io.Discard, Parquet, 0, nil)),
	} {
		if err == nil {
			t.Error("a table that cannot be was made")
		} else {
			t.Log(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What is no file of ours is told, with where.
func TestReadRefuses(t *testing.T) {
	type pair struct {
		A string `parquet:"a" json:"a"`
		B int32  `parquet:"b,optional" json:"b,omitempty"`
	}
	parquet := string(write(t, Parquet, []pair{{"x", 1}}, func() int { return 1 }))
	for _, test := range []struct {
		f          Format
		file, want string
	}{
		{CSV, "", "the line with the names of the columns is missing"},
		{CSV, "a,c\n", `the columns are ["a" "c"]; want ["a" "b"]`},
		{CSV, "a,b\nx\n", "wrong number of fields"},
		{CSV, "a,b\nx,1\ny,one\n", "line 3: b: "},
		{CSV, "a,b\nx,2147483648\n", "value out of range"},
		{CSV, "a,b\n\"x,1\n", `extraneous or missing " in quoted-field`},
		{CSV, "a,b\n\xff,1\n", "row 1: a is not valid UTF-8"},
		{TSV, "a\tb\n\x00\t1\n", "row 1: a has a NUL"},
		{JSONL, "{\"a\":\"x\"}\n{\"a\":1}\n", "line 2: "},
		{JSONL, "{\"a\":\"x\",\"c\":1}\n", "line 1: "},
		{JSONL, "{\"a\":\"\xff\"}\n", "line 1: not valid UTF-8"},
		{JSONL, "{\"a\":\"x\"}{\"a\":\"x\"}\n", "line 1: there is more after the value"},
		{JSONL, "\n", "line 1: "},
		{Parquet, "", "0 bytes are no Parquet file"},
		{Parquet, parquet[:len(parquet)-1], "it does not end in PAR1"},
		{Parquet, "PAR1\xff\xff\xff\xffPAR1", "the footer of the Parquet file has 4294967295 bytes"},
		// A list of 2^31-1 row groups in a footer of a few bytes.
		{Parquet, "PAR1" + "\x15\x02\x19\xfc\xff\xff\xff\xff\x07" + "\x09\x00\x00\x00PAR1", "a list of 2147483647 items where 0 bytes are left"},
		{Parquet, string(write(t, Parquet, []idRow{{"x"}}, func() int { return 1 })), "the columns of the Parquet file are"},
	} {
		if rows, _, err := read[pair](test.f, []byte(test.file)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %.60q: %v, %v; want %s", test.f, test.file, rows, err, test.want)
		}
	}
	stop := errors.New("enough")
	if _, err := Read(strings.NewReader(parquet), int64(len(parquet)), Parquet, func([]pair) error { return stop }); err != stop {
		t.Errorf("yield gives %v, and Read %v", stop, err)
	}
}

// A file that fails to be written says so.
func TestFullDisk(t *testing.T) {
	rows := random(testkit.Rand(t), 3000, false)
	for _, f := range Formats {
		whole := len(write(t, f, rows, func() int { return 100 }))
		for _, room := range []int{0, 1, whole / 2, whole - 1} {
			w, err := NewWriter[everything](&full{room}, f, metadata)
			if err == nil {
				err = errors.Join(w.Write(rows), w.Close())
			}
			if !errors.Is(err, errFull) {
				t.Errorf("%s, room for %d bytes of %d: %v", f, room, whole, err)
			}
		}
	}
}

var errFull = errors.New("no space left")

type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.room {
		n := f.room
		f.room = 0
		return n, errFull
	}
	f.room -= len(b)
	return len(b), nil
}

func TestFormats(t *testing.T) {
	for path, want := range map[string]Format{
		"a.parquet": Parquet, "a.b.JSONL": JSONL, "x/a.csv": CSV, "a.tsv.gz": TSV, "a.jsonl.zst": JSONL, "a.npy": NumPy,
		"a": "", "a.json": "", "csv": "", "a.csv/b": "", "a.gz": "", ".parquet": Parquet,
	} {
		if f, ok := FormatOf(path); f != want || ok != (want != "") {
			t.Errorf("%s is %q, %v; want %q", path, f, ok, want)
		}
	}
	if _, err := ParseFormat("xlsx"); err == nil || !strings.Contains(err.Error(), "parquet, jsonl, csv and tsv") {
		t.Error(err)
	}
}

// NumPy's own bytes are in testdata: numpy.save of the array that is made here.
func TestNumPy(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "v.npy"))
	if err != nil {
		t.Fatal(err)
	}
	var ids bytes.Buffer
	w, err := NewNumPy(f, &ids, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write([]string{"a\n", "b"}, [][]float32{{1, -2, 0.5}, {0, 1e-30, 3}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Write([]string{"c"}, [][]float32{{7, 8, 9}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), w.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/numpy.npy")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if want := `{"id":"a\n"}` + "\n" + `{"id":"b"}` + "\n" + `{"id":"c"}` + "\n"; ids.String() != want {
		t.Errorf("the ids are %s", ids.String())
	}
	if err := w.Write([]string{"c"}, [][]float32{{7, 8, 9}}); err == nil {
		t.Error("written to after Close")
	}
	for _, v := range [][]float32{{1}, nil, {1, 2, float32(math.NaN())}, {float32(math.Inf(1)), 1, 1}} {
		w, err := NewVectors(io.Discard, Parquet, 3, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write([]string{"x"}, [][]float32{v}); err == nil {
			t.Errorf("%v was written", v)
		}
		if w.Close() == nil {
			t.Errorf("%v: closed as if it were whole", v)
		}
	}
}
