package server

import (
	"context"
	"log/slog"
	"math"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	"embedd/internal/access"
	"embedd/internal/collections"
	embeddv1 "embedd/proto/embedd/v1"
)

// slowCall is how long a call may take before it is in the log at level warn, where it does not wait in the bulk lane, for a copy of
// everything or for a client that sends.
const slowCall = time.Second

// slowAfter is how long a call of a method may take. Bulk work is not slow because there is much of it or because searches go first: it is
// when half of the time has passed that its class has. req is nil where it was not read.
func (s *Server) slowAfter(method string, req any) time.Duration {
	switch r := req.(type) {
	case *watched:
		return math.MaxInt64 // lasts for as long as its client likes
	case *embeddv1.DeletePapersRequest:
		return slowCall
	case *embeddv1.EncodeRequest:
		if len(r.GetTexts()) == 1 && r.GetLane() != embeddv1.Lane_LANE_BULK || r.GetLane() == embeddv1.Lane_LANE_INTERACTIVE {
			return slowCall
		}
	}
	class := s.rules[method].class
	switch class {
	case embeddv1.Class_CLASS_ENCODE, embeddv1.Class_CLASS_WRITE, embeddv1.Class_CLASS_ADMIN:
		return max(slowCall, s.limits.Classes[class].Deadline/2)
	}
	return slowCall
}

// audit writes a line about a call that may have changed something, or has run the server, and whose caller is known by a key: who, what,
// how many and how it came out. A search that stores its query is one. It is a line of its own at level info, whatever else is logged of the
// call, since one at level warn or above stands for those that come again. A call that was refused for want of room has changed nothing, unless it is a stream that had begun,
// comes again and again, and is counted elsewhere. It tells whether it wrote a line.
func (s *Server) audit(ctx context.Context, method string, took time.Duration, code codes.Code, req any) bool {
	c, ok := CallerOf(ctx)
	if !ok || c.Key == nil || s.rules[method].role <= access.Read && !stores(req) || !s.log.Enabled(ctx, slog.LevelInfo) {
		return false
	}
	if w, ok := req.(*watched); code == codes.ResourceExhausted && (!ok || !w.worked()) {
		return false
	}
	level := slog.LevelInfo
	if code == codes.PermissionDenied {
		level = slog.LevelWarn // is not bounded by a rate, so it is written once a second at most
	}
	attrs := []slog.Attr{slog.String("log", "audit"), slog.String("key", c.Key.Name), slog.String("key_id", c.Key.ID)}
	s.log.LogAttrs(ctx, level, "audit", append(attrs, callLine(ctx, method, took, code, req)...)...)
	return true
}

// ended writes the line about a stream that has ended well.
func (s *Server) ended(ctx context.Context, method string, begin time.Time, w *watched) {
	took := time.Since(begin)
	if !s.audit(ctx, method, took, codes.OK, w) {
		s.logCall(ctx, slog.LevelDebug, "call", method, took, codes.OK, nil, w)
	}
}

// callAttrs are what the log says of a request: its parameters and sizes, never a text, an id, a vector or metadata.
func callAttrs(req any) []any {
	switch r := req.(type) {
	case *embeddv1.SearchRequest:
		return append([]any{"input", inputKind(r.GetQuery()), "bytes", len(r.GetQuery().GetText())}, searchAttrs(r)...)
	case *embeddv1.RelatedRequest:
		return append([]any{"input", "paper"}, searchAttrs(asSearch(r))...)
	case *embeddv1.RecommendRequest:
		return []any{"n", len(r.GetPositiveIds()) + len(r.GetNegativeIds())}
	case *embeddv1.SearchManyRequest:
		return []any{"n", len(r.GetSearches())}
	case *embeddv1.CompareRequest:
		return []any{"n", len(r.GetLeft()) + len(r.GetRight())}
	case *embeddv1.RerankRequest:
		return []any{"n", len(r.GetTexts()), "bytes", textBytes(r.GetTexts()) + len(r.GetQuery())}
	case *embeddv1.TokenizeRequest:
		return []any{"n", len(r.GetTexts())}
	case *embeddv1.CountPapersRequest:
		return []any{"n", len(r.GetFacets())}
	case *embeddv1.ExplainRequest:
		return []any{"input", inputKind(r.GetQuery()), "bytes", len(r.GetQuery().GetText())}
	case *embeddv1.EncodeRequest:
		return []any{"n", len(r.GetTexts()), "bytes", textBytes(r.GetTexts()), "lane", r.GetLane().String(), "role", r.GetRole().String()}
	case *embeddv1.UpsertPapersRequest:
		bytes := 0
		for _, p := range r.GetPapers() {
			bytes += len(p.GetTitle()) + len(p.GetAbstract())
		}
		return []any{"n", len(r.GetPapers()), "bytes", bytes}
	case *embeddv1.DeletePapersRequest:
		return whatWasAsked([]any{"n", len(r.GetIds())}, "filter", r.GetFilter() != "", "dry_run", r.GetDryRun())
	case *embeddv1.GetMapPapersRequest:
		return []any{"n", len(r.GetAt())}
	case *embeddv1.UpdateMetadataRequest:
		return []any{"n", len(r.GetUpdates())}
	case *watched:
		r.mu.Lock()
		defer r.mu.Unlock()
		return []any{"n", r.came}
	case *embeddv1.ListPapersRequest:
		return []any{"n", r.GetPageSize()}
	case *embeddv1.CreateCollectionRequest:
		return named("name", r.GetName())
	case *embeddv1.DeleteCollectionRequest:
		return named("name", r.GetName())
	case *embeddv1.StartMigrationRequest:
		return named("name", r.GetName())
	case *embeddv1.GetMigrationRequest:
		return named("name", r.GetName())
	case *embeddv1.ReportMigrationRequest:
		return append(named("name", r.GetName()), "n", len(r.GetQueries()), "bytes", textBytes(r.GetQueries()))
	case *embeddv1.SwapMigrationRequest:
		return whatWasAsked(named("name", r.GetName()), "leave_behind", r.GetLeaveBehind())
	case *embeddv1.RollBackMigrationRequest:
		return named("name", r.GetName())
	case *embeddv1.FinishMigrationRequest:
		return named("name", r.GetName())
	case *embeddv1.CancelMigrationRequest:
		return named("name", r.GetName())
	case *embeddv1.SetAliasRequest:
		return named("alias", r.GetAlias()) // the collection is in every line
	case *embeddv1.DeleteAliasRequest:
		return named("alias", r.GetAlias())
	}
	return nil
}

