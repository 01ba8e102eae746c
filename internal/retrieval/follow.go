package retrieval

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"embedd/internal/store"
)

// A collection that follows another has its papers, under another model.
//
//	Sample    a few papers, chosen by chance, first: a map between the models is fitted on them
//	Copy      all papers, in the order of storing
//	Compare   what is there and has gone from the other one
//	CatchUp   what has changed since, by the change log
//
// Nothing of it is on the way of a write to the one that is followed: that one's change log is what is missing. What was brought over once is cheap to
// bring again, as a paper that is stored to the byte is not encoded. So whatever is cut short is begun again from where it surely was.

// Limits of a follower.
const (
	// followAtOnce papers, or followBytes of them, are brought over at once, by each of followers. While somebody searches it is done by as few as take half
	// of the cores, each with followBeside papers: the two models have lanes of their own, and do not know of each other's texts.
	followAtOnce = 64
	followBytes  = 1 << 20
	followers    = 2
	followBeside = 16
	// searchedWithin is how long ago the latest search is where somebody searches.
	searchedWithin = time.Second
	// followChanges are changes of the log that are read at once.
	followChanges = 1000
	// removalsKept are ids of removed papers that are kept until the next CatchUp; with more the two collections are compared.
	removalsKept = 100_000
	// refusedKept are the papers that cannot be brought over, of which as many are named.
	refusedKept = 100
)

// Remake makes the vector of a paper under the new model from that under the old one, where the new model is made of the old one. nil: it reads the text.
type Remake func(old []float32) ([]float32, error)

// Follower brings one collection to what another one has. Sample, Copy, Compare and CatchUp are called by one goroutine at a time; the others by any.
type Follower struct {
	from, to *Collection
	remake   Remake
	room     func() error // nil, or why no papers may be added for the moment
	removed  *store.Removals
	missed   bool // removals are not known, and Compare is to find them

	at      atomic.Uint64 // the revision of from up to which to has everything, but for what Compare finds
	mu      sync.Mutex
	refused map[string]string // why a paper cannot be brought over, by id
	waits   string            // why nothing is brought over for the moment
}

// Follow begins to bring to, which is open under the other model and written by nobody else, to what c has. after is the revision of c up to which that
// was done before, 0: never. The caller keeps c's change log from there on, and closes the follower before either collection.
func (c *Collection) Follow(to *Collection, after uint64, remake Remake) (*Follower, error) {
	if now := c.store.Revision(); after > now {
		return nil, &Error{Kind: DataLoss, Message: fmt.Sprintf("the collection is at revision %d, and was followed up to %d: it is of an earlier time", now, after)}
	}
	f := &Follower{from: c, to: to, remake: remake, removed: c.store.WatchRemovals(removalsKept), missed: true, refused: map[string]string{}}
	f.at.Store(after)
	return f, nil
}

// Trust says that to has nothing that the one that is followed has not: as where it was followed itself until now, and no write is under way.
func (f *Follower) Trust() { f.missed = false }

// Within has papers be brought over only while room says nil: the process may be short of memory. It is called before anything else is.
func (f *Follower) Within(room func() error) { f.room = room }

// Close ends it. Both collections stay as they are.
func (f *Follower) Close() { f.removed.Close() }

// Revision is that of the followed collection up to which the other one has everything; what Copy brings over is not in it.
func (f *Follower) Revision() uint64 { return f.at.Load() }

// Now is the revision that the followed collection is at.
func (f *Follower) Now() uint64 { return f.from.store.Revision() }

// Start notes that all that was stored up to this revision is brought over by a Copy that is begun, or begun again, later.
func (f *Follower) Start(revision uint64) { f.at.Store(revision) }

// Counts are how many papers both have. Papers that have expired and were not removed yet count.
func (f *Follower) Counts() (from, to int) { return f.from.store.Count(), f.to.store.Count() }

// Refused are papers that the other collection does not take, and why, by id: up to 100. They are tried again when they change.
func (f *Follower) Refused() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]string, len(f.refused))
	for id, why := range f.refused {
		out[id] = why
	}
	return out
}

// Waiting is why nothing is brought over for the moment; "" where something is, or there is nothing to do.
func (f *Follower) Waiting() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waits
}

