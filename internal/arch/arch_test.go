package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "embedd"

// allowed says, for each package of the module, which packages of the module it may import. It is a statement of
// policy: leaves never import each other, retrieval joins them, doors know retrieval and the wire contract, and only the
// command knows them all. A new package needs a line here.
var allowed = map[string][]string{
	"ann":                             {"ann/vec"},
	"ann/vec":                         {},
	"models":                          {"models/convert", "models/onnx"},
	"models/onnx":                     {},
	"models/convert":                  {"models/onnx"},
	"samples":                         {},
	"embed":                           {"embed/lane", "models", "models/convert", "models/onnx", "internal/native"},
	"embed/lane":                      {},
	"internal/native":                 {},
	"internal/store":                  {},
	"internal/memory":                 {},
	"internal/parts":                  {},
	"internal/align":                  {},
	"internal/atlas":                  {},
	"internal/lexical":                {"internal/parts"},
	"internal/metadata":               {},
	"internal/works":                  {"internal/parts"},
	"internal/backup":                 {},
	"internal/ingest":                 {},
	"internal/table":                  {},
	"internal/eval":                   {},
	"internal/sealed":                 {},
	"internal/similar":                {"ann", "internal/atlas", "internal/sealed", "internal/table", "internal/works"},
	"internal/jobs":                   {"internal/collections", "internal/eval", "internal/retrieval", "internal/sealed", "internal/similar", "internal/store", "internal/table"},
	"internal/distil":                 {},
	"internal/retrieval":              {"ann", "ann/vec", "internal/align", "internal/atlas", "internal/backup", "internal/lexical", "internal/metadata", "internal/store", "internal/works"},
	"internal/collections":            {"internal/retrieval", "internal/sealed", "internal/store"},
	"internal/reload":                 {},
	"internal/access":                 {},
	"internal/admission":              {},
	"internal/certs":                  {"internal/reload"},
	"internal/server":                 {"internal/access", "internal/admission", "internal/collections", "internal/jobs", "internal/retrieval", "internal/similar", "proto/embedd/v1"},
	"internal/gateway":                {"internal/compat", "internal/feed", "internal/gateway/rest/embedd/v1", "internal/pages", "internal/widget", "proto/embedd/v1"},
	"internal/gateway/rest/embedd/v1": {"proto/embedd/v1"},
	"internal/compat":                 {"proto/embedd/v1"},
	"internal/feed":                   {"internal/links", "proto/embedd/v1"},
	"internal/links":                  {"proto/embedd/v1"},
	"internal/widget":                 {"internal/links", "proto/embedd/v1"},
	"internal/pages":                  {"internal/links", "proto/embedd/v1"},
	"internal/admin":                  {},
	"internal/telemetry":              {},
	"internal/arch":                   {},
	"internal/browser":                {},
	"internal/chaos":                  {},
	"internal/evalsets":               {},
	"internal/testmodels":             {},
	"internal/testkit":                {},
	"bench/ann/first":                 {},
	"bench/ann/worker":                {"ann", "bench/ann/first"},
	"bench/restart":                   {"ann", "internal/retrieval", "internal/store"},
	"proto/embedd/v1":                 {},
	"cmd/embedd": {"ann", "embed", "models", "models/convert", "models/onnx", "samples", "internal/access", "internal/admin", "internal/backup", "internal/certs", "internal/collections", "internal/distil", "internal/eval", "internal/feed", "internal/gateway",
		"internal/ingest", "internal/jobs", "internal/links", "internal/memory", "internal/native", "internal/reload", "internal/retrieval", "internal/server", "internal/similar", "internal/table", "internal/telemetry", "proto/embedd/v1"},
}

