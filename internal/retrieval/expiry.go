package retrieval

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"embedd/internal/metadata"
	"embedd/internal/store"
)

// A paper whose time has passed is in no answer from that moment, and the upkeep removes it soon after. Where no paper has a time, all that this costs is
// a comparison.
type expiry struct {
	// mu is held for reading while papers that expire are stored, for writing while it is looked when the next one does.
	mu sync.RWMutex
	// next is when, at the earliest, a paper expires, in Unix nanoseconds; never: none does.
	next atomic.Int64
	// notBefore is when another try may be made after one that failed.
	notBefore atomic.Int64
	timer     *time.Timer
	// sweeping is held while papers that have expired are removed, and while all is checked.
	sweeping sync.Mutex
	// going are those that are being removed: the store may have lost them while what is derived from it still has them. nil: none are.
	going atomic.Pointer[map[uint64]bool]
}

const (
	never = math.MaxInt64
	// expiryLook is how long the clock is trusted: it may be set.
	expiryLook = time.Minute
	// expiryRest is the time between two tries to remove what has expired.
	expiryRest = 10 * time.Second
)

// nanoseconds are those of a time since 1970; of one that they do not reach, as many as there are.
func nanoseconds(at time.Time) int64 {
	if at.Unix() >= math.MaxInt64/int64(time.Second) {
		return never - 1
	}
	return at.UnixNano()
}

// expires notes that a paper is about to be stored that expires.
func (x *expiry) expires(at time.Time) {
	for {
		next := x.next.Load()
		if n := nanoseconds(at); n >= next || x.next.CompareAndSwap(next, n) {
			return
		}
	}
}

// putPapers stores papers, and knows of those that expire before they can be found.
func (c *Collection) putPapers(writes []store.Write) ([]store.Placement, uint64, error) {
	if slices.ContainsFunc(writes, func(w store.Write) bool { return !w.Record.Paper.Expires.IsZero() }) {
		c.expiry.mu.RLock()
		defer c.expiry.mu.RUnlock()
		for i := range writes {
			if at := writes[i].Record.Paper.Expires; !at.IsZero() {
				c.expiry.expires(at)
			}
		}
		defer c.armExpiry()
	}
	return c.store.Put(writes)
}

// openExpiry looks when the next paper expires. armExpiry begins to watch for it.
func (c *Collection) openExpiry() error {
	if err := c.lookExpiry(); err != nil {
		return storeError("look for papers that expire", err)
	}
	c.expiry.timer = time.AfterFunc(time.Hour, c.tend)
	return nil
}

// lookExpiry looks in the store when the next paper expires.
func (c *Collection) lookExpiry() error {
	x := &c.expiry
	x.mu.Lock()
	defer x.mu.Unlock()
	at, ok, err := c.store.NextExpiry()
	switch {
	case err != nil:
		return err
	case ok:
		x.next.Store(nanoseconds(at))
	default:
		x.next.Store(never)
	}
	return nil
}

// armExpiry has the upkeep look when there is something to do.
func (c *Collection) armExpiry() {
	x := &c.expiry
	next := x.next.Load()
	if next == never {
		return
	}
	now := c.now()
	wait := max(time.Duration(next-now.UnixNano()), time.Duration(x.notBefore.Load()-now.UnixNano()))
	x.timer.Reset(min(max(wait, 0), expiryLook))
}

// expiryDue tells whether there may be papers to remove, and sees to being asked again.
func (c *Collection) expiryDue() bool {
	x, now := &c.expiry, c.now().UnixNano()
	if x.next.Load() > now || x.notBefore.Load() > now {
		c.armExpiry()
		return false
	}
	return true
}

// sweep removes the papers whose time has passed.
func (c *Collection) sweep(ctx context.Context) (about []any, err error) {
	c.expiry.sweeping.Lock()
	defer c.expiry.sweeping.Unlock()
	n := 0
	defer func() {
		if err != nil {
			c.expiry.notBefore.Store(c.now().Add(expiryRest).UnixNano())
		}
		c.armExpiry()
	}()
	now := c.now()
	going, err := c.stillStored(now)
	if err != nil {
		return nil, err
	}
	c.expiry.going.Store(&going)
	defer c.expiry.going.Store(nil)
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return []any{"papers", n}, err
		}
		var ordinals []uint64
		var revision uint64
		if ordinals, revision, more, err = c.store.Expire(now, MaxPapersPerCall); err != nil {
			return []any{"papers", n}, err
		}
		if len(ordinals) > 0 {
			c.unindex(ordinals, revision)
			n += len(ordinals)
		}
	}
	return []any{"papers", n}, c.lookExpiry()
}

// gone tells whether the time of a paper has passed.
func (c *Collection) gone(p *Paper) bool { return !p.Expires.IsZero() && !p.Expires.After(c.now()) }

// goneAt tells so of the paper that is stored under an ordinal.
func (c *Collection) goneAt(ordinal uint64) (bool, error) {
	if c.expiry.next.Load() > c.now().UnixNano() {
		return false, nil
	}
	records, present, err := c.store.Records([]uint64{ordinal})
	if err != nil {
		return false, storeError("read paper", err)
	}
	return present[0] && c.gone(&records[0].Paper), nil
}

// stillStored gives the ordinals of the papers whose time has passed and that are still stored; nil where there are none.
func (c *Collection) stillStored(now time.Time) (map[uint64]bool, error) {
	if c.expiry.next.Load() > now.UnixNano() {
		return nil, nil
	}
	all := map[uint64]bool{}
	if err := c.store.Expired(now, func(ordinal uint64) { all[ordinal] = true }); err != nil {
		return nil, storeError("look for papers that have expired", err)
	}
	return all, nil
}

// expired gives the ordinals of the papers whose time has passed and that are still stored, or in what is derived; nil where there are none.
func (c *Collection) expired() (map[uint64]bool, error) {
	going := c.expiry.going.Load() // before the store is read, which loses them later
	all, err := c.stillStored(c.now())
	if err != nil || going == nil || len(*going) == 0 {
		return all, err
	}
	if all == nil {
		all = map[uint64]bool{}
	}
	maps.Copy(all, *going)
	return all, nil
}

// papers is how many papers are stored whose time has not passed.
func (c *Collection) papers() (int, error) {
	for {
		n := c.store.Count()
		gone, err := c.stillStored(c.now())
		if err != nil || len(gone) == 0 || c.store.Count() == n { // otherwise some may have gone between the two
			return n - len(gone), err
		}
	}
}

// withoutExpired takes the papers whose time has passed out of a set.
func (c *Collection) withoutExpired(set *metadata.Set) (*metadata.Set, error) {
	gone, err := c.expired()
	if err != nil || len(gone) == 0 {
		return set, err
	}
	return set.Without(func(yield func(uint64) bool) {
		for ordinal := range gone {
			if !yield(ordinal) {
				return
			}
		}
	}), nil
}

// checkExpires refuses a time that has passed, or that cannot be kept.
func (c *Collection) checkExpires(field string, p *Paper) error {
	if p.Expires.IsZero() {
		return nil
	}
	switch at, now := p.Expires.UTC(), c.now(); {
	case at.Year() > 9999:
		return invalid(field, "is after the year 9999; leave it out for a paper that stays")
	case !at.After(now):
		return invalid(field, "is %s, and now it is %s; a paper expires in the future", at.Format(time.RFC3339Nano), now.UTC().Format(time.RFC3339Nano))
	}
	return nil
}
