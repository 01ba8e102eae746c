package embed

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"embedd/internal/native"
	"embedd/models"
)

// open gives the default model's encoder. Set-up has brought the model; where it has not, the test fails and says so.
func open(t testing.TB, workers int) *Encoder { return openModel(t, models.Default, workers) }

func openModel(t testing.TB, id string, workers int) *Encoder {
	t.Helper()
	return openWith(t, id, func(o *Options) { o.Workers = workers })
}

func openWith(t testing.TB, id string, change func(*Options)) *Encoder {
	t.Helper()
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.Open(native.Models(home), id)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Library: native.RuntimeLibrary(home)}
	change(&o)
	e, err := Open(m, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func lines[T any](t *testing.T, path string) []T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []T
	for d := json.NewDecoder(f); d.More(); {
		var v T
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, v)
	}
	return all
}

// The golden files were made once by the reference libraries: testdata/golden/make_goldens.py.
const golden = "testdata/golden"

// Token ids are those of the Hugging Face tokenizers library, for texts of every kind.
func TestTokensAreThoseOfTheReferenceLibrary(t *testing.T) {
	e := open(t, 1)
	texts := lines[struct{ Name, Base64 string }](t, filepath.Join(golden, "texts.jsonl"))
	want := lines[struct {
		Name        string
		IDs         []uint32
		TokensTotal int `json:"tokens_total"`
	}](t, filepath.Join(golden, "tokens.jsonl"))
	if len(texts) != 334 || len(want) != 334 {
		t.Fatalf("%d texts, %d token lists, want 334 of each", len(texts), len(want))
	}
	for i, text := range append(slices.Clone(texts), texts...) {
		if i == len(texts) { // once more, in the way of a tokenizer that is warmed up
			if err := e.tokenizer.prepare(); err != nil {
				t.Fatal(err)
			}
		}
		i %= len(texts)
		raw, err := base64.StdEncoding.DecodeString(text.Base64)
		if err != nil {
			t.Fatal(err)
		}
		ids, total, err := e.tokenizer.encode(string(raw))
		if err != nil {
			t.Errorf("%s: %v", text.Name, err)
			continue
		}
		if !slices.Equal(ids, want[i].IDs) || total != want[i].TokensTotal {
			t.Errorf("%s: %q\n got %d tokens of %d: %v\nwant %d tokens of %d: %v", text.Name, raw, len(ids), total, ids, len(want[i].IDs), want[i].TokensTotal, want[i].IDs)
		}
	}
}

// Vectors are those of sentence-transformers in float32: the float32 model's but for the last bits, the int8 model's within
// what eight bits allow. Of the 80 texts the last 16 are in scripts of which the vocabulary has single letters at most, and with
// which int8 was not calibrated.
func TestVectorsAreThoseOfTheReferenceLibrary(t *testing.T) {
	for _, c := range []struct {
		model                string
		mean, worst, foreign float64
	}{
		{"all-MiniLM-L6-v2-fp32", 0.99999, 0.99999, 0.99999},
		{"all-MiniLM-L6-v2", 0.998, 0.996, 0.993},
	} {
		t.Run(c.model, func(t *testing.T) { compareToReference(t, openModel(t, c.model, 0), c.mean, c.worst, c.foreign) })
	}
}

func compareToReference(t *testing.T, e *Encoder, leastMean, leastWorst, leastForeign float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(golden, "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var reference struct{ Texts []string }
	if err := json.Unmarshal(text, &reference); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(golden, "vectors.f32"))
	if err != nil {
		t.Fatal(err)
	}
	dim := e.Manifest().Dimension
	if len(reference.Texts) != 80 || len(raw) != 80*dim*4 {
		t.Fatalf("%d texts and %d bytes of vectors, want 80 and %d", len(reference.Texts), len(raw), 80*dim*4)
	}
	got, err := e.Encode(t.Context(), Bulk, Document, reference.Texts)
	if err != nil {
		t.Fatal(err)
	}
	worst, worstForeign, sum := 1.0, 1.0, 0.0
	for i := range got {
		var cos float64
		for j, x := range got[i].Vector {
			cos += float64(x) * float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[(i*dim+j)*4:])))
		}
		least := leastWorst
		if i < 64 {
			sum += cos
			worst = min(worst, cos)
		} else {
			least = leastForeign
			worstForeign = min(worstForeign, cos)
		}
		if cos < least {
			t.Errorf("text %d %.60q: cosine %.6f, want at least %v", i, reference.Texts[i], cos, least)
		}
	}
	if sum/64 < leastMean {
		t.Errorf("mean cosine %.6f, want at least %v", sum/64, leastMean)
	}
	t.Logf("cosine to sentence-transformers fp32: on 64 texts mean %.6f, worst %.6f; on 16 in other scripts worst %.6f", sum/64, worst, worstForeign)
}

