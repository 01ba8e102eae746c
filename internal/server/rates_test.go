package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"embedd/internal/access"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

func TestRates(t *testing.T) {
	k := makeKeys(t)
	r := launch(t, Options{Keys: func() *access.Keys { return k.set }, Limits: Limits{Rate: 5, WriteRate: 2}})
	conn := r.connect(t)
	with := func(md ...string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs(md...))
	}
	read := func(ctx context.Context) error {
		_, err := embeddv1.NewInfoServiceClient(conn).GetInfo(ctx, &embeddv1.GetInfoRequest{})
		return err
	}
	write := func(ctx context.Context) error {
		_, err := embeddv1.NewPaperServiceClient(conn).DeletePapers(ctx, &embeddv1.DeletePapersRequest{Ids: []string{"x"}})
		return err
	}
	for _, c := range []struct {
		name  string
		call  func() error
		burst int
		first codes.Code
		say   string
	}{
		{"a key", func() error { return read(with("authorization", "Bearer "+k.secrets["read"])) }, 10, codes.OK, "5 calls with one key a second"},
		{"writes", func() error { return write(with("authorization", "Bearer "+k.secrets["write"])) }, 4, codes.OK, "2 writes with one key a second"},
		{"the writer's other calls", func() error { return read(with("authorization", "Bearer "+k.secrets["write"])) }, 10, codes.OK, "5 calls with one key a second"},
		{"wrong keys", func() error { return read(with("authorization", "Bearer x")) }, 10, codes.Unauthenticated, "without a good key from one address"},
		{"no key, where others tried", func() error { return read(t.Context()) }, 0, codes.Unauthenticated, "without a good key from one address"},
		{"a publishable key", func() error {
			return read(with("x-api-key", k.secrets["publishable"], "origin", "https://journal.example"))
		}, 20, codes.OK, "publishable key from one address"},
	} {
		var err error
		n := 0
		for ; n < 100; n++ {
			if err = c.call(); status.Code(err) != c.first {
				break
			}
		}
		if n < c.burst || n > c.burst+2 || status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), c.say) || retryInfo(err) <= 0 {
			t.Errorf("%s: %d calls, then %v with %v to wait; want %d, then RESOURCE_EXHAUSTED saying %q", c.name, n, err, retryInfo(err), c.burst, c.say)
		}
	}
	if l := r.Load(); l.Refused["rate"] < 6 {
		t.Errorf("counted %v", l.Refused)
	}
}

func TestPrefixes(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "::1": "::/64",
	} {
		if got := prefixOf(&net.TCPAddr{IP: net.ParseIP(in), Port: 1}).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if p := prefixOf(&net.UnixAddr{Name: "x"}); p.IsValid() {
		t.Errorf("a socket has the address %v", p)
	}
}

// A million addresses take no more memory than a hundred thousand.
func TestManyAddresses(t *testing.T) {
	if testing.Short() {
		t.Skip("a second or two")
	}
	r := newRates()
	heap := func() int64 { // which may fall: what other tests have left is collected too
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var full int64
	for i := range 1_000_000 {
		address := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 16), byte(i >> 8), byte(i)}), 64)
		if err := r.take(bucket{address: address}, 1, "calls"); err != nil {
			t.Fatalf("address %d: %v", i, err)
		}
		if i == maxBuckets {
			full = heap()
		}
	}
	after := heap()
	t.Logf("%d MB with %d addresses, %d MB after a million", (full-before)>>20, maxBuckets, (after-before)>>20)
	if n := r.buckets.Len(); n != maxBuckets || after-before > 64<<20 {
		t.Errorf("%d buckets, %d bytes", n, after-before)
	}
}

func TestRatesFillUp(t *testing.T) {
	r := newRates()
	take := func() error { return r.take(bucket{key: "k"}, 100, "calls") }
	n := 0
	var err error
	for ; err == nil; n++ {
		err = take()
	}
	var e *retrieval.Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 || e.RetryAfter > 10*time.Millisecond {
		t.Fatalf("%v", err)
	}
	time.Sleep(e.RetryAfter + time.Millisecond)
	if err := take(); err != nil {
		t.Errorf("%v after the time to wait", err)
	}
	if err := r.take(bucket{key: "k"}, 0, fmt.Sprint(n)); err != nil {
		t.Errorf("%v where there is no limit", err)
	}
}
