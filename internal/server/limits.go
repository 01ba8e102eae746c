package server

import (
	"math"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"embedd/internal/admission"
	"embedd/internal/collections"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// Limits are what a client may take of a server, as far as an operator chooses it. Zero is no limit for a rate, and the connections in
// all for those of one address.
type Limits struct {
	// Connections in all, and from one address; of IPv6, from one /64.
	Connections, ConnectionsPerAddress int
	// Rate and WriteRate are calls a second: of one key, and of one address without a key. Twice as many may come at once.
	Rate, WriteRate float64
	// MessageBytes of requests that come at once, of those of all calls that run and wait, and of answers that wait until they are read.
	MessageBytes int64
	// Memory is how much the process may take, in bytes, for GetInfo; 0: it is not watched. Who watches is Options.Room.
	Memory int64
	// Classes replaces the limits of a kind of work, for tests.
	Classes map[embeddv1.Class]ClassLimits
}

// DefaultLimits are those of a server on the loopback interface, which has no rates.
func DefaultLimits() Limits {
	return Limits{Connections: 1024, ConnectionsPerAddress: 64, MessageBytes: 256 << 20}
}

// Rates for a server that others than this machine can reach.
const (
	DefaultRate      = 50
	DefaultWriteRate = 10
	// publishableRate is of an address with a publishable key, which everybody has.
	publishableRate = 10
)

// What is the same for each server.
const (
	// MaxMessageBytes is the largest request of any class, and the largest answer.
	MaxMessageBytes = 16 << 20
	// maxHeaderBytes is the longest list of headers of a call.
	maxHeaderBytes = 16 << 10
	// maxHealthBytes is the largest request about the health.
	maxHealthBytes = 1 << 10
	// maxOpen are the calls at once that need no key, of health, and maxOpenPerAddress those from one address; firstMessage is how
	// long the request of one may take to come.
	maxOpen           = 256
	maxOpenPerAddress = 32
	firstMessage      = 10 * time.Second
	// maxStreams are the calls at once on a connection.
	maxStreams = 128
	// streamWindow is how much a client sends of a request before it is read, connWindow how much on a connection before it is told
	// that it has come.
	streamWindow = 64 << 10
	connWindow   = 1 << 20
	// memoryWait is when to try again where the memory is used up.
	memoryWait = 5 * time.Second
	// handshake is how long a new connection has to become one of HTTP/2.
	handshake = 10 * time.Second
)

// ClassLimits are the limits of a kind of work.
type ClassLimits struct {
	// MessageBytes is the largest request.
	MessageBytes int
	// Deadline is the longest there is: a call with a longer one, or none, has this.
	Deadline time.Duration
	// Gate has the calls at once.
	Gate admission.Options
	// BeforeReading: a call is let in before its request is read, because the requests of those who wait would fill the memory. The
	// others are read first, so that who sends slowly, or not at all, takes no one's place.
	BeforeReading bool
}

// classLimits is the table of limits by class.
//
// A search needs a core, and for a text the encoder: a few for each core keep all busy. The encoder has lanes of its own, which know
// how much there is to read and refuse what they have no room for (embed/lane); so the other gates only bound what is held in
// memory, and nothing waits before them that would wait in a lane anyhow.
func classLimits() map[embeddv1.Class]ClassLimits {
	cores := runtime.GOMAXPROCS(0)
	gate := func(name string, running, waiting int) admission.Options {
		return admission.Options{Name: name, Running: running, Waiting: waiting, Burst: 100 * time.Millisecond, Standing: 10 * time.Millisecond}
	}
	return map[embeddv1.Class]ClassLimits{
		embeddv1.Class_CLASS_SEARCH: {MessageBytes: 1 << 20, Deadline: 10 * time.Second, Gate: gate("search", 2*cores, 256)},
		embeddv1.Class_CLASS_ENCODE: {MessageBytes: 4 << 20, Deadline: 30 * time.Second, Gate: gate("encode", 2*cores, 64)},
		embeddv1.Class_CLASS_WRITE:  {MessageBytes: MaxMessageBytes, Deadline: time.Minute, Gate: gate("write", max(8, 2*cores), 64), BeforeReading: true},
		embeddv1.Class_CLASS_ADMIN:  {MessageBytes: 1 << 20, Deadline: 10 * time.Minute, Gate: gate("admin", 4, 4)},
	}
}

// never is when what is awaited has come.
const never = 1000 * time.Hour

// localLimits are those of a server in its client's own process: who would be refused would be refused by themselves.
func localLimits() map[embeddv1.Class]ClassLimits {
	all := classLimits()
	for c, l := range all {
		l.Deadline, l.Gate.Waiting, l.Gate.Burst, l.Gate.Standing = never, math.MaxInt32, never, never
		all[c] = l
	}
	return all
}

// transport are the limits that gRPC holds for us.
func transport() []grpc.ServerOption {
	return []grpc.ServerOption{
		// A goroutine for each call would grow its stack each time, which is a tenth of a short call.
		grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshake),
		// What is sent of a request before it is read is this much; gRPC's own estimate may grow to all of it. A connection has more, so
		// that a large request comes fast over a long line.
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.WaitForHandlers(true),
		// A client that asks more often whether the server is there is sent away.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, // a client that is gone is noticed
			MaxConnectionIdle: 5 * time.Minute,
			// Clients behind a balancer of connections come to other servers; calls that run have as long as the longest write.
			MaxConnectionAge: 30 * time.Minute, MaxConnectionAgeGrace: time.Minute,
		}),
	}
}

// limitsToProto is what GetInfo says.
func (s *Server) limitsToProto() *embeddv1.Limits {
	out := &embeddv1.Limits{
		K: retrieval.MaxK, Ef: retrieval.MaxEf, PapersPerCall: retrieval.MaxPapersPerCall, TextsPerCall: retrieval.MaxTextsPerCall,
		IdBytes: retrieval.MaxIDBytes, TextBytes: retrieval.MaxTextBytes, MetadataBytes: retrieval.MaxMetadataBytes,
		PageSize: retrieval.MaxPageSize, MessageBytes: MaxMessageBytes, AuthorsPerPaper: retrieval.MaxAuthors,
		Facets: retrieval.MaxFacets, HeaderBytes: maxHeaderBytes, CallsPerConnection: maxStreams,
		Connections: int32(s.limits.Connections), ConnectionsPerAddress: int32(s.limits.ConnectionsPerAddress),
		CallsPerSecond: s.limits.Rate, WritesPerSecond: s.limits.WriteRate,
		Collections: collections.Max, SearchesPerCall: retrieval.MaxSearchesPerCall, Examples: retrieval.MaxExamples,
		MessageBytesAtOnce: s.limits.MessageBytes, MemoryBytes: s.limits.Memory,
		Exclude: retrieval.MaxExclude,
	}
	for c := embeddv1.Class_CLASS_SEARCH; c <= embeddv1.Class_CLASS_ADMIN; c++ {
		l := s.limits.Classes[c]
		out.Classes = append(out.Classes, &embeddv1.ClassLimits{
			Class: c, MessageBytes: int32(l.MessageBytes), DeadlineSeconds: int32(l.Deadline / time.Second), Running: int32(l.Gate.Running), Waiting: int32(l.Gate.Waiting),
		})
	}
	return out
}
