package main

import (
	"os"
	"runtime"
	"strings"

	"github.com/alecthomas/kong"
)

// configuration is what /configz shows: what is in effect, wherever it came from.
func configuration(flags []*kong.Flag) any {
	c := struct {
		Version string            `json:"version"`
		Commit  string            `json:"commit,omitempty"`
		Go      string            `json:"go"`
		Cores   int               `json:"cores"`
		Flags   map[string]any    `json:"flags"`
		Runtime map[string]string `json:"environment,omitempty"`
	}{Version: version, Commit: commit(), Go: runtime.Version(), Cores: runtime.GOMAXPROCS(0), Flags: map[string]any{}, Runtime: map[string]string{}}
	for _, f := range flags {
		if f.Name == "help" || f.Name == "version" || !f.Target.IsValid() || !f.Target.CanInterface() {
			continue
		}
		value := f.Target.Interface()
		if isSecret(f.Name) && !f.Target.IsZero() {
			value = "(set)"
		}
		c.Flags[f.Name] = value
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "EMBEDD_HOME"} {
		if value, ok := os.LookupEnv(name); ok {
			c.Runtime[name] = value
		}
	}
	return c
}

// isSecret tells whether the value of a flag is hidden. Names decide, so that a flag that is added later is hidden without anyone
// having to think of it; the path of a file with a key is hidden too, which does no harm.
func isSecret(flag string) bool {
	for _, word := range strings.Split(flag, "-") {
		switch strings.TrimSuffix(word, "s") {
		case "key", "secret", "token", "password", "credential":
			return true
		}
	}
	return false
}
