package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var serial atomic.Int64

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue writes a certificate for a host, good for a time from now, and its key.
func (a *authority) issue(t *testing.T, dir, host string, good time.Duration) Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: host}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(good),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	write(t, f.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, f.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
	write(t, f.CA, a.pem)
	return f
}

// write puts a file in the place of another, whole.
func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", text, 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// serve starts a gRPC server that only tells its health.
func serve(t *testing.T, f Files, changed func(error)) (addr string) {
	t.Helper()
	c, _, err := Server(f, changed)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(c)))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// ask makes a connection and one call.
func ask(ctx context.Context, addr string, c *tls.Config) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// greet shakes hands and waits for the server's first word. gRPC's client sends something at once, and may see that the connection is
// closed before it sees why.
func greet(addr string, c *tls.Config) error {
	c.NextProtos = []string{"h2"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	return err
}

func client(t *testing.T, f Files) *tls.Config {
	t.Helper()
	c, err := Client(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhoIsRefused(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	issue := func(a *authority, host string, good time.Duration) Files { return a.issue(t, t.TempDir(), host, good) }
	good := issue(ours, "127.0.0.1", time.Hour)
	trusting := Files{CA: good.CA}
	withCert := func(f Files) Files { return Files{CA: good.CA, Cert: f.Cert, Key: f.Key} }
	onlyTLS := func(f Files) Files { return Files{Cert: f.Cert, Key: f.Key} }
	for _, c := range []struct {
		name           string
		server, client Files
		say            string // "": it works
	}{
		{"TLS", onlyTLS(good), trusting, ""},
		{"mutual", good, withCert(issue(ours, "client", time.Hour)), ""},
		{"a server of another authority", onlyTLS(issue(theirs, "127.0.0.1", time.Hour)), trusting, "unknown authority"},
		{"a server that expired", onlyTLS(issue(ours, "127.0.0.1", -time.Hour)), trusting, "expired"},
		{"a server of another name", onlyTLS(issue(ours, "192.0.2.1", time.Hour)), trusting, "127.0.0.1"},
		{"a client without a certificate", good, trusting, "certificate required"},
		{"a client of another authority", good, withCert(issue(theirs, "client", time.Hour)), "unknown certificate authority"},
		{"a client that expired", good, withCert(issue(ours, "client", -time.Hour)), "expired"},
	} {
		err := greet(serve(t, c.server, nil), client(t, c.client))
		if (c.say == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want an error saying %q", c.name, err, c.say)
		}
	}
}

func TestOldVersionsOfTLSAreRefused(t *testing.T) {
	f := newAuthority(t).issue(t, t.TempDir(), "127.0.0.1", time.Hour)
	addr := serve(t, Files{Cert: f.Cert, Key: f.Key}, nil)
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c := client(t, Files{CA: f.CA})
		c.MinVersion, c.MaxVersion, c.NextProtos = version, version, []string{"h2"}
		conn, err := tls.Dial("tcp", addr, c)
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
				t.Errorf("the protocol is %q, want h2", p)
			}
			conn.Close()
		}
	}
}

