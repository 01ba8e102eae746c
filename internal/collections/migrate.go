package collections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"embedd/internal/retrieval"
)

// A migration moves a collection to another model while it is used. The next generation is made beside the one that is served, and follows it: see package
// retrieval. After the swap it is the other way round, so that a roll-back loses nothing. The stages on the disk, each of one atomic change:
//
//	start      migration.json is there
//	swap       collection.json names the other generation
//	roll back  collection.json is as it was before
//	finish     migration.json is gone, after a swap; then the generation that is not served
//	cancel     the same, before one
const (
	// holdMost is how long writes wait for a swap at most. One that is not done by then is given up, and nothing has changed.
	holdMost = 5 * time.Second
	// noteEvery is how often what has been brought over is written down: so much is brought over again after a kill.
	noteEvery = 2 * time.Second
	// lookEvery is how often it is looked whether there is something new.
	lookEvery = 100 * time.Millisecond
	// failRest is the time before another try after a failure.
	failRest = 5 * time.Second
	// rateOver is the time over which the rate is told.
	rateOver = 20 * time.Second
)

// Stage is how far a migration is.
type Stage string

// The stages.
const (
	// Sampling: the first papers are brought over, chosen by chance, and a map between the models is fitted on them.
	Sampling Stage = "sampling"
	// Copying: all others are.
	Copying Stage = "copying"
	// Following: the new model has all papers, and gets what changes; it may be swapped in.
	Following Stage = "following"
	// Swapped: the new model is served, and the old one gets what changes; it may be rolled back, or finished.
	Swapped Stage = "swapped"
)

// MigrationInfo is a migration as it is at a moment.
type MigrationInfo struct {
	// Name is the collection's own, From and To are its models.
	Name, From, To string
	Started        time.Time
	Stage          Stage
	// Papers of the collection, and how many of them the other model has. Behind are the changes that it has not seen, once all are copied.
	Papers, Moved int
	Behind        uint64
	// Rate is papers a second, over the last while; Left is how long the rest takes at that rate, 0 where it cannot be said.
	Rate float64
	Left time.Duration
	// Across: searches go across both models; Bridge is by what, nil before it is fitted.
	Across bool
	Bridge *retrieval.Across
	// Refused are papers that the other model does not take, and why, by id, up to 100.
	Refused map[string]string
	// Waiting is why nothing happens for the moment, Failed what went wrong the last time; it is tried again. Both "" where all is well.
	Waiting, Failed string
	// Held is how long writes waited at the last swap or roll-back.
	Held time.Duration
}

// place is a generation that is open.
type place struct {
	generation int
	settings   Settings
	collection *retrieval.Collection
	release    func() error // gives its encoder back
	owned      bool         // the set closes it
}

func (p *place) close() error {
	if p.collection == nil || !p.owned {
		return nil
	}
	return errors.Join(p.collection.Close(), p.release())
}

// migration is one that runs. serving and other are changed under the set's change and its own mu.
type migration struct {
	set        *Set
	name, home string
	about      About // of generation From

	end  context.CancelFunc
	done chan struct{}

	mu             sync.Mutex // guards what follows
	file           migrationFile
	serving, other place
	follower       *retrieval.Follower // nil where the other cannot be opened
	bridge         *retrieval.Across
	stage          Stage
	failed         error
	held           time.Duration
	marks          []mark
}

// mark is how many papers there were at a moment.
type mark struct {
	at    time.Time
	moved int
}

// errMigration says why a collection that is being migrated cannot be changed otherwise.
func (m *migration) inTheWay() error {
	return refused("name", "a migration of the collection to %s is under way: embedd migrations show %s --wait shows how far it is; for another one, finish or cancel it first", m.file.After.Model, m.name)
}

