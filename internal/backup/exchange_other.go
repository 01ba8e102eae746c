//go:build !linux

package backup

import "errors"

func exchange(string, string) error { return errors.ErrUnsupported }
