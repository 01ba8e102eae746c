package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"embedd/internal/backup"
	"embedd/internal/collections"
	embeddv1 "embedd/proto/embedd/v1"
)

// backupsIn is the folder of a data directory's backups.
func backupsIn(dir string) string { return filepath.Join(dir, "backups") }

type backupCmd struct {
	outputFlags
	clientFlags
	Name string `arg:"" optional:"" help:"Name of the backup; default: the time."`
}

func (backupCmd) Help() string {
	return `Makes a copy of the data directory, as of one moment, in the folder backups inside it, while papers are taken and searched. Tables
of the store are linked and not copied where the disk can do that: bring the copy to another disk.

Example:
  embedd backup monday
  embedd verify-backup .embedd/data/backups/monday`
}

func (c *backupCmd) Run(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.admin.CreateBackup(e.ctx, &embeddv1.CreateBackupRequest{Name: c.Name})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	_, err = fmt.Fprintf(e.stdout, "backup %s: %s at revision %d, %d files, %.1f MiB, in %s\n",
		res.GetName(), papersText(res.GetPapers()), res.GetRevision(), res.GetFiles(), float64(res.GetBytes())/(1<<20), res.GetPath())
	return err
}

type verifyBackupCmd struct {
	outputFlags
	Dir string `arg:"" help:"The backup's folder."`
}

func (verifyBackupCmd) Help() string {
	return `Reads every byte of a backup and compares it with what was written.

Example:
  embedd verify-backup /mnt/backups/monday`
}

func (c *verifyBackupCmd) Run(e *env) error {
	bar := newProgress(e, "reading the backup", "bytes")
	info, err := backup.Verify(e.ctx, c.Dir, func(done, total int64) { bar.Set(int(done), int(total)) })
	bar.Done()
	if err != nil {
		return backupError(c.Dir, err)
	}
	return printBackup(e, c.JSON, info, "is whole")
}

type restoreCmd struct {
	outputFlags
	Data  string `help:"Data directory to be made; default: data in the .embedd folder." placeholder:"DIR"`
	Force bool   `help:"Put the backup in the place of a data directory that is there, which is kept under another name." env:"-"`
	Dir   string `arg:"" help:"The backup's folder."`
}

func (restoreCmd) Help() string {
	return `Verifies a backup, and only then makes a data directory of it. No server may use that directory.

Example:
  embedd restore /mnt/backups/monday --data /srv/papers`
}

func (c *restoreCmd) Run(e *env) (err error) {
	if c.Data, err = dataDir(c.Data); err != nil {
		return err
	}
	lock, err := collections.Lock(c.Data) // a server would go on writing into what is moved away
	if err != nil {
		return err
	}
	defer finish(&err, lock.Close)
	bar := newProgress(e, "reading the backup", "bytes")
	info, kept, err := backup.Restore(e.ctx, c.Dir, c.Data, c.Force, func(done, total int64) { bar.Set(int(done), int(total)) })
	bar.Done()
	if err != nil {
		return backupError(c.Dir, err)
	}
	if kept != "" {
		fmt.Fprintf(e.stderr, "embedd: what was in %s, its backups and other collections too, is now in %s\n", c.Data, kept)
	}
	return printBackup(e, c.JSON, info, "is restored to "+c.Data)
}

// backupError names the folder, and what to do about one that is not there.
func backupError(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Stat(dir); errors.Is(e, fs.ErrNotExist) {
			return fmt.Errorf("there is no folder %s; backups are made with: embedd backup", dir)
		}
	}
	return fmt.Errorf("backup %s: %w", dir, err)
}

func printBackup(e *env, asJSON bool, info backup.Info, what string) error {
	if asJSON {
		return printJSON(e.stdout, info)
	}
	_, err := fmt.Fprintf(e.stdout, "the backup of %s %s: %d papers at revision %d, %d files, %.1f MiB, model %s\n",
		info.Made.Format("2006-01-02 15:04:05 MST"), what, info.Papers, info.Revision, info.Files, float64(info.Bytes)/(1<<20), info.Model)
	return err
}
