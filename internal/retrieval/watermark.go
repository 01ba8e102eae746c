package retrieval

import "sync"

// watermark is the revision up to which everything is in the index. Commits reach the index in any order.
type watermark struct {
	mu    sync.Mutex
	moved sync.Cond
	at    uint64
	ahead map[uint64]struct{} // in the index, with one before it that is not
}

func (w *watermark) start(at uint64) {
	w.moved.L = &w.mu
	w.at, w.ahead = at, map[uint64]struct{}{}
}

func (w *watermark) load() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// reach notes that a revision is in the index, and returns when all before it are: what is answered with this version is found by
// whoever asks for it.
func (w *watermark) reach(revision uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if revision > w.at {
		w.ahead[revision] = struct{}{}
	}
	moved := false
	for {
		if _, ok := w.ahead[w.at+1]; !ok {
			break
		}
		w.at++
		delete(w.ahead, w.at)
		moved = true
	}
	if moved {
		w.moved.Broadcast()
	}
	w.await(revision)
}

// wait returns when everything up to a revision, which is another call's, is in the index.
func (w *watermark) wait(revision uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.await(revision)
}

func (w *watermark) await(revision uint64) {
	for w.at < revision {
		w.moved.Wait()
	}
}
