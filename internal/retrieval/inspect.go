package retrieval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"

	"embedd/ann"
	"embedd/internal/lexical"
	"embedd/internal/store"
	"embedd/internal/works"
)

// Finding is what an inspection says of one of the house's invariants.
type Finding struct {
	Invariant int    `json:"invariant"`
	Name      string `json:"name"`
	// Holds: it was proved. Neither Holds nor Violations: nothing in a data directory can prove it.
	Holds bool `json:"holds"`
	// How it was proved, or where it is.
	How        string   `json:"how"`
	Violations []string `json:"violations,omitempty"`
}

// Inspection is what was found in a data directory.
type Inspection struct {
	Papers      int       `json:"papers"`
	Revision    uint64    `json:"revision"`
	Model       string    `json:"model"`
	Fingerprint string    `json:"fingerprint"`
	Dimension   int       `json:"dimension"`
	Findings    []Finding `json:"findings"`
}

// Violated tells whether something is not as it must be.
func (x *Inspection) Violated() bool {
	return slices.ContainsFunc(x.Findings, func(f Finding) bool { return len(f.Violations) > 0 })
}

// first is the first violation.
func (x *Inspection) first() string {
	for _, f := range x.Findings {
		if len(f.Violations) > 0 {
			return fmt.Sprintf("invariant %d: %s", f.Invariant, f.Violations[0])
		}
	}
	return ""
}

// OnlyDerived tells whether what is violated is about the index alone, which can be made anew.
func (x *Inspection) OnlyDerived() bool {
	return !slices.ContainsFunc(x.Findings, func(f Finding) bool {
		return len(f.Violations) > 0 && (f.Invariant == 1 || f.Invariant == 4)
	})
}

// sampled is how many stored papers an inspection searches with.
const sampled = 100

// Inspect reads all of a data directory that is not in use, without a model, changes nothing, and proves what can be proved of the
// house's invariants. The error is one that kept it from looking.
func Inspect(ctx context.Context, dir string, progress func(stage string)) (*Inspection, error) {
	root, err := store.OpenRoot(dir)
	if err != nil {
		return nil, internal("open data directory "+dir, err)
	}
	defer root.Close()
	return inspect(ctx, root, progress)
}

func inspect(ctx context.Context, root *os.Root, progress func(stage string)) (*Inspection, error) {
	if progress == nil {
		progress = func(string) {}
	}
	i := &inspector{ctx: ctx, root: root, by: map[int][]string{}}
	progress("the store's end")
	quiet := slog.New(slog.DiscardHandler)
	s, err := store.Open(storeName, store.Identity{}, &store.Options{Root: root, ReadOnly: true, Log: quiet})
	if errors.Is(err, store.ErrLoss) || errors.Is(err, store.ErrCorrupt) {
		i.bad(1, err)
		return i.report("the store does not open", ""), nil
	}
	if err != nil {
		return nil, storeError("open data directory "+root.Name(), err)
	}
	defer s.Close()
	i.store = s
	id := s.Identity()
	i.x = Inspection{Papers: s.Count(), Revision: s.Revision(), Model: id.Model, Fingerprint: id.Fingerprint, Dimension: id.Dimension}
	progress("every value of the store")
	if err := s.Check(); err != nil {
		i.bad(1, err)
	}
	seen := 0
	for _, name := range []string{snapshotName, oldSnapshotName} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		progress(name)
		switch err := i.snapshot(name); {
		case err == nil:
			seen++
		case errors.Is(err, ctx.Err()) && ctx.Err() != nil:
			return nil, err
		case !errors.Is(err, fs.ErrNotExist):
			i.bad(2, fmt.Errorf("%s: %w", name, err))
		}
	}
	progress(wordsSnapshotName)
	inspectKept(i, wordsSnapshotName, lexical.Open)
	progress(worksSnapshotName)
	inspectKept(i, worksSnapshotName, works.Open)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	how := fmt.Sprintf("%d snapshots of the index were read", seen)
	if seen == 0 {
		how = "there is no snapshot of the index; it is made anew at the next start"
	}
	return i.report("every value was read, and its checksum, the digest and the mark compared", how), nil
}