// StartMigration begins to move a collection to another model: its settings but for the model and the dimension stay.
func (s *Set) StartMigration(ctx context.Context, called, model string, dimension int, across bool) (_ MigrationInfo, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return MigrationInfo{}, err
	}
	defer end()
	e, err := s.named(called)
	if err != nil {
		return MigrationInfo{}, err
	}
	settings := e.about.Settings
	settings.Model, settings.Dimension = model, dimension
	switch {
	case e.migration != nil:
		return MigrationInfo{}, e.migration.inTheWay()
	case settings.OwnVectors:
		return MigrationInfo{}, refused("name", "the papers of %q bring their own vectors, and there is no model to migrate from", called)
	case model == "":
		return MigrationInfo{}, invalid("model", "is missing; it is the id of the model to migrate to")
	case across && (settings.Passages || settings.Sentences):
		return MigrationInfo{}, refused("across", "the collection keeps passages or sentences, which searches do not go across with; leave it out: the old model answers until the swap")
	}
	if err := settings.check(); err != nil {
		return MigrationInfo{}, err
	}
	encoder, settings, release, err := s.o.Encoder(ctx, settings)
	if err != nil {
		return MigrationInfo{}, modelField(err)
	}
	if encoder.Model().Fingerprint == e.collection.Model().Fingerprint {
		return MigrationInfo{}, errors.Join(refused("model", "%s is what the collection has already", model), release())
	}
	m := &migration{set: s, name: e.name, home: homeOf(e.name), about: e.about, serving: e.place()}
	m.file = migrationFile{
		Started: time.Now().UTC().Truncate(time.Second), From: e.about.Generation, Before: e.about.Settings, After: settings, Across: across,
		Formerly: e.about.Formerly, Migrated: e.about.Migrated,
		Bare: e.about.Generation == 0 && e.about.Created.IsZero() && !e.filed,
	}
	m.other = place{settings: settings, release: release, owned: true}
	if err := m.make(ctx, encoder); err != nil {
		return MigrationInfo{}, errors.Join(diskError("start the migration", err), release())
	}
	if err := m.open(); err != nil {
		return MigrationInfo{}, errors.Join(err, m.drop())
	}
	s.edit(e.name, func(e *entry) { e.migration = m })
	m.run()
	s.log.Info("a migration was started", "collection", m.name, "from", m.file.Before.Model, "to", settings.Model)
	return m.info(), nil
}

// modelField has an error about the settings be about the request's model.
func modelField(err error) error {
	var said *retrieval.Error
	if errors.As(err, &said) && said.Field == "settings.model" {
		copied := *said
		copied.Field = "model"
		return &copied
	}
	if errors.As(err, &said) && said.Field == "settings.dimension" {
		copied := *said
		copied.Field = "dimension"
		return &copied
	}
	return err
}

// named gives a collection by its own name, that can be used.
func (s *Set) named(called string) (*entry, error) {
	st := s.state.Load()
	e := st.named[called]
	switch own := st.aliases[called]; {
	case e == nil && own != "":
		return nil, refused("name", "is an alias of %q; name the collection itself", own)
	case e == nil:
		return nil, notFound("name", called)
	case e.collection == nil:
		return nil, &retrieval.Error{Kind: retrieval.Unavailable, Field: "name", Message: fmt.Sprintf("%q cannot be used: %s", e.name, Reason(e.err))}
	}
	return e, nil
}

// place is the generation that a collection is served from.
func (e *entry) place() place {
	return place{e.about.Generation, e.about.Settings, e.collection, e.release, e.owned}
}

// edit puts a copy of an entry, edited, in its place. change is held.
func (s *Set) edit(name string, edit func(e *entry)) {
	s.publish(func(named map[string]*entry, _ map[string]string) {
		e := *named[name]
		edit(&e)
		named[name] = &e
	})
}

