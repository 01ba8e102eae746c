package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"embedd/internal/access"
	"embedd/internal/gateway"
	"embedd/internal/server"
)

// webFlags say where HTTP is answered, and to whose pages.
type webFlags struct {
	HTTP       string   `name:"http" help:"Address to serve HTTP on: the pages, JSON, Connect, gRPC-Web and the compatible routes; none when empty. See docs/http.md." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	HTTPHost   []string `name:"http-host" help:"Name by which browsers reach the server, as papers.example.org behind a proxy; may be given several times. On the loopback interface without keys it is otherwise this machine alone." placeholder:"HOST"`
	CORSOrigin []string `name:"cors-origin" help:"Origin whose pages' scripts may read answers over HTTP, as https://example.org; may be given several times. Those of publishable keys may without it." placeholder:"ORIGIN"`
}

// check refuses what is no origin.
func (f *webFlags) check() error {
	for _, origin := range f.CORSOrigin {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != origin {
			return fmt.Errorf("--cors-origin: %q is not an origin; give its scheme, host and port, as https://example.org", origin)
		}
	}
	for _, host := range f.HTTPHost {
		if u, err := url.Parse("http://" + host); err != nil || u.Hostname() == "" || u.Host != host || u.Port() != "" || strings.ContainsAny(host, "* ") {
			return fmt.Errorf("--http-host: %q is not a host; give its name alone, without scheme, port and path, as papers.example.org", host)
		}
	}
	return nil
}

// listen opens the port; nil where there is to be none.
func (f *webFlags) listen() (net.Listener, error) {
	if f.HTTP == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", f.HTTP)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w; choose another HOST:PORT with --http, or none with --http=", f.HTTP, err)
	}
	return l, nil
}

// close closes the port, where there is one.
func (f *webFlags) close(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// server gives what answers on a listener until the server stops; without a listener it waits for nothing but that.
func (f *webFlags) server(s *server.Server, l net.Listener, keys func() *access.Keys, now *live) (serve func() error, err error) {
	if l == nil {
		return s.AwaitStop, nil
	}
	o := gateway.Options{Conn: s.Inside(), AllowOrigin: f.allow(keys), Weigh: server.CheckWeight, WeighJSON: server.CheckWeightOfJSON, Live: now}
	if keys == nil && loopback(l.Addr()) {
		o.Hosts = []string{"localhost", "127.0.0.1", "[::1]"}
		for _, host := range f.HTTPHost {
			o.Hosts = append(o.Hosts, strings.ToLower(host))
		}
	}
	handler, err := gateway.New(o)
	if err != nil {
		return nil, err
	}
	return func() error { return s.ServeWeb(l, handler, o.Refuser()) }, nil
}

// allow tells whose pages may read answers: those that were named, and those that a publishable key was made for. nil: nobody's.
func (f *webFlags) allow(keys func() *access.Keys) func(string) bool {
	if keys == nil && len(f.CORSOrigin) == 0 {
		return nil
	}
	return func(origin string) bool {
		return slices.Contains(f.CORSOrigin, origin) || keys != nil && keys().Knows(origin)
	}
}

// describe is the web in a line.
func (f *webFlags) describe(l net.Listener) string {
	if l == nil {
		return "none"
	}
	of := ""
	if len(f.CORSOrigin) > 0 {
		of = ", for pages of " + strings.Join(f.CORSOrigin, " and ")
	}
	return shownAddress(f.HTTP, l.Addr()) + of
}

// url is where a browser finds the server.
func (f *webFlags) url(l net.Listener, encrypted bool) string {
	scheme := "http"
	if encrypted {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: shownAddress(f.HTTP, l.Addr()), Path: "/"}).String()
}
