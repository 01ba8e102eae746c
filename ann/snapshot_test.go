package ann

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func snapshot(t testing.TB, x *Index, note string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := x.WriteSnapshot(&b, []byte(note)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotGivesTheSameIndexBack(t *testing.T) {
	r := random(t)
	for _, n := range []int{0, 1, 2, 700} {
		x := build(t, r, 9, n, &Options{M: 4, EfConstruction: 30, Seed: 5})
		for label := range uint64(n / 5) {
			x.Delete(label * 5)
		}
		data := snapshot(t, x, "a note")
		y, note, err := ReadSnapshot(iotest.OneByteReader(bytes.NewReader(data)))
		if err != nil {
			t.Fatal(err)
		}
		if string(note) != "a note" || y.Len() != x.Len() || y.Tombstones() != x.Tombstones() || y.Options() != x.Options() || y.Dim() != x.Dim() {
			t.Errorf("%d vectors: %q, %d live, %d tombstones, %+v", n, note, y.Len(), y.Tombstones(), y.Options())
		}
		if !bytes.Equal(snapshot(t, y, "a note"), data) {
			t.Errorf("%d vectors: its own snapshot is another one", n)
		}
		for range 20 {
			q := unit(r, 9)
			if got, want := search(t, y, q, 10, 30), search(t, x, q, 10, 30); !slices.Equal(got, want) {
				t.Errorf("%d vectors: %v, want %v", n, got, want)
			}
		}
		insert(t, y, 1<<40, unit(r, 9)) // it can be changed
		check(t, y)
	}
	x := build(t, r, 2, 1, nil)
	if err := x.WriteSnapshot(io.Discard, make([]byte, MaxNote+1)); err == nil {
		t.Error("a note over the limit is written")
	}
	if err := x.WriteSnapshot(errWriter{}, nil); err == nil {
		t.Error("a failed write is not reported")
	}
	if _, _, err := ReadSnapshot(iotest.ErrReader(errDisk)); !errors.Is(err, errDisk) || errors.Is(err, ErrSnapshot) {
		t.Errorf("a failed read gives %v", err)
	}
}

var errDisk = errors.New("the disk is on fire")

type errWriter struct{}

func (errWriter) Write([]byte) (int, error) { return 0, errDisk }

// Whatever is cut off or changed, the snapshot is refused.
func TestDamagedSnapshotsAreRefused(t *testing.T) {
	r := random(t)
	x := build(t, r, 3, 60, &Options{M: 3, EfConstruction: 10})
	x.Delete(7)
	good := snapshot(t, x, "note")
	for n := range good {
		if _, _, err := ReadSnapshot(bytes.NewReader(good[:n])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(good), err)
		}
	}
	for i := range good {
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[i] ^= 1 << bit
			if _, _, err := ReadSnapshot(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("bit %d of byte %d of %d: %v", bit, i, len(good), err)
			}
		}
	}
}

// resum gives a snapshot with a right checksum, as an attacker would.
func resum(data []byte) []byte {
	body := data[:len(data)-4]
	return binary.LittleEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body, castagnoli))
}

// A snapshot whose checksum fits but whose content breaks an invariant is refused, and none makes the reader panic or
// take much more memory than the snapshot has bytes.
func TestForgedSnapshotsAreRefused(t *testing.T) {
	r := random(t)
	x := build(t, r, 3, 60, &Options{M: 3, EfConstruction: 10})
	good := snapshot(t, x, "")
	refused := 0
	for range 20000 {
		bad := slices.Clone(good)
		for range 1 + r.IntN(3) {
			bad[r.IntN(len(bad)-4)] = byte(r.Uint32())
		}
		y, _, err := ReadSnapshot(bytes.NewReader(resum(bad)))
		if err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Fatal(err)
			}
			refused++
			continue
		}
		check(t, y)                          // what is accepted is whole
		search(t, y, unit(r, y.Dim()), 5, 5) // and can be searched
	}
	if refused < 10000 {
		t.Errorf("only %d of 20000 forgeries are refused", refused)
	}
	huge := slices.Clone(good)
	binary.LittleEndian.PutUint32(huge[12:], maxDim)
	binary.LittleEndian.PutUint32(huge[32:], 1<<31)
	allocated := testing.AllocsPerRun(1, func() {
		if _, _, err := ReadSnapshot(bytes.NewReader(resum(huge))); !errors.Is(err, ErrSnapshot) {
			t.Error(err)
		}
	})
	t.Logf("%v allocations for a snapshot that announces 2^31 vectors", allocated)
	for _, text := range []string{"", "embedd.ann", "embedd.xyz" + strings.Repeat("\x00", 100), strings.Repeat("\xff", 1000)} {
		if _, _, err := ReadSnapshot(strings.NewReader(text)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func FuzzReadSnapshot(f *testing.F) {
	x := build(f, random(f), 2, 12, &Options{M: 2, EfConstruction: 4})
	f.Add(snapshot(f, x, "note"))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 4 {
			return
		}
		y, _, err := ReadSnapshot(bytes.NewReader(resum(data)))
		if err == nil {
			check(t, y)
		}
	})
}
