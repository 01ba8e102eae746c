// Package certs makes TLS configurations of files, for a server that follows its files and for a client.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

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
// fit together, and is read again when the rest has come.
func Server(f Files, changed func(error)) (*tls.Config, error) {
	files := []string{f.Cert, f.Key}
	if f.CA != "" {
		files = append(files, f.CA)
	}
	v, err := reload.Open(f.server, changed, files...)
	if err != nil {
		return nil, err
	}
	c := v.Get().Clone()
	// Certificate and authorities of the handshake come from here. gRPC adds its protocol to c only, so the configuration that is
	// returned has it from the beginning (golang/go#64796).
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return v.Get(), nil }
	return c, nil
}

func (f Files) server() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w", f.Cert, f.Key, err)
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
		cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s and key %s: %w", f.Cert, f.Key, err)
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
