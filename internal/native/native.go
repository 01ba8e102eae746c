// Package native knows where set-up put what is not Go: the folder .embedd, called home, which holds
//
//	lib/     libtokenizers.a, linked at build time, and ONNX Runtime's shared library, loaded at start
//	models/  a folder for each model
//	data/    the default data directory
//
// Importing it gives the linker the path of libtokenizers.a, so that plain go build, go test and go vet work without an
// environment variable. If linking fails with "cannot find -ltokenizers", set-up has not run: make setup.
package native

// #cgo LDFLAGS: -L${SRCDIR}/../../.embedd/lib
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Folder is the name of the home folder.
const Folder = ".embedd"

// RuntimeVersion is the version of ONNX Runtime that set-up brings and the tests run with.
const RuntimeVersion = "1.24.1"

// Home returns the home folder: the value of EMBEDD_HOME, else the first .embedd folder beside the executable, above the
// executable, or in the working directory and upwards. The error says where it looked.
func Home() (string, error) {
	if dir := os.Getenv("EMBEDD_HOME"); dir != "" {
		if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
			return "", fmt.Errorf("EMBEDD_HOME=%s is not a folder", dir)
		}
		return dir, nil
	}
	var starts []string
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			starts = append(starts, filepath.Dir(exe))
		}
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			home := filepath.Join(dir, Folder)
			if fi, err := os.Stat(home); err == nil && fi.IsDir() {
				return home, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", fmt.Errorf("no %s folder at or above %s; run make setup, or set EMBEDD_HOME", Folder, strings.Join(slices.Compact(starts), " or "))
}

// RuntimeLibrary is the path of ONNX Runtime's shared library in a home folder.
func RuntimeLibrary(home string) string {
	name := "libonnxruntime.so." + RuntimeVersion
	if runtime.GOOS == "darwin" {
		name = "libonnxruntime." + RuntimeVersion + ".dylib"
	}
	return filepath.Join(home, "lib", name)
}

// Models is the folder of the models in a home folder.
func Models(home string) string { return filepath.Join(home, "models") }

// Data is the default data directory in a home folder.
func Data(home string) string { return filepath.Join(home, "data") }
