package ingest

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestGoodLines(t *testing.T) {
	for _, test := range []struct {
		name, line string
		want       Paper
	}{
		{"own, whole",
			`{"id":"a","title":"T","abstract":"A","authors":["X","Ÿ"],"year":2024,"venue":"V","doi":"10.1/x","arxiv_id":"2401.1","url":"http://e","metadata":{"k":[1,{"z":null}]}}`,
			Paper{ID: "a", Title: "T", Abstract: "A", Authors: []string{"X", "Ÿ"}, Year: 2024, Venue: "V", DOI: "10.1/x",
				ArxivID: "2401.1", URL: "http://e", Metadata: json.RawMessage(`{"k":[1,{"z":null}]}`)}},
		{"own, with a time", `{"id":"a","title":"T","expires":"2030-01-02T15:04:05.5+01:00"}`,
			Paper{ID: "a", Title: "T", Expires: time.Date(2030, 1, 2, 14, 4, 5, 500_000_000, time.UTC)}},
		{"own, title only", `{"id":"a","title":"T"}`, Paper{ID: "a", Title: "T"}},
		{"own, abstract only", `{"id":"a","abstract":"A"}`, Paper{ID: "a", Abstract: "A"}},
		{"null is absent",
			`{"id":"a","title":"T","abstract":null,"authors":null,"year":null,"venue":null,"doi":null,"arxiv_id":null,"url":null,"metadata":null,"expires":null}`,
			Paper{ID: "a", Title: "T"}},
		{"no authors", `{"id":"a","title":"T","authors":[]}`, Paper{ID: "a", Title: "T"}},
		{"no metadata", `{"id":"a","title":"T","metadata":{}}`, Paper{ID: "a", Title: "T", Metadata: json.RawMessage(`{}`)}},
		{"smallest year", `{"id":"a","title":"T","year":-2147483648}`, Paper{ID: "a", Title: "T", Year: -1 << 31}},
		{"BEIR", `{"_id":"b","title":"T","text":"A","metadata":{"x":1}}`,
			Paper{ID: "b", Title: "T", Abstract: "A", Metadata: json.RawMessage(`{"x":1}`)}},
		{"BEIR without title", `{"_id":"b","text":"A"}`, Paper{ID: "b", Abstract: "A"}},
		{"BEIR, empty title", `{"_id":"b","title":"","text":"A"}`, Paper{ID: "b", Abstract: "A"}},
		{"BEIR, other fields are passed over", `{"_id":"b","text":"A","year":"?","x":{"y":["}",2]},"x":1}`,
			Paper{ID: "b", Abstract: "A"}},
		{"nothing is trimmed", `{"id":" a ","title":" T\n"}`, Paper{ID: " a ", Title: " T\n"}},
		{"white space", " \t{ \"id\" : \"a\" , \"title\" : \"T\" , \"authors\" : [ \"X\" , \"Y\" ] , \"metadata\" : { } , \"year\" : 1 } \r",
			Paper{ID: "a", Title: "T", Authors: []string{"X", "Y"}, Year: 1, Metadata: json.RawMessage(`{ }`)}},
		{"escapes", `{"\u0069d":"\"\\\/\b\f\n\r\t","title":"\u00e9\ud83d\ude00\\u0000\\ud800"}`,
			Paper{ID: "\"\\/\b\f\n\r\t", Title: `é😀\u0000\ud800`}},
		{"not a space: U+FFFD", `{"id":"a","title":"�"}`, Paper{ID: "a", Title: "\ufffd"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := NewReader(strings.NewReader(test.line), "x").Next()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %#v\nwant %#v", got, test.want)
			}
		})
	}
}

