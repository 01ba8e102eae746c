package memory

import (
	"runtime/debug"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDefault(t *testing.T) {
	limit, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if limit < 64<<20 || limit > 1<<50 {
		t.Errorf("the default limit is %d bytes", limit)
	}
}

// Garbage alone does not make it tight.
func TestGarbageIsNotHeld(t *testing.T) {
	debug.FreeOSMemory() // what other tests have left
	before, err := unreclaimable()
	if err != nil {
		t.Skip(err)
	}
	g, err := Watch(before+128<<20, true, func(err error) { t.Errorf("told %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for begin := time.Now(); time.Since(begin) < 2*time.Second; {
		b := make([]byte, 16<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		if err := g.Room(); err != nil {
			t.Fatal(err)
		}
	}
}
