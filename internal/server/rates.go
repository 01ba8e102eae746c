package server

import (
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// maxBuckets is how many callers' rates are known at once. Who was not seen for the longest time is forgotten, and begins anew: the memory
// is bounded, whatever addresses calls claim to come from.
const maxBuckets = 100_000

// bucket names what calls are counted for.
type bucket struct {
	key     string
	address netip.Prefix
	write   bool
}

// rates counts calls by bucket.
type rates struct {
	buckets *lru.Cache[bucket, *rate.Limiter]
}

func newRates() *rates {
	c, err := lru.New[bucket, *rate.Limiter](maxBuckets)
	if err != nil {
		panic(err) // the size is positive
	}
	return &rates{c}
}

// take takes one call of a bucket that fills at perSecond, up to twice as many; 0: there is no limit. what is what is counted, for the
// error.
func (r *rates) take(b bucket, perSecond float64, what string) error {
	if perSecond == 0 {
		return nil
	}
	l, ok := r.buckets.Get(b)
	if !ok {
		l = rate.NewLimiter(rate.Limit(perSecond), max(1, int(2*perSecond)))
		if first, ok, _ := r.buckets.PeekOrAdd(b, l); ok {
			l = first
		}
	}
	now := time.Now()
	reservation := l.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	reservation.CancelAt(now)
	return exhausted(wait, "the limit is %v %s a second; try again in %v", perSecond, what, wait.Round(time.Millisecond))
}

// give gives back a call that was taken.
func (r *rates) give(b bucket) {
	if l, ok := r.buckets.Get(b); ok {
		l.ReserveN(time.Now(), -1)
	}
}
