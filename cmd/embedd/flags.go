package main

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// givenFlags are the flags that a command line has.
func givenFlags(parsed *kong.Context) (given []*kong.Flag) {
	for _, p := range parsed.Path {
		if p.Flag != nil && !p.Resolved {
			given = append(given, p.Flag)
		}
	}
	return given
}

// isGiven tells whether the command line has a flag.
func (e *env) isGiven(name string) bool {
	return slices.ContainsFunc(e.given, func(f *kong.Flag) bool { return f.Name == name })
}

// inEnvironment is the environment variable that a flag has its value from, "" where it has it from elsewhere.
func (e *env) inEnvironment(f *kong.Flag) string {
	if e.isGiven(f.Name) {
		return ""
	}
	for _, name := range f.Tag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return name
		}
	}
	return ""
}

// flag is a flag of the subcommand, nil where it has none of that name.
func (e *env) flag(name string) *kong.Flag {
	if i := slices.IndexFunc(e.flags, func(f *kong.Flag) bool { return f.Name == name }); i >= 0 {
		return e.flags[i]
	}
	return nil
}

// inGroup are the flags of a group.
func (e *env) inGroup(title string) (flags []*kong.Flag) {
	for _, f := range e.flags {
		if f.Group != nil && f.Group.Key == title {
			flags = append(flags, f)
		}
	}
	return flags
}

// again are the flags of the command line as a shell takes them, for a command to go on with: without those that it has otherwise, and
// without secrets.
func (e *env) again(but ...string) string {
	var out strings.Builder
	for i, f := range e.given {
		if slices.Contains(e.given[:i], f) || slices.Contains(but, f.Name) || isSecret(f.Name) {
			continue
		}
		if f.Short != 0 {
			out.WriteString(" -" + string(f.Short))
		} else {
			out.WriteString(" --" + f.Name)
		}
		switch text := flagText(f); {
		case !f.IsBool():
			out.WriteString(" " + shellWord(text))
		case text != "true" && text != "": // one that is turned off, or that has a value and need not have one
			out.WriteString("=" + shellWord(text))
		}
	}
	return out.String()
}

// program is this program as it was called, as a word of a shell's command line.
func program() string { return shellWord(os.Args[0]) }

// flagText is a flag's value as it would be given.
func flagText(f *kong.Flag) string {
	value := reflect.Indirect(f.Target).Interface()
	switch value := value.(type) {
	case []string:
		return strings.Join(value, ",")
	case map[string]string:
		var pairs []string
		for name, text := range value {
			pairs = append(pairs, name+"="+text)
		}
		slices.Sort(pairs)
		return strings.Join(pairs, ",")
	}
	return fmt.Sprint(value)
}

// shellWord is a text as one word of a shell's command line.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=@%+,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
