package store

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// ExitStatus is the exit status of a process whose store cannot be written any more: EX_IOERR of sysexits.h.
const ExitStatus = 74

// logger is Pebble's way to speak. What it says of its daily work is dropped. Pebble on a full disk fails many thousand times a
// second: of its errors one a second is logged, with the number of those that were not.
type logger struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	last   time.Time
	unsaid int
}

func (*logger) Infof(string, ...any) {}

func (l *logger) Errorf(format string, args ...any) {
	l.mu.Lock()
	if time.Since(l.last) < time.Second {
		l.unsaid++
		l.mu.Unlock()
		return
	}
	unsaid := l.unsaid
	l.last, l.unsaid = time.Now(), 0
	l.mu.Unlock()
	about := []any{"dir", l.dir}
	if unsaid > 0 {
		about = append(about, "not_logged", unsaid)
	}
	l.log.Error("store: "+fmt.Sprintf(format, args...), about...)
}

// Fatalf ends the process. Pebble calls it when its log or MANIFEST could not be written or synced: what is on disk is
// unknown then, and Pebble is not made to go on after it returns.
func (l *logger) Fatalf(format string, args ...any) {
	lastLine.Lock()
	message := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	fmt.Fprintf(os.Stderr, "embedd: store %s failed, the process ends: %s\n", l.dir, message)
	os.Exit(ExitStatus)
}

// lastLine keeps a second goroutine that fails from writing a second line. It is never let go of.
var lastLine sync.Mutex
