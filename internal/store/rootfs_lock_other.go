//go:build !unix

package store

import (
	"errors"
	"os"
)

func lockFile(*os.File) error { return errors.ErrUnsupported }