// make makes the other generation, whole, and then the file that says so. Without that file it is removed at the next start.
func (m *migration) make(ctx context.Context, encoder retrieval.Encoder) (err error) {
	s := m.set
	all, err := generationsOf(s.root, m.home)
	if err != nil {
		return err
	}
	m.file.To = max(m.file.From, slices.Max(append(all, 0))) + 1
	m.other.generation = m.file.To
	at := generationAt(m.home, m.file.To)
	defer func() {
		if err != nil {
			if left := s.removeGeneration(m.home, m.file.To); left != nil {
				s.log.Warn("what is left of a migration that was not started is removed at the next start", "collection", m.name, "error", left)
			}
		}
	}()
	if err := s.step("make the generation's folder", func() error { return s.root.MkdirAll(at, 0o700) }); err != nil {
		return err
	}
	if err := syncFolder(s.root, m.home); err != nil {
		return err
	}
	about := About{Created: m.about.Created, Settings: m.file.After}
	if err := about.write(s.root, at, func() error { return s.o.step("place the generation's file") }); err != nil {
		return err
	}
	if m.other.collection, err = m.openAt(ctx, &m.other, encoder, nil); err != nil {
		return err
	}
	// From here on nothing of the change log is lost.
	now := m.serving.collection.Revision()
	m.serving.collection.KeepLog(&now)
	m.file.Forward = now
	err = errors.Join(syncFolder(s.root, at), syncFolder(s.root, path.Dir(at)))
	if err == nil {
		err = m.save("start")
	}
	if err != nil {
		m.serving.collection.KeepLog(nil)
		err = errors.Join(err, m.other.collection.Close())
	}
	return err
}

// openAt opens a generation.
func (m *migration) openAt(ctx context.Context, p *place, encoder retrieval.Encoder, keep *uint64) (*retrieval.Collection, error) {
	s, at := m.set, generationAt(m.home, p.generation)
	if p.generation > 0 {
		if err := checkGeneration(s.root, at); err != nil {
			return nil, err
		}
	}
	o := s.o.Retrieval(m.name, p.settings)
	o.Name, o.Settings, o.KeepLog = m.name, p.settings.Retrieval(), keep
	return retrieval.Open(ctx, filepath.Join(s.root.Name(), filepath.FromSlash(at)), encoder, &o)
}

// save writes the file. The caller holds what it is of.
func (m *migration) save(at string) error {
	return writeSealed(m.set.root, path.Join(m.home, migrationName), m.file, func() error { return m.set.o.step("note the migration: " + at) })
}

// open begins to follow, from where the file says that it was.
func (m *migration) open() (err error) {
	after := *m.file.keeps(m.serving.generation)
	m.follower, err = m.set.follow(&m.serving, &m.other, after)
	if err == nil {
		m.other.collection.LoadDerived() // so that no search waits for it after a swap
	}
	m.stage = Copying
	switch {
	case m.serving.generation == m.file.To:
		m.stage = Swapped
	case m.file.Copied == 0 && !m.file.Done: // otherwise it follows once it has caught up
		m.stage = Sampling
	}
	return err
}

// follow has one generation follow another.
func (s *Set) follow(from, to *place, after uint64) (*retrieval.Follower, error) {
	var remake retrieval.Remake
	if s.o.Remake != nil {
		remake = s.o.Remake(from.settings, to.settings)
	}
	f, err := from.collection.Follow(to.collection, after, remake)
	if err == nil {
		f.Within(s.o.Room)
	}
	return f, err
}

// drop gives up what is open of the other generation, and its file.
func (m *migration) drop() error {
	m.serving.collection.KeepLog(nil)
	if m.follower != nil {
		m.follower.Close()
	}
	return errors.Join(m.other.close(), m.set.root.Remove(path.Join(m.home, migrationName)), m.set.removeGeneration(m.home, m.other.generation))
}

// resume goes on with the migration of a collection that has just been opened, where there is one. What cannot be opened is told of, and the collection is
// served all the same.
func (s *Set) resume(ctx context.Context, e *entry) error {
	home := homeOf(e.name)
	f, there, err := readMigration(s.root, home)
	if err != nil {
		return err
	}
	if !there {
		return s.tidyGenerations(home, e.about.Generation, nil)
	}
	if e.about.Generation != f.From && e.about.Generation != f.To {
		return fmt.Errorf("%s %w: it leads from generation %d to %d, and %d is served", migrationName, errDamaged, f.From, f.To, e.about.Generation)
	}
	if err := s.tidyGenerations(home, e.about.Generation, &f); err != nil {
		return err
	}
	m := &migration{set: s, name: e.name, home: home, about: e.about, file: f, serving: e.place()}
	m.other = place{generation: f.other(e.about.Generation), settings: f.After, owned: true}
	if m.other.generation == f.From {
		m.other.settings = f.Before
	}
	keep := f.keeps(e.about.Generation)
	e.collection.KeepLog(keep)
	err = func() error {
		encoder, _, release, err := s.o.Encoder(ctx, m.other.settings)
		if err != nil {
			return fmt.Errorf("%w: %w", errModel, err)
		}
		m.other.release = release
		if m.other.collection, err = m.openAt(ctx, &m.other, encoder, nil); err != nil {
			return errors.Join(err, release())
		}
		if err := m.open(); err != nil {
			err = errors.Join(err, m.other.close())
			m.other.collection = nil
			return err
		}
		return nil
	}()
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), m.other.close())
	}
	e.migration = m
	if err != nil {
		m.failed = err
		s.log.Error("a migration does not go on until the next start; the collection is served", "collection", e.name, "error", err)
		return nil
	}
	m.run()
	return nil
}

