package models

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
)

// stampName is the file in a model's folder that says what the model was verified with.
const stampName = "verified.json"

// Stamp says that a model was loaded by a runtime, in a process of its own, and held what its manifest promises.
type Stamp struct {
	// Fingerprint is the model's.
	Fingerprint string `json:"fingerprint"`
	// Runtime is the sha256 of the runtime's shared library.
	Runtime string `json:"runtime"`
}

// Stamp gives what the model was last verified with; the zero value where that is not known.
func (m *Model) Stamp() Stamp {
	var s Stamp
	text, err := os.ReadFile(filepath.Join(m.Dir, stampName))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return Stamp{}
	}
	return s
}

// SetStamp keeps a stamp in the model's folder.
func (m *Model) SetStamp(s Stamp) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(m.Dir, stampName), bytes.NewReader(append(text, '\n')))
}
