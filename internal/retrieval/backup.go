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

// Backup makes a copy of the data directory, as of one revision, in the folder dir inside it, which must not exist, and seals it. Papers are taken
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
	name, err := filepath.Rel(c.dir, dir)
	if err != nil || !filepath.IsLocal(name) || name == "." {
		return info, &Error{Kind: Invalid, Message: fmt.Sprintf("a backup is made inside of the data directory %s, not in %s; bring it elsewhere then", c.dir, dir)}
	}
	switch _, err := c.root.Lstat(name); {
	case err == nil:
		return info, &Error{Kind: FailedPrecondition, Message: fmt.Sprintf("a backup of the name %q is there already; choose another, or remove it", filepath.Base(dir)), Err: os.ErrExist}
	case !errors.Is(err, os.ErrNotExist):
		return info, internal("look for a backup of that name", err)
	}
	parent := filepath.Dir(name)
	if err := c.root.MkdirAll(parent, 0o755); err != nil {
		return info, internal("make the folder for backups", err)
	}
	half := fresh(name + ".making-*")
	if err := c.root.Mkdir(half, 0o700); err != nil {
		return info, internal("make the backup's folder", err)
	}
	defer c.root.RemoveAll(half) // gone already if all went well
	making, err := c.root.OpenRoot(half)
	if err != nil {
		return info, internal("open the backup's folder", err)
	}
	defer making.Close()
	size, err := c.store.BackupSize(half)
	if err == nil {
		err = c.store.Room(size + c.index.SnapshotSize())
	}
	if err != nil {
		return info, storeError("make a backup", err)
	}
	// The index first: the store's change log leads from it to the store's revision.
	if _, err := c.writeSnapshot(making, snapshotName); err != nil {
		return info, internal("copy the index", err)
	}
	if err := keepAbout(c.root, making); err != nil {
		return info, internal("copy "+AboutName, err)
	}
	revision, err := c.store.Backup(filepath.Join(half, storeName))
	if err != nil {
		return info, storeError("copy the store", err)
	}
	// A copy of what is damaged would pass for a good one until it is needed.
	found, err := inspect(ctx, making, nil)
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
	if err := c.root.Rename(half, name); err != nil {
		return info, internal("name the backup", err)
	}
	if err := syncFolder(c.root, parent); err != nil {
		return info, internal("sync the folder of backups", err)
	}
	return info, nil
}
