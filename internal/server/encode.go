package server

import (
	"context"
	"fmt"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// Encode implements EncodeService.
func (s *Server) Encode(ctx context.Context, req *embeddv1.EncodeRequest) (*embeddv1.EncodeResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	role, err := roleFromProto(req.GetRole())
	if err != nil {
		return nil, err
	}
	lane := retrieval.Interactive
	switch req.GetLane() {
	case embeddv1.Lane_LANE_UNSPECIFIED:
		if len(req.GetTexts()) > 1 {
			lane = retrieval.Bulk
		}
	case embeddv1.Lane_LANE_INTERACTIVE:
	case embeddv1.Lane_LANE_BULK:
		lane = retrieval.Bulk
	default:
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "lane", Message: fmt.Sprintf("%d is not a Lane", req.GetLane())}
	}
	m := c.Model()
	form, err := formOf(req, m)
	if err != nil {
		return nil, err
	}
	vectors, err := c.Encode(ctx, lane, role, req.GetTexts())
	if err != nil {
		return nil, err
	}
	encodings, err := form.encodings(vectors)
	if err != nil {
		return nil, err
	}
	return &embeddv1.EncodeResponse{Encodings: encodings, Model: m.ID, Fingerprint: m.Fingerprint}, nil
}

// Tokenize implements EncodeService.
func (s *Server) Tokenize(ctx context.Context, req *embeddv1.TokenizeRequest) (*embeddv1.TokenizeResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	role, err := roleFromProto(req.GetRole())
	if err != nil {
		return nil, err
	}
	all, err := c.Tokenize(ctx, role, req.GetTexts())
	if err != nil {
		return nil, err
	}
	res := &embeddv1.TokenizeResponse{Texts: make([]*embeddv1.Tokens, len(all))}
	for i, t := range all {
		res.Texts[i] = &embeddv1.Tokens{Ids: t.IDs, Tokens: t.Tokens, TextUse: textUseToProto(t.TextUse)}
	}
	return res, nil
}

// roleFromProto refuses a role that this server does not know.
func roleFromProto(role embeddv1.Role) (retrieval.Role, error) {
	switch role {
	case embeddv1.Role_ROLE_UNSPECIFIED, embeddv1.Role_ROLE_DOCUMENT:
		return retrieval.Document, nil
	case embeddv1.Role_ROLE_QUERY:
		return retrieval.Query, nil
	}
	return 0, &retrieval.Error{Kind: retrieval.Invalid, Field: "role", Message: fmt.Sprintf("%d is not a Role", role)}
}

// GetInfo implements InfoService.
func (s *Server) GetInfo(ctx context.Context, req *embeddv1.GetInfoRequest) (*embeddv1.GetInfoResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	where, err := c.Bands()
	if err != nil {
		return nil, err
	}
	x := info.Index
	fields, ready := c.Fields()
	res := &embeddv1.GetInfoResponse{
		Version:      s.version,
		Model:        modelToProto(info.Model),
		Limits:       s.limitsToProto(),
		Counts:       countsToProto(info),
		IndexVersion: info.Version,
		Index: &embeddv1.Index{
			M: int32(x.M), EfConstruction: int32(x.EfConstruction), Memory: x.Memory, Kernels: x.Kernels,
			Vectors: int64(x.Vectors), Tombstones: int64(x.Tombstones), Free: int64(x.Free),
			MemoryBytes: x.MemoryBytes, FileBytes: x.FileBytes, BytesPerVector: x.BytesPerVector(), CalibratedVectors: int64(x.Calibrated),
		},
		Fields: fieldsToProto(fields), FieldsReady: ready, Rerankers: c.Rerankers(),
		Collection: ownName(c), Settings: s.settingsOf(c),
	}
	if where != nil {
		res.Bands = &embeddv1.Bands{Related: where.Related, Strong: where.Strong, Mean: float32(where.Mean), Deviation: float32(where.Deviation)}
	}
	return res, nil
}

func int32s(all []int) (out []int32) {
	for _, n := range all {
		out = append(out, int32(n))
	}
	return out
}
