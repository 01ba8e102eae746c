package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"embedd/internal/admin"
	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

// Dashboard, alerts and the table of docs/operations.md speak of metrics that there are: a server's /metrics shows each, or it is
// registered and has no series before something happens.
func TestMetricsThatAreSpokenOf(t *testing.T) {
	shown := metricsOfServer(t)
	registered := registeredMetrics(t)
	for name := range shown {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if ours := strings.HasPrefix(name, "embedd_") || strings.HasPrefix(name, "grpc_"); ours && !registered[base] {
			t.Errorf("%s is shown, and is not among the registered", name)
		}
	}
	for file, names := range map[string][]string{
		"docs/grafana.json":  dashboardMetrics(t),
		"docs/alerts.yaml":   alertMetrics(t),
		"docs/operations.md": tableMetrics(t, "docs/operations.md"),
		"docs/encoding.md":   tableMetrics(t, "docs/encoding.md"),
		"docs/index.md":      tableMetrics(t, "docs/index.md"),
	} {
		if len(names) == 0 {
			t.Errorf("%s speaks of no metric", file)
		}
		for _, name := range names {
			if !shown[name] && !registered[name] {
				t.Errorf("%s speaks of %s, which there is not", file, name)
			}
		}
	}
	// And the other way round: each of ours is in a table.
	tables := slices.Concat(tableMetrics(t, "docs/operations.md"), tableMetrics(t, "docs/encoding.md"))
	for name := range registered {
		if !slices.Contains(tables, name) {
			t.Errorf("no table of docs/operations.md or docs/encoding.md has %s", name)
		}
	}
}

// metricsOfServer are the names of the samples that a real server shows after a few calls.
func metricsOfServer(t *testing.T) map[string]bool {
	t.Helper()
	listen, adminAt := freeAddress(t), freeAddress(t)
	serveProcess(t, listen, adminAt, "--data", filepath.Join(t.TempDir(), "data"))
	conn, err := dial(listen)
	if err != nil {
		t.Fatal(err)
	}
	cl := newClient(conn, conn.Close)
	defer cl.close()
	ctx := t.Context()
	if _, err := cl.papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: "a", Title: "A paper"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.search.Search(ctx, &embeddv1.SearchRequest{Query: textInput("a paper")}); err != nil {
		t.Fatal(err)
	}
	code, text := httpGet("http://" + adminAt + "/metrics")
	if code != 200 {
		t.Fatalf("/metrics: %d %s", code, text)
	}
	names := map[string]bool{"up": true} // Prometheus' own
	for line := range strings.Lines(text) {
		if name := metricName.FindString(line); name != "" && !strings.HasPrefix(line, "#") {
			names[name] = true
		}
	}
	return names
}

var (
	metricName = regexp.MustCompile(`^[a-z_][a-z0-9_]*`)
	fqName     = regexp.MustCompile(`fqName: "([^"]+)"`)
)

// registeredMetrics are the names of what serve registers of ours, whether it has series or not.
func registeredMetrics(t *testing.T) map[string]bool {
	t.Helper()
	_, _, en := serve(t)
	s, err := server.New(server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, c := range slices.Concat(
		startMetrics(s, admin.NewState(), newObserver(), nil, nil),
		engineMetrics(en),
		[]prometheus.Collector{jobCollector{}},
	) {
		descs := make(chan *prometheus.Desc)
		go func() { c.Describe(descs); close(descs) }()
		for d := range descs {
			names[fqName.FindStringSubmatch(d.String())[1]] = true
		}
	}
	return names
}

// The end of a certificate is a metric where there is TLS.
func TestCertificateMetric(t *testing.T) {
	dir := t.TempDir()
	f := doorFlags{TLSCert: filepath.Join(dir, "cert.pem"), TLSKey: filepath.Join(dir, "key.pem")}
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
	der, err := x509.CreateCertificate(nil, cert, cert, public, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{f.TLSCert: {Type: "CERTIFICATE", Bytes: der}, f.TLSKey: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []float64{0, float64(end.Unix())} { // before the files are read, and after
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(certCollector(f.ends))
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case want == 0 && len(families) != 0:
			t.Errorf("without TLS: %v", families)
		case want != 0 && (len(families) != 1 || len(families[0].GetMetric()) != 1 || families[0].GetMetric()[0].GetGauge().GetValue() != want):
			t.Errorf("%v, want one that ends at %v", families, want)
		}
		if err := f.options([]listening{{"--listen", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}}, &server.Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	}
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	selectors = regexp.MustCompile(`\{[^}]*\}`)
	groupings = regexp.MustCompile(`\b(by|without)\s*\([^)]*\)`)
	names     = regexp.MustCompile(`\b(up|(embedd|grpc|go|process)_[a-z0-9_]+)\b`)
)

// metricsIn are the metrics of an expression of Prometheus.
func metricsIn(expr string) []string {
	return names.FindAllString(groupings.ReplaceAllString(selectors.ReplaceAllString(expr, ""), ""), -1)
}

func dashboardMetrics(t *testing.T) (out []string) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Type, Query string }
		}
	}
	if err := json.Unmarshal([]byte(document(t, "docs/grafana.json")), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			found := metricsIn(target.Expr)
			if len(found) == 0 {
				t.Errorf("the panel %q has an expression without a metric: %s", p.Title, target.Expr)
			}
			out = append(out, found...)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			out = append(out, metricsIn(v.Query)...)
		}
	}
	return out
}

func alertMetrics(t *testing.T) (out []string) {
	t.Helper()
	alerts := 0
	for line := range strings.Lines(document(t, "docs/alerts.yaml")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "- alert:") {
			alerts++
		}
		if expr, ok := strings.CutPrefix(line, "expr: "); ok {
			alerts--
			found := metricsIn(expr)
			if len(found) == 0 || strings.Count(expr, "(") != strings.Count(expr, ")") {
				t.Errorf("not an expression with a metric: %s", expr)
			}
			out = append(out, found...)
		}
	}
	if alerts != 0 {
		t.Errorf("there are %d more alerts than expressions", alerts)
	}
	return out
}

var inTable = regexp.MustCompile("`((embedd|grpc)_[a-z0-9_]+)(\\{[^`]*)?`")

// tableMetrics are the metrics in the tables of a document.
func tableMetrics(t *testing.T, name string) (out []string) {
	t.Helper()
	for line := range strings.Lines(document(t, name)) {
		if strings.HasPrefix(line, "| `") {
			for _, m := range inTable.FindAllStringSubmatch(line, -1) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

func TestMetricsInAnExpression(t *testing.T) {
	for expr, want := range map[string][]string{
		`sum by (grpc_method) (rate(grpc_server_call_started_total{grpc_method="x"}[5m])) > 0`: {"grpc_server_call_started_total"},
		`up{job="embedd"} == 0`: {"up"},
		`a_b / embedd_vectors`:  {"embedd_vectors"},
	} {
		if got := metricsIn(expr); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}
