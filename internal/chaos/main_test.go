package chaos

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"embedd/internal/native"
	"embedd/internal/testmodels"
)

var cycles = flag.Int("cycles", 50, "how many times TestKill kills the server")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	for _, dir := range scratch {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// scratch are folders that all tests share.
var scratch []string

func scratchDir(name string) (string, error) {
	dir, err := os.MkdirTemp("", "embedd-chaos-"+name+"-")
	scratch = append(scratch, dir)
	return dir, err
}

// ordinary is the program as it is.
var ordinary = sync.OnceValues(func() (string, error) {
	dir, err := scratchDir("program")
	if err != nil {
		return "", err
	}
	return build("../..", filepath.Join(dir, "embedd"))
})

// build builds the program of a source tree.
func build(tree, program string) (string, error) {
	c := exec.Command("go", "build", "-o", program, "./cmd/embedd")
	c.Dir = tree
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

// home is the .embedd folder, for the runtime's library.
func home() (string, error) {
	dir, err := native.Home()
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// modelName is the id of the tiny model in the folder that tinyModels gives.
const modelName = "tiny"

// tinyModels is a folder of models with one, which reads letters and is as fast as a model can be.
var tinyModels = sync.OnceValues(func() (string, error) {
	program, err := ordinary()
	if err != nil {
		return "", err
	}
	dir, err := scratchDir("models")
	if err != nil {
		return "", err
	}
	folder, root := filepath.Join(dir, "folder"), filepath.Join(dir, "models")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", err
	}
	if err := testmodels.Tiny(folder, false); err != nil {
		return "", err
	}
	base, err := home()
	if err != nil {
		return "", err
	}
	papers := filepath.Join(folder, "papers.jsonl")
	for _, args := range [][]string{
		{"models", "import", folder, "--id", modelName, "--models", root, "--precision", "fp32", "--texts", papers},
		{"index", "--data", filepath.Join(dir, "data"), "--model", modelName, "--models", root, papers}, // its first use is a trial in a child
	} {
		c := exec.Command(program, args...)
		c.Env = append(os.Environ(), "EMBEDD_HOME="+base)
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("embedd %s: %w\n%s", args[0], err, out)
		}
	}
	return root, nil
})
