package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"embedd/internal/certs"
)

// reachFlags say how a server is reached that asks for a key or speaks TLS.
type reachFlags struct {
	Key      string `help:"Key to show the server. Better set by EMBEDD_KEY: others can see a command line." placeholder:"KEY"`
	TLS      bool   `name:"tls" help:"Speak TLS; implied by the next three."`
	CA       string `name:"ca" help:"Authorities that the server's certificate must come from, in PEM; default: the system's." placeholder:"FILE"`
	Cert     string `help:"Certificate to show the server, in PEM." placeholder:"FILE"`
	CertKey  string `help:"Private key of --cert, in PEM." placeholder:"FILE"`
	Insecure bool   `help:"Send the key to another machine without TLS all the same."`
}

// dial makes a connection to a server; nothing is sent before the first call.
func (f *reachFlags) dial(target string, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	encrypted := f.TLS || f.CA != "" || f.Cert != "" || f.CertKey != ""
	if encrypted {
		c, err := certs.Client(certs.Files{Cert: f.Cert, Key: f.CertKey, CA: f.CA})
		if err != nil {
			return nil, fmt.Errorf("--ca, --cert, --cert-key: %w", err)
		}
		more = append(more, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	}
	if f.Key != "" {
		if !encrypted && !f.Insecure && !loopbackTarget(target) {
			return nil, errors.New("--key: would go to another machine in the clear; add --tls, or --insecure if the way there is safe")
		}
		if strings.ContainsFunc(f.Key, func(r rune) bool { return r < '!' || r > '~' }) {
			return nil, errors.New("--key: has a character that no key has; check that it was copied as it was shown")
		}
		more = append(more, grpc.WithPerRPCCredentials(bearer(f.Key)))
	}
	conn, err := dial(target, more...)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	return conn, nil
}

// loopbackTarget tells whether a target is this machine.
func loopbackTarget(target string) bool {
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		host = target
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bearer is a key on its way.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. reachFlags.dial has seen to it.
func (bearer) RequireTransportSecurity() bool { return false }
