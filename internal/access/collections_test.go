package access

import (
	"strings"
	"testing"
)

// A key may be for some collections; what none can be called, and a list of none, are refused.
func TestKeysForCollections(t *testing.T) {
	for _, c := range []struct {
		names []string
		say   string // "": it is good
	}{
		{nil, ""},
		{[]string{"default", "a-b_c9", strings.Repeat("a", 63)}, ""},
		{[]string{}, "collections is empty"},
		{[]string{"a", ""}, `has ""`},
		{[]string{"A"}, `has "A"`},
		{[]string{"../a"}, `has "../a"`},
		{[]string{"-a"}, `has "-a"`},
		{[]string{strings.Repeat("a", 64)}, "63"},
	} {
		_, _, err := New(Key{Role: Read, Collections: c.names}, now)
		if (err == nil) != (c.say == "") || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%q: %v, want %q", c.names, err, c.say)
		}
	}
}
