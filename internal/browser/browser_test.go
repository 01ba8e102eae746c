package browser

import "testing"

func TestHarness(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	Run(t, "testdata/harness.mjs", nil)
}
