package embed

import (
	"path/filepath"
	"slices"
	"testing"

	ort "github.com/yalue/onnxruntime_go"

	"embedd/internal/native"
	"embedd/models"
	"embedd/models/convert"
)

// The graphs of the real weights give a text the same vector, to the bit, alone and padded beside longer ones.
func TestPaddedAndAloneGiveTheSameVector(t *testing.T) {
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	var papers []string
	for _, p := range lines[struct{ Title, Abstract string }](t, filepath.Join("..", "samples", "papers.jsonl"))[:24] {
		papers = append(papers, p.Title, p.Title+" "+p.Abstract)
	}
	for _, id := range []string{"all-MiniLM-L6-v2", "all-MiniLM-L6-v2-fp32"} {
		e := openModel(t, id, 1)
		m, err := models.Open(native.Models(home), id)
		if err != nil {
			t.Fatal(err)
		}
		graph, err := m.ReadFile(m.Files.Model)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, []string{convert.InputIDs, convert.AttentionMask}, []string{convert.SentenceEmbedding}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Destroy()
		for texts := range slices.Chunk(papers, 8) {
			alone, err := e.Encode(t.Context(), Bulk, Document, texts)
			if err != nil {
				t.Fatal(err)
			}
			for i, padded := range runPadded(t, e, s, texts) {
				if !slices.Equal(padded, alone[i].Vector) {
					t.Errorf("%s: %.40q: another vector padded than alone", id, texts[i])
				}
			}
		}
	}
}

// runPadded encodes texts in one Run, each padded to the longest.
func runPadded(t *testing.T, e *Encoder, s *ort.DynamicAdvancedSession, texts []string) [][]float32 {
	t.Helper()
	var all [][]uint32
	longest := 0
	for _, text := range texts {
		ids, _, err := e.tokenizer.encode(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ids)
		longest = max(longest, len(ids))
	}
	ids, mask := make([]int32, len(texts)*longest), make([]int32, len(texts)*longest)
	for i, list := range all {
		for j, id := range list {
			ids[i*longest+j], mask[i*longest+j] = int32(id), 1
		}
	}
	dim := e.Manifest().Dimension
	data := make([]float32, len(texts)*dim)
	var values []ort.Value
	defer func() { destroy(values) }()
	for _, in := range [][]int32{ids, mask} {
		v, err := ort.NewTensor(ort.NewShape(int64(len(texts)), int64(longest)), in)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	out, err := ort.NewTensor(ort.NewShape(int64(len(texts)), int64(dim)), data)
	if err != nil {
		t.Fatal(err)
	}
	values = append(values, out)
	if err := s.Run(values[:2], values[2:]); err != nil {
		t.Fatal(err)
	}
	return slices.Collect(slices.Chunk(data, dim))
}
