package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

var updateAPI = flag.Bool("update-api", false, "write what the calls of docs/api.md answer into it")

// apiBlock is a call of docs/api.md and its answer.
var apiBlock = regexp.MustCompile("(?s)```console\n\\$ (grpcurl .*?)\n(.*?)```\n")

// apiMethod is a method that a command calls.
var apiMethod = regexp.MustCompile(`localhost:50051 (embedd\.v1\.\w+/\w+)`)

// Every method of the contract is called in docs/api.md, and every call there, one after the other on a server with the sample papers, gives
// what stands there, but for times, versions and the last digits.
func TestAPI(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "api.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	curl := buildGrpcurl(t)
	dir, addr := t.TempDir(), freeAddress(t)
	serveProcess(t, addr, "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--samples", filepath.Join("..", "..", "samples", "papers.jsonl"))
	called := map[string]bool{}
	answered := apiBlock.ReplaceAllFunc(text, func(block []byte) []byte {
		parts := apiBlock.FindSubmatch(block)
		command, want := string(parts[1]), string(parts[2])
		methods := apiMethod.FindAllStringSubmatch(command, -1) // one call may take what another gives
		if methods == nil {
			t.Errorf("%s: calls no method of ours on localhost:50051", command)
			return block
		}
		for _, method := range methods {
			called[method[1]] = true
		}
		cmd := exec.Command("bash", "-c", strings.ReplaceAll(command, "localhost:50051", addr))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(curl)+string(filepath.ListSeparator)+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil && !strings.Contains(want, "ERROR:") && !*updateAPI {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		got := strings.ReplaceAll(string(out), dir, "/srv/embedd")
		if *updateAPI && !sameAnswer(t, got, want) {
			return fmt.Appendf(nil, "```console\n$ %s\n%s```\n", command, got)
		}
		if !*updateAPI && !sameAnswer(t, got, want) {
			t.Errorf("%s\ngives\n%s\ndocs/api.md says\n%s", command, got, want)
		}
		return block
	})
	protoregistry.GlobalFiles.RangeFilesByPackage("embedd.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for s, j := f.Services().Get(i), 0; j < s.Methods().Len(); j++ {
				if name := fmt.Sprintf("%s/%s", s.FullName(), s.Methods().Get(j).Name()); !called[name] {
					t.Errorf("%s is not called in docs/api.md", name)
				}
			}
		}
		return true
	})
	if *updateAPI {
		if err := os.WriteFile(path, answered, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// writingBlock is a request of docs/writing.md, or the requests of a stream.
var writingBlock = regexp.MustCompile("(?s)\n```json (\\w+)\n(.*?)\n```\n")

// Each request that docs/writing.md shows is sent by grpcurl, in order, and succeeds.
func TestWritingIsAsItsDocumentShows(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "writing.md"))
	if err != nil {
		t.Fatal(err)
	}
	curl, addr := buildGrpcurl(t), freeAddress(t)
	serveProcess(t, addr, "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"))
	blocks := writingBlock.FindAllSubmatch(text, -1)
	if n := bytes.Count(text, []byte("\n```json ")); n != len(blocks) || n < 5 {
		t.Fatalf("%d requests are read of the %d that the document shows", len(blocks), n)
	}
	for _, block := range blocks {
		method, request := string(block[1]), string(block[2])
		out, err := exec.Command(curl, "-plaintext", "-emit-defaults", "-d", request, addr, "embedd.v1.PaperService/"+method).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s\n%s", method, err, request, out)
		}
		if method == "DeletePapers" && !bytes.Contains(out, []byte(`"deleted": "1"`)) {
			t.Errorf("%s: is not of one paper\n%s", request, out)
		}
		if method == "IngestPapers" && bytes.Count(out, []byte(`"stored": {`)) != strings.Count(request, `"paper":`) {
			t.Errorf("%s: a paper is not stored\n%s", request, out)
		}
	}
}

// buildGrpcurl builds the client that docs/api.md speaks of, at the version of tools/go.mod.
func buildGrpcurl(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grpcurl")
	cmd := exec.Command("go", "build", "-modfile=tools/go.mod", "-o", path, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build grpcurl: %v\n%s", err, out)
	}
	return path
}

// volatile are members whose values are of a moment, of a machine or of a run.
var volatile = []string{
	"took", "stages", "computed", "created", "made", "path", "indexVersion", "revision", "bytes", "files", "nextPageToken", "classes", "kernels", "memoryBytes",
	"fileBytes", "bytesPerVector", "bands", "percentile", "memoryLimit", "connections", "messageBytesAtOnce",
}

// sameAnswer tells whether two outputs are the same, but for what is volatile, and numbers up to the last digits.
func sameAnswer(t *testing.T, got, want string) bool {
	t.Helper()
	a, errA := answersIn(got)
	b, errB := answersIn(want)
	if errA != nil || errB != nil {
		return strings.TrimSpace(got) == strings.TrimSpace(want) // an error, as text
	}
	return slices.EqualFunc(a, b, alike)
}

// answersIn reads the messages of an output: a stream has several.
func answersIn(out string) (all []any, err error) {
	d := json.NewDecoder(bytes.NewReader([]byte(out)))
	for d.More() {
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func alike(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name, v := range x {
			w, ok := y[name]
			if !ok || !slices.Contains(volatile, name) && !alike(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, alike)
	case float64:
		y, ok := b.(float64)
		return ok && math.Abs(x-y) <= 2e-3*max(1, math.Abs(y))
	}
	return a == b
}
