package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"embedd/internal/collections"
	"embedd/internal/retrieval"
	"embedd/internal/sealed"
	"embedd/internal/similar"
	"embedd/internal/store"
)

const (
	// Max is how many jobs there may be, those that have ended included.
	Max = 1000
	// maxQueued is how many may wait.
	maxQueued = 100
	// maxFileBytes is the most that the file of a job has: an evaluation with all of its queries and judgments.
	maxFileBytes = 256 << 20
)

// Names in a data directory, and in the folder of a job.
const (
	folder     = "jobs"
	jobName    = "job.json"
	jobForm    = 1
	workFolder = "work"
	fileFolder = "files"
)

// Options say how jobs are done.
type Options struct {
	// Set are the collections.
	Set *collections.Set
	// Log is told of jobs that begin and end. Default: slog.Default().
	Log *slog.Logger
	// Compute does a task of package similar over the folder dir, in another process or in this one, and keeps to ctx. Its errors may be *similar.FieldError.
	Compute func(ctx context.Context, dir string, t similar.Task, progress similar.Progress) error
	// GoOn: jobs that an earlier process has left are gone on with.
	GoOn bool
	// Step, for tests, is called before each step; its error is that of the job.
	Step func(name string) error
}

// Runner does the jobs of a data directory. All methods may be called from many goroutines at once.
type Runner struct {
	root *os.Root // the data directory
	o    Options
	log  *slog.Logger

	ctx  context.Context // of the runner's life
	stop context.CancelFunc
	idle sync.WaitGroup // the goroutine that does the jobs

	mu      sync.Mutex // guards what follows, and the files job.json
	jobs    map[string]*entry
	queue   []string
	working bool
	closed  bool
}

// entry is a job, and who waits for news of it.
type entry struct {
	Job
	began   time.Time // of the stage
	from    int       // how much of it was done then
	changed chan struct{}
	cancel  context.CancelCauseFunc // of a running one
}

// errCancelled and errClosing are why a job ends that somebody has ended.
var (
	errCancelled = errors.New("cancelled")
	errClosing   = errors.New("the server is shutting down")
)

// Open opens the jobs of the data directory dir. A job that cannot be read is passed over, and logged.
func Open(dir string, o Options) (_ *Runner, err error) {
	r := &Runner{o: o, log: cmp.Or(o.Log, slog.Default()), jobs: map[string]*entry{}}
	if r.o.Step == nil {
		r.o.Step = func(string) error { return nil }
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	if r.root, err = store.OpenRoot(dir); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(r.root.FS(), folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, r.root.Close())
	}
	for _, e := range entries {
		if !e.IsDir() || !idForm.MatchString(e.Name()) {
			continue
		}
		job, err := r.read(e.Name())
		if errors.Is(err, fs.ErrNotExist) { // it was being made, or removed
			err = r.root.RemoveAll(path.Join(folder, e.Name()))
			if err == nil {
				continue
			}
		}
		if err != nil {
			r.log.Error("a job cannot be used, and stays as it is", "job", e.Name(), "error", err)
			continue
		}
		r.jobs[job.ID] = &entry{Job: job, changed: make(chan struct{})}
	}
	for _, e := range r.sorted() {
		if e.State.Ended() && e.State != Interrupted {
			continue
		}
		e.State = Interrupted
		if o.GoOn {
			e.State = Queued
			r.queue = append(r.queue, e.ID)
			r.log.Info("a job is gone on with", "job", e.ID)
		}
	}
	r.mu.Lock()
	r.work()
	r.mu.Unlock()
	return r, nil
}

// Close ends the running job, which goes on at the next start, and waits for its end.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	for _, e := range r.jobs {
		if e.cancel != nil {
			e.cancel(errClosing)
		}
	}
	r.mu.Unlock()
	r.stop()
	r.idle.Wait()
	return r.root.Close()
}

