package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/collections"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// asking is a request that is about a collection.
type asking interface{ GetCollection() string }

// collectionOf gives the collection that a request is about, by its name or an alias: the only way to one. It refuses a key that is not for it,
// in the same words whether there is such a collection or not.
func (s *Server) collectionOf(ctx context.Context, req asking) (*retrieval.Collection, error) {
	set, err := s.ready()
	if err != nil {
		return nil, err
	}
	asked := req.GetCollection()
	c, err := set.Get(asked)
	if only := onlyFor(ctx); only != nil && !slices.Contains(only, cmp.Or(asked, collections.Default)) && (c == nil || !slices.Contains(only, ownName(c))) {
		return nil, s.notForKey()
	}
	return c, err
}

// onlyFor are the collections that the key of a call is for; nil for all.
func onlyFor(ctx context.Context) []string {
	if caller, _ := CallerOf(ctx); caller.Key != nil {
		return caller.Key.Collections
	}
	return nil
}

func (s *Server) notForKey() error {
	s.counts.denied.Add(1)
	return status.Error(codes.PermissionDenied, "the key is not for this collection; ask who runs the server")
}

// ownName is what a collection is called, whatever it was asked for by.
func ownName(c *retrieval.Collection) string { return cmp.Or(c.Name(), collections.Default) }

// calledOtherwise is the collection's own name where a request calls it by another; "" where it does not.
func calledOtherwise(req asking, c *retrieval.Collection) string {
	if own := ownName(c); own != cmp.Or(req.GetCollection(), collections.Default) {
		return own
	}
	return ""
}

// change gives the collections to one who may change those of these names.
func (s *Server) change(ctx context.Context, names ...string) (*collections.Set, error) {
	set, err := s.ready()
	if err != nil {
		return nil, err
	}
	if only := onlyFor(ctx); only != nil {
		for _, name := range names {
			if !slices.Contains(only, name) {
				return nil, s.notForKey()
			}
		}
	}
	return set, nil
}

// CreateCollection implements CollectionService.
func (s *Server) CreateCollection(ctx context.Context, req *embeddv1.CreateCollectionRequest) (*embeddv1.CreateCollectionResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.room(); err != nil {
		return nil, &retrieval.Error{Kind: retrieval.Exhausted, Message: err.Error(), RetryAfter: memoryWait, Err: err}
	}
	settings, err := settingsFromProto(req.GetSettings())
	if err != nil {
		return nil, err
	}
	made, err := set.Create(ctx, req.GetName(), settings)
	if err != nil {
		return nil, err
	}
	info, err := collectionToProto(ctx, made)
	return &embeddv1.CreateCollectionResponse{Collection: info}, err
}

// DescribeCollection implements CollectionService.
func (s *Server) DescribeCollection(ctx context.Context, req *embeddv1.DescribeCollectionRequest) (*embeddv1.DescribeCollectionResponse, error) {
	set, err := s.ready()
	if err != nil {
		return nil, err
	}
	found, err := set.Describe("name", req.GetName())
	if only := onlyFor(ctx); only != nil && !slices.Contains(only, cmp.Or(req.GetName(), collections.Default)) && !slices.Contains(only, found.Name) {
		return nil, s.notForKey()
	}
	if err != nil {
		return nil, err
	}
	info, err := collectionToProto(ctx, found)
	if err != nil {
		return nil, err
	}
	return &embeddv1.DescribeCollectionResponse{Collection: info}, nil
}

