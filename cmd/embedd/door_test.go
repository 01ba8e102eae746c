package main

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"embedd/internal/access"
	"embedd/internal/server"
	"embedd/internal/testkit"
)

// SIGHUP reads the keys again.
func TestKeysAreReadAgainOnSIGHUP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	_, secret, err := access.Create(path, access.Key{Name: "a", Role: access.Read}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	out := &testkit.Buffer{}
	f := doorFlags{Keys: path}
	keys, stop, err := f.keys(slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, err := keys().Find(secret, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := access.Revoke(path, "a", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "read again"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is logged")
		}
	}
	if _, err := keys().Find(secret, time.Now()); err != access.ErrRevoked {
		t.Errorf("%v, want that it was revoked", err)
	}
}

// What an address needs before a server listens on it.
func TestDoorOptions(t *testing.T) {
	home, all := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv6unspecified}
	keys, cert := doorFlags{Keys: "k"}, doorFlags{Keys: "k", TLSCert: "none.pem", TLSKey: "none.pem"}
	for _, c := range []struct {
		name       string
		f          doorFlags
		addr       net.Addr
		say        string // "": no error
		rate       float64
		reflection bool
	}{
		{"loopback", doorFlags{}, home, "", 0, true},
		{"loopback of IPv6", doorFlags{}, &net.TCPAddr{IP: net.IPv6loopback}, "", 0, true},
		{"loopback, a rate", doorFlags{Rate: ptr(7.0)}, home, "", 7, true},
		{"open", doorFlags{}, all, "it has no keys and no TLS", 0, false},
		{"a private address", doorFlags{}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}, "it has no keys and no TLS", 0, false},
		{"keys", keys, all, "it has no TLS", 0, false},
		{"TLS", doorFlags{TLSCert: "c", TLSKey: "k"}, all, "it has no keys; give", 0, false},
		{"insecure", doorFlags{Insecure: true}, all, "", 50, false},
		{"insecure, no rate", doorFlags{Insecure: true, Rate: ptr(0.0)}, all, "", 0, false},
		{"certificates that are not there", cert, all, "none.pem", 0, false},
	} {
		o := server.Options{Log: slog.New(slog.DiscardHandler)}
		err := c.f.options([]listening{{"--listen", c.addr}}, &o)
		switch {
		case c.say != "":
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%s: %v, want an error saying %q", c.name, err, c.say)
			}
		case err != nil || o.Limits.Rate != c.rate || o.Reflection != c.reflection:
			t.Errorf("%s: %v, rate %v, reflection %v", c.name, err, o.Limits.Rate, o.Reflection)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// A key goes in the clear to this machine only.
func TestLoopbackTargets(t *testing.T) {
	for target, want := range map[string]bool{
		"127.0.0.1:1": true, "localhost:1": true, "[::1]:1": true, "127.9.9.9:1": true, "localhost": true,
		"192.0.2.1:1": false, "localhost.example:1": false, "127.0.0.1.example:1": false, "0.0.0.0:1": false, "dns:///localhost:1": false, "": false,
	} {
		if got := loopbackTarget(target); got != want {
			t.Errorf("%q: %v, want %v", target, got, want)
		}
	}
}

// An address is shown as it was asked for, with the port that it came to have.
func TestShownAddress(t *testing.T) {
	for _, c := range []struct{ asked, is, want string }{
		{"0.0.0.0:0", "[::]:1234", "0.0.0.0:1234"}, {"[::]:50051", "[::]:50051", "[::]:50051"}, {"localhost:50051", "127.0.0.1:50051", "localhost:50051"},
		{":50051", "[::]:50051", "[::]:50051"}, {"127.0.0.1:0", "127.0.0.1:9", "127.0.0.1:9"},
	} {
		addr, err := net.ResolveTCPAddr("tcp", c.is)
		if err != nil {
			t.Fatal(err)
		}
		if got := shownAddress(c.asked, addr); got != c.want {
			t.Errorf("%s at %s is shown as %s, want %s", c.asked, c.is, got, c.want)
		}
	}
}