func (r *Runner) read(id string) (Job, error) {
	var j Job
	_, err := sealed.Read(r.root, path.Join(folder, id, jobName), jobForm, maxFileBytes, &j)
	if err == nil && j.ID != id {
		err = fmt.Errorf("%s %w: it is of the job %q", jobName, sealed.ErrDamaged, j.ID)
	}
	return j, err
}

// keep writes a job's file. mu is held.
func (r *Runner) keep(e *entry) error {
	return sealed.Write(r.root, path.Join(folder, e.ID, jobName), jobForm, e.Job, func() error { return nil })
}

// news wakes who watches a job. mu is held.
func (e *entry) news() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// sorted gives all jobs in the order in which they were made. mu is held, or nobody else has the runner.
func (r *Runner) sorted() []*entry {
	all := make([]*entry, 0, len(r.jobs))
	for _, e := range r.jobs {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Create puts a job behind those that wait. It is on the disk when this returns.
func (r *Runner) Create(ctx context.Context, spec Spec) (Job, error) {
	if err := spec.complete(); err != nil {
		return Job{}, err
	}
	if err := r.check(ctx, &spec); err != nil {
		return Job{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return Job{}, &retrieval.Error{Kind: retrieval.Unavailable, Message: errClosing.Error()}
	case len(r.jobs) >= Max:
		return Job{}, &retrieval.Error{Kind: retrieval.FailedPrecondition, Message: fmt.Sprintf("there are %d jobs, as many as there may be; delete some that have ended", len(r.jobs))}
	case len(r.queue) >= maxQueued:
		return Job{}, &retrieval.Error{Kind: retrieval.Exhausted, Message: fmt.Sprintf("%d jobs wait already, as many as may; try again when some are done", len(r.queue)), RetryAfter: 10 * time.Second}
	}
	id := ""
	for id == "" || r.jobs[id] != nil {
		id = fmt.Sprintf("%s-%08x", spec.Kind, rand.Uint32())
	}
	created := time.Now().UTC().Truncate(time.Microsecond)
	for _, o := range r.jobs { // no two at once: they are listed, and done after a start, in this order
		if !created.After(o.Created) {
			created = o.Created.Add(time.Microsecond)
		}
	}
	e := &entry{Job: Job{ID: id, Spec: spec, State: Queued, Created: created}, changed: make(chan struct{})}
	err := r.root.Mkdir(folder, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	} else if err == nil {
		err = sealed.SyncFolder(r.root, ".")
	}
	if err == nil {
		err = r.root.Mkdir(path.Join(folder, id), 0o700)
	}
	if err == nil {
		if err = r.keep(e); err == nil {
			err = sealed.SyncFolder(r.root, folder)
		}
		if err != nil {
			err = errors.Join(err, r.root.RemoveAll(path.Join(folder, id)))
		}
	}
	if err != nil {
		return Job{}, &retrieval.Error{Kind: retrieval.Internal, Message: "keep the job: " + err.Error(), Err: err}
	}
	r.jobs[id] = e
	r.queue = append(r.queue, id)
	r.work()
	return e.Job, nil
}

// check refuses a spec that the collections cannot do.
func (r *Runner) check(ctx context.Context, s *Spec) error {
	for _, f := range []struct {
		field, filter string
		name          *string
		text          string
	}{{"collection", "filter", &s.Collection, s.Filter}, {"other", "other_filter", &s.Other, s.OtherFilter}} {
		if f.field == "other" && s.Other == "" {
			continue
		}
		c, err := r.o.Set.Get(*f.name)
		if err != nil {
			var e *retrieval.Error
			if errors.As(err, &e) {
				return &retrieval.Error{Kind: e.Kind, Field: f.field, Message: e.Message, RetryAfter: e.RetryAfter, Err: err}
			}
			return err
		}
		*f.name = cmp.Or(c.Name(), collections.Default) // an alias may stand for another by the time the job begins
		which, err := whichOf(f.filter, f.text)
		if err != nil {
			return err
		}
		if _, _, err := c.Count(ctx, which, nil); err != nil {
			return err
		}
		if s.Kind == Pairs && len(c.Rerankers()) == 0 {
			return &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: "kind", Message: "pairs are scored by a cross-encoder, and the server has none; start it with --reranker ID"}
		}
		if s.Kind == Pairs && s.Reranker != "" && !slices.Contains(c.Rerankers(), s.Reranker) {
			return invalid("reranker", "is %.80q; the server has %s", s.Reranker, strings.Join(c.Rerankers(), ", "))
		}
		if s.Kind == Pairs && s.Reranker == "" {
			s.Reranker = c.Rerankers()[0] // another may be the usual one when the job goes on
		}
	}
	if s.Other != "" {
		mine, err := r.o.Set.Get(s.Collection)
		if err != nil {
			return err
		}
		theirs, err := r.o.Set.Get(s.Other)
		if err != nil {
			return err
		}
		return sameModel(mine.Model(), theirs.Model(), s.Collection)
	}
	return nil
}

func whichOf(field, text string) (retrieval.Which, error) {
	if text == "" {
		return retrieval.Which{}, nil
	}
	f, err := retrieval.ParseFilter(field, text)
	return retrieval.Which{Filter: f, Field: field}, err
}

func notFound(id string) *retrieval.Error {
	return &retrieval.Error{Kind: retrieval.NotFound, Field: "id", Message: fmt.Sprintf("there is no job %.80q", id)}
}

// Counts are how many jobs there are in each state.
func (r *Runner) Counts() map[State]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[State]int{}
	for _, e := range r.jobs {
		counts[e.State]++
	}
	return counts
}

// Get gives a job as it stands.
func (r *Runner) Get(id string) (Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.jobs[id]; e != nil {
		return e.snapshot(), nil
	}
	return Job{}, notFound(id)
}

// List gives all jobs, the newest first.
func (r *Runner) List() []Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Job
	for _, e := range slices.Backward(r.sorted()) {
		all = append(all, e.snapshot())
	}
	return all
}

