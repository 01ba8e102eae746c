package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each test that the README names beside a promise is there, in a package that its line names.
func TestPromisesAreHeld(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (D[0-9]) \|.*\| (.*) \|$`)
	name := regexp.MustCompile("`(Test\\w+)`")
	folder := regexp.MustCompile(`(internal|cmd)/\w+`)
	rows := row.FindAllStringSubmatch(string(text), -1)
	if len(rows) != 7 {
		t.Fatalf("the README has %d promises, want D1 to D7", len(rows))
	}
	for _, r := range rows {
		tests := ""
		for _, dir := range folder.FindAllString(r[2], -1) {
			files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				code, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				tests += string(code)
			}
		}
		names := name.FindAllStringSubmatch(r[2], -1)
		if len(names) == 0 {
			t.Errorf("%s names no test", r[1])
		}
		for _, n := range names {
			if !strings.Contains(tests, "\nfunc "+n[1]+"(") {
				t.Errorf("%s names %s, which is in none of the packages that it names", r[1], n[1])
			}
		}
	}
}
