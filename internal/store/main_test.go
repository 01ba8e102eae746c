package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		children[job]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const testDim = 8

var testIdentity = Identity{Model: "test-model", Fingerprint: "0123456789abcdef0123456789abcdef", Dimension: testDim}

// some is n, or an eighth of it with -short: as many trials as the race detector has time for.
func some(n int) int {
	if testing.Short() {
		return max(1, n/8)
	}
	return n
}

// open opens a store, which is checked and closed when the test ends, if it is open then.
func open(t testing.TB, dir string, o *Options) *Store {
	t.Helper()
	s, err := Open(dir, testIdentity, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkAndClose(t, s) })
	return s
}

// rootOf opens a folder until the test ends.
func rootOf(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// rooted is the machine's file system below a folder.
func rooted(dir string) vfs.FS {
	root, err := OpenRoot(dir)
	if err != nil {
		panic(err)
	}
	fsys, err := newRootFS(root)
	if err != nil {
		panic(err)
	}
	return fsys
}

func checkAndClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Check(); err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("Check: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// inMemory is for tests that are not about the disk.
func inMemory() *Options { return &Options{FS: vfs.NewMem()} }

// testVector is always the same for an id and a version, and differs between any two.
func testVector(id string, version int) []float32 {
	h := fnv.New64a()
	h.Write([]byte(id))
	r := rand.New(rand.NewPCG(h.Sum64(), uint64(version)))
	v := make([]float32, testDim)
	var sum float64
	for i := range v {
		x := r.NormFloat64()
		v[i], sum = float32(x), sum+x*x
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// testRecord is always the same for an id and two versions: its own, and its vector's, which it notes in Content.
func testRecord(id string, version, vector int) Record {
	r := Record{
		Paper: Paper{
			ID:       id,
			Title:    fmt.Sprintf("Title %d of %s", version, id),
			Abstract: strings.Repeat(fmt.Sprint("A ", version, ' '), 10+version*37%200),
			Authors:  []string{"Emmy Noether", "Émilie du Châtelet"},
			Year:     int32(1900 + version%100),
		},
		Tokens:    version,
		Truncated: version%2 == 1,
	}
	binary.BigEndian.PutUint64(r.Content[:], uint64(vector))
	return r
}

func testWrite(id string, version int) Write {
	return Write{Record: testRecord(id, version, version), Vector: testVector(id, version)}
}

// put puts the first version of papers and returns their ordinals.
func put(t testing.TB, s *Store, ids ...string) []uint64 {
	t.Helper()
	var writes []Write
	for _, id := range ids {
		writes = append(writes, testWrite(id, 1))
	}
	placements, _, err := s.Put(writes)
	if err != nil {
		t.Fatal(err)
	}
	var ordinals []uint64
	for _, p := range placements {
		ordinals = append(ordinals, p.Ordinal)
	}
	return ordinals
}

// wantPaper checks that the store has this record and vector for the paper, and returns its ordinal.
func wantPaper(t testing.TB, s *Store, want Write) uint64 {
	t.Helper()
	got, ordinal, err := s.Get(want.Record.Paper.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want.Record) {
		t.Errorf("record is\n%+v, want\n%+v", got, want.Record)
	}
	v, err := s.Vector(ordinal)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(v, want.Vector) {
		t.Errorf("vector of %q is %v, want %v", want.Record.Paper.ID, v, want.Vector)
	}
	return ordinal
}

func wantError(t testing.TB, err, want error, parts ...string) {
	t.Helper()
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error is %q, want it to say %q", err, part)
		}
	}
}
