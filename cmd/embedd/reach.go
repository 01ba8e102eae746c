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

// defaultPort is where a server listens that is not told otherwise.
const defaultPort = "50051"

// serverAddress is an address that was asked for with its port. Other forms that gRPC knows, as unix:PATH, stay as they are.
func serverAddress(asked string) (string, error) {
	scheme, _, isURL := strings.Cut(asked, "://")
	switch {
	case strings.TrimSpace(asked) == "":
		return "", errors.New("--server: is empty, and so is EMBEDD_SERVER where that is set; give HOST:PORT, or open a data directory with --data DIR")
	case isURL && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")):
		return "", fmt.Errorf("--server: %q is a URL, and a server of embedd has none: it speaks gRPC; give HOST:PORT, and --tls for TLS", asked)
	case isURL || strings.Contains(asked, "/") || strings.HasPrefix(asked, "unix:"), strings.HasPrefix(asked, "unix-abstract:"):
		return asked, nil
	}
	host, port, err := net.SplitHostPort(asked)
	switch {
	case err == nil && port == "":
		return net.JoinHostPort(host, defaultPort), nil
	case err == nil:
		return asked, nil
	case net.ParseIP(strings.Trim(asked, "[]")) != nil:
		return net.JoinHostPort(strings.Trim(asked, "[]"), defaultPort), nil
	case strings.Contains(asked, ":"):
		return "", fmt.Errorf("--server: %q is no HOST:PORT: %w", asked, err)
	}
	return net.JoinHostPort(asked, defaultPort), nil
}

// dial makes a connection to a server; nothing is sent before the first call.
func (f *reachFlags) dial(asked string, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	target, err := serverAddress(asked)
	if err != nil {
		return nil, err
	}
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
	if err != nil { // as unix:PATH
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