// ListCollections implements CollectionService. For who has a key that is for some, there are no others.
func (s *Server) ListCollections(ctx context.Context, _ *embeddv1.ListCollectionsRequest) (*embeddv1.ListCollectionsResponse, error) {
	set, err := s.ready()
	if err != nil {
		return nil, err
	}
	res := &embeddv1.ListCollectionsResponse{}
	for _, found := range set.List() {
		if only := onlyFor(ctx); only != nil && !slices.Contains(only, found.Name) && !slices.ContainsFunc(found.Aliases, func(alias string) bool { return slices.Contains(only, alias) }) {
			continue
		}
		info, err := collectionToProto(ctx, found)
		if retrieval.KindOf(err) == retrieval.NotFound && err != nil { // it was deleted meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		res.Collections = append(res.Collections, info)
	}
	return res, nil
}

// DeleteCollection implements CollectionService.
func (s *Server) DeleteCollection(ctx context.Context, req *embeddv1.DeleteCollectionRequest) (*embeddv1.DeleteCollectionResponse, error) {
	set, err := s.change(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	papers, err := set.Delete(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &embeddv1.DeleteCollectionResponse{Papers: int64(papers)}, nil
}

// SetAlias implements CollectionService.
func (s *Server) SetAlias(ctx context.Context, req *embeddv1.SetAliasRequest) (*embeddv1.SetAliasResponse, error) {
	set, err := s.change(ctx, req.GetAlias(), req.GetCollection())
	if err != nil {
		return nil, err
	}
	before, err := set.SetAlias(ctx, req.GetAlias(), req.GetCollection())
	if err != nil {
		return nil, err
	}
	return &embeddv1.SetAliasResponse{Before: before}, nil
}

// DeleteAlias implements CollectionService.
func (s *Server) DeleteAlias(ctx context.Context, req *embeddv1.DeleteAliasRequest) (*embeddv1.DeleteAliasResponse, error) {
	set, err := s.change(ctx, req.GetAlias())
	if err != nil {
		return nil, err
	}
	if err := set.DeleteAlias(ctx, req.GetAlias()); err != nil {
		return nil, err
	}
	return &embeddv1.DeleteAliasResponse{}, nil
}

// collectionToProto describes a collection. Of the aliases, those are shown that the key of the call is for.
func collectionToProto(ctx context.Context, found collections.Info) (*embeddv1.CollectionInfo, error) {
	out := &embeddv1.CollectionInfo{Name: found.Name, Settings: settingsToProto(found.About.Settings), Unavailable: collections.Reason(found.Err)}
	only := onlyFor(ctx)
	for _, alias := range found.Aliases {
		if only == nil || slices.Contains(only, alias) {
			out.Aliases = append(out.Aliases, alias)
		}
	}
	if !found.About.Created.IsZero() {
		out.Created = timestamppb.New(found.About.Created)
	}
	if found.Collection == nil {
		return out, nil
	}
	info, err := found.Collection.Info()
	if err != nil {
		return nil, err
	}
	out.Model, out.Counts, out.IndexVersion = modelToProto(info.Model), countsToProto(info), info.Version
	return out, nil
}

// settingsOf are what a collection was made with; nil where it was deleted meanwhile.
func (s *Server) settingsOf(c *retrieval.Collection) *embeddv1.Settings {
	for _, info := range s.set.Load().List() {
		if info.Collection == c {
			return settingsToProto(info.About.Settings)
		}
	}
	return nil
}

func modelToProto(m retrieval.Model) *embeddv1.Model {
	return &embeddv1.Model{
		Id: m.ID, Fingerprint: m.Fingerprint, Dimension: int32(m.Dimension), MaxTokens: int32(m.MaxTokens),
		Pooling: m.Pooling, Precision: m.Precision, License: m.License, Dimensions: int32s(m.Dimensions),
	}
}

func countsToProto(info retrieval.Info) *embeddv1.Counts {
	return &embeddv1.Counts{Papers: int64(info.Papers), IndexedVectors: int64(info.Index.Vectors), Tombstones: int64(info.Index.Tombstones)}
}

// schemaTypes are the types of fields by their names in package retrieval's settings.
var schemaTypes = map[string]embeddv1.FieldType{
	"string": embeddv1.FieldType_FIELD_TYPE_STRING,
	"number": embeddv1.FieldType_FIELD_TYPE_NUMBER,
	"bool":   embeddv1.FieldType_FIELD_TYPE_BOOL,
	"date":   embeddv1.FieldType_FIELD_TYPE_DATE,
}

func settingsToProto(s collections.Settings) *embeddv1.Settings {
	out := &embeddv1.Settings{
		Model: s.Model, Dimension: int32(s.Dimension), OwnVectors: s.OwnVectors, Sentences: s.Sentences, Passages: s.Passages,
		Neighbours: int32(s.Neighbours), M: int32(s.M), EfConstruction: int32(s.EfConstruction),
	}
	for _, f := range s.Fields {
		out.Fields = append(out.Fields, &embeddv1.FieldSchema{Name: f.Name, Type: schemaTypes[f.Type], Repeated: f.Repeated, Required: f.Required})
	}
	return out
}

// settingsFromProto copies settings off the wire. Package collections checks their values, but for types that have no name there.
func settingsFromProto(s *embeddv1.Settings) (collections.Settings, error) {
	out := collections.Settings{
		Settings: retrieval.Settings{
			OwnVectors: s.GetOwnVectors(), Dimension: int(s.GetDimension()), Sentences: s.GetSentences(), Passages: s.GetPassages(), Neighbours: int(s.GetNeighbours()),
		},
		Model: s.GetModel(), M: int(s.GetM()), EfConstruction: int(s.GetEfConstruction()),
	}
	if n := len(s.GetFields()); n > collections.MaxFields {
		return out, &retrieval.Error{Kind: retrieval.Invalid, Field: "settings.fields", Message: fmt.Sprintf("has %d fields; the limit is %d", n, collections.MaxFields)}
	}
	for i, f := range s.GetFields() {
		schema := retrieval.FieldSchema{Name: f.GetName(), Repeated: f.GetRepeated(), Required: f.GetRequired()}
		for name, wire := range schemaTypes {
			if wire == f.GetType() {
				schema.Type = name
			}
		}
		if schema.Type == "" {
			return out, &retrieval.Error{Kind: retrieval.Invalid, Field: fmt.Sprintf("settings.fields[%d].type", i), Message: fmt.Sprintf("is %v; must be STRING, NUMBER, BOOL or DATE", f.GetType())}
		}
		out.Fields = append(out.Fields, schema)
	}
	return out, nil
}
