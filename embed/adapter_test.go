package embed

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"embedd/internal/native"
	"embedd/internal/testkit"
	"embedd/models"
)

// adapterTexts are of every kind and length that a model meets.
var adapterTexts = []string{
	"graph neural networks",
	"Sparse attention for long documents. We read texts of thousands of words in linear time, and lose little.",
	"α-β-CROWN (2021): 93.5 % verified at ℓ∞ ≤ 8/255; naïve bounds reach <50 %.",
	"量子誤り訂正 量子计算机",
	"A sentence encoder turns each text into one vector. Near vectors stand for related texts! Does it work for claims, too? It does, by and large, and where it does not a cross-encoder helps.",
}

// adapt makes an adapter of a model, by a random matrix near the identity, in a folder of its own.
func adapt(t testing.TB, id string, rng *rand.Rand) (base, adapted *models.Model, library string) {
	t.Helper()
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	if base, err = models.Open(native.Models(home), id); err != nil {
		t.Fatal(err)
	}
	d := base.Dimension
	matrix := make([]float32, d*d)
	for i := range d {
		for j := range d {
			matrix[i*d+j] = float32(rng.NormFloat64()) * 0.02
		}
		matrix[i*d+i]++
	}
	root := t.TempDir()
	if _, err := models.Adapt(root, base, &models.AdaptOptions{Name: "test", Matrix: matrix, Learned: models.Learned{From: "chance"}}); err != nil {
		t.Fatal(err)
	}
	if adapted, err = models.Open(root, id+"+test"); err != nil {
		t.Fatal(err)
	}
	if got, err := adapted.Matrix(); err != nil || !slices.Equal(got, matrix) {
		t.Fatalf("the matrix that was written is another: %v", err)
	}
	return base, adapted, native.RuntimeLibrary(home)
}

func load(t testing.TB, m *models.Model, library string) *Encoder {
	t.Helper()
	e, err := Open(m, &Options{Library: library, Workers: 1})
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

// A stored vector that is turned is the vector that the adapter's graph gives: for a graph of ours in int8 and one in float32, which pool themselves, and for one
// made by others, whose token vectors are pooled behind it. Sentences are turned alike.
func TestAdapterGivesTurnedVectors(t *testing.T) {
	for _, id := range []string{models.Default, "all-MiniLM-L6-v2-fp32", "paraphrase-MiniLM-L3-v2"} {
		t.Run(id, func(t *testing.T) {
			base, adapted, library := adapt(t, id, testkit.Rand(t))
			if !adapted.Adapts(base.Fingerprint()) || adapted.Fingerprint() == base.Fingerprint() || base.Adapts(base.Fingerprint()) {
				t.Errorf("the adapter of %s says that it is of %s", base.Fingerprint(), adapted.Adapter.Base)
			}
			matrix, err := adapted.Matrix()
			if err != nil {
				t.Fatal(err)
			}
			one, other := load(t, base, library), load(t, adapted, library)
			same := func(what string, stored, got []float32) {
				t.Helper()
				want := make([]float32, len(stored))
				if err := models.Turn(want, matrix, stored); err != nil {
					t.Fatal(err)
				}
				if c := cosineOf(want, got); c < 0.99999 {
					t.Errorf("%s: the cosine of the turned vector and the adapter's is %.7f", what, c)
				}
				if c := cosineOf(stored, got); c > 0.999 {
					t.Errorf("%s: the adapter changes nothing: cosine %.7f", what, c)
				}
			}
			for _, role := range []Role{Document, Query} {
				before, err := one.Encode(t.Context(), Bulk, role, adapterTexts)
				if err != nil {
					t.Fatal(err)
				}
				after, err := other.Encode(t.Context(), Bulk, role, adapterTexts)
				if err != nil {
					t.Fatal(err)
				}
				for i := range before {
					same(adapterTexts[i], before[i].Vector, after[i].Vector)
				}
			}
			// What an explanation is made of is turned too: it explains the score of the turned vectors, by shares where the base's does.
			vectors, err := other.Encode(t.Context(), Bulk, Query, adapterTexts[:1])
			if err != nil {
				t.Fatal(err)
			}
			document, err := other.Encode(t.Context(), Bulk, Document, adapterTexts[4:])
			if err != nil {
				t.Fatal(err)
			}
			explained, err := other.Explain(t.Context(), Asked{Vector: vectors[0].Vector, Text: &Passage{Text: adapterTexts[0]}, Role: Query}, []Passage{{Text: adapterTexts[4]}})
			if err != nil {
				t.Fatal(err)
			}
			if x := explained[0]; !x.Shares || math.Abs(x.Score-cosineOf(vectors[0].Vector, document[0].Vector)) > 1e-3 {
				t.Errorf("the explanation says %.5f, by shares %v; the cosine is %.5f", x.Score, x.Shares, cosineOf(vectors[0].Vector, document[0].Vector))
			}
			passage := []Passage{{Text: adapterTexts[4]}}
			before, err := one.Sentences(t.Context(), Bulk, passage)
			if err != nil {
				t.Fatal(err)
			}
			after, err := other.Sentences(t.Context(), Bulk, passage)
			if err != nil || len(before[0]) != len(after[0]) || len(before[0]) < 2 {
				t.Fatalf("%d sentences and %d, %v", len(before[0]), len(after[0]), err)
			}
			for i := range before[0] {
				same("sentence", before[0][i].Vector, after[0][i].Vector)
			}
		})
	}
}

// A text's vector does not depend on those beside it in an adapter either, so that warm-up puts texts together as it does for the base.
func TestAdapterIsRunInBatches(t *testing.T) {
	base, adapted, library := adapt(t, models.Default, testkit.Rand(t))
	plain, err := load(t, base, library).WarmUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	turned, err := load(t, adapted, library).WarmUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if plain.Reason != turned.Reason {
		t.Errorf("the base runs texts alone for the reason %q, its adapter for %q", plain.Reason, turned.Reason)
	}
}

// An adapter may be adapted again: its matrix is then the last, and it is an adapter of the first.
func TestAdapterOfAnAdapter(t *testing.T) {
	_, first, library := adapt(t, models.Default, testkit.Rand(t))
	d := first.Dimension
	matrix := make([]float32, d*d)
	for i := range d {
		matrix[i*d+(i+1)%d] = 1 // each value to another place
	}
	second, err := models.Adapt(filepath.Dir(first.Dir), first, &models.AdaptOptions{Name: "again", Matrix: matrix, Learned: models.Learned{From: "nothing"}})
	if err != nil {
		t.Fatal(err)
	}
	if second.ID != models.Default+"+test+again" || !second.Adapts(first.Fingerprint()) {
		t.Errorf("%s adapts %s", second.ID, second.Adapter.Base)
	}
	one, err := load(t, first, library).Encode(t.Context(), Bulk, Document, adapterTexts[:1])
	if err != nil {
		t.Fatal(err)
	}
	two, err := load(t, second, library).Encode(t.Context(), Bulk, Document, adapterTexts[:1])
	if err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(one[0].Vector[1:]), one[0].Vector[0])
	if c := cosineOf(want, two[0].Vector); c < 0.99999 {
		t.Errorf("cosine %.7f", c)
	}
}

func cosineOf(a, b []float32) float64 {
	x, y := make([]float64, len(a)), make([]float64, len(b))
	for i := range a {
		x[i], y[i] = float64(a[i]), float64(b[i])
	}
	return dot(x, y)
}