// Sample brings over about n papers, chosen by chance.
func (f *Follower) Sample(ctx context.Context, n int) error {
	ordinals, err := f.from.randomOrdinals(ctx, n)
	if err != nil {
		return err
	}
	for len(ordinals) > 0 {
		workers, size := f.pace()
		var pieces [][]uint64
		for range workers {
			n := min(size, len(ordinals))
			pieces, ordinals = append(pieces, ordinals[:n]), ordinals[n:]
		}
		if err := beside(pieces, func(some []uint64) error { return f.bring(ctx, some) }); err != nil {
			return err
		}
	}
	return nil
}

// pace is how many bring over how many papers at once.
func (f *Follower) pace() (workers, size int) {
	last := max(f.from.searched.Load(), f.to.searched.Load())
	if time.Now().UnixNano()-last < int64(searchedWithin) {
		return max(1, runtime.GOMAXPROCS(0)/2), followBeside
	}
	return followers, followAtOnce
}

// beside does something with pieces, beside each other.
func beside[T any](pieces []T, do func(T) error) error {
	errs := make([]error, len(pieces))
	var all sync.WaitGroup
	for i, piece := range pieces {
		all.Go(func() { errs[i] = do(piece) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// randomOrdinals gives those of about n stored papers, each once and in any order; of a small collection all of them.
func (c *Collection) randomOrdinals(ctx context.Context, n int) ([]uint64, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	// Which one stays of those that come to a place is chosen by chance (Vitter, "Random sampling with a reservoir", 1985).
	out, seen := make([]uint64, 0, n), 0
	rng := rand.New(rand.NewPCG(uint64(c.store.Next()), uint64(n)))
	err := c.store.Ordinals(func(ordinal uint64) error {
		seen++
		if len(out) < n {
			out = append(out, ordinal)
		} else if at := rng.IntN(seen); at < n {
			out[at] = ordinal
		}
		return ctx.Err()
	})
	if err != nil && ctx.Err() == nil {
		err = storeError("read which papers there are", err)
	}
	return out, err
}

// Copy brings over the papers with ordinals above after. told is called with one up to which all are there, now and then.
func (f *Follower) Copy(ctx context.Context, after uint64, told func(after uint64)) error {
	before := f.from.store.Next()
	for {
		workers, size := f.pace()
		pieces, last := make([][]store.Record, workers), after
		for i := range pieces {
			records, upTo, err := f.read(last, before, size)
			if err != nil {
				return err
			}
			pieces[i], last = records, upTo
		}
		if last == after {
			return nil
		}
		if err := beside(pieces, func(piece []store.Record) error { return f.write(ctx, piece) }); err != nil {
			return err
		}
		after = last
		told(after)
	}
}

// read reads the next papers to be copied.
func (f *Follower) read(after, before uint64, size int) ([]store.Record, uint64, error) {
	if err := f.from.enter(); err != nil {
		return nil, after, err
	}
	defer f.from.leave()
	ordinals, records, err := f.from.store.Range(after, before, size, followBytes)
	if err != nil {
		return nil, after, storeError("read papers", err)
	}
	if len(ordinals) > 0 {
		after = ordinals[len(ordinals)-1]
	}
	return records, after, nil
}

// Compare removes what the followed collection has not, by the ids of both. They are read a thousand at a time.
func (f *Follower) Compare(ctx context.Context) error {
	_, _ = f.removed.Take() // which are found too
	f.missed = true         // until it has come to its end
	after := ""
	for {
		ids, err := f.to.idsAfter(after)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			f.missed = false
			return nil
		}
		after = ids[len(ids)-1]
		if err := f.removeGone(ctx, ids); err != nil {
			return err
		}
	}
}

// idsAfter gives the next ids in their byte order.
func (c *Collection) idsAfter(after string) ([]string, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	records, err := c.store.List(after, MaxPapersPerCall)
	if err != nil {
		return nil, storeError("list papers", err)
	}
	ids := make([]string, len(records))
	for i := range records {
		ids[i] = records[i].Paper.ID
	}
	return ids, nil
}

// removeGone removes those of some papers that the followed collection has not.
func (f *Follower) removeGone(ctx context.Context, ids []string) error {
	if err := f.from.enter(); err != nil {
		return err
	}
	gone, err := f.gone(ids)
	f.from.leave()
	if err != nil {
		return err
	}
	f.mu.Lock()
	for _, id := range gone {
		delete(f.refused, id)
	}
	f.mu.Unlock()
	return f.remove(ctx, gone)
}

// remove removes papers from the other collection, where it has them.
func (f *Follower) remove(ctx context.Context, ids []string) error {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	for some := range slices.Chunk(ids, MaxPapersPerCall) {
		err := f.patiently(ctx, func() error {
			_, _, _, err := f.to.deleteHere(context.WithValue(ctx, ofFollower{}, true), some)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// gone gives those of some ids that are not stored, each once.
func (f *Follower) gone(ids []string) (gone []string, err error) {
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		switch _, err := f.from.store.Ordinal(id); {
		case errors.Is(err, store.ErrNotFound):
			gone = append(gone, id)
		case err != nil && !errors.Is(err, store.ErrCorrupt): // a damaged one is there
			return nil, storeError("look up paper", err)
		}
	}
	return gone, nil
}

// errEnough ends a reading of the change log.
var errEnough = errors.New("enough")

// CatchUp brings over what has changed up to the revision that the followed collection has when it is called.
func (f *Follower) CatchUp(ctx context.Context) error {
	upTo := f.from.store.Revision()
	ids, missed := f.removed.Take()
	if f.missed = f.missed || missed; f.missed {
		if err := f.Compare(ctx); err != nil {
			return err
		}
	}
	if err := f.removeGone(ctx, ids); err != nil {
		f.missed = true // what was taken is not known any more
		return err
	}
	for f.at.Load() < upTo {
		ordinals, reached, err := f.changed(upTo)
		if errors.Is(err, store.ErrForgotten) { // by a program that does not know of followers
			f.from.log.Warn("the change log does not go back to where a migration was; all papers are compared", "revision", f.at.Load())
			return f.again(ctx, upTo)
		}
		if err != nil {
			return err
		}
		for some := range slices.Chunk(ordinals, followAtOnce) {
			if err := f.bring(ctx, some); err != nil {
				return err
			}
		}
		f.at.Store(reached)
	}
	return nil
}

// again brings over all that there is, for where it is not known what has changed.
func (f *Follower) again(ctx context.Context, upTo uint64) error {
	if err := f.Copy(ctx, 0, func(uint64) {}); err != nil {
		return err
	}
	if err := f.Compare(ctx); err != nil {
		return err
	}
	f.at.Store(upTo)
	return nil
}

// changed gives the ordinals of the next papers that were added or changed, and the revision that they lead to.
func (f *Follower) changed(upTo uint64) (ordinals []uint64, reached uint64, err error) {
	if err := f.from.enter(); err != nil {
		return nil, 0, err
	}
	defer f.from.leave()
	reached = f.at.Load()
	seen := map[uint64]bool{}
	err = f.from.store.Changes(reached, func(revision uint64, changes []store.Change) error {
		if revision > upTo || len(seen) >= followChanges {
			return errEnough
		}
		for _, change := range changes {
			if change.Op != store.Removed && !seen[change.Ordinal] {
				seen[change.Ordinal] = true
				ordinals = append(ordinals, change.Ordinal)
			}
		}
		reached = revision
		return nil
	})
	if err != nil && err != errEnough {
		return nil, 0, storeError("read what has changed", err)
	}
	return ordinals, reached, nil
}

// bring brings over the papers of some ordinals, as they are now. Of one that has moved on, the change log says more.
func (f *Follower) bring(ctx context.Context, ordinals []uint64) error {
	if err := f.from.enter(); err != nil {
		return err
	}
	records, present, err := f.from.store.Records(ordinals)
	f.from.leave()
	if err != nil {
		return storeError("read papers", err)
	}
	there := records[:0]
	for i := range records {
		if present[i] {
			there = append(there, records[i])
		}
	}
	return f.write(ctx, there)
}

// write writes papers to the other collection. One that it does not take is noted, and leaves the others alone. What it had of such a paper before, or of
// one whose time has passed, goes: it has nothing that the followed collection does not answer with.
func (f *Follower) write(ctx context.Context, records []store.Record) error {
	var papers []Paper
	var stale []string
	for i := range records {
		switch p := records[i].Paper; {
		case slices.ContainsFunc(papers, func(o Paper) bool { return o.ID == p.ID }):
		case f.from.gone(&p):
			stale = append(stale, p.ID)
		default:
			papers = append(papers, p)
		}
	}
	if len(papers) > 0 {
		refused, err := f.ingest(ctx, papers)
		if err != nil {
			return err
		}
		for id := range refused {
			stale = append(stale, id)
		}
		f.note(papers, refused)
	}
	return f.remove(ctx, stale)
}

// ingest writes papers that have different ids, and gives why some are refused. One whose time has passed meanwhile has none.
func (f *Follower) ingest(ctx context.Context, papers []Paper) (refused map[string]string, err error) {
	vectors := f.vectors(papers)
	var why []error
	err = f.patiently(ctx, func() (err error) {
		_, why, _, err = f.to.ingest(context.WithValue(ctx, ofFollower{}, true), papers, WriteAny, vectors)
		return err
	})
	if err != nil {
		return nil, err
	}
	refused = map[string]string{}
	for i := range papers {
		if why[i] != nil {
			refused[papers[i].ID] = ""
			if !f.from.gone(&papers[i]) {
				refused[papers[i].ID] = why[i].Error()
			}
		}
	}
	return refused, nil
}

// vectors says how those of papers under the new model are made, which is decided here alone: of the old ones, where that can be; else of the texts, one at a time
// while somebody searches, as many would take all slots of the new model and with them all cores. nil: as a write makes them.
func (f *Follower) vectors(papers []Paper) func(context.Context, []int) ([]Encoding, error) {
	switch _, size := f.pace(); {
	case f.remake != nil:
		return func(ctx context.Context, which []int) ([]Encoding, error) { return f.remade(papers, which) }
	case size == followBeside:
		return func(ctx context.Context, which []int) ([]Encoding, error) { return f.oneByOne(ctx, papers, which) }
	}
	return nil
}

// oneByOne encodes papers one after the other.
func (f *Follower) oneByOne(ctx context.Context, papers []Paper, which []int) ([]Encoding, error) {
	out := make([]Encoding, len(which))
	for j, i := range which {
		enc, err := f.to.encoder.Encode(ctx, Bulk, Document, []string{PaperText(&papers[i])})
		var about *TextError
		if errors.As(err, &about) {
			copied := *about
			copied.Index = j
			return nil, &copied
		}
		if err != nil {
			return nil, err
		}
		out[j] = enc[0]
	}
	return out, nil
}

// note notes which papers are refused, and which are not any more.
func (f *Follower) note(papers []Paper, refused map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range papers {
		id := papers[i].ID
		delete(f.refused, id)
		if why := refused[id]; why != "" && len(f.refused) < refusedKept {
			f.refused[id] = why
		}
	}
}

// remade are vectors that are made of those that are stored. What the model read of the text is as it was.
func (f *Follower) remade(papers []Paper, which []int) ([]Encoding, error) {
	out := make([]Encoding, len(which))
	for j, i := range which {
		old, ordinal, err := f.from.vectorOf("id", papers[i].ID)
		if err != nil {
			return nil, err
		}
		if out[j].Vector, err = f.remake(old); err != nil {
			return nil, &TextError{Index: j, Err: err}
		}
		records, present, err := f.from.store.Records([]uint64{ordinal})
		if err != nil {
			return nil, storeError("read paper", err)
		}
		if present[0] {
			out[j].TextUse = TextUse{records[0].Tokens, records[0].Truncated}
		}
	}
	return out, nil
}

// followRest is the longest time between two tries.
const followRest = 10 * time.Second

// patiently does what may have no room or time for the moment, again and again until it has, or ctx ends.
func (f *Follower) patiently(ctx context.Context, do func() error) error {
	for {
		var err error
		if f.room != nil {
			if full := f.room(); full != nil {
				err = &Error{Kind: Exhausted, Message: full.Error(), RetryAfter: time.Second, Err: full}
			}
		}
		if err == nil {
			err = do()
		}
		var said *Error
		busy := errors.As(err, &said) && (said.Kind == Exhausted || said.Kind == Unavailable && f.to.discarded.Load() == nil && f.from.discarded.Load() == nil)
		if err == nil || !busy || ctx.Err() != nil {
			f.wait("")
			return err
		}
		f.wait(said.Message)
		timer := time.NewTimer(min(max(said.RetryAfter, 100*time.Millisecond), followRest))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (f *Follower) wait(why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits = why
}