// A vector does not depend on the texts beside it: alone, in a call with others, under load, with one worker or many,
// it is the same to the bit.
func TestAloneAndInABatchGiveTheSameVector(t *testing.T) {
	one, many := open(t, 1), open(t, 3)
	texts := []string{
		"state space models", "a", strings.Repeat("retrieval of related papers ", 100),
		"Sentence encoders map a text to a vector.", "naïve café 量子 🙂", "[SEP] in the middle [CLS]",
	}
	batch, err := many.Encode(t.Context(), Bulk, Document, texts)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for round := range 4 {
		for i, text := range texts {
			wg.Go(func() {
				e := one
				if round%2 == 1 {
					e = many
				}
				alone, err := e.Encode(context.Background(), Bulk, Document, []string{text})
				if err != nil {
					t.Error(err)
				} else if !slices.Equal(alone[0].Vector, batch[i].Vector) {
					t.Errorf("%.40q: another vector alone than in a batch", text)
				}
			})
		}
	}
	wg.Wait()
	for i, enc := range batch {
		var norm float64
		for _, x := range enc.Vector {
			norm += float64(x) * float64(x)
		}
		if math.Abs(norm-1) > 1e-5 || len(enc.Vector) != one.Manifest().Dimension {
			t.Errorf("text %d: %d values of norm² %v", i, len(enc.Vector), norm)
		}
		if enc.Truncated != (enc.Tokens > one.Manifest().MaxTokens) {
			t.Errorf("text %d: truncated %v at %d tokens", i, enc.Truncated, enc.Tokens)
		}
	}
	if !batch[2].Truncated || batch[0].Truncated {
		t.Error("the long text is not marked as truncated, or a short one is")
	}
}

// What stands after a NUL, and around invalid bytes, is in the vector.
func TestNothingIsLostAfterANul(t *testing.T) {
	e := open(t, 1)
	got, err := e.Encode(t.Context(), Bulk, Document, []string{"graph\x00 neural networks", "graph neural networks", "graph \xffneural networks", "graph"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got[0].Vector, got[1].Vector) {
		t.Error("a NUL changes the vector")
	}
	if !slices.Equal(got[2].Vector, got[1].Vector) {
		t.Error("an invalid byte changes the vector")
	}
	if slices.Equal(got[0].Vector, got[3].Vector) {
		t.Error("the text after the NUL is lost")
	}
}

func TestEncodeRefuses(t *testing.T) {
	e := open(t, 1)
	for _, c := range []struct {
		text string
		want error
	}{
		{"", ErrBlank},
		{" \t\n\u00a0", ErrBlank},
		{"\x00\x01\x02", ErrBlank},
		{"\u200b", ErrBlank},
		{strings.Repeat("a", MaxTextBytes+1), ErrTooLong},
	} {
		_, err := e.Encode(t.Context(), Interactive, Query, []string{"good", c.text})
		var about *TextError
		if !errors.Is(err, c.want) || !errors.As(err, &about) || about.Index != 1 {
			t.Errorf("%.20q: %v, want %v about texts[1]", c.text, err, c.want)
		}
	}
	if got, err := e.Encode(t.Context(), Interactive, Query, nil); err != nil || len(got) != 0 {
		t.Errorf("no texts give %v, %v", got, err)
	}
}

func TestEncodeStopsWhenItsContextEnds(t *testing.T) {
	e := open(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Encode(ctx, Interactive, Query, []string{"a", "b"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	// The workers are free for the next call.
	if _, err := e.Encode(t.Context(), Interactive, Query, []string{"a", "b"}); err != nil {
		t.Error(err)
	}
}

func TestCloseWaitsAndThenRefuses(t *testing.T) {
	e := open(t, 2)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := e.Encode(context.Background(), Interactive, Query, []string{fmt.Sprint("text ", i)})
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := e.Encode(t.Context(), Interactive, Query, []string{"a"}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
}

// copyModel makes a model folder like the default one, for damage.
func copyModel(t *testing.T, change func(m *models.Manifest, dir string)) *models.Model {
	t.Helper()
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	good, err := models.Open(native.Models(home), models.Default)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	dir := filepath.Join(root, good.ID)
	if err := os.CopyFS(dir, os.DirFS(good.Dir)); err != nil {
		t.Fatal(err)
	}
	m := *good.Manifest
	change(&m, dir)
	return &models.Model{Manifest: &m, Dir: dir}
}

func TestOpenRefusesAModelThatIsNotWhatItsManifestSays(t *testing.T) {
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(m *models.Manifest, dir string)
		want   string
	}{
		{"flipped byte in the graph", func(m *models.Manifest, dir string) {
			path := filepath.Join(dir, m.Files.Model.Path)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "model.onnx"},
		{"no tokenizer", func(m *models.Manifest, dir string) {
			if err := os.Remove(filepath.Join(dir, m.Files.Tokenizer.Path)); err != nil {
				t.Fatal(err)
			}
		}, "tokenizer.json"},
		{"wrong dimension", func(m *models.Manifest, _ string) { m.Dimension = 768 }, "dimension 768"},
		{"wrong output", func(m *models.Manifest, _ string) { m.Output = "sentence" }, "sentence"},
	} {
		_, err := Open(copyModel(t, c.change), &Options{Library: native.RuntimeLibrary(home), Workers: 1})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := open(b, 1)
	for _, words := range []int{8, 200} {
		text := strings.Repeat("paper ", words)
		b.Run(fmt.Sprintf("words=%d", words), func(b *testing.B) {
			for b.Loop() {
				if _, err := e.Encode(b.Context(), Bulk, Document, []string{text}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