type inspector struct {
	ctx   context.Context
	root  *os.Root
	store *store.Store
	by    map[int][]string // violations
	x     Inspection
}

func (i *inspector) bad(invariant int, err error) {
	i.by[invariant] = append(i.by[invariant], err.Error())
}

// snapshot reads a snapshot of the index, compares it with the store, and searches it.
func (i *inspector) snapshot(name string) error {
	index, text, err := openIndex(i.root, name)
	if err != nil {
		return err
	}
	defer index.Close()
	var note snapshotNote
	switch err := json.Unmarshal(text, &note); {
	case err != nil:
		return fmt.Errorf("its note: %w", err)
	case note.Store != i.store.UUID() || note.Fingerprint != i.store.Identity().Fingerprint:
		return errors.New("it was made from another store, or by another model; it is not used")
	}
	if err := errors.Join(index.Verify(i.ctx), index.Check()); err != nil {
		return err
	}
	err = i.compare(name, note.Revision, true, index.Labels(), index.Contains)
	if errors.Is(err, store.ErrForgotten) {
		return errors.New("the change log does not go back to it; it is compared with all ordinals when it is used")
	}
	if err != nil {
		return err
	}
	return i.search(name, index)
}

// inspectKept reads a snapshot of something that is kept, where there is one, and compares it with the store.
func inspectKept[T keptIndex](i *inspector, name string, open func(io.Reader) (T, []byte, error)) {
	index, note, err := readKept(i.ctx, i.root, i.store, name, open)
	if err == nil {
		err = index.Check()
	}
	if err == nil {
		err = i.compare(name, note.Revision, false, slices.Values(index.Ordinals()), index.Contains)
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, store.ErrForgotten):
		i.bad(2, fmt.Errorf("%s: the change log does not go back to it; it is not used", name))
	default:
		i.bad(2, fmt.Errorf("%s: %w", name, err))
	}
}

