package server

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// mapTold is how often ComputeMap says how far it is.
const mapTold = 200 * time.Millisecond

// ComputeMap implements MapService. The drawing does not wait for a client that does not read, and ends with the call.
func (s *Server) ComputeMap(req *embeddv1.ComputeMapRequest, stream grpc.ServerStreamingServer[embeddv1.ComputeMapResponse]) error {
	ctx := stream.Context()
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return err
	}
	if err := s.room(); err != nil {
		return &retrieval.Error{Kind: retrieval.Exhausted, Message: err.Error(), RetryAfter: memoryWait, Err: err}
	}
	w := watchedOf(ctx)
	w.about(req.GetCollection())
	var m *retrieval.Map
	err = w.piece(func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var far atomic.Pointer[embeddv1.ComputeMapResponse]
		drawn := make(chan error, 1)
		go func() {
			var err error
			defer func() { drawn <- err }()
			defer s.recovered(w.method, &err)
			m, err = c.ComputeMap(ctx, func(stage string, done, total int) {
				far.Store(&embeddv1.ComputeMapResponse{Stage: stage, Done: int64(done), Total: int64(total)})
			})
		}()
		tick := time.NewTicker(mapTold)
		defer tick.Stop()
		for {
			select {
			case err := <-drawn:
				return err
			case <-tick.C:
			}
			if res := far.Swap(nil); res != nil {
				if err := stream.Send(res); err != nil { // see watched.SendMsg
					cancel()
					<-drawn
					return err
				}
			}
		}
	})
	if err != nil {
		return err
	}
	return stream.Send(&embeddv1.ComputeMapResponse{Papers: int64(m.Papers()), Clusters: clustersToProto(m)})
}

// GetMap implements MapService.
func (s *Server) GetMap(ctx context.Context, req *embeddv1.GetMapRequest) (*embeddv1.GetMapResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	m, err := c.Map()
	if err != nil {
		return nil, err
	}
	return &embeddv1.GetMapResponse{ // which nobody changes, as the map
		X: m.X, Y: m.Y, Cluster: m.Cluster, Year: m.Year, Clusters: clustersToProto(m), Computed: timestamppb.New(m.Computed), Papers: int64(m.Papers()),
	}, nil
}

// GetMapPapers implements MapService.
func (s *Server) GetMapPapers(ctx context.Context, req *embeddv1.GetMapPapersRequest) (*embeddv1.GetMapPapersResponse, error) {
	c, err := s.collectionOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := req.GetComputed().CheckValid(); err != nil {
		return nil, &retrieval.Error{Kind: retrieval.Invalid, Field: "computed", Message: "is not given, or is no time of the years 1 to 9999; it says which map the positions are of, as GetMap has it", Err: err}
	}
	found, err := c.MapPapers(ctx, req.GetAt(), req.GetComputed().AsTime())
	if err != nil {
		return nil, err
	}
	res := &embeddv1.GetMapPapersResponse{Papers: make([]*embeddv1.MapPaper, len(found))}
	for i := range found {
		p, err := paperToProto(&found[i].Paper, embeddv1.PaperView_PAPER_VIEW_BASIC)
		if err != nil {
			return nil, err
		}
		res.Papers[i] = &embeddv1.MapPaper{At: found[i].At, Paper: p}
	}
	return res, nil
}

func clustersToProto(m *retrieval.Map) []*embeddv1.MapCluster {
	out := make([]*embeddv1.MapCluster, len(m.Clusters))
	for i, c := range m.Clusters {
		out[i] = &embeddv1.MapCluster{Label: c.Label, X: c.X, Y: c.Y, Papers: int64(c.Papers)}
	}
	return out
}
