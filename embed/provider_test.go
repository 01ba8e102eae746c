package embed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"embedd/internal/native"
	"embedd/models"
)

// A provider that the library does not have is an error that names it and says what to do; nothing else is taken in its place.
func TestAnAbsentProviderIsAnError(t *testing.T) {
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.Open(native.Models(home), models.Default)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Provider{OpenVINO, CUDA, "tpu"} {
		_, err := Open(m, &Options{Library: native.RuntimeLibrary(home), Provider: p, Workers: 1})
		if err == nil || !strings.Contains(err.Error(), string(p)) {
			t.Errorf("%s: %v", p, err)
		}
		if p != "tpu" && !strings.Contains(err.Error(), "--library") {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// With the library of onnxruntime-openvino the float32 model's vectors are the CPU's but for the last bits. Needs the library's
// path in EMBEDD_TEST_OPENVINO: make test-openvino brings it. A process can load one library, so the test runs itself again.
func TestOpenVINO(t *testing.T) {
	library := os.Getenv("EMBEDD_TEST_OPENVINO")
	if library == "" {
		t.Skip("EMBEDD_TEST_OPENVINO is not set; run make test-openvino")
	}
	if os.Getenv("EMBEDD_TEST_OPENVINO_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOpenVINO$", "-test.v")
		cmd.Env = append(os.Environ(), "EMBEDD_TEST_OPENVINO_CHILD=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	home, err := native.Home()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range lines[struct{ Title, Abstract string }](t, filepath.Join("..", "samples", "papers.jsonl"))[:16] {
		texts = append(texts, p.Title, p.Title+" "+p.Abstract)
	}
	for id, least := range map[string]float64{"all-MiniLM-L6-v2-fp32": 0.99999, "all-MiniLM-L6-v2": 0.99} {
		m, err := models.Open(native.Models(home), id)
		if err != nil {
			t.Fatal(err)
		}
		vectors := map[Provider][]Encoding{}
		prints := map[string]bool{}
		for _, p := range []Provider{CPU, OpenVINO} {
			e, err := Open(m, &Options{Library: library, Provider: p, Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			tuning, err := e.WarmUp(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, %s: %v", id, p, tuning)
			prints[e.Fingerprint()] = true
			if vectors[p], err = e.Encode(t.Context(), Bulk, Document, texts); err != nil {
				t.Fatal(err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
		worst := 1.0
		for i, enc := range vectors[OpenVINO] {
			var cos float64
			for j, x := range enc.Vector {
				cos += float64(x) * float64(vectors[CPU][i].Vector[j])
			}
			worst = min(worst, cos)
		}
		t.Logf("%s: worst cosine between the providers %.6f", id, worst)
		if worst < least || len(prints) != 2 {
			t.Errorf("%s: worst cosine %v, want at least %v; %d fingerprints, want 2", id, worst, least, len(prints))
		}
	}
}
