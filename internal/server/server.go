package server

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// MaxMessageBytes is the largest request that is read.
const MaxMessageBytes = 64 << 20

// Options tune New.
type Options struct {
	// Version of the program, for Info.
	Version string
	// Log gets defects, slow calls and, at debug level, each call. It gets no texts. Default: slog.Default().
	Log *slog.Logger
	// Interceptor, when set, is around each unary call, outside of all others.
	Interceptor grpc.UnaryServerInterceptor
}

// Server is the gRPC server of one collection.
type Server struct {
	version    string
	log        *slog.Logger
	grpc       *grpc.Server
	health     *health.Server
	collection atomic.Pointer[retrieval.Collection]
	calls      *callMetrics

	// stopping ends when Stop begins.
	stopping context.Context
	stop     context.CancelFunc
}

// services are the ones that the health service speaks of.
var services = []*grpc.ServiceDesc{
	&embeddv1.PaperService_ServiceDesc,
	&embeddv1.SearchService_ServiceDesc,
	&embeddv1.EncodeService_ServiceDesc,
	&embeddv1.InfoService_ServiceDesc,
}

// New makes a server that has nothing to serve yet.
func New(o Options) *Server {
	s := &Server{version: o.Version, log: o.Log, health: health.NewServer(), calls: newCallMetrics()}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if s.log == nil {
		s.log = slog.Default()
	}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.ChainUnaryInterceptor(s.logUnary, s.recoverUnary),
		grpc.ChainStreamInterceptor(s.recoverStream, s.endStream),
		grpc.StatsHandler(s.calls),
	}
	if o.Interceptor != nil {
		options = append(options, grpc.UnaryInterceptor(o.Interceptor)) // comes before those of the chain
	}
	s.grpc = grpc.NewServer(options...)
	for _, desc := range services {
		registerStrict(s.grpc, desc, s)
	}
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.calls.know(s.grpc.GetServiceInfo())
	s.setHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return s
}

// Ready gives the server its collection, which must have passed a canary encode, and turns health to SERVING. The
// collection stays the caller's to close, after Stop.
func (s *Server) Ready(c *retrieval.Collection) {
	s.collection.Store(c)
	s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
}

func (s *Server) setHealth(state grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", state)
	for _, desc := range services {
		s.health.SetServingStatus(desc.ServiceName, state)
	}
}

// Metrics are the server's, to be registered. They may be collected for as long as the process lives.
func (s *Server) Metrics() prometheus.Collector { return s.calls }

// Serve answers on l until Stop. It closes l.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Stop turns health to NOT_SERVING, takes no new calls, ends streams, lets running calls end for as long as grace, cancels those
// left, and returns when none runs.
func (s *Server) Stop(grace time.Duration) {
	s.Drain()
	s.stop()
	timer := time.AfterFunc(grace, s.grpc.Stop)
	defer timer.Stop()
	s.grpc.GracefulStop()
}

// ready gives the collection, or UNAVAILABLE while there is none.
func (s *Server) ready() (*retrieval.Collection, error) {
	if c := s.collection.Load(); c != nil {
		return c, nil
	}
	return nil, status.Error(codes.Unavailable, "the server is starting; ask grpc.health.v1.Health for SERVING and try again")
}
