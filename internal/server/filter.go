package server

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/access"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// scopeKey is the key, in the context of a call, of the papers that its key is for.
type scopeKey struct{}

// scope puts into a call's context the papers that its key is for. A key with a filter is for the methods that say that they keep to it.
func scope(ctx context.Context, key *access.Key, r rule) (context.Context, error) {
	if key == nil || key.Filter == "" {
		return ctx, nil
	}
	if !r.scoped {
		return ctx, status.Error(codes.PermissionDenied, "the key has a filter, and is for searching and reading papers only")
	}
	f, err := retrieval.ParseFilter("", key.Filter)
	if err != nil { // which has been refused when the key was made
		return ctx, &retrieval.Error{Kind: retrieval.FailedPrecondition, Message: "the filter of the key is none; ask who runs the server", Err: err}
	}
	return context.WithValue(ctx, scopeKey{}, f), nil
}

// scopeOf is the filter of the key of a call; nil for none.
func scopeOf(ctx context.Context) *retrieval.Filter {
	f, _ := ctx.Value(scopeKey{}).(*retrieval.Filter)
	return f
}

// which are the papers that a call with a filter of its own is about.
func which(ctx context.Context, filter string) (retrieval.Which, error) {
	f, err := retrieval.ParseFilter("filter", filter)
	return retrieval.Which{Filter: f, Field: "filter", Scope: scopeOf(ctx)}, err
}

// fieldsToProto is what GetInfo says of what filters may speak of.
func fieldsToProto(fields []retrieval.Field) []*embeddv1.Field {
	out := make([]*embeddv1.Field, len(fields))
	for i, f := range fields {
		out[i] = &embeddv1.Field{Name: f.Name, Type: fieldTypes[f.Type], Repeated: f.Repeated, Papers: int64(f.Papers), Values: int64(f.Values)}
	}
	return out
}

var fieldTypes = map[retrieval.FieldType]embeddv1.FieldType{
	retrieval.StringField: embeddv1.FieldType_FIELD_TYPE_STRING,
	retrieval.NumberField: embeddv1.FieldType_FIELD_TYPE_NUMBER,
	retrieval.BoolField:   embeddv1.FieldType_FIELD_TYPE_BOOL,
	retrieval.DateField:   embeddv1.FieldType_FIELD_TYPE_DATE,
	retrieval.MixedField:  embeddv1.FieldType_FIELD_TYPE_MIXED,
}
