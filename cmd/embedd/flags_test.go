package main

import (
	"testing"

	"github.com/alecthomas/kong"

	"embedd/ann"
)

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"lib": "lib", "/srv/my-papers": "/srv/my-papers", "127.0.0.1:50051": "127.0.0.1:50051",
		"": "''", "my papers": "'my papers'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "a;b": "'a;b'", "~": "'~'",
	} {
		if got := shellWord(in); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

// A command that goes on with the flags of another has them as they were given, those too that need no value.
func TestFlagsAgain(t *testing.T) {
	var c struct {
		K         *int32
		Exact     bool
		Sentences *bool `negatable:""`
		Rerank    candidates
		Exclude   []string
		Filter    string
		Key       string
	}
	for want, given := range map[string]string{
		"--k 5": "--k=5", "--exact": "--exact", "--exact=false": "--exact=false", "--sentences": "--sentences", "--sentences=false": "--no-sentences",
		"--rerank": "--rerank", "--rerank=50": "--rerank=50", "--exclude a,b": "--exclude=a,b", "--filter 'a b'": "--filter=a b",
	} {
		parser, err := kong.New(&c)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.Parse([]string{given, "--key=secret"})
		if err != nil {
			t.Fatalf("%s: %v", given, err)
		}
		e := &env{given: givenFlags(parsed)}
		if got := e.again(); got != " "+want {
			t.Errorf("%s is given again as%s, want %s", given, got, want)
		}
	}
}

// The ranges that are told are those of the index.
func TestRangesOfTheIndex(t *testing.T) {
	for _, m := range []int{minM - 1, minM, 16, maxM, maxM + 1} {
		for _, ef := range []int{m - 1, m, maxEfConstruction, maxEfConstruction + 1} {
			f := engineFlags{M: m, EfConstruction: ef}
			err := f.check()
			index, want := ann.New(8, &ann.Options{M: m, EfConstruction: ef})
			if want == nil {
				want = index.Close()
			}
			if (err == nil) != (want == nil) {
				t.Errorf("M %d, EfConstruction %d: %v; the index: %v", m, ef, err, want)
			}
		}
	}
	for _, f := range []engineFlags{{M: 0, EfConstruction: 200}, {M: 16, EfConstruction: 0}, {M: 16, EfConstruction: 200, Dimension: -1}} {
		if f.check() == nil {
			t.Errorf("%+v is taken", f)
		}
	}
}