// Watch gives a job as it stands, at once and then whenever it has changed, until it has ended, yield refuses, or ctx ends.
func (r *Runner) Watch(ctx context.Context, id string, yield func(Job) error) error {
	for {
		r.mu.Lock()
		e := r.jobs[id]
		if e == nil {
			r.mu.Unlock()
			return notFound(id)
		}
		job, changed := e.snapshot(), e.changed
		r.mu.Unlock()
		if err := yield(job); err != nil || job.State.Ended() {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// snapshot is the job with what follows from the time. mu is held.
func (e *entry) snapshot() Job {
	j := e.Job
	if j.State == Running {
		j.Seconds += time.Since(j.Started).Seconds()
		took := time.Since(e.began).Seconds()
		if done := j.Progress.Done - e.from; done > 0 && took > 0 {
			j.Progress.PerSecond = float64(done) / took
			if rest := j.Progress.Total - j.Progress.Done; rest > 0 {
				j.Progress.Left = time.Duration(float64(rest) / j.Progress.PerSecond * float64(time.Second))
			}
		}
	}
	return j
}

// Cancel ends a job. What it has done stays for Resume. One that has ended already is FailedPrecondition.
func (r *Runner) Cancel(id string) (Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.jobs[id]
	switch {
	case e == nil:
		return Job{}, notFound(id)
	case e.State.Ended() && e.State != Interrupted:
		return Job{}, &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: "id", Message: fmt.Sprintf("the job has ended: it is %s", e.State)}
	case e.State == Running:
		e.cancel(errCancelled)
		e.State = Cancelled // for who asks from now on; the worker keeps it
		e.Seconds += time.Since(e.Started).Seconds()
	default:
		r.queue = slices.DeleteFunc(r.queue, func(o string) bool { return o == id })
		e.State = Cancelled
	}
	e.Ended = time.Now().UTC().Truncate(time.Millisecond)
	e.Progress = Progress{}
	err := r.keep(e)
	e.news()
	if err != nil {
		return Job{}, &retrieval.Error{Kind: retrieval.Internal, Message: "keep the job: " + err.Error(), Err: err}
	}
	r.prune()
	return e.snapshot(), nil
}

// Resume has a job that was cancelled, failed or was interrupted go on from the last step that is done.
func (r *Runner) Resume(id string) (Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.jobs[id]
	switch {
	case e == nil:
		return Job{}, notFound(id)
	case r.closed:
		return Job{}, &retrieval.Error{Kind: retrieval.Unavailable, Message: errClosing.Error()}
	case e.State == Done:
		return Job{}, &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: "id", Message: "the job is done"}
	case !e.State.Ended():
		return Job{}, &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: "id", Message: fmt.Sprintf("the job has not ended: it is %s", e.State)}
	case e.cancel != nil:
		return Job{}, &retrieval.Error{Kind: retrieval.Exhausted, Field: "id", Message: "the job was cancelled and has not come to its end; try again", RetryAfter: time.Second}
	}
	before := e.Job
	e.State, e.Error, e.Ended = Queued, "", time.Time{}
	if err := r.keep(e); err != nil {
		e.Job = before // it is in no queue
		return Job{}, &retrieval.Error{Kind: retrieval.Internal, Message: "keep the job: " + err.Error(), Err: err}
	}
	r.queue = append(r.queue, id)
	e.news()
	r.work()
	return e.snapshot(), nil
}

