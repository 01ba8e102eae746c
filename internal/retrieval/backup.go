package retrieval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"embedd/internal/backup"
)

// Backup makes a copy of the data directory, as of one revision, in the folder dir, which must not exist, and seals it. Papers are taken
// meanwhile, but for the moment in which the store is copied. Tables of the store are linked where the file system can do that: see
// package store.
func (c *Collection) Backup(ctx context.Context, dir, program string) (info backup.Info, err error) {
	if err := c.enter(); err != nil {
		return info, err
	}
	defer c.leave()
	defer func() {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = &Error{Kind: Exhausted, Message: "there is no room on the disk for a backup", RetryAfter: fullRetry, Err: err}
		}
	}()
	switch _, err := os.Lstat(dir); {
	case err == nil:
		return info, &Error{Kind: FailedPrecondition, Message: fmt.Sprintf("a backup of the name %q is there already; choose another, or remove it", filepath.Base(dir)), Err: os.ErrExist}
	case !errors.Is(err, os.ErrNotExist):
		return info, internal("look for a backup of that name", err)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return info, internal("make the folder for backups", err)
	}
	making, err := os.MkdirTemp(parent, filepath.Base(dir)+".making-*")
	if err != nil {
		return info, internal("make the backup's folder", err)
	}
	defer os.RemoveAll(making) // gone already if all went well
	// The index first: the store's change log leads from it to the store's revision.
	if _, err := c.writeSnapshot(making, snapshotName); err != nil {
		return info, internal("copy the index", err)
	}
	revision, err := c.store.Backup(filepath.Join(making, storeName))
	if err != nil {
		return info, storeError("copy the store", err)
	}
	// A copy of what is damaged would pass for a good one until it is needed.
	found, err := Inspect(ctx, making, nil)
	if err != nil {
		return info, err
	}
	if found.Violated() {
		return info, &Error{Kind: DataLoss, Message: "the data directory is damaged, and no backup was made of it: " + found.first() + "; embedd check says more"}
	}
	info = backup.Info{
		Made: time.Now().UTC().Truncate(time.Second), Version: program, Store: c.store.UUID(), Revision: revision, Papers: found.Papers,
		Model: found.Model, Fingerprint: found.Fingerprint,
	}
	if info, err = backup.Seal(ctx, making, info); err != nil {
		return info, internal("seal the backup", err)
	}
	if err := os.Rename(making, dir); err != nil {
		return info, internal("name the backup", err)
	}
	d, err := os.Open(parent)
	if err != nil {
		return info, internal("sync the folder of backups", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return info, internal("sync the folder of backups", err)
	}
	return info, nil
}
