package ann

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func snapshot(t testing.TB, x *Index, note string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := x.WriteSnapshot(&b, []byte(note)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// open opens the bytes of a snapshot; the index is closed at the end of the test.
func open(t testing.TB, data []byte) (*Index, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	x, note, err := Open(path)
	if err == nil {
		t.Cleanup(func() {
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return x, string(note), err
}

func TestSnapshotGivesTheSameIndexBack(t *testing.T) {
	r := random(t)
	for _, o := range []Options{{}, {Memory: Fast}, {Memory: Lean}, {Memory: Lean, Code: Bit}} {
		for _, n := range []int{0, 1, 2, 700} {
			o.M, o.EfConstruction, o.Seed = 4, 30, 5
			x := build(t, r, 9, n, &o)
			for label := range uint64(n / 5) {
				x.Delete(label * 5)
				if label == 30 {
					if _, err := x.Consolidate(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			size := x.SnapshotSize()
			data := snapshot(t, x, "a note")
			if int64(len(data)) != size {
				t.Errorf("the snapshot has %d bytes, %d were said", len(data), size)
			}
			y, note, err := open(t, data)
			if err != nil {
				t.Fatal(err)
			}
			u, v := x.Usage(), y.Usage()
			if note != "a note" || u != v || y.Options().M != 4 || y.Options().Memory != o.Memory || y.Options().Code != o.Code || y.Dim() != x.Dim() {
				t.Errorf("%d vectors: %q, %+v, want %+v", n, note, v, u)
			}
			for i := range 20 {
				q := unit(r, 9)
				if got, want := search(t, y, q, 10, 30), search(t, x, q, 10, 30); !slices.Equal(got, want) {
					t.Errorf("%d vectors: %v, want %v", n, got, want)
				}
				if i == 10 { // the second half from memory
					if err := y.Verify(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if !bytes.Equal(snapshot(t, y, "a note"), data) {
				t.Errorf("%d vectors: its own snapshot is another one", n)
			}
			for i := range uint64(300) { // it can be changed, and grows
				insert(t, y, 1<<40+i, unit(r, 9))
			}
			check(t, y)
		}
	}
	x := build(t, r, 2, 1, nil)
	if err := x.WriteSnapshot(io.Discard, make([]byte, MaxNote+1)); err == nil {
		t.Error("a note over the limit is written")
	}
	if err := x.WriteSnapshot(errWriter{}, nil); err == nil {
		t.Error("a failed write is not reported")
	}
	if _, _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

type errWriter struct{}

func (errWriter) Write([]byte) (int, error) { return 0, errors.New("the disk is on fire") }

// prove opens a snapshot, searches it before it is proved, and proves it.
func prove(t *testing.T, data []byte, q []float32) error {
	x, _, err := open(t, data)
	if err != nil {
		return err
	}
	if x.Dim() == len(q) {
		for _, plan := range []Plan{Graph, Scan} { // whatever it gives
			if _, err := x.Search(q, Query{K: 5, Ef: 20, Plan: plan}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := x.Exact(q, 5); err != nil {
			t.Fatal(err)
		}
	}
	err = x.Verify(t.Context())
	if err != nil {
		if err := x.Insert(1<<50, q); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("a damaged index takes a vector: %v", err)
		}
	}
	return errors.Join(err, x.Close())
}

// One flipped bit anywhere is found, at the latest by Verify; cut or lengthened files are not opened.
func TestDamagedSnapshotsAreRefused(t *testing.T) {
	r := random(t)
	x := build(t, r, 3, 60, &Options{M: 3, EfConstruction: 10})
	x.Delete(7)
	good := snapshot(t, x, "note")
	q := unit(r, 3)
	if err := prove(t, good, q); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		n := r.IntN(len(good))
		if err := prove(t, good[:n], q); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(good), err)
		}
		bad := slices.Clone(good)
		bad[n] ^= 1 << r.IntN(8)
		if err := prove(t, bad, q); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("a bit of byte %d of %d: %v", n, len(good), err)
		}
	}
	if err := prove(t, append(slices.Clone(good), 0), q); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a byte more: %v", err)
	}
	for _, bad := range [][]byte{nil, []byte("embedd.ann"), []byte("embedd.ann\x01\x00"), bytes.Repeat([]byte{0xff}, 2*headerSize)} {
		if _, _, err := open(t, bad); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// resum gives a snapshot with right checksums, as an attacker would.
func resum(data []byte) []byte {
	data = slices.Clone(data)
	if len(data) < headerSize {
		return data
	}
	binary.LittleEndian.PutUint32(data[headerSize-4:], crc32.Checksum(data[:headerSize-4], castagnoli))
	body := len(data)
	for body > 0 && int64(body)+trailerSize(int64(body)) > int64(len(data)) {
		body--
	}
	sums := data[:body:body]
	for block := range slices.Chunk(data[:body], blockSize) {
		sums = binary.LittleEndian.AppendUint32(sums, crc32.Checksum(block, castagnoli))
	}
	return binary.LittleEndian.AppendUint32(sums, crc32.Checksum(sums[body:], castagnoli))
}

// A snapshot whose checksums fit but whose content is forged is refused, or is an index that can be searched and changed; none makes the
// program panic or take much more memory than the file has bytes.
func TestForgedSnapshotsAreHarmless(t *testing.T) {
	r := random(t)
	x := build(t, r, 3, 60, &Options{M: 3, EfConstruction: 10})
	good := snapshot(t, x, "")
	if !bytes.Equal(resum(good), good) {
		t.Fatal("resum is wrong")
	}
	q := unit(r, 3)
	// Where there is something: the rest is zeros between sections.
	var places []int
	for i, b := range good[:len(good)-8] {
		if b != 0 {
			places = append(places, i)
		}
	}
	const forgeries = 400
	refused := 0
	for range forgeries {
		bad := slices.Clone(good)
		for range 1 + r.IntN(3) {
			bad[places[r.IntN(len(places))]] = byte(r.Uint32())
		}
		if err := prove(t, resum(bad), q); err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Fatal(err)
			}
			refused++
			continue
		}
		y, _, err := open(t, resum(bad))
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(5) {
			if err := y.Insert(1000+i, unit(r, y.Dim())); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := y.Consolidate(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := y.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d forgeries are refused", refused, forgeries)
	if refused < forgeries/4 {
		t.Errorf("only %d of %d forgeries are refused", refused, forgeries)
	}
}

func FuzzOpen(f *testing.F) {
	x := build(f, random(f), 2, 12, &Options{M: 2, EfConstruction: 4})
	f.Add(snapshot(f, x, "note"))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := prove(t, resum(data), []float32{1, 0}); err != nil && !errors.Is(err, ErrSnapshot) {
			t.Error(err)
		}
	})
}

// One flipped bit in each block of a larger file is found.
func TestOneBitInEachBlock(t *testing.T) {
	r := random(t)
	vectors := make([][]float32, 3000)
	for i := range vectors {
		vectors[i] = unit(r, 256)
	}
	x := bulk(t, vectors, 0, &Options{M: 4, EfConstruction: 20})
	good := snapshot(t, x, "")
	for from := 0; from < len(good); from += blockSize {
		bad := slices.Clone(good)
		bad[from+r.IntN(min(blockSize, len(bad)-from))] ^= 1 << r.IntN(8)
		if err := prove(t, bad, vectors[0]); !errors.Is(err, ErrSnapshot) {
			t.Errorf("a bit of the block at %d of %d: %v", from, len(good), err)
		}
	}
}
