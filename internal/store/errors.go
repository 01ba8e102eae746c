package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Errors of Open. Each comes wrapped in a message that names the directory; ask with errors.Is.
var (
	// ErrLocked: another process, or this one, has the directory open.
	ErrLocked = errors.New("store is locked")
	// ErrFormat: a later release of embedd wrote the directory, in a format that this one does not know.
	ErrFormat = errors.New("store has a newer format")
)

// Errors of a Store's methods.
var (
	// ErrNotFound: the id or ordinal is not stored.
	ErrNotFound = errors.New("not found")
	// ErrConflict: a Put was about what the paper is no longer: its ordinal, or all of its record.
	ErrConflict = errors.New("the paper has changed meanwhile")
	// ErrExists: a Put was to add a paper whose id is stored.
	ErrExists = errors.New("is stored already")
	// ErrDisk: the disk does not answer; what was asked for was written a moment ago, and is not on it yet.
	ErrDisk = errors.New("the disk does not answer")
	// ErrReadOnly: the store was opened for reading.
	ErrReadOnly = errors.New("store is open for reading only")
	// ErrClosed: the call came after Close.
	ErrClosed = errors.New("store is closed")
)

// ErrCorrupt: bytes on disk are not those that were written. The message names the key, or Pebble's file. Open returns
// it too.
var ErrCorrupt = errors.New("store is corrupt")

// MismatchError is Open's answer when the directory's vectors are another encoder's: of another fingerprint or
// dimension. Vectors of two encoders cannot be compared.
type MismatchError struct {
	Dir string
	// Have made the vectors in Dir; Want is what Open was called with.
	Have, Want Identity
}

func (e *MismatchError) Error() string {
	have, want := shortFingerprints(e.Have.Fingerprint, e.Want.Fingerprint)
	return fmt.Sprintf("the vectors in %s were made by model %s (fingerprint %s, dimension %d), not by %s (fingerprint %s, dimension %d): "+
		"use the model they were made with, with the same --dimension and --provider, or a new data directory",
		e.Dir, e.Have.Model, have, e.Have.Dimension, e.Want.Model, want, e.Want.Dimension)
}

// shortFingerprints cuts two fingerprints to what a message has room for, unless that would make them look alike.
func shortFingerprints(a, b string) (string, string) {
	const n = 12
	short := func(s string) string { return s[:min(n, len(s))] }
	if a != b && short(a) == short(b) {
		return a, b
	}
	return short(a), short(b)
}

// corrupt is an ErrCorrupt about one key.
func corrupt(key []byte, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, keyName(key), fmt.Errorf(format, args...))
}

// readError tells damage that Pebble found from other errors of reading.
func readError(key []byte, err error) error {
	if pebble.IsCorruptionError(err) {
		return corrupt(key, "%w", withFile(err))
	}
	return fmt.Errorf("read %s: %w", keyName(key), err)
}

// withFile puts the file's name before an error of Pebble's about damage, if it knows the file.
func withFile(err error) error {
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return fmt.Errorf("%s: %w", info.Path, info.Details)
	}
	return err
}
