package lexical

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// FuzzSnapshot opens chunks with a right checksum around any body, which must be refused or make an index that can be searched.
func FuzzSnapshot(f *testing.F) {
	f.Add(made(rand.New(rand.NewPCG(1, 2)), 10).chunks[0].encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		var b bytes.Buffer
		if err := New().WriteSnapshot(&b, nil); err != nil {
			t.Fatal(err)
		}
		head := b.Bytes()[:b.Len()-4]
		binary.LittleEndian.PutUint32(head[len(snapshotMagic)+6:], 1)
		file := binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
		size := binary.LittleEndian.AppendUint64(nil, uint64(len(body)))
		file = append(append(file, size...), body...)
		file = binary.LittleEndian.AppendUint32(file, crc32.Update(crc32.Checksum(size, castagnoli), castagnoli, body))
		x, _, err := Open(bytes.NewReader(file))
		if err != nil {
			return
		}
		if _, _, err := x.Search(t.Context(), ParseQuery("word1 word2 word9"), 10, nil, []uint64{1}); err != nil {
			t.Fatal(err)
		}
		for ordinal := range uint64(10) {
			x.Remove(ordinal)
			x.Add(ordinal+1, Analyze("word1", "word3"))
		}
	})
}
