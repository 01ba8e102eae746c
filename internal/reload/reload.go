// Package reload keeps a value that is made of files, and makes it anew when they change. A file that has become unreadable or
// wrong leaves the value as it was.
//
// The files are looked at when the value is asked for, and not more often than every [Interval]: there is no goroutine to stop,
// and a value that is used is never older than that.
package reload

import (
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Interval is how long a change of the files may go unseen.
const Interval = 500 * time.Millisecond

// unsettled is how young a file's last change is while another one may have the same time.
const unsettled = time.Second

// epoch is when the process began; times since then do not follow a clock that is set.
var epoch = time.Now()

func sinceEpoch() int64 { return int64(time.Since(epoch)) }

// Value is a T that is made of files. All methods may be called from many goroutines at once.
type Value[T any] struct {
	load    func() (T, error)
	changed func(error)
	files   []string

	current atomic.Pointer[T]
	looked  atomic.Int64 // nanoseconds since epoch

	mu     sync.Mutex // guards what follows; held while the value is made anew
	seen   []fs.FileInfo
	young  bool   // a file had been changed shortly before it was read
	failed string // the last error that changed was told of
}

// Open makes the value for the first time. changed is told each time that it was made anew, with nil, or that it could not be.
func Open[T any](load func() (T, error), changed func(error), files ...string) (*Value[T], error) {
	v := &Value[T]{load: load, changed: changed, files: files}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.looked.Store(sinceEpoch())
	v.stat()
	t, err := load()
	if err != nil {
		return nil, err
	}
	v.current.Store(&t)
	return v, nil
}

// Get gives the value, made anew if its files have changed.
func (v *Value[T]) Get() T {
	if sinceEpoch()-v.looked.Load() >= int64(Interval) && v.mu.TryLock() {
		v.look(false)
		v.mu.Unlock()
	}
	return *v.current.Load()
}

// Reload makes the value anew whether or not its files have changed.
func (v *Value[T]) Reload() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.look(true)
}

// look makes the value anew if the files have changed, or always.
func (v *Value[T]) look(always bool) {
	defer func() { v.looked.Store(sinceEpoch()) }()
	// The files are looked at before they are read: what is written in between is seen the next time.
	again := v.young
	different := v.stat() || always
	if !different && !again {
		return
	}
	t, err := v.load()
	if err == nil {
		v.current.Store(&t)
	}
	// A file that is read once more because it was young is worth a word only where the outcome is another one.
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	if different || reason != v.failed {
		v.failed = reason
		v.changed(err)
	}
}

// stat looks at the files and tells whether they are others than the last time.
func (v *Value[T]) stat() (different bool) {
	now := make([]fs.FileInfo, len(v.files))
	v.young = false
	for i, path := range v.files {
		fi, err := os.Stat(path)
		if err != nil {
			continue // load says why
		}
		now[i] = fi
		if time.Since(fi.ModTime()) < unsettled {
			v.young = true
		}
	}
	different = !slices.EqualFunc(v.seen, now, same)
	v.seen = now
	return different
}

// same tells whether two looks at a file saw the same content, as far as its dates tell, that the same users may read.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}
