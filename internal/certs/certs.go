// Package certs makes TLS configurations of files, for a server that follows its files and for a client.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"embedd/internal/reload"
)

// Files are the PEM files of one side.
type Files struct {
	// Cert is the side's own certificate, with the chain behind it, and Key its private key.
	Cert, Key string
	// CA has the authorities that the other side's certificate must come from. A server without one takes any client; a client
	// without one trusts the system's.
	CA string
}

// Server gives the configuration of a server of gRPC. When a file changes, new connections get the new one; changed is told of
// it, and of files that cannot be used, for which the old ones stay. A pair of certificate and key that is seen half changed does not
// fit together, and is read again when the rest has come. ends tells when the certificates in effect end.
func Server(f Files, changed func(error)) (c *tls.Config, ends func() Ends, err error) {
	files := []string{f.Cert, f.Key}
	if f.CA != "" {
		files = append(files, f.CA)
	}
	v, err := reload.Open(f.server, changed, files...)
	if err != nil {
		return nil, nil, err
	}
	c = v.Get().config.Clone()
	// Certificate and authorities of the handshake come from here. gRPC adds its protocol to c only, so the configuration that is
	// returned has it from the beginning (golang/go#64796).
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return v.Get().config, nil }
	return c, func() Ends { return v.Get().ends }, nil
}

// Ends are when certificates end: the first of a chain, and the first of several authorities.
type Ends struct {
	// Server is the server's own, ClientCA that of clients' authorities; zero where there are none.
	Server, ClientCA time.Time
}

// served is what a server has of its files.
type served struct {
	config *tls.Config
	ends   Ends
}

func (f Files) server() (served, error) {
	c, err := f.serverConfig()
	if err != nil {
		return served{}, err
	}
	s := served{config: c, ends: Ends{Server: firstEnd(c.Certificates[0].Certificate)}}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return served{}, err
		}
		s.ends.ClientCA = firstEnd(blocks(text))
	}
	return s, nil
}

// blocks are the certificates of a PEM file.
func blocks(text []byte) (ders [][]byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		ders = append(ders, block.Bytes)
	}
	return ders
}

// firstEnd is when the first of some certificates ends. What is none, which TLS skips too, has no end.
func firstEnd(ders [][]byte) (end time.Time) {
	for _, der := range ders {
		if cert, err := x509.ParseCertificate(der); err == nil && (end.IsZero() || cert.NotAfter.Before(end)) {
			end = cert.NotAfter
		}
	}
	return end
}

// pair reads the certificate and its key.
func (f Files) pair() (tls.Certificate, error) {
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readKey(f.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("certificate %s and key %s: %w", f.Cert, f.Key, err)
	}
	return pair, nil
}

// readKey reads a private key. As with ssh and PostgreSQL, a file that others than its owner can read is refused; one of root's may be
// read by its group, as which a service reads a key that the system looks after.
func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	others := fs.FileMode(0o077)
	if owner, ok := fi.Sys().(*syscall.Stat_t); ok && owner.Uid == 0 {
		others = 0o037
	}
	if mode := fi.Mode().Perm(); fi.Mode().IsRegular() && mode&others != 0 {
		return nil, fmt.Errorf("%s is a private key, and others can read or change it (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	return io.ReadAll(f)
}

func (f Files) serverConfig() (*tls.Config, error) {
	cert, err := f.pair()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if f.CA != "" {
		if c.ClientCAs, err = pool(f.CA); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// Client gives the configuration of a client. Cert and Key may be empty.
func Client(f Files) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a client's certificate and its key go together: give both or neither")
	}
	if f.Cert != "" {
		cert, err := f.pair()
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	if f.CA != "" {
		var err error
		if c.RootCAs, err = pool(f.CA); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// pool reads the authorities of a PEM file.
func pool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", path)
	}
	return p, nil
}
