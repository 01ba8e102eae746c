package server

import (
	"cmp"
	"context"
	"path/filepath"
	"regexp"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/collections"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// backupName is what a backup may be called: nothing that leads out of the folder, on any system.
var backupName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// CreateBackup implements embeddv1.AdminServiceServer.
func (s *Server) CreateBackup(ctx context.Context, r *embeddv1.CreateBackupRequest) (*embeddv1.CreateBackupResponse, error) {
	c, err := s.collectionOf(ctx, r)
	if err != nil {
		return nil, err
	}
	if s.backups == "" {
		return nil, &retrieval.Error{Kind: retrieval.FailedPrecondition, Message: "this server has no folder for backups"}
	}
	name := cmp.Or(r.GetName(), time.Now().UTC().Format("20060102t150405z"))
	if !backupName.MatchString(name) {
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "name",
			Message: "is no name for a backup: use 1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit"}
	}
	path := filepath.Join(s.backups, name)
	if ownName(c) != collections.Default || filepath.Dir(s.backups) != c.Dir() { // in the one that is served; see package collections
		path = filepath.Join(c.Dir(), filepath.Base(s.backups), name)
	}
	info, err := c.Backup(ctx, path, s.version)
	if err != nil {
		return nil, err
	}
	return &embeddv1.CreateBackupResponse{
		Name: name, Path: path, Made: timestamppb.New(info.Made), Revision: info.Revision, Papers: int64(info.Papers), Files: int64(info.Files), Bytes: info.Bytes,
	}, nil
}
