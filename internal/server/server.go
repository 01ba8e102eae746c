package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"embedd/internal/access"
	"embedd/internal/admission"
	"embedd/internal/collections"
	"embedd/internal/jobs"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// Options tune New.
type Options struct {
	// Version of the program, for Info.
	Version string
	// Log gets defects, slow calls and, at debug level, each call. It gets no texts and no keys. Default: slog.Default().
	Log *slog.Logger
	// Interceptor, when set, is around each unary call, outside of all others.
	Interceptor grpc.UnaryServerInterceptor
	// Keys gives the keys that are good at a moment. nil: no key is needed, and everybody may do everything.
	Keys func() *access.Keys
	// TLS is for connections; nil: they are not encrypted.
	TLS *tls.Config
	// Limits are what a client may take. Default: DefaultLimits().
	Limits Limits
	// Reflection describes the services to anyone where there are no keys. Where there are, it takes an admin's.
	Reflection bool
	// Local: calls come from this process only. They wait for each other for as long as it takes, and none is cut short.
	Local bool
	// Room returns nil, or why papers must not be added for want of memory. Default: they always may.
	Room func() error
	// Backups is the folder in which backups of the default collection are made, below the data directory. Those of another are in the folder of the
	// same name of its own. Default: none are.
	Backups string
}

// Server is the gRPC server of the collections of a data directory.
type Server struct {
	version string
	log     *slog.Logger
	keys    func() *access.Keys
	limits  Limits
	rules   map[string]rule // by full method
	gates   map[embeddv1.Class]*admission.Gate
	rates   *rates
	open    *openCalls
	streams places
	// webPlaces are of requests over HTTP.
	webPlaces places
	counts    *counts
	intake    *intake
	grpc      *grpc.Server
	inside    *inprocgrpc.Channel
	visitors  atomic.Int64 // requests over HTTP, and calls from inside
	tls       *tls.Config
	health    *health.Server
	set       atomic.Pointer[collections.Set]
	jobs      atomic.Pointer[jobs.Runner]
	calls     *callMetrics
	backups   string
	room      func() error
	patience  time.Duration // ingestPatience, but in tests
	idle      time.Duration // streamIdle

	// stopping ends when Stop begins.
	stopping context.Context
	stop     context.CancelFunc

	mu       sync.Mutex // held while health is set; guards the rest
	readOnly bool
	webs     []*http.Server
}

// services are the ones that the health service speaks of.
var services = []*grpc.ServiceDesc{
	&embeddv1.PaperService_ServiceDesc,
	&embeddv1.SearchService_ServiceDesc,
	&embeddv1.EncodeService_ServiceDesc,
	&embeddv1.InfoService_ServiceDesc,
	&embeddv1.AdminService_ServiceDesc,
	&embeddv1.CollectionService_ServiceDesc,
	&embeddv1.MapService_ServiceDesc,
	&embeddv1.JobService_ServiceDesc,
	&embeddv1.MigrationService_ServiceDesc,
}

