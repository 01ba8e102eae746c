package main

import (
	"strings"
	"testing"
)

// A name or an origin that no browser would ever send is refused at the start, not waited for.
func TestWebFlags(t *testing.T) {
	for _, host := range []string{"papers.example.org", "upstream", "192.0.2.1", "[2001:db8::1]"} {
		if err := (&webFlags{HTTPHost: []string{host}}).check(); err != nil {
			t.Errorf("%q: %v", host, err)
		}
	}
	for _, host := range []string{"", " ", "*", "*.example.org", "https://papers.example.org", "papers.example.org/", "papers.example.org:443", "a b"} {
		if err := (&webFlags{HTTPHost: []string{host}}).check(); err == nil || !strings.Contains(err.Error(), "is not a host") {
			t.Errorf("--http-host %q: %v", host, err)
		}
	}
	for _, origin := range []string{"", "*", "null", "localhost:8701", "https://example.org/", "https://example.org/page"} {
		if err := (&webFlags{CORSOrigin: []string{origin}}).check(); err == nil || !strings.Contains(err.Error(), "is not an origin") {
			t.Errorf("--cors-origin %q: %v", origin, err)
		}
	}
}
