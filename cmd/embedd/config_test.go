package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// The configuration shows what is in effect, and not what is secret, whatever a flag that is added later is called.
func TestConfiguration(t *testing.T) {
	var c struct {
		Data     string
		Grace    int `default:"20"`
		APIKey   string
		KeyFile  string
		Tokens   []string
		Password string
		MaxK     int
		Monkey   string
		Unset    struct {
			Secret string
		} `embed:"" prefix:"no-"`
	}
	parser, err := kong.New(&c, kong.Name("x"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse([]string{"--data", "lib", "--api-key", "xyzzy", "--key-file", "xyzzy", "--tokens", "xyzzy,xyzzy", "--password", "xyzzy", "--max-k", "7", "--monkey", "ape"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	text, err := json.Marshal(configuration(parsed.Flags()))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "xyzzy") {
		t.Errorf("a secret is shown: %s", text)
	}
	for _, want := range []string{`"data":"lib"`, `"grace":20`, `"api-key":"(set)"`, `"tokens":"(set)"`, `"max-k":7`, `"monkey":"ape"`, `"no-secret":""`, `"GOMEMLIMIT":"1GiB"`, `"version":"` + version} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}