// New makes a server that has nothing to serve yet. It fails where a method has no rule of who may call it.
func New(o Options) (*Server, error) {
	s := &Server{
		version: o.Version, log: o.Log, keys: o.Keys, limits: o.Limits, rates: newRates(), open: newOpenCalls(), streams: places{most: maxStreamCalls, perAddress: maxStreamCallsPerAddress}, webPlaces: places{most: maxRequests, perAddress: maxRequestsPerAddress}, counts: &counts{}, health: health.NewServer(),
		calls: newCallMetrics(), backups: o.Backups, room: o.Room, patience: ingestPatience,
		idle: streamIdle,
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if s.room == nil {
		s.room = func() error { return nil }
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	defaults := DefaultLimits()
	s.limits.Connections = cmp.Or(s.limits.Connections, defaults.Connections)
	s.limits.Classes = classLimits()
	if o.Local {
		s.limits.Classes, s.patience, s.idle = localLimits(), never, never
	}
	maps.Copy(s.limits.Classes, o.Limits.Classes)
	s.limits.MessageBytes = cmp.Or(s.limits.MessageBytes, defaults.MessageBytes)
	if o.Local {
		s.limits.MessageBytes = math.MaxInt64
	}
	s.intake = newIntake(s.limits.MessageBytes)
	s.gates = gatesOf(s.limits.Classes)
	options := append(transport(),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.InTapHandle(s.limitTime),
		grpc.ChainUnaryInterceptor(s.logUnary, s.recoverUnary, s.guardUnary),
		grpc.ChainStreamInterceptor(s.recoverStream, s.guardStream, s.endStream),
		grpc.StatsHandler(s.calls),
	)
	if o.Interceptor != nil {
		options = append(options, grpc.UnaryInterceptor(o.Interceptor)) // comes before those of the chain
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s.grpc, s.tls = grpc.NewServer(options...), o.TLS
	s.openInside(o.Interceptor)
	for _, desc := range services {
		if err := s.register(desc); err != nil {
			return nil, err
		}
	}
	s.registerOpen(&grpc_health_v1.Health_ServiceDesc, s.health)
	s.inside.RegisterService(&grpc_health_v1.Health_ServiceDesc, s.health) // for routes over HTTP that ask
	if o.Reflection || o.Keys != nil {
		reflection.Register(s.grpc)
	}
	s.calls.know(s.grpc.GetServiceInfo())
	var err error
	if s.rules, err = rulesOf(s.grpc.GetServiceInfo()); err != nil {
		return nil, err
	}
	s.setHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return s, nil
}

// Ready is ReadyAll for a collection that is alone.
func (s *Server) Ready(c *retrieval.Collection) {
	s.ReadyAll(collections.Alone(c, collections.About{}))
}

// ReadyAll gives the server its collections, whose models must have passed a canary encode, and turns health to SERVING. The
// collections stay the caller's to close, after Stop.
func (s *Server) ReadyAll(set *collections.Set) {
	s.set.Store(set)
	s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
}

// SetWritable says whether papers can be changed. While they cannot, the health of PaperService is NOT_SERVING, and that of the others
// stays as it is. reason is for the log.
func (s *Server) SetWritable(writable bool, reason string) {
	s.mu.Lock()
	changed := s.readOnly == writable
	s.readOnly = !writable
	s.mu.Unlock()
	if !changed {
		return
	}
	s.log.Warn("whether papers can be changed has changed", "writable", writable, "reason", reason)
	if s.set.Load() != nil {
		s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
	}
}

func (s *Server) setHealth(state grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.SetServingStatus("", state)
	for _, desc := range services {
		of := state
		if s.readOnly && desc == &embeddv1.PaperService_ServiceDesc {
			of = grpc_health_v1.HealthCheckResponse_NOT_SERVING
		}
		s.health.SetServingStatus(desc.ServiceName, of)
	}
}

// Metrics are the server's, to be registered. They may be collected for as long as the process lives.
func (s *Server) Metrics() prometheus.Collector { return serverMetrics{s.calls, loadMetrics{s}} }

// Serve answers on l until Stop. It closes l.
func (s *Server) Serve(l net.Listener) error {
	return s.grpc.Serve(limitListener(l, s.limits, s.counts, s.intake))
}

// Stop turns health to NOT_SERVING, takes no new calls, ends streams, lets running calls end for as long as grace, cancels those
// left, and returns when none runs.
func (s *Server) Stop(grace time.Duration) {
	s.Drain()
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	web := make(chan struct{})
	go func() {
		defer close(web)
		s.stopWeb(grace)
	}()
	defer func() { <-web }()
	timer := time.AfterFunc(grace, s.grpc.Stop)
	defer timer.Stop()
	s.grpc.GracefulStop()
}

// AwaitStop returns when Stop has begun.
func (s *Server) AwaitStop() error {
	<-s.stopping.Done()
	return nil
}

// ready gives the collections, or UNAVAILABLE while there are none.
func (s *Server) ready() (*collections.Set, error) {
	if set := s.set.Load(); set != nil {
		return set, nil
	}
	return nil, status.Error(codes.Unavailable, "the server is starting; ask grpc.health.v1.Health for SERVING and try again")
}
