package store

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// The bytes of format 3, which must not change: a change is another format version.
func TestFormat(t *testing.T) {
	identity, err := encodeIdentity(Identity{"m", "f", 384}, "u")
	if err != nil {
		t.Fatal(err)
	}
	record, err := encodeRecord(&Record{
		Paper: Paper{ID: "a", Title: "T", Abstract: "A", Authors: []string{"X"}, Year: 1, Venue: "V", DOI: "D", ArxivID: "I", URL: "U",
			Metadata: json.RawMessage(`{"k":1}`)},
		Content: [32]byte{1}, Tokens: 2, Truncated: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	expiring, err := encodeRecord(&Record{Paper: Paper{ID: "e", Expires: time.Unix(258, 5).UTC()}})
	if err != nil {
		t.Fatal(err)
	}
	bare, err := encodeRecord(&Record{Paper: Paper{ID: "<"}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		key        []byte
		name       string
		body       []byte
		wantKey    string
		wantValue  string
		wantSuffix string // the checksum
	}{
		{ordinalKey("a/b"), `i/"a/b"`, encodeEntry(entry{ordinal: 258, record: 0xabcdef01, vector: 2}), "i/a/b", "\x00\x00\x00\x00\x00\x00\x01\x02\xab\xcd\xef\x01\x00\x00\x00\x02", "d4bb4af9"},
		{recordKey(258), "p/258", record, "p/\x00\x00\x00\x00\x00\x00\x01\x02",
			`{"paper":{"id":"a","title":"T","abstract":"A","authors":["X"],"year":1,"venue":"V","doi":"D","arxiv_id":"I","url":"U",` +
				`"metadata":{"k":1}},"content":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","tokens":2,"truncated":true}`, ""},
		{recordKey(1), "p/1", bare, "p/\x00\x00\x00\x00\x00\x00\x00\x01",
			`{"paper":{"id":"<"},"content":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`, ""},
		{recordKey(2), "p/2", expiring, "p/\x00\x00\x00\x00\x00\x00\x00\x02",
			`{"paper":{"id":"e","expires":"1970-01-01T00:04:18.000000005Z"},"content":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`, ""},
		{expiryKey(time.Unix(258, 5), 2), "e/1970-01-01T00:04:18.000000005Z/2", nil, "e/\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x02", "", ""},
		{codesKey(258), "c/258", encodeSentences(&Sentences{[][2]uint32{{1, 258}}, []float32{1}, []byte{127, 129}}, 2), "c/\x00\x00\x00\x00\x00\x00\x01\x02",
			"\x00\x00\x00\x01\x00\x00\x01\x02\x00\x00\x80\x3f\x7f\x81", ""},
		{passageKey(259), "w/259", encodePassage(Passage{258, 1, 3, 260}), "w/\x00\x00\x00\x00\x00\x00\x01\x03",
			"\x00\x00\x00\x00\x00\x00\x01\x02\x00\x01\x00\x00\x00\x03\x00\x00\x01\x04", ""},
		{vectorKey(258), "v/258", encodeVector([]float32{1, -2}), "v/\x00\x00\x00\x00\x00\x00\x01\x02", "\x00\x00\x80\x3f\x00\x00\x00\xc0", ""},
		{[]byte(keyState), "m/state", encodeState(state{next: 3, revision: 2, count: 1, digest: digest{4, 5}}), "m/state", "\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05", ""},
		{logKey(258), "s/258", encodeChanges([]Change{{1, Removed}, {2, Added}, {3, Changed}}), "s/\x00\x00\x00\x00\x00\x00\x01\x02",
			"r\x00\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x02c\x00\x00\x00\x00\x00\x00\x00\x03", ""},
		{[]byte(keyIdentity), "m/identity", identity, "m/identity", `{"format":3,"uuid":"u","model":"m","fingerprint":"f","dimension":384}`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if string(test.key) != test.wantKey || keyName(test.key) != test.name {
				t.Errorf("key %q (%s), want %q (%s)", test.key, keyName(test.key), test.wantKey, test.name)
			}
			if string(test.body) != test.wantValue {
				t.Errorf("body\n%q, want\n%q", test.body, test.wantValue)
			}
			value := seal(test.key, bytes.Clone(test.body))
			if got := fmt.Sprintf("%x", value[len(test.body):]); test.wantSuffix != "" && got != test.wantSuffix {
				t.Errorf("checksum %s, want %s", got, test.wantSuffix)
			}
			body, err := unseal(test.key, value)
			if err != nil || !bytes.Equal(body, test.body) {
				t.Errorf("unseal gives %q, %v", body, err)
			}
		})
	}
	if got := checksum([]byte("1234"), []byte("56789")); got != 0xe3069283 { // the check value of CRC-32C
		t.Errorf("checksum is %08x", got)
	}
}

func TestVectorBits(t *testing.T) {
	want := []float32{0, float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, math.MaxFloat32, float32(math.Inf(-1)), 1. / 3}
	got, err := decodeVector(nil, encodeVector(want), len(want))
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Errorf("value %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// Whatever stands in a value, decoding it ends in an error or in something that encodes to the same again.
func FuzzDecode(f *testing.F) {
	record, err := encodeRecord(&Record{Paper: Paper{ID: "a", Metadata: json.RawMessage(`{}`)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add(encodeState(state{next: 1, revision: 2, count: 3}))
	f.Add(encodeEntry(entry{ordinal: 1}))
	f.Add(encodeChanges([]Change{{1, Added}}))
	f.Add([]byte(`{"format":1,"fingerprint":"f","dimension":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		// What format 1 lacks is 0.
		if e, err := decodeEntry(body); err == nil && !bytes.HasPrefix(encodeEntry(e), body) {
			t.Error("entry")
		}
		if s, err := decodeState(body); err == nil && !bytes.HasPrefix(encodeState(s), body) {
			t.Error("state")
		}
		if c, err := decodeChanges(body); err == nil && !bytes.Equal(encodeChanges(c), body) {
			t.Error("changes")
		}
		if m, err := decodeMark(body); err == nil {
			if again, err := encodeMark(m); err != nil {
				t.Error(err)
			} else if m2, err := decodeMark(again); err != nil || m2 != m {
				t.Error("mark")
			}
		}
		if x, err := decodeSentences(body, 3); err == nil && !bytes.Equal(encodeSentences(x, 3), body) {
			t.Error("sentences")
		}
		if p, err := decodePassage(body); err == nil && !bytes.Equal(encodePassage(p), body) {
			t.Error("passage")
		}
		if v, err := decodeVector(nil, body, len(body)/4); err == nil && !bytes.Equal(encodeVector(v), body) {
			t.Error("vector")
		}
		if id, uuid, err := decodeIdentity(body); err == nil {
			again, err := encodeIdentity(id, uuid)
			if err != nil {
				t.Fatal(err)
			}
			if id2, uuid2, err := decodeIdentity(again); err != nil || id2 != id || uuid2 != uuid {
				t.Error("identity")
			}
		}
		if r, err := decodeRecord(body); err == nil {
			once, err := encodeRecord(&r)
			if err != nil {
				t.Fatal(err)
			}
			r, err = decodeRecord(once)
			if err != nil {
				t.Fatal(err)
			}
			if twice, err := encodeRecord(&r); err != nil || !bytes.Equal(once, twice) {
				t.Errorf("record %q, then %q, %v", once, twice, err)
			}
		}
		key := binary.BigEndian.AppendUint64([]byte(prefixVector), uint64(len(body)))
		if _, err := unseal(key, body); err == nil && len(body) < checksumSize {
			t.Error("unsealed what has no checksum")
		}
	})
}

var update = flag.Bool("update", false, "write testdata anew for the present format")

// A store that a format was written with opens for ever, and is of the present format then. An archive is written anew only as long as
// no release has its format.
func TestOldStores(t *testing.T) {
	versions := map[string]int{"first": 1, "ö/second": 2, "third": 3}
	for format := 1; format <= formatVersion; format++ {
		archive := fmt.Sprintf("testdata/format-%d.zip", format)
		t.Run(archive, func(t *testing.T) {
			if *update && format == formatVersion {
				writeArchive(t, archive, versions)
			}
			r, err := zip.OpenReader(archive)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			dir := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(dir, r); err != nil {
				t.Fatal(err)
			}
			// As it is, before it is brought to the present form.
			s, err := Open(dir, Identity{}, &Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			for id, version := range versions {
				ordinal := wantPaper(t, s, testWrite(id, version))
				if format >= 3 {
					wantSentences(t, s, ordinal, testSentences(id, version))
				}
			}
			checkAndClose(t, s)
			for opened := range 2 {
				s := open(t, dir, nil)
				for id, version := range versions {
					wantPaper(t, s, testWrite(id, version))
				}
				if s.Count() != 3+opened || s.Revision() != uint64(5+opened) || s.Identity() != testIdentity {
					t.Errorf("count %d, revision %d, identity %v", s.Count(), s.Revision(), s.Identity())
				}
				if opened == 0 {
					if got := put(t, s, "new"); got[0] != 7 {
						t.Errorf("the next ordinal is %d, want 7", got[0])
					}
				}
				checkAndClose(t, s)
			}
		})
	}
}

func writeArchive(t *testing.T, archive string, versions map[string]int) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, nil)
	put(t, s, "gone", "ö/second", "third")
	for _, id := range slices.Sorted(maps.Keys(versions)) {
		if _, _, err := s.Put([]Write{withSentences(id, versions[id])}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Delete([]string{"gone"}); err != nil {
		t.Fatal(err)
	}
	checkAndClose(t, s)
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(archive, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// A store of format 1 with more papers than one batch of the upgrade takes.
func TestUpgradeOfMany(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds, and a minute with the race detector")
	}
	o := inMemory()
	s := open(t, "store", o)
	const papers = 20_000
	for i := 0; i < papers; i += 1000 {
		var writes []Write
		for j := i; j < i+1000; j++ {
			writes = append(writes, testWrite(fmt.Sprintf("an id that is rather long, as some are, %d", j), 1))
		}
		if _, _, err := s.Put(writes); err != nil {
			t.Fatal(err)
		}
	}
	// Back to format 1.
	b := s.db.NewBatch()
	defer b.Close()
	err := scan(s.db, []byte(prefixOrdinal), prefixEnd(prefixOrdinal), func(key, value []byte) error {
		e, err := decode(key, value, decodeEntry)
		if err != nil {
			return err
		}
		_, err = set(b, key, encodeEntry(e)[:entrySize1:entrySize1])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := encodeIdentity(s.id, s.uuid)
	if err != nil {
		t.Fatal(err)
	}
	_, err = set(b, []byte(keyIdentity), bytes.Replace(identity, []byte(fmt.Sprintf(`"format":%d`, formatVersion)), []byte(`"format":1`), 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set(b, []byte(keyState), encodeState(s.applied)[:stateSize1:stateSize1]); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.DeleteRange([]byte(prefixLog), prefixEnd(prefixLog), nil), b.Commit(pebble.Sync), s.Close(), o.FS.Remove("store/"+markName)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = open(t, "store", o)
		if s.Count() != papers {
			t.Fatalf("%d papers", s.Count())
		}
		checkAndClose(t, s)
	}
}