func TestBadLines(t *testing.T) {
	for _, test := range []struct{ name, line, field, message string }{
		{"a time that is none", `{"id":"a","title":"T","expires":"tomorrow"}`, "expires", `x:2: expires: want a time like 2030-01-02T15:04:05Z, got "tomorrow"`},
		{"a time that is a number", `{"id":"a","title":"T","expires":1900000000}`, "expires", "x:2: expires: want a string, got a number"},
		{"not JSON", `id,title`, "", "x:2: not JSON, at byte 1: invalid character 'i' looking for beginning of value"},
		{"cut off", `{"id":"a","title":"T"`, "", "x:2: not JSON, at byte 21: unexpected end of JSON input"},
		{"trailing garbage", `{"id":"a","title":"T"} {}`, "", "x:2: not JSON, at byte 24: invalid character '{' after top-level value"},
		{"not an object", `["id"]`, "", "x:2: want an object, got an array"},
		{"a word", ` null`, "", "x:2: want an object, got null"},
		{"empty object", `{}`, "id", `x:2: id: missing: the own form has "id", BEIR's form "_id"`},
		{"fields are told by case", `{"ID":"a","title":"T"}`, "id", "missing"},
		{"both ids", `{"_id":"a","id":"a","title":"T"}`, "_id", `there is an "id" too`},
		{"id twice", `{"id":"a","id":"b","title":"T"}`, "id", "given twice"},
		{"title twice, once escaped", `{"id":"a","title":"T","\u0074itle":"T"}`, "title", "given twice"},
		{"empty id", `{"id":"","title":"T"}`, "id", "x:2: id: empty or blank"},
		{"blank id", `{"id":" \t","title":"T"}`, "id", "empty or blank"},
		{"null id", `{"id":null,"title":"T"}`, "id", "empty or blank"},
		{"empty _id", `{"_id":"","text":"T"}`, "_id", "empty or blank"},
		{"number id", `{"id":7,"title":"T"}`, "id", "x:2: id: want a string, got a number"},
		{"nothing to encode", `{"id":"a","year":1}`, "abstract", "x:2: abstract: title and abstract are both missing or blank"},
		{"blank", `{"id":"a","title":" ","abstract":"\n"}`, "abstract", "both missing or blank"},
		{"BEIR, nothing to encode", `{"_id":"a","title":"","text":""}`, "text", "title and text are both missing or blank"},
		{"unknown field", `{"id":"a","title":"T","abstrct":"A"}`, "abstrct", "x:2: abstrct: unknown field"},
		{"unknown field without name", `{"":1,"id":"a","title":"T"}`, "", "unknown field"},
		{"long unknown field", `{"id":"a","` + strings.Repeat("é", 99) + `":1}`, strings.Repeat("é", 64) + "…", "unknown field"},
		{"text in the own form", `{"id":"a","text":"A"}`, "text", `beside "id" it is "abstract"`},
		{"abstract in BEIR's form", `{"_id":"a","title":"T","abstract":"A"}`, "abstract", `beside "_id" it is "text"`},
		{"title", `{"id":"a","title":["T"]}`, "title", "want a string, got an array"},
		{"abstract", `{"id":"a","abstract":{}}`, "abstract", "want a string, got an object"},
		{"text", `{"_id":"a","text":false}`, "text", "want a string, got a boolean"},
		{"authors", `{"id":"a","title":"T","authors":"X"}`, "authors", "want an array, got a string"},
		{"an author", `{"id":"a","title":"T","authors":["X",{"name":"Y"}]}`, "authors[1]", "want a string, got an object"},
		{"null author", `{"id":"a","title":"T","authors":[null]}`, "authors[0]", "want a string, got null"},
		{"year as a string", `{"id":"a","title":"T","year":"2024"}`, "year", "want a number, got a string"},
		{"year with a fraction", `{"id":"a","title":"T","year":2024.5}`, "year",
			"x:2: year: want a whole number from -2147483648 to 2147483647, got 2024.5"},
		{"year too large", `{"id":"a","title":"T","year":2147483648}`, "year", "2147483647"},
		{"metadata", `{"id":"a","title":"T","metadata":[]}`, "metadata", "want an object, got an array"},
		{"BEIR metadata", `{"_id":"a","title":"T","metadata":"x"}`, "metadata", "want an object, got a string"},
		{"invalid UTF-8", "{\"id\":\"a\",\"title\":\"caf\xe9\"}", "title", "x:2: title: invalid UTF-8"},
		{"invalid UTF-8 in metadata", "{\"_id\":\"a\",\"title\":\"T\",\"metadata\":{\"k\":\"\xff\"}}", "metadata", "invalid UTF-8"},
		{"invalid UTF-8, passed over or not", "{\"_id\":\"a\",\"title\":\"T\",\"other\":\"\xff\"}", "other", "invalid UTF-8"},
		{"invalid UTF-8 in a name", "{\"id\":\"a\",\"title\":\"T\",\"\xff\":1}", "", "invalid UTF-8 in a field's name"},
		{"invalid UTF-8 outside", "{\xa0}", "", "x:2: invalid UTF-8 at byte 2"},
		{"encoded surrogate", "{\"id\":\"\xed\xa0\x80\",\"title\":\"T\"}", "id", "invalid UTF-8"},
		{"half a pair", `{"id":"a","title":"\ud800x"}`, "title", `half a surrogate pair (\ud800)`},
		{"half a pair at the end", `{"id":"a","title":"\ud800"}`, "title", `half a surrogate pair (\ud800)`},
		{"the other half", `{"id":"a","title":"\udc00"}`, "title", `half a surrogate pair (\udc00)`},
		{"two first halves", `{"id":"a","title":"\ud800\ud800"}`, "title", "half a surrogate pair"},
		{"NUL", "{\"id\":\"a\",\"title\":\"\x00\"}", "", "x:2: NUL at byte 20"},
		{"escaped NUL", `{"id":"a","title":"a\\\u0000"}`, "title", `x:2: title: NUL (\u0000) in a string`},
		{"escaped NUL after a pair", `{"id":"a","title":"\ud83d\ude00\u0000"}`, "title", "NUL"},
		{"escaped NUL in an author", `{"id":"a","title":"T","authors":["\u0000"]}`, "authors[0]", "NUL"},
		{"escaped NUL in metadata", `{"id":"a","title":"T","metadata":{"\u0000":1}}`, "metadata", "NUL"},
		{"BOM on another line", "\ufeff{\"id\":\"a\",\"title\":\"T\"}", "", "not JSON, at byte 1"},
		{"too deep", `{"id":"a","metadata":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "", "max depth"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// A bad line costs itself, and nothing of its neighbours.
			good := `{"id":"g","title":"T"}`
			r := NewReader(strings.NewReader(good+"\n"+test.line+"\n"+good), "x")
			if _, err := r.Next(); err != nil {
				t.Fatalf("line before: %v", err)
			}
			p, err := r.Next()
			bad, ok := errors.AsType[*LineError](err)
			if !ok {
				t.Fatalf("got %+v, %v; want a LineError", p, err)
			}
			if !reflect.DeepEqual(p, Paper{}) {
				t.Errorf("a paper beside the error: %+v", p)
			}
			if bad.File != "x" || bad.Line != 2 || bad.Field != test.field || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got  %q (field %q)\nwant %q (field %q)", err, bad.Field, test.message, test.field)
			}
			if _, err := r.Next(); err != nil {
				t.Fatalf("line after: %v", err)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Fatalf("at the end: %v", err)
			}
		})
	}
}