// textBytes is how long texts are together.
func textBytes(texts []string) (n int) {
	for _, text := range texts {
		n += len(text)
	}
	return n
}

// named is an attribute with the name of a collection, where it can be one: of what is none the log gets nothing.
func named(key, name string) []any {
	if collections.CheckName("", name) != nil {
		return nil
	}
	return []any{key, name}
}

func searchAttrs(r *embeddv1.SearchRequest) []any {
	var attrs []any
	if r.K != nil {
		attrs = append(attrs, "k", *r.K)
	}
	if r.Ef != nil {
		attrs = append(attrs, "ef", *r.Ef)
	}
	if r.Recall != nil {
		attrs = append(attrs, "recall", *r.Recall)
	}
	if r.GetExact() {
		attrs = append(attrs, "exact", true)
	}
	if r.GetPlan() != embeddv1.Plan_PLAN_UNSPECIFIED {
		attrs = append(attrs, "plan", r.GetPlan().String())
	}
	if r.GetMode() != embeddv1.Mode_MODE_UNSPECIFIED {
		attrs = append(attrs, "mode", r.GetMode().String())
	}
	if r.GetFusion() != embeddv1.Fusion_FUSION_UNSPECIFIED {
		attrs = append(attrs, "fusion", r.GetFusion().String())
	}
	if r.DenseWeight != nil {
		attrs = append(attrs, "dense_weight", *r.DenseWeight)
	}
	return whatWasAsked(attrs, "filter", r.GetFilter() != "", "explain", r.GetExplain(), "rerank", r.GetRerank() != nil, "feedback", r.GetFeedback() != nil,
		"page", r.GetPageToken() != "", "store", r.GetStore())
}

// whatWasAsked appends those of pairs, of a name and whether it was asked for, that were.
func whatWasAsked(attrs []any, pairs ...any) []any {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == true {
			attrs = append(attrs, pairs[i], true)
		}
	}
	return attrs
}

// inputKind says what an input is, without what is in it.
func inputKind(in *embeddv1.Input) string {
	switch in.GetKind().(type) {
	case *embeddv1.Input_PaperId:
		return "paper"
	case *embeddv1.Input_Text:
		return "text"
	case *embeddv1.Input_Vector:
		return "vector"
	case *embeddv1.Input_Paper:
		return "unknown paper"
	case *embeddv1.Input_Examples:
		return "examples"
	}
	return "none"
}

// logCall writes a line about a call that has ended.
func (s *Server) logCall(ctx context.Context, level slog.Level, message, method string, took time.Duration, code codes.Code, err error, req any) {
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := callLine(ctx, method, took, code, req)
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	s.log.LogAttrs(ctx, level, message, attrs...)
}

// callLine is what a line about a call says of it.
func callLine(ctx context.Context, method string, took time.Duration, code codes.Code, req any) []slog.Attr {
	attrs := []slog.Attr{slog.String("method", method), slog.String("code", canonical(code)), slog.Duration("took", took)}
	if p, ok := peer.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("peer", p.Addr.String()))
	}
	if r, ok := req.(asking); ok {
		attrs = append(attrs, slog.Group("", named("collection", r.GetCollection())...))
	}
	return append(attrs, slog.Group("", callAttrs(req)...)) // a group without a name is its attributes
}
