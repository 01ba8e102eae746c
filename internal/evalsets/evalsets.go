// Package evalsets finds the evaluation sets that tests measure with. They are not in the repository.
package evalsets

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir returns the folder of the set name: below EMBEDD_TEST_DATA, or below ../shared/data beside the repository. Where it
// is absent the test is skipped, but fails in CI, which has the sets.
func Dir(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("EMBEDD_TEST_DATA")
	if root == "" {
		root = filepath.Join(repository(t), "..", "shared", "data")
	}
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the evaluation set %s is needed in CI: %v", name, err)
		}
		t.Skipf("needs the evaluation set %s: %v (EMBEDD_TEST_DATA names another folder)", name, err)
	}
	return dir
}

// repository is the folder of go.mod.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
}
