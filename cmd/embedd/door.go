package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"embedd/internal/access"
	"embedd/internal/certs"
	"embedd/internal/reload"
	"embedd/internal/server"
)

// doorFlags say who may come in, and how much each may take.
type doorFlags struct {
	Keys     string `help:"Keys file, made by embedd keys create; each call must then show a key." placeholder:"FILE"`
	TLSCert  string `name:"tls-cert" help:"The server's certificate, in PEM, with the chain behind it; it then speaks TLS." placeholder:"FILE"`
	TLSKey   string `name:"tls-key" help:"Private key of --tls-cert, in PEM." placeholder:"FILE"`
	ClientCA string `name:"client-ca" help:"Authorities that the certificate of each client must come from, in PEM." placeholder:"FILE"`
	Insecure bool   `help:"Listen on an address that other machines reach without keys or without TLS all the same." env:"EMBEDD_SERVE_INSECURE"`

	MaxConnections           int      `help:"Connections at once." default:"1024" placeholder:"N"`
	MaxConnectionsPerAddress int      `help:"Connections at once from one address, 0: as many as in all; raise it behind a proxy that opens one for each call." default:"64" placeholder:"N"`
	Rate                     *float64 `help:"Calls a second of one key, and of one address without a key, 0: no limit; default: 50, on the loopback interface 0." placeholder:"N"`
	WriteRate                *float64 `help:"The same for calls that change papers; default: 10, on the loopback interface 0." placeholder:"N"`

	ends func() certs.Ends // of the certificates, once they are read; nil without TLS
}

// check refuses flags that do not go together. It is called before anything is opened.
func (f *doorFlags) check() error {
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return errors.New("--tls-cert, --tls-key: go together; give both or neither")
	case f.ClientCA != "" && f.TLSCert == "":
		return errors.New("--client-ca: clients show certificates only over TLS; add --tls-cert and --tls-key")
	case f.MaxConnections < 1:
		return fmt.Errorf("--max-connections: is %d; must be 1 or more", f.MaxConnections)
	case f.MaxConnectionsPerAddress < 0:
		return fmt.Errorf("--max-connections-per-address: is %d; must be 0 or more", f.MaxConnectionsPerAddress)
	case f.Rate != nil && !(*f.Rate >= 0):
		return fmt.Errorf("--rate: is %v; must be 0 or more", *f.Rate)
	case f.WriteRate != nil && !(*f.WriteRate >= 0):
		return fmt.Errorf("--write-rate: is %v; must be 0 or more", *f.WriteRate)
	}
	return nil
}

// listening is an address that a flag has the server listen on.
type listening struct {
	flag string
	at   net.Addr
}

// options completes the server's, for the addresses that it listens on, of which the first is gRPC's. An address that other machines reach needs keys
// and TLS, or --insecure.
func (f *doorFlags) options(on []listening, o *server.Options) (err error) {
	o.Limits.Connections, o.Limits.ConnectionsPerAddress = f.MaxConnections, f.MaxConnectionsPerAddress
	o.Reflection = loopback(on[0].at)
	for _, l := range on {
		if loopback(l.at) {
			continue
		}
		o.Limits.Rate, o.Limits.WriteRate = server.DefaultRate, server.DefaultWriteRate
		if err := f.checkOpen(l, o.Log); err != nil {
			return err
		}
	}
	if f.Rate != nil {
		o.Limits.Rate = *f.Rate
	}
	if f.WriteRate != nil {
		o.Limits.WriteRate = *f.WriteRate
	}
	if f.TLSCert != "" {
		if o.TLS, err = f.tls(o.Log); err != nil {
			return err
		}
	}
	return nil
}

// checkOpen refuses to be open to other machines by mistake.
func (f *doorFlags) checkOpen(l listening, log *slog.Logger) error {
	var lacks, next []string
	if f.Keys == "" {
		lacks, next = append(lacks, "keys"), append(next, "--keys FILE (make one with: embedd keys create --keys FILE --role admin)")
	}
	if f.TLSCert == "" {
		lacks, next = append(lacks, "TLS"), append(next, "--tls-cert FILE --tls-key FILE")
	}
	switch {
	case len(lacks) == 0:
		return nil
	case f.Insecure:
		log.Warn("other machines reach this address, and --insecure was given", strings.TrimLeft(l.flag, "-"), l.at.String(), "without", strings.Join(lacks, ", "))
		return nil
	}
	return fmt.Errorf("%s %s: other machines reach this address, and it has no %s; give %s; or listen on 127.0.0.1; or, if the network is safe, give --insecure",
		l.flag, l.at, strings.Join(lacks, " and no "), strings.Join(next, " and "))
}

// loopback tells whether an address can only be reached from this machine.
func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// shownAddress is where a listener listens, with the host as it was asked for: of 0.0.0.0 a listener itself says [::].
func shownAddress(asked string, addr net.Addr) string {
	host, _, err := net.SplitHostPort(asked)
	if err != nil || host == "" {
		return addr.String()
	}
	_, port, err := net.SplitHostPort(addr.String()) // asked may have been for any
	if err != nil {
		return addr.String()
	}
	return net.JoinHostPort(host, port)
}

func (f *doorFlags) tls(log *slog.Logger) (*tls.Config, error) {
	c, ends, err := certs.Server(certs.Files{Cert: f.TLSCert, Key: f.TLSKey, CA: f.ClientCA}, func(err error) {
		if err != nil {
			log.Error("the certificates have changed and cannot be used; those of before stay", "error", err)
			return
		}
		log.Info("the certificates have changed; new connections get the new ones")
	})
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key, --client-ca: %w", err)
	}
	f.ends = ends
	return c, nil
}

// keys reads the keys file, and reads it again when it changes, and on SIGHUP, until stop is called. It is nil without a file.
func (f *doorFlags) keys(log *slog.Logger) (keys func() *access.Keys, stop func(), err error) {
	if f.Keys == "" {
		return nil, func() {}, nil
	}
	v, err := reload.Open(func() (*access.Keys, error) { return access.ReadFile(f.Keys) }, func(err error) {
		if err != nil {
			log.Error("the keys file has changed and cannot be used; the keys of before stay", "error", err)
			return
		}
		log.Info("the keys file was read again", "file", f.Keys)
	}, f.Keys)
	if err != nil {
		return nil, nil, fmt.Errorf("--keys: %w", err)
	}
	hup, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range hup {
			v.Reload()
		}
	}()
	return v.Get, func() {
		signal.Stop(hup)
		close(hup)
		<-done
	}, nil
}

// describe is the door in a line.
func (f *doorFlags) describe(limits server.Limits) string {
	who := "no keys"
	if f.Keys != "" {
		who = "keys in " + shortPath(f.Keys)
	}
	how := "no TLS"
	switch {
	case f.ClientCA != "":
		how = "TLS, clients with certificates"
	case f.TLSCert != "":
		how = "TLS"
	}
	often := "no limit of rate"
	if limits.Rate > 0 || limits.WriteRate > 0 {
		often = fmt.Sprintf("%v calls and %v writes a second", limits.Rate, limits.WriteRate)
	}
	return fmt.Sprintf("%s, %s, %s, %d connections", who, how, often, limits.Connections)
}
