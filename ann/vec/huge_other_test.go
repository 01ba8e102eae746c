//go:build !linux

package vec

import "testing"

// huge gives n bytes of memory.
func huge(_ *testing.B, n int) []byte { return make([]byte, n) }
