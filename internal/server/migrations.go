package server

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/collections"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// reportPapers are compared where a report does not say how many.
const reportPapers = 500

// StartMigration implements MigrationService.
func (s *Server) StartMigration(ctx context.Context, req *embeddv1.StartMigrationRequest) (*embeddv1.StartMigrationResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.room(); err != nil {
		return nil, &retrieval.Error{Kind: retrieval.Exhausted, Message: err.Error(), RetryAfter: memoryWait, Err: err}
	}
	info, err := set.StartMigration(ctx, req.GetName(), req.GetModel(), int(req.GetDimension()), req.GetAcross())
	if err != nil {
		return nil, err
	}
	return &embeddv1.StartMigrationResponse{Migration: migrationToProto(info)}, nil
}

// GetMigration implements MigrationService.
func (s *Server) GetMigration(ctx context.Context, req *embeddv1.GetMigrationRequest) (*embeddv1.GetMigrationResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	info, err := set.Migration(req.GetName())
	if err != nil {
		return nil, err
	}
	return &embeddv1.GetMigrationResponse{Migration: migrationToProto(info)}, nil
}

// ListMigrations implements MigrationService. For who has a key that is for some collections, there are no others.
func (s *Server) ListMigrations(ctx context.Context, _ *embeddv1.ListMigrationsRequest) (*embeddv1.ListMigrationsResponse, error) {
	set, err := s.ready()
	if err != nil {
		return nil, err
	}
	res := &embeddv1.ListMigrationsResponse{}
	only := onlyFor(ctx)
	for _, info := range set.Migrations() {
		if only == nil || slices.Contains(only, info.Name) {
			res.Migrations = append(res.Migrations, migrationToProto(info))
		}
	}
	return res, nil
}

// ReportMigration implements MigrationService.
func (s *Server) ReportMigration(ctx context.Context, req *embeddv1.ReportMigrationRequest) (*embeddv1.ReportMigrationResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	mode, err := modes.fromProto("mode", req.GetMode())
	if err != nil {
		return nil, err
	}
	papers := reportPapers
	if req.Papers != nil {
		papers = int(req.GetPapers())
	}
	info, report, err := set.Report(ctx, req.GetName(), papers, req.GetQueries(), cmp.Or(mode, retrieval.Dense))
	if err != nil {
		return nil, err
	}
	res := &embeddv1.ReportMigrationResponse{
		Migration: migrationToProto(info), Papers: int64(report.Papers), Overlap: report.Overlap, Unchanged: report.Same, Kendall: report.Kendall,
	}
	for i := range report.Changes {
		c := &report.Changes[i]
		res.Changes = append(res.Changes, &embeddv1.AnswerChange{
			Paper: &embeddv1.Paper{Id: c.Paper.ID, Title: c.Paper.Title}, Overlap: c.Overlap, Kendall: c.Kendall, Before: shortHits(c.Before), After: shortHits(c.After),
		})
	}
	for _, q := range report.Queries {
		res.Queries = append(res.Queries, &embeddv1.QueryAnswers{Before: q.Old, After: q.New, Mapped: q.Mapped, Bridged: q.Bridged})
	}
	return res, nil
}

// shortHits are hits with the ids and titles of their papers, and their scores.
func shortHits(hits []retrieval.Hit) []*embeddv1.Hit {
	out := make([]*embeddv1.Hit, len(hits))
	for i, h := range hits {
		out[i] = &embeddv1.Hit{Paper: &embeddv1.Paper{Id: h.Paper.ID, Title: h.Paper.Title}, Score: h.Score, Rank: int32(i + 1)}
	}
	return out
}

// SwapMigration implements MigrationService.
func (s *Server) SwapMigration(ctx context.Context, req *embeddv1.SwapMigrationRequest) (*embeddv1.SwapMigrationResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	info, err := set.Swap(ctx, req.GetName(), req.GetLeaveBehind())
	if err != nil {
		return nil, err
	}
	return &embeddv1.SwapMigrationResponse{Migration: migrationToProto(info)}, nil
}

// RollBackMigration implements MigrationService.
func (s *Server) RollBackMigration(ctx context.Context, req *embeddv1.RollBackMigrationRequest) (*embeddv1.RollBackMigrationResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	info, err := set.RollBack(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &embeddv1.RollBackMigrationResponse{Migration: migrationToProto(info)}, nil
}

// FinishMigration implements MigrationService.
func (s *Server) FinishMigration(ctx context.Context, req *embeddv1.FinishMigrationRequest) (*embeddv1.FinishMigrationResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := set.Finish(ctx, req.GetName()); err != nil {
		return nil, err
	}
	return &embeddv1.FinishMigrationResponse{}, nil
}

// CancelMigration implements MigrationService.
func (s *Server) CancelMigration(ctx context.Context, req *embeddv1.CancelMigrationRequest) (*embeddv1.CancelMigrationResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := set.Cancel(ctx, req.GetName()); err != nil {
		return nil, err
	}
	return &embeddv1.CancelMigrationResponse{}, nil
}

var migrationStages = map[collections.Stage]embeddv1.MigrationStage{
	collections.Sampling:  embeddv1.MigrationStage_MIGRATION_STAGE_SAMPLING,
	collections.Copying:   embeddv1.MigrationStage_MIGRATION_STAGE_COPYING,
	collections.Following: embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING,
	collections.Swapped:   embeddv1.MigrationStage_MIGRATION_STAGE_SWAPPED,
}

func migrationToProto(i collections.MigrationInfo) *embeddv1.Migration {
	out := &embeddv1.Migration{
		Name: i.Name, FromModel: i.From, ToModel: i.To, Started: timestamppb.New(i.Started), Stage: migrationStages[i.Stage],
		Papers: int64(i.Papers), Moved: int64(i.Moved), Behind: int64(i.Behind), Rate: i.Rate, Across: i.Across, Waiting: i.Waiting, Failed: i.Failed,
	}
	if i.Left > 0 {
		out.Left = durationpb.New(i.Left.Round(time.Second))
	}
	if i.Held > 0 {
		out.Held = durationpb.New(i.Held)
	}
	if b := i.Bridge; b != nil {
		out.Bridge = &embeddv1.ModelBridge{
			FittedOn: int64(b.Pairs), MeasuredOn: int64(b.Loss.Pairs), Cosine: b.Loss.Cosine, Overlap: b.Loss.Overlap, ReciprocalRank: b.Loss.ReciprocalRank, First: b.Loss.First,
		}
	}
	for _, id := range slices.Sorted(maps.Keys(i.Refused)) {
		out.Refused = append(out.Refused, &embeddv1.MigrationRefusal{Id: id, Why: i.Refused[id]})
	}
	return out
}