// compare compares what is in a snapshot, which may have passages too, with what is stored. What has changed since it was written is made good by the change log.
func (i *inspector) compare(name string, revision uint64, passages bool, has iter.Seq[uint64], contains func(uint64) bool) error {
	live := map[uint64]struct{}{}
	if err := i.store.Ordinals(func(ordinal uint64) error { live[ordinal] = struct{}{}; return nil }); err != nil {
		return err
	}
	if passages {
		if err := i.store.Passages(func(ordinal uint64, _ store.Passage) error { live[ordinal] = struct{}{}; return nil }); err != nil {
			return err
		}
	}
	since := map[uint64]bool{}
	err := i.store.Changes(revision, func(_ uint64, changes []store.Change) error {
		for _, c := range changes {
			since[c.Ordinal] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for label := range has {
		if _, ok := live[label]; !ok && !since[label] {
			i.bad(3, fmt.Errorf("%s: label %d is the ordinal of no paper", name, label))
		}
	}
	for ordinal := range live {
		if !contains(ordinal) && !since[ordinal] {
			i.bad(3, fmt.Errorf("%s: paper %d is not in it", name, ordinal))
		}
	}
	return nil
}

// search proves of a sample what answers must be like.
func (i *inspector) search(name string, index *ann.Index) error {
	n := 0
	for label := range index.Labels() {
		if n++; n > sampled {
			return nil
		}
		v, err := i.store.Vector(label)
		if errors.Is(err, store.ErrNotFound) {
			continue // removed since
		}
		if err != nil {
			return err
		}
		var last []ann.Neighbor
		for _, k := range []int{1, 10, 100} {
			answer, err := index.Search(v, ann.Query{K: k, Ef: 200})
			if err != nil {
				return err
			}
			found := answer.Neighbors
			if len(last) > len(found) || !slices.Equal(last, found[:len(last)]) {
				i.bad(6, fmt.Errorf("%s: the answer of %d for paper %d does not begin as that of fewer", name, k, label))
			}
			for j := range found {
				if !index.Contains(found[j].Label) {
					i.bad(5, fmt.Errorf("%s: label %d is deleted, and in an answer", name, found[j].Label))
				}
				if j > 0 && (found[j].Distance < found[j-1].Distance || found[j].Distance == found[j-1].Distance && found[j].Label < found[j-1].Label) {
					i.bad(7, fmt.Errorf("%s: the answer for paper %d is out of order at rank %d", name, label, j+1))
				}
			}
			last = found
		}
	}
	return nil
}

// report puts the findings in the order of the invariants.
func (i *inspector) report(store, index string) *Inspection {
	searched := ""
	if index != "" {
		searched = fmt.Sprintf("up to %d papers were searched with", sampled)
	}
	const tests = "of a running server: held by its tests"
	for _, f := range []struct {
		invariant int
		name, how string
		proved    bool
	}{
		{1, "what was acknowledged is in the store", store, true},
		{2, "the index, the words and the works are derived", index, index != ""},
		{3, "every label of the index, and every paper with words or a work, is a stored paper", index, index != ""},
		{4, "all vectors come from one model, with its dimension and norm 1", store, index != ""},
		{5, "what was deleted is in no answer", searched, index != ""},
		{6, "the answer for k is the beginning of that for more, ties in the order of storing", searched, index != ""},
		{7, "nearer comes first", searched, index != ""},
		{8, "a paper never recommends itself, nor another version", tests, false},
		{9, "work beyond a limit is refused by name", tests, false},
		{10, "whatever is sent, the answer is a result or an error", tests, false},
	} {
		bad := i.by[f.invariant]
		i.x.Findings = append(i.x.Findings, Finding{f.invariant, f.name, f.proved && len(bad) == 0, f.how, bad})
	}
	return &i.x
}

// DropDerived removes what can be made anew from the store of a data directory that is not in use: the snapshots of the index, of the words and of the works. It
// gives the files that it removed.
func DropDerived(dir string) (removed []string, err error) {
	lock, err := Lock(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	root, err := store.OpenRoot(dir)
	if err != nil {
		return nil, internal("open data directory "+dir, err)
	}
	defer root.Close()
	kept, making := keptFiles()
	for _, pattern := range slices.Concat([]string{snapshotName, oldSnapshotName, newSnapshots}, kept, making) {
		names, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return removed, err
		}
		for _, name := range names {
			if err := root.Remove(name); err != nil {
				return removed, err
			}
			removed = append(removed, name)
		}
	}
	return removed, nil
}

// Repair makes a new store of what is whole of a damaged one: see [store.Repair]. Damaged is a path as dir is.
func Repair(dir string, log *slog.Logger) (store.Repaired, error) {
	root, err := store.OpenRoot(dir)
	if err != nil {
		return store.Repaired{}, internal("open data directory "+dir, err)
	}
	defer root.Close()
	r, err := store.Repair(root, storeName, log)
	r.Damaged = filepath.Join(dir, r.Damaged)
	return r, storeError("repair data directory "+dir, err)
}

// Exists tells whether the folder dir has a store in it. Where it has lost the one that it had, that is the error.
func Exists(dir string) (bool, error) {
	root, err := store.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, internal("open data directory "+dir, err)
	}
	defer root.Close()
	if err := checkStoreIsThere(root); err != nil {
		return false, err
	}
	_, err = root.Stat(storeName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Lock keeps everybody from opening the data directory dir until it is closed, or says who has it. Where there is no store it does
// nothing.
func Lock(dir string) (io.Closer, error) {
	root, err := store.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, internal("open data directory "+dir, err)
	}
	defer root.Close() // the lock is a file of its own
	if _, err := root.Lstat(storeName); errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	lock, err := store.Lock(root, storeName)
	return lock, storeError("lock data directory "+dir, err)
}

// Erase removes the papers of a data directory that nobody has open, a folder of root, and what is made of them: for one whose papers are elsewhere now. All
// else in the folder stays, as backups.
func Erase(root *os.Root, dir string) error {
	kept, making := keptFiles()
	// The store goes last: without it, what is left would be taken for a directory that has lost its papers.
	for _, pattern := range slices.Concat([]string{snapshotName, oldSnapshotName, newSnapshots, storeName + ".damaged-*", storeName + ".repairing"}, kept, making, []string{storeName}) {
		names, err := fs.Glob(root.FS(), path.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}
