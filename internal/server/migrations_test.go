package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"embedd/internal/access"
	"embedd/internal/retrieval"
	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// other is the encoder of another model.
type other struct{ *fake }

func (o other) Model() retrieval.Model {
	m := o.fake.Model()
	m.ID, m.Fingerprint = "other", strings.Repeat("9", len(m.Fingerprint))
	return m
}

// Every call of the service, as an admin; a key that is for other collections sees and changes nothing.
func TestMigrationService(t *testing.T) {
	admin, secret, err := access.New(access.Key{Role: access.Admin}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	limited, limitedSecret, err := access.New(access.Key{Role: access.Admin, Collections: []string{"mine"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.NewKeys([]access.Key{admin, limited})
	if err != nil {
		t.Fatal(err)
	}
	r := launchAll(t, Options{Keys: func() *access.Keys { return keys }, Limits: Limits{Classes: classes(nil)}})
	conn := r.connect(t)
	migrations, papers := embeddv1.NewMigrationServiceClient(conn), embeddv1.NewPaperServiceClient(conn)
	as := func(secret string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+secret))
	}
	for i := range 20 {
		p := &embeddv1.Paper{Id: fmt.Sprintf("p%02d", i), Title: fmt.Sprintf("title %d", i)}
		if _, err := papers.UpsertPapers(as(secret), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{p}}); err != nil {
			t.Fatal(err)
		}
	}
	const name = "default"
	calls := []struct {
		what string
		call func(ctx context.Context) (*embeddv1.Migration, error)
		want embeddv1.MigrationStage
	}{
		{"start", func(ctx context.Context) (*embeddv1.Migration, error) {
			res, err := migrations.StartMigration(ctx, &embeddv1.StartMigrationRequest{Name: name, Model: "other"})
			return res.GetMigration(), err
		}, 0},
		{"get", func(ctx context.Context) (*embeddv1.Migration, error) {
			res, err := migrations.GetMigration(ctx, &embeddv1.GetMigrationRequest{Name: name})
			return res.GetMigration(), err
		}, embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING},
		{"report", func(ctx context.Context) (*embeddv1.Migration, error) {
			res, err := migrations.ReportMigration(ctx, &embeddv1.ReportMigrationRequest{Name: name, Queries: []string{"title"}})
			if err == nil && (res.GetPapers() != 20 || len(res.GetQueries()) != 1 || len(res.GetQueries()[0].GetAfter()) != 10 || res.GetOverlap() != 1 || len(res.GetChanges()) != 10 || res.GetChanges()[0].GetBefore()[0].GetPaper().GetTitle() == "") {
				t.Errorf("report: %v", res)
			}
			return res.GetMigration(), err
		}, embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING},
		{"swap", func(ctx context.Context) (*embeddv1.Migration, error) {
			res, err := migrations.SwapMigration(ctx, &embeddv1.SwapMigrationRequest{Name: name})
			return res.GetMigration(), err
		}, embeddv1.MigrationStage_MIGRATION_STAGE_SWAPPED},
		{"roll back", func(ctx context.Context) (*embeddv1.Migration, error) {
			res, err := migrations.RollBackMigration(ctx, &embeddv1.RollBackMigrationRequest{Name: name})
			return res.GetMigration(), err
		}, embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING},
		{"cancel", func(ctx context.Context) (*embeddv1.Migration, error) {
			_, err := migrations.CancelMigration(ctx, &embeddv1.CancelMigrationRequest{Name: name})
			return nil, err
		}, 0},
		{"finish", func(ctx context.Context) (*embeddv1.Migration, error) {
			_, err := migrations.FinishMigration(ctx, &embeddv1.FinishMigrationRequest{Name: name})
			if status.Code(err) == codes.NotFound { // it was cancelled
				err = nil
			}
			return nil, err
		}, 0},
	}
	for _, c := range calls {
		if _, err := c.call(as(limitedSecret)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s with a key for another collection: %v", c.what, err)
		}
		m, err := c.call(as(secret))
		if c.what == "get" {
			testkit.Eventually(t, "it follows", func() bool { m, err = c.call(as(secret)); return err != nil || m.GetStage() == c.want })
		}
		if err != nil || c.want != 0 && (m.GetStage() != c.want || m.GetFromModel() != "fake" || m.GetToModel() != "other" || m.GetPapers() != 20) {
			t.Errorf("%s: %v, %v", c.what, m, err)
		}
		if c.what == "get" {
			for secret, want := range map[string]int{secret: 1, limitedSecret: 0} {
				res, err := migrations.ListMigrations(as(secret), &embeddv1.ListMigrationsRequest{})
				if err != nil || len(res.GetMigrations()) != want {
					t.Errorf("listed: %v, %v, want %d", res, err, want)
				}
			}
		}
	}
	for field, req := range map[string]*embeddv1.ReportMigrationRequest{
		"mode": {Name: name, Mode: 99},
	} {
		if _, err := migrations.ReportMigration(as(secret), req); status.Code(err) != codes.InvalidArgument || fieldOf(err) != field {
			t.Errorf("%v: %v", req, err)
		}
	}
}
