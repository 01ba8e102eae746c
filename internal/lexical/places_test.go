package lexical

import (
	"math"
	"slices"
	"testing"
)

// Places are in the bytes of the text as it was given, whatever the analyzer makes of it.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string // stem=text
	}{
		{"", nil},
		{"of the", nil},
		{"Graphs and GRAPHS", []string{"graph=Graphs", "graph=GRAPHS"}},
		{"Bayes' rule; Kepler's laws", []string{"bay=Bayes", "rule=rule", "kepler=Kepler's", "law=laws"}},
		{"naïve Größen", []string{"naïv=naïve", "größen=Größen"}},
	} {
		var got []string
		for _, p := range Places(c.text) {
			got = append(got, p.Stem+"="+c.text[p.Begin:p.End])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
		}
		q := ParseQuery(c.text)
		if q.Empty() != (len(got) == 0) {
			t.Errorf("%q has places %v, and is an empty query: %v", c.text, got, q.Empty())
		}
	}
}

// A weight is what a search makes of one more of the word: with k1 and b out of the way, all that is left of the formula.
func TestWeights(t *testing.T) {
	x := New()
	x.Add(1, Analyze("", "graph tree"))
	x.Add(2, Analyze("", "graph forest"))
	x.Add(3, Analyze("", "graph river"))
	got := x.Weights([]string{"graph", "tree", "nobody"})
	for i, df := range []float64{3, 1} {
		if want := math.Log(1 + (3-df+0.5)/(df+0.5)); math.Abs(got[i]-want) > 1e-12 {
			t.Errorf("weight %d is %v, want %v", i, got[i], want)
		}
	}
	if got[2] != 0 {
		t.Errorf("a word of no paper has the weight %v", got[2])
	}
	x.Remove(2)
	if after := x.Weights([]string{"tree"})[0]; math.Abs(after-math.Log(1+(2-1+0.5)/(1+0.5))) > 1e-12 {
		t.Errorf("with a paper less the weight is %v", after)
	}
}