// owners says which packages of the module may import a library; the others reach it through them. Tests may use any.
var owners = map[string][]string{
	"github.com/yalue/onnxruntime_go":           {"embed"},
	"github.com/daulet/tokenizers":              {"embed"},
	"github.com/viterin/vek":                    {"ann", "models/convert", "internal/distil", "internal/lexical", "bench/ann/first"},
	"github.com/cockroachdb/pebble/v2":          {"internal/store"},
	"github.com/alecthomas/kong":                {"cmd/embedd"},
	"github.com/vbauerster/mpb/v8":              {"cmd/embedd"},
	"golang.org/x/term":                         {"cmd/embedd"},
	"golang.org/x/sync":                         {"embed", "cmd/embedd"},
	"golang.org/x/sys":                          {"ann", "ann/vec", "internal/backup", "internal/store", "bench/ann/worker", "cmd/embedd"},
	"github.com/prometheus/client_model":        {"cmd/embedd"},
	"github.com/prometheus/client_golang":       {"embed", "internal/server", "cmd/embedd"},
	"go.opentelemetry.io/otel":                  {"internal/telemetry"},
	"github.com/clipperhouse/uax29/v2":          {"embed"},
	"github.com/hashicorp/golang-lru/v2":        {"embed", "internal/lexical", "internal/server"},
	"golang.org/x/time":                         {"internal/server"},
	"go.einride.tech/aip":                       {"internal/metadata"},
	"github.com/blevesearch/bleve/v2":           {"internal/lexical"},
	"github.com/RoaringBitmap/roaring/v2":       {"internal/metadata"},
	"github.com/KimMachineGun/automemlimit":     {"internal/memory"},
	"github.com/prometheus/procfs":              {"internal/memory"},
	"google.golang.org/grpc":                    {"internal/compat", "internal/feed", "internal/gateway", "internal/gateway/rest/embedd/v1", "internal/pages", "internal/server", "internal/similar", "internal/telemetry", "internal/widget", "proto/embedd/v1", "cmd/embedd"},
	"google.golang.org/genproto":                {"internal/compat", "internal/gateway", "internal/metadata", "internal/server", "internal/similar", "internal/telemetry", "proto/embedd/v1", "cmd/embedd"},
	"google.golang.org/protobuf":                {"models/onnx", "internal/compat", "internal/feed", "internal/gateway", "internal/gateway/rest/embedd/v1", "internal/pages", "internal/server", "internal/widget", "proto/embedd/v1", "cmd/embedd"},
	"github.com/grpc-ecosystem/grpc-gateway/v2": {"internal/gateway", "internal/gateway/rest/embedd/v1"},
	"github.com/fullstorydev/grpchan":           {"internal/server"},
	"connectrpc.com/connect":                    {"internal/gateway"},
	"github.com/rs/cors":                        {"internal/gateway"},
	"github.com/CAFxX/httpcompression":          {"internal/gateway"},
	"github.com/cespare/xxhash/v2":              {"internal/feed", "internal/gateway"},
	"gonum.org/v1/gonum":                        {"internal/align"},
	"github.com/gorilla/feeds":                  {"internal/feed"},
	"github.com/parquet-go/parquet-go":          {"internal/ingest", "internal/table"},
	"github.com/klauspost/compress":             {"internal/ingest", "internal/table"},
	"golang.org/x/net":                          {"internal/ingest"},
	"golang.org/x/text":                         {"internal/ingest"},
}

func TestImportRules(t *testing.T) {
	// -deps -e is not needed: the rules are about direct imports, and hold for the whole by being held by each.
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		seen[from] = true
		may, known := allowed[from]
		if !known {
			t.Errorf("package %s has no line in the table of import rules", from)
			continue
		}
		for _, path := range p.Imports {
			if to, inside := strings.CutPrefix(path, module+"/"); inside {
				if !slices.Contains(may, to) {
					t.Errorf("%s imports %s: the import rules of ARCHITECTURE.md do not allow it", from, to)
				}
				continue
			}
			if !strings.Contains(strings.Split(path, "/")[0], ".") {
				continue // standard library
			}
			library := owner(path)
			if library == "" {
				t.Errorf("%s imports %s, a dependency that the table of owners does not know", from, path)
			} else if !slices.Contains(owners[library], from) {
				t.Errorf("%s imports %s, which belongs to %v", from, path, owners[library])
			}
		}
	}
	for p := range allowed {
		if !seen[p] {
			t.Errorf("the table of import rules has a line for %s, which is not there", p)
		}
	}
}

// owner is the library of the table that an import path belongs to.
func owner(path string) string {
	for library := range owners {
		if path == library || strings.HasPrefix(path, library+"/") {
			return library
		}
	}
	return ""
}
