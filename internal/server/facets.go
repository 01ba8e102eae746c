package server

import (
	"context"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// CountPapers implements PaperService.
func (s *Server) CountPapers(ctx context.Context, req *embeddv1.CountPapersRequest) (*embeddv1.CountPapersResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	which, err := which(ctx, req.GetFilter())
	if err != nil {
		return nil, err
	}
	papers, facets, err := c.Count(ctx, which, facetsFromProto(req.GetFacets()))
	if err != nil {
		return nil, err
	}
	return &embeddv1.CountPapersResponse{Papers: int64(papers), Facets: facetsToProto(facets), Filter: which.Filter.String()}, nil
}

func facetsFromProto(all []*embeddv1.FacetRequest) []retrieval.FacetRequest {
	out := make([]retrieval.FacetRequest, len(all))
	for i, f := range all {
		out[i] = retrieval.FacetRequest{Field: f.GetField(), Values: int(f.GetValues())}
	}
	return out
}

func facetsToProto(all []retrieval.Facet) []*embeddv1.Facet {
	out := make([]*embeddv1.Facet, len(all))
	for i, f := range all {
		out[i] = &embeddv1.Facet{Field: f.Field, ValuesTotal: int64(f.Total), PapersWithout: int64(f.Without), Values: make([]*embeddv1.FacetValue, len(f.Values))}
		for j, v := range f.Values {
			out[i].Values[j] = &embeddv1.FacetValue{Value: v.Value, Papers: int64(v.Papers)}
		}
	}
	return out
}