func TestBadFiles(t *testing.T) {
	f := newAuthority(t).issue(t, t.TempDir(), "127.0.0.1", time.Hour)
	other := newAuthority(t).issue(t, t.TempDir(), "127.0.0.1", time.Hour)
	for name, err := range map[string]error{
		"no certificate":            serverError(Files{Cert: f.Cert + "x", Key: f.Key}),
		"a key of another":          serverError(Files{Cert: f.Cert, Key: other.Key}),
		"authorities that are none": serverError(Files{Cert: f.Cert, Key: f.Key, CA: f.Key}),
		"a client's half":           second(Client(Files{Cert: f.Cert})),
		"a client's other half":     second(Client(Files{Key: f.Key})),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A private key that others can read is refused, on both sides, and when it comes to be so while the server runs.
func TestWhoMayReadTheKey(t *testing.T) {
	f := newAuthority(t).issue(t, t.TempDir(), "127.0.0.1", time.Hour)
	mine, ofRoot := os.Getuid(), os.Getuid() == 0
	for _, c := range []struct {
		mode  os.FileMode
		owner int
		ok    bool
	}{
		{0o600, mine, true}, {0o400, mine, true}, {0o640, mine, ofRoot}, {0o440, mine, ofRoot}, {0o660, mine, false}, {0o604, mine, false}, {0o644, mine, false}, {0o602, mine, false},
		{0o600, 12345, true}, {0o640, 12345, false},
	} {
		if c.owner != mine && !ofRoot {
			continue // only root gives files away
		}
		if err := errors.Join(os.Chown(f.Key, c.owner, -1), os.Chmod(f.Key, c.mode)); err != nil {
			t.Fatal(err)
		}
		for side, err := range map[string]error{"server": serverError(Files{Cert: f.Cert, Key: f.Key}), "client": second(Client(Files{Cert: f.Cert, Key: f.Key}))} {
			if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "chmod 600 "+f.Key) {
				t.Errorf("%s, mode %04o, owner %d: %v", side, c.mode, c.owner, err)
			}
		}
	}
	if err := errors.Join(os.Chown(f.Key, mine, -1), os.Chmod(f.Key, 0o600)); err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 10)
	addr := serve(t, Files{Cert: f.Cert, Key: f.Key}, func(err error) { told <- err })
	trusting := client(t, Files{CA: f.CA})
	hear := func() error {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if err := greet(addr, trusting.Clone()); err != nil {
				t.Fatal(err) // the old ones stay
			}
			select {
			case err := <-told:
				return err
			default:
			}
		}
		t.Fatal("nothing was told")
		return nil
	}
	if err := os.Chmod(f.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := hear(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that everybody can read: %v", err)
	}
	if err := os.Chmod(f.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := hear(); err != nil {
		t.Errorf("a key that only its owner can read again: %v", err)
	}
}

func second(_ any, err error) error { return err }

func serverError(f Files) error {
	_, _, err := Server(f, nil)
	return err
}

// The ends are those of the certificates in effect, the first of each file.
func TestEnds(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	f := a.issue(t, dir, "127.0.0.1", 30*time.Minute)
	same := func(what string, got, want time.Time) {
		t.Helper()
		if d := got.Sub(want); d < -5*time.Second || d > 5*time.Second {
			t.Errorf("%s ends at %v, want %v", what, got, want)
		}
	}
	_, ends, err := Server(Files{Cert: f.Cert, Key: f.Key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	same("the certificate", ends().Server, time.Now().Add(30*time.Minute))
	if !ends().ClientCA.IsZero() {
		t.Errorf("no authorities end at %v", ends().ClientCA)
	}
	// A chain ends with its first; a server follows its files.
	leaf, err := os.ReadFile(a.issue(t, dir, "127.0.0.1", 2*time.Hour).Cert)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.Cert, append(leaf, a.pem...))
	_, ends, err = Server(f, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	same("the chain", ends().Server, a.cert.NotAfter)
	same("the authority", ends().ClientCA, a.cert.NotAfter)
	a.issue(t, dir, "127.0.0.1", 10*time.Minute)
	for end := time.Now().Add(10 * time.Second); time.Until(ends().Server) > 11*time.Minute && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	same("the new certificate", ends().Server, time.Now().Add(10*time.Minute))
}

// The certificate and the authority behind it are swapped a hundred times while clients connect: none fails, and the new one is what
// they get.
func TestSwapsUnderLoad(t *testing.T) {
	swaps := 100
	if testing.Short() {
		swaps = 20
	}
	a := newAuthority(t)
	dir := t.TempDir()
	f := a.issue(t, dir, "127.0.0.1", time.Hour)
	var failed atomic.Int64
	addr := serve(t, f, func(err error) {
		if err != nil {
			failed.Add(1) // a certificate without its key yet; the one of before stays
		}
	})
	own := a.issue(t, t.TempDir(), "client", time.Hour)
	c := client(t, own)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var calls atomic.Int64
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				call, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				err := ask(call, addr, c)
				cancel()
				if err != nil {
					t.Error(err)
					return
				}
				calls.Add(1)
			}
		})
	}
	for range swaps {
		f = a.issue(t, dir, "127.0.0.1", time.Hour)
		time.Sleep(20 * time.Millisecond)
	}
	want, err := os.ReadFile(f.Cert)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(want)
	got := func() []byte {
		c := c.Clone()
		c.NextProtos = []string{"h2"}
		conn, err := tls.Dial("tcp", addr, c)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Raw
	}
	end := time.Now().Add(time.Second)
	for string(got()) != string(block.Bytes) {
		if time.Now().After(end) {
			t.Error("the last certificate is not in use after a second")
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	wg.Wait()
	t.Logf("%d swaps, %d handshakes, %d times the files were seen half changed", swaps, calls.Load(), failed.Load())
	if calls.Load() == 0 {
		t.Error(io.ErrNoProgress)
	}
}