// Delete removes a job that has ended, and its files.
func (r *Runner) Delete(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.jobs[id]
	switch {
	case e == nil:
		return notFound(id)
	case !e.State.Ended() || e.cancel != nil:
		return &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: "id", Message: "the job has not ended; cancel it first"}
	}
	// Without its file a folder is no job: see Open.
	err := r.root.Remove(path.Join(folder, id, jobName))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		delete(r.jobs, id)
		e.news()
		err = r.root.RemoveAll(path.Join(folder, id))
	}
	if err != nil {
		return &retrieval.Error{Kind: retrieval.Internal, Message: "remove the job: " + err.Error(), Err: err}
	}
	return nil
}

// OpenFile opens a file of a job that is done; the first where the name is empty. The caller closes it.
func (r *Runner) OpenFile(id, name string) (*os.File, File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.jobs[id]
	switch {
	case e == nil:
		return nil, File{}, notFound(id)
	case e.State != Done:
		return nil, File{}, &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: "id", Message: fmt.Sprintf("the job is %s; its files are there when it is done", e.State)}
	}
	at := slices.IndexFunc(e.Files, func(f File) bool { return f.Name == name || name == "" })
	if at < 0 {
		var names []string
		for _, f := range e.Files {
			names = append(names, f.Name)
		}
		return nil, File{}, &retrieval.Error{Kind: retrieval.NotFound, Field: "name", Message: fmt.Sprintf("the job has no file %.80q; it has %s", name, strings.Join(names, ", "))}
	}
	f, err := r.root.Open(path.Join(folder, id, fileFolder, e.Files[at].Name))
	if err != nil {
		return nil, File{}, &retrieval.Error{Kind: retrieval.DataLoss, Field: "name", Message: "the file is not there any more; delete the job, and make it anew", Err: err}
	}
	return f, e.Files[at], nil
}

