package store

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// ExitStatus is the exit status of a process whose store cannot be written any more: EX_IOERR of sysexits.h.
const ExitStatus = 74

// logger is Pebble's way to speak. What it says of its daily work is dropped. Pebble on a full disk fails many thousand times a
// second, each time in other words; so what it says is not the message, by which the process's log holds back what comes again.
type logger struct {
	dir string
	log *slog.Logger
}

func (*logger) Infof(string, ...any) {}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Error("the store came upon an error that no call returns", "dir", l.dir, "error", fmt.Sprintf(format, args...))
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