// run begins to bring over what is missing. halt ends that.
func (m *migration) run() {
	ctx, cancel := context.WithCancel(context.Background())
	m.end, m.done = cancel, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		for ctx.Err() == nil {
			err := m.bring(ctx)
			if ctx.Err() != nil {
				return
			}
			m.mu.Lock()
			m.failed = err
			m.mu.Unlock()
			m.set.log.Error("a migration does not get on; it is tried again", "collection", m.name, "in", failRest, "error", err)
			pause(ctx, failRest)
		}
	}(m.done)
}

func (m *migration) halt() {
	if m.end != nil {
		m.end()
		<-m.done
		m.end = nil
	}
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// bring brings over what is missing until ctx ends. What was noted is surely there.
func (m *migration) bring(ctx context.Context) error {
	m.mu.Lock()
	stage, copied, done := m.stage, m.file.Copied, m.file.Done
	m.mu.Unlock()
	f := m.follower
	if stage == Sampling {
		if err := f.Sample(ctx, retrieval.AcrossSample); err != nil {
			return err
		}
		m.reach(Copying)
	}
	if !done {
		if err := m.fit(ctx); err != nil {
			return err
		}
		last := time.Now()
		var noted error
		err := f.Copy(ctx, copied, func(after uint64) {
			// gofail: var duringMigrationCopy struct{}

			m.counted()
			if time.Since(last) < noteEvery {
				return
			}
			last = time.Now()
			noted = m.note(func() { m.file.Copied = after })
		})
		err = cmp.Or(err, noted)
		if err != nil {
			return err
		}
		if err := m.note(func() { m.file.Done = true }); err != nil {
			return err
		}
	}
	last, first := time.Now(), true
	for ctx.Err() == nil {
		was := f.Revision()
		if err := f.CatchUp(ctx); err != nil {
			return err
		}
		m.counted()
		if first && stage != Swapped && m.Bridge() == nil { // it was copied before this process began, or there were too few papers
			if err := m.fit(ctx); err != nil {
				return err
			}
		}
		if stage != Swapped {
			m.reach(Following)
		}
		first = false
		m.well()
		if now := f.Revision(); now == was {
			pause(ctx, lookEvery)
		} else if time.Since(last) >= noteEvery {
			last = time.Now()
			if err := m.noteRevision(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// well forgets what went wrong.
func (m *migration) well() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = nil
}

// Bridge is what searches go across by; nil: there is none yet.
func (m *migration) Bridge() *retrieval.Across {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bridge
}

// reach notes the stage.
func (m *migration) reach(stage Stage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stage = stage
}

// note changes the file.
func (m *migration) note(edit func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.file
	edit()
	if err := m.save("how far it is"); err != nil {
		m.file = was
		return err
	}
	return nil
}

// noteRevision notes up to which revision everything is there. What is before it of the change log may be forgotten.
func (m *migration) noteRevision() error {
	now := m.follower.Revision()
	err := m.note(func() { *m.revision() = now })
	if err == nil {
		m.serving.collection.KeepLog(&now)
	}
	return err
}

// revision is where the file has the revision of what is served.
func (m *migration) revision() *uint64 {
	if m.serving.generation == m.file.To {
		return &m.file.Back
	}
	return &m.file.Forward
}

// fit fits the bridge between the models, where there are enough papers, and has searches go across it where that is wanted.
func (m *migration) fit(ctx context.Context) error {
	bridge, err := m.follower.FitAcross(ctx)
	if err != nil && retrieval.KindOf(err) == retrieval.FailedPrecondition { // too few papers
		return nil
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bridge = bridge
	if m.file.Across {
		m.serving.collection.SetAcross(bridge)
	}
	m.set.log.Info("a map between the models was fitted", "collection", m.name, "pairs", bridge.Pairs, "cosine", bridge.Loss.Cosine, "overlap", bridge.Loss.Overlap)
	return nil
}

// counted notes how many papers there are, for the rate.
func (m *migration) counted() {
	_, moved := m.follower.Counts()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.marks = append(m.marks, mark{now, moved})
	for len(m.marks) > 2 && (now.Sub(m.marks[0].at) > rateOver || len(m.marks) > 1000) {
		m.marks = m.marks[1:]
	}
}

// info is how far it is.
func (m *migration) info() MigrationInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := MigrationInfo{
		Name: m.name, From: m.file.Before.Model, To: m.file.After.Model, Started: m.file.Started, Stage: m.stage,
		Across: m.file.Across, Bridge: m.bridge, Held: m.held, Failed: Reason(m.failed),
	}
	if m.follower == nil {
		return i
	}
	i.Papers, i.Moved = m.follower.Counts()
	i.Refused, i.Waiting = m.follower.Refused(), m.follower.Waiting()
	if now, at := m.follower.Now(), m.follower.Revision(); m.stage == Following || m.stage == Swapped {
		i.Behind = now - min(now, at)
	}
	if n := len(m.marks); n > 1 {
		first, last := m.marks[0], m.marks[n-1]
		if took := last.at.Sub(first.at).Seconds(); took > 0 && last.moved > first.moved {
			i.Rate = float64(last.moved-first.moved) / took
			i.Left = time.Duration(float64(max(0, i.Papers-i.Moved)) / i.Rate * float64(time.Second))
		}
	}
	return i
}

// Migrations gives all that are under way, in the order of the collections' names.
func (s *Set) Migrations() []MigrationInfo {
	st := s.state.Load()
	var all []MigrationInfo
	for _, name := range slices.Sorted(maps.Keys(st.named)) {
		if m := st.named[name].migration; m != nil {
			all = append(all, m.info())
		}
	}
	return all
}

// migrating gives the migration of a collection.
func (s *Set) migrating(called string) (*entry, *migration, error) {
	e, err := s.named(called)
	if err != nil {
		return nil, nil, err
	}
	if e.migration == nil {
		return nil, nil, &retrieval.Error{Kind: retrieval.NotFound, Field: "name", Message: fmt.Sprintf("no migration of %q is under way", e.name)}
	}
	return e, e.migration, nil
}

// Migration gives that of a collection.
func (s *Set) Migration(called string) (MigrationInfo, error) {
	_, m, err := s.migrating(called)
	if err != nil {
		return MigrationInfo{}, err
	}
	return m.info(), nil
}

// Swap has the new model be served, from one moment to the next. Writes wait for that moment, up to 5 seconds, in which the last of them are brought over; they
// go on with the new one. leave: papers that it does not take are left behind, and are not in the answers any more.
func (s *Set) Swap(ctx context.Context, called string, leave bool) (MigrationInfo, error) {
	return s.turn(ctx, called, func(m *migration) error {
		switch {
		case m.stage == Swapped:
			return refused("name", "the collection is served by %s already; finish the migration, or roll it back", m.file.After.Model)
		case m.stage != Following:
			return refused("name", "%s has not read all papers yet; wait until the migration says that it follows", m.file.After.Model)
		}
		if refusals := m.follower.Refused(); len(refusals) > 0 && !leave {
			id := slices.Min(slices.Collect(maps.Keys(refusals)))
			return refused("leave_behind", "%d papers cannot be brought over, as %q: %s; change or delete them, or set leave_behind to be without them", len(refusals), id, refusals[id])
		}
		return nil
	})
}

// RollBack has the old model be served again, in the same way, with all that was written meanwhile. The migration follows it then as before the swap.
func (s *Set) RollBack(ctx context.Context, called string) (MigrationInfo, error) {
	return s.turn(ctx, called, func(m *migration) error {
		if m.stage != Swapped {
			return refused("name", "the collection is served by %s, and there is nothing to roll back; to give the migration up, cancel it", m.file.Before.Model)
		}
		return nil
	})
}

// turn has the other generation be served.
func (s *Set) turn(ctx context.Context, called string, may func(m *migration) error) (_ MigrationInfo, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return MigrationInfo{}, err
	}
	defer end()
	_, m, err := s.migrating(called)
	if err != nil {
		return MigrationInfo{}, err
	}
	m.mu.Lock()
	if err = may(m); err == nil && m.follower == nil {
		err = &retrieval.Error{Kind: retrieval.Unavailable, Field: "name", Message: "the other generation cannot be used: " + Reason(m.failed)}
	}
	m.mu.Unlock()
	if err != nil {
		return MigrationInfo{}, err
	}
	m.halt()
	// Most is brought over before writes have to wait.
	if err = m.follower.CatchUp(ctx); err == nil {
		err = m.hold(ctx)
	}
	m.run()
	if err != nil {
		return MigrationInfo{}, diskError("swap the models", err)
	}
	i := m.info()
	s.log.Info("a collection is served by another model", "collection", m.name, "model", m.serving.settings.Model, "writes waited", m.held)
	return i, nil
}

// hold holds the writes, brings over the last of them, and turns.
func (m *migration) hold(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, holdMost)
	defer cancel()
	begin := time.Now()
	release, err := m.serving.collection.HoldWrites(within)
	if err == nil {
		defer release()
		if err = m.follower.CatchUp(within); err == nil {
			err = m.place()
		}
	}
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return &retrieval.Error{Kind: retrieval.Exhausted, Message: fmt.Sprintf("the last papers were not brought over within %v, and nothing has changed; try again when fewer are written", holdMost), RetryAfter: holdMost, Err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = time.Since(begin)
	return err
}

// place turns: writes are held, and both have the same.
func (m *migration) place() error {
	s := m.set
	old, next := m.serving, m.other
	now := next.collection.Revision()
	back, err := s.follow(&next, &old, now)
	if err != nil {
		return err
	}
	back.Trust()
	next.collection.KeepLog(&now)
	forward, was := m.follower.Revision(), m.file
	about := m.about.moved(next)
	rolled := next.generation == m.file.From
	if rolled { // as if nothing had been
		about = About{Created: m.about.Created, Settings: next.settings, Generation: next.generation, Formerly: m.file.Formerly, Migrated: m.file.Migrated}
	}
	err = m.note(func() {
		if rolled {
			m.file.Forward, m.file.Back = now, forward
			m.file.Done = true
		} else {
			m.file.Forward, m.file.Back, m.file.Swapped = forward, now, about.Migrated
		}
		m.file.Across = false
	})
	// gofail: var beforeGenerationSwap struct{}

	if err == nil {
		err = m.writeAbout(about, rolled && m.file.Bare)
	}
	// gofail: var afterGenerationSwap struct{}

	if err != nil {
		back.Close()
		next.collection.KeepLog(nil)
		return errors.Join(err, m.note(func() { m.file = was }))
	}
	old.collection.SetAcross(nil)
	m.follower.Close()
	m.mu.Lock()
	m.serving, m.other, m.follower, m.about, m.marks = next, old, back, about, nil
	m.stage = Swapped
	if rolled {
		m.stage = Following
	}
	m.mu.Unlock()
	next.collection.MoveTo(nil)
	s.edit(m.name, func(e *entry) {
		e.collection, e.release, e.owned, e.about, e.filed = next.collection, next.release, next.owned, about, !(rolled && m.file.Bare)
	})
	old.collection.MoveTo(next.collection)
	old.collection.KeepLog(nil)
	next.collection.LoadDerived()
	return nil
}

// writeAbout names the generation that is served, in one change. Where it is told after that change that something went wrong, it is done all the same: the
// file says which one is served.
func (m *migration) writeAbout(about About, bare bool) error {
	s := m.set
	var err error
	if bare {
		err = s.step("serve the other generation", func() error { return s.root.Remove(path.Join(m.home, retrieval.AboutName)) })
		if err == nil {
			err = syncFolder(s.root, m.home)
		}
	} else {
		err = about.write(s.root, m.home, func() error { return s.o.step("serve the other generation") })
	}
	if err == nil {
		return nil
	}
	is, e := readAbout(s.root, m.home)
	if e == nil && is.Generation == about.Generation && !bare || bare && errors.Is(e, fs.ErrNotExist) {
		s.log.Error("which generation is served was written, and may not survive a power loss", "collection", m.name, "error", err)
		return nil
	}
	return err
}

// Finish ends a migration after its swap: what the old model had is removed, and cannot be rolled back to.
func (s *Set) Finish(ctx context.Context, called string) error {
	return s.endMigration(ctx, called, func(m *migration) error {
		if m.serving.generation != m.file.To {
			return refused("name", "the collection is served by %s still; swap first, or cancel the migration", m.file.Before.Model)
		}
		return nil
	})
}

// Cancel ends a migration before its swap, or after its roll-back: what the new model had is removed.
func (s *Set) Cancel(ctx context.Context, called string) error {
	return s.endMigration(ctx, called, func(m *migration) error {
		if m.serving.generation != m.file.From {
			return refused("name", "the collection is served by %s already; roll back first, or finish the migration", m.file.After.Model)
		}
		return nil
	})
}

// endMigration removes the generation that is not served.
func (s *Set) endMigration(ctx context.Context, called string, may func(m *migration) error) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	_, m, err := s.migrating(called)
	if err != nil {
		return err
	}
	if err := may(m); err != nil {
		return err
	}
	m.halt()
	err = s.step("end the migration", func() error { return s.root.Remove(path.Join(m.home, migrationName)) })
	if err != nil {
		if m.follower != nil {
			m.run()
		}
		return diskError("end the migration", err)
	}
	if err := syncFolder(s.root, m.home); err != nil {
		s.log.Error("that a migration has ended may not survive a power loss; it would go on then", "collection", m.name, "error", err)
	}
	// gofail: var beforeGenerationRemoval struct{}

	m.serving.collection.SetAcross(nil)
	m.serving.collection.KeepLog(nil)
	if m.follower != nil {
		m.follower.Close()
	}
	s.edit(m.name, func(e *entry) { e.migration = nil })
	if m.other.collection != nil {
		time.Sleep(lateCalls)
		why := &retrieval.Error{Kind: retrieval.Unavailable, Message: "the collection has moved to another model; call again"}
		if err := errors.Join(m.other.collection.Discard(why), m.other.release()); err != nil {
			s.log.Warn("a generation that is removed did not close well", "collection", m.name, "error", err)
		}
	}
	if err := s.removeGeneration(m.home, m.other.generation); err != nil {
		s.log.Warn("what is left of a generation is removed at the next start", "collection", m.name, "generation", strconv.Itoa(m.other.generation), "error", err)
	}
	s.log.Info("a migration has ended", "collection", m.name, "model", m.serving.settings.Model)
	return nil
}

// close ends what runs, for a stop: it goes on at the next start.
func (m *migration) close() error {
	m.halt()
	if m.follower == nil {
		return nil
	}
	err := m.noteRevision()
	m.follower.Close()
	return errors.Join(err, m.other.close())
}

// Report compares the answers of the two models of a migration: see retrieval.ReportMove.
func (s *Set) Report(ctx context.Context, called string, papers int, queries []string, mode retrieval.Mode) (MigrationInfo, *retrieval.MoveReport, error) {
	_, m, err := s.migrating(called)
	if err != nil {
		return MigrationInfo{}, nil, err
	}
	m.mu.Lock()
	old, new, bridge, complete, open := m.serving.collection, m.other.collection, m.bridge, m.stage == Following || m.stage == Swapped, m.follower != nil
	if m.serving.generation == m.file.To {
		old, new = new, old
	}
	m.mu.Unlock()
	if !open {
		return MigrationInfo{}, nil, &retrieval.Error{Kind: retrieval.Unavailable, Field: "name", Message: "the other generation cannot be used: " + Reason(m.failed)}
	}
	report, err := retrieval.ReportMove(ctx, old, new, bridge, complete, papers, queries, mode)
	return m.info(), report, err
}
