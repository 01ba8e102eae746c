package main

import (
	"os"
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

// The program is called again as it was called.
func TestProgram(t *testing.T) {
	before := os.Args[0]
	defer func() { os.Args[0] = before }()
	for called, want := range map[string]string{"embedd": "embedd", "bin/embedd": "bin/embedd", "/opt/my tools/embedd": "'/opt/my tools/embedd'"} {
		os.Args[0] = called
		if got := program(); got != want {
			t.Errorf("called as %s, it is called %s", called, got)
		}
	}
}

// A command that goes on with the flags of another has them as they were given, those too that need no value.
func TestFlagsAgain(t *testing.T) {
	var c struct {
		K         *int32 `short:"k"`
		Exact     bool
		Sentences *bool `negatable:""`
		Rerank    candidates
		Exclude   []string
		Filter    string
		Key       string
	}
	for want, given := range map[string]string{
		"-k 5": "--k=5", "--exact": "--exact", "--exact=false": "--exact=false", "--sentences": "--sentences", "--sentences=false": "--no-sentences",
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

// sameInOtherWords are the variables that mean one thing of which the help of several commands speaks in several ways.
var sameInOtherWords = map[string]string{
	"EMBEDD_DATA":   "a data directory",
	"EMBEDD_FILTER": "papers that are read",
	"EMBEDD_ROLE":   "the role of texts",
	"EMBEDD_KEYS":   "the keys file",
}

// A variable of the environment means one thing, whatever the command.
func TestVariablesHaveOneMeaning(t *testing.T) {
	first := map[string]*kong.Flag{}
	eachFlag(t, func(command string, f *kong.Flag) {
		for _, name := range f.Envs {
			switch other := first[name]; {
			case other == nil:
				first[name] = f
			case other.Enum != f.Enum || other.Default != f.Default || other.Help != f.Help && sameInOtherWords[name] == "":
				t.Errorf("%s: for %s it is\n  %s (%s; %s)\nand for another command\n  %s (%s; %s)", name, command, f.Help, f.Enum, f.Default, other.Help, other.Enum, other.Default)
			}
		}
	})
	if len(first) < 50 {
		t.Errorf("only %d variables", len(first))
	}
}

// What removes or changes something is said on the command line.
func TestNothingIsRemovedByTheEnvironment(t *testing.T) {
	want := map[string]bool{
		"embedd delete --filter": true, "embedd collections delete --yes": true, "embedd migrations finish --yes": true, "embedd restore --force": true, "embedd repair --drop-derived": true,
		"embedd repair --accept-data-loss": true, "embedd update --set": true, "embedd update --unset": true, "embedd update --file": true,
		"embedd search --store": true, "embedd models pull --force": true, "embedd models import --force": true,
		"embedd distil --force": true, "embedd distil --anyway": true,
	}
	eachFlag(t, func(command string, f *kong.Flag) {
		name := command + " --" + f.Name
		if want[name] && len(f.Envs) > 0 {
			t.Errorf("%s is taken from %v", name, f.Envs)
		}
		if (f.Name == "force" || f.Name == "yes") && !want[name] {
			t.Errorf("%s is not looked at", name)
		}
		delete(want, name)
	})
	for name := range want {
		t.Errorf("there is no %s", name)
	}
}

// eachFlag calls do with the flags of all commands.
func eachFlag(t *testing.T, do func(command string, f *kong.Flag)) {
	t.Helper()
	parser, err := newParser(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			do(n.FullPath(), f)
		}
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(parser.Model.Node)
}
