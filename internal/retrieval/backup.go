package retrieval

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = os.ErrExist
		}
		return info, &Error{Kind: FailedPrecondition, Message: "a backup of that name is there already, or cannot be made: " + err.Error(), Err: err}
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
	m := c.encoder.Model()
	info = backup.Info{
		Made: time.Now().UTC().Truncate(time.Second), Version: program, Store: c.store.UUID(), Revision: revision, Papers: c.store.Count(),
		Model: m.ID, Fingerprint: m.Fingerprint,
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