// work sees to it that somebody does what waits. mu is held.
func (r *Runner) work() {
	if r.working || r.closed || len(r.queue) == 0 {
		return
	}
	r.working = true
	r.idle.Go(func() {
		for {
			r.mu.Lock()
			if r.closed || len(r.queue) == 0 {
				r.working = false
				r.mu.Unlock()
				return
			}
			e := r.jobs[r.queue[0]]
			r.queue = r.queue[1:]
			ctx, cancel := context.WithCancelCause(r.ctx)
			e.State, e.cancel = Running, cancel
			e.Started = time.Now().UTC().Truncate(time.Millisecond)
			e.Progress, e.began, e.from = Progress{Stage: "beginning"}, time.Now(), 0
			spec := e.Spec
			err := r.keep(e)
			e.news()
			r.mu.Unlock()
			var report map[string]string
			var files []File
			if err == nil {
				report, files, err = r.do(ctx, e, spec)
			}
			r.end(ctx, e, report, files, err)
			cancel(nil)
		}
	})
}

// end notes what has come of a job.
func (r *Runner) end(ctx context.Context, e *entry, report map[string]string, files []File, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer e.news()
	e.cancel = nil
	now := time.Now().UTC().Truncate(time.Millisecond)
	switch {
	case e.State != Running: // Cancel has kept what it is
		r.prune()
		return
	case err == nil:
		e.State, e.Report, e.Files, e.Ended = Done, report, files, now
	case context.Cause(ctx) != nil:
		e.State, e.Progress = Interrupted, Progress{} // on the disk it stays running: the next start goes on with it
		return
	default:
		e.State, e.Error, e.Ended = Failed, r.said(err), now
		r.log.Error("a job failed", "job", e.ID, "error", err)
	}
	e.Seconds += now.Sub(e.Started).Seconds()
	e.Progress = Progress{}
	if err := r.keep(e); err != nil {
		r.log.Error("what has come of a job could not be kept; the next start goes on with it", "job", e.ID, "error", err)
		e.State, e.Error = Failed, "what has come of it could not be kept: "+r.said(err)
		return
	}
	if e.State == Done {
		r.log.Info("a job is done", "job", e.ID, "seconds", e.Seconds)
		r.dropWork(e)
	}
	r.prune()
}

// dropWork removes what a job has worked with.
func (r *Runner) dropWork(e *entry) {
	if err := r.root.RemoveAll(path.Join(folder, e.ID, workFolder)); err != nil {
		r.log.Warn("what a job has worked with stays", "job", e.ID, "error", err)
	}
}

// keptWork is of how many jobs that were cancelled or have failed what they have worked with is kept, which may be as large as the index.
const keptWork = 4

// prune removes the work of all of these but the latest: they begin anew when they are resumed. mu is held.
func (r *Runner) prune() {
	var ended []*entry
	for _, e := range r.jobs {
		if (e.State == Cancelled || e.State == Failed) && e.cancel == nil {
			ended = append(ended, e)
		}
	}
	slices.SortFunc(ended, func(a, b *entry) int { return cmp.Or(b.Ended.Compare(a.Ended), cmp.Compare(a.ID, b.ID)) })
	for _, e := range ended[min(keptWork, len(ended)):] {
		r.dropWork(e)
	}
}

// said is an error in words for who asked for the job: without the path of the data directory, which the log has.
func (r *Runner) said(err error) string {
	return strings.ReplaceAll(wordsOf(err), r.root.Name()+string(os.PathSeparator), "")
}

func wordsOf(err error) string {
	var known *retrieval.Error
	var field *similar.FieldError
	switch {
	case errors.As(err, &known):
		return known.Error()
	case errors.As(err, &field):
		return field.Error()
	case errors.Is(err, fs.ErrNotExist):
		return "a file of the job is gone; the server's log says which"
	}
	return err.Error()
}

// told notes how far a job is.
func (r *Runner) told(e *entry, stage string, done, total int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.State != Running {
		return
	}
	if e.Progress.Stage != stage {
		e.began, e.from = time.Now(), done
	}
	e.Progress = Progress{Stage: stage, Done: done, Total: total}
	e.news()
}

// hash gives the size and the SHA-256 of a file.
func hash(root *os.Root, name string) (File, error) {
	f, err := root.Open(name)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return File{Name: path.Base(name), Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}
