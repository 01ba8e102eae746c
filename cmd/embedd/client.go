package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"embedd/internal/collections"
	"embedd/internal/jobs"
	"embedd/internal/server"
	embeddv1 "embedd/proto/embedd/v1"
)

// clientFlags say whom a subcommand talks to, and about which collection.
type clientFlags struct {
	Collection string `help:"Collection to ask, by its name or an alias; default: the default one." placeholder:"NAME"`

	placeFlags
}

// placeFlags say whom a subcommand talks to.
type placeFlags struct {
	Server string      `help:"Address of a running server; without a port, 50051." default:"127.0.0.1:50051" placeholder:"HOST[:PORT]"`
	Reach  reachFlags  `embed:"" group:"With --server:"`
	Data   string      `help:"Open this data directory without a server." placeholder:"DIR"`
	Engine engineFlags `embed:"" group:"With --data:"`

	// here are flags of that group that the command has a use for itself, whom it talks to or not.
	here []string
}

// The groups of the flags that only one of the two ways has a use for.
const (
	withServer = "With --server:"
	withData   = "With --data:"
)

// local tells whether a data directory is opened in this process. What the command line says goes before the environment. A flag that
// would not be heeded is refused, and a note says so of an environment variable.
func (f *placeFlags) local(e *env) (bool, error) {
	local := f.Data != ""
	if server := e.flag("server"); server != nil && local {
		data := e.flag("data")
		switch {
		case e.isGiven("server") && e.isGiven("data"):
			return false, errors.New("--server, --data: a running server answers, or a data directory is opened; give one of them")
		case e.isGiven("server"):
			local = false
			fmt.Fprintf(e.stderr, "embedd: note: --server is given, so %s is not used\n", e.inEnvironment(data))
		case e.inEnvironment(server) != "":
			fmt.Fprintf(e.stderr, "embedd: note: the data directory %s is opened, and %s is not used\n", f.Data, e.inEnvironment(server))
		}
	}
	if local {
		for _, flag := range e.inGroup(withServer) {
			if e.isGiven(flag.Name) {
				return false, fmt.Errorf("--%s: is for a running server, and a data directory is opened; leave out --%s, or --data", flag.Name, flag.Name)
			}
		}
		return true, nil
	}
	var unused []string
	for _, flag := range e.inGroup(withData) {
		if slices.Contains(f.here, flag.Name) {
			continue
		}
		if e.isGiven(flag.Name) {
			return false, fmt.Errorf("--%s: is for a data directory that is opened with --data; the server at %s has its own", flag.Name, f.Server)
		}
		if name := e.inEnvironment(flag); name != "" && flagText(flag) != flag.Default {
			unused = append(unused, name)
		}
	}
	if len(unused) > 0 {
		fmt.Fprintf(e.stderr, "embedd: note: not used, as the server at %s has its own: %s\n", f.Server, strings.Join(unused, ", "))
	}
	return false, nil
}

// client is a connection to a server, in another process or in this one.
type client struct {
	collections embeddv1.CollectionServiceClient
	papers      embeddv1.PaperServiceClient
	search      embeddv1.SearchServiceClient
	encode      embeddv1.EncodeServiceClient
	info        embeddv1.InfoServiceClient
	admin       embeddv1.AdminServiceClient
	maps        embeddv1.MapServiceClient
	jobs        embeddv1.JobServiceClient
	conn        grpc.ClientConnInterface
	migrations  embeddv1.MigrationServiceClient
	close       func() error
}

func newClient(conn grpc.ClientConnInterface, close func() error) *client {
	return &client{
		collections: embeddv1.NewCollectionServiceClient(conn),
		papers:      embeddv1.NewPaperServiceClient(conn),
		search:      embeddv1.NewSearchServiceClient(conn),
		encode:      embeddv1.NewEncodeServiceClient(conn),
		info:        embeddv1.NewInfoServiceClient(conn),
		admin:       embeddv1.NewAdminServiceClient(conn),
		maps:        embeddv1.NewMapServiceClient(conn),
		jobs:        embeddv1.NewJobServiceClient(conn),
		conn:        conn,
		migrations:  embeddv1.NewMigrationServiceClient(conn),
		close:       close,
	}
}

// open connects. create allows --data to name a directory that is to be made, and prepares for many texts. The caller closes the client, and must
// report the error: with --data it is then that the index is saved.
func (f *clientFlags) open(e *env, create bool) (*client, error) {
	local, err := f.local(e)
	if err != nil {
		return nil, err
	}
	if f.Collection != "" {
		if err := collections.CheckName("--collection", f.Collection); err != nil {
			return nil, err
		}
	}
	if !local {
		return f.connect(f.Collection)
	}
	if f.Collection != "" && f.Collection != collections.Default { // which is then the one that is open
		if f.Data, err = findCollection(f.Data, f.Collection); err != nil {
			return nil, err
		}
	}
	return f.openData(e, create, opening{Warm: create})
}

// openAll connects, to a data directory with all of its collections open.
func (f *placeFlags) openAll(e *env) (*client, error) {
	local, err := f.local(e)
	if err != nil {
		return nil, err
	}
	if !local {
		return f.connect("")
	}
	return f.openData(e, false, opening{All: true})
}

// openJobs is openAll with the jobs of the data directory, which are done in this process then.
func (f *placeFlags) openJobs(e *env) (*client, error) {
	local, err := f.local(e)
	if err != nil {
		return nil, err
	}
	if !local {
		return f.connect("")
	}
	return f.openData(e, false, opening{All: true, Jobs: true})
}

// connect connects to the running server, about a collection, "" for the default one.
func (f *placeFlags) connect(collection string) (*client, error) {
	conn, err := f.Reach.dial(f.Server, about(collection)...)
	if err != nil {
		return nil, err
	}
	return newClient(conn, conn.Close), nil
}

// openData opens the data directory in this process, as o says but for whom it tells of it. create allows one that is to be made.
func (f *placeFlags) openData(e *env, create bool, o opening) (*client, error) {
	if !create {
		if err := checkDataDir(f.Data); err != nil {
			return nil, err
		}
	}
	bar := newProgress(e, "rebuilding the index", "papers")
	if o.All {
		bar.what, bar.unit = "opening the collections", ""
	}
	o.Log, o.Watch = e.logger(slog.LevelWarn), bar
	en, err := openEngine(e.ctx, &f.Engine, f.Data, o)
	bar.Done()
	if err != nil {
		return nil, err
	}
	cl, err := localClient(en, f.Data, o)
	if err != nil || !create {
		return cl, err
	}
	// What the index has to do after many new papers is done now: the commands that only read end before they could do it.
	shut := cl.close
	cl.close = func() error {
		_ = en.collection.Settle(e.ctx) // an interrupt leaves it to the next time
		return shut()
	}
	return cl, nil
}

// localClient serves the engine of a data directory inside this process. Closing the client closes the engine.
func localClient(en *engine, dir string, o opening) (_ *client, err error) {
	var runner *jobs.Runner
	end := en.Close
	if o.Jobs {
		if runner, err = openJobs(en, dir, jobs.Options{Log: o.Log}); err != nil {
			return nil, errors.Join(err, en.Close())
		}
		end = func() error { return errors.Join(runner.Close(), en.Close()) }
	}
	conn, stop, err := inProcess(en.set, runner, dir, o.Log)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return newClient(conn, func() error {
		if err := stop(); err != nil {
			return err
		}
		return end()
	}), nil
}

// inProcess serves collections, and jobs where runner is not nil, to this process only: no key is needed.
func inProcess(set *collections.Set, runner *jobs.Runner, dir string, log *slog.Logger) (conn *grpc.ClientConn, stop func() error, err error) {
	s, err := server.New(server.Options{Version: version, Log: log, Local: true, Backups: backupsIn(dir)})
	if err != nil {
		return nil, nil, err
	}
	if runner != nil {
		s.SetJobs(runner)
	}
	s.ReadyAll(set)
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	end := func() error {
		s.Stop(10 * time.Second)
		return <-served
	}
	conn, err = dial("passthrough:///in-process", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return l.DialContext(ctx)
	}))
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return conn, func() error { return errors.Join(conn.Close(), end()) }, nil
}

// reconnect says how long gRPC waits between its tries to connect. By default that is up to two minutes; a server that is restarted is
// back sooner.
var reconnect = func() backoff.Config {
	c := backoff.DefaultConfig
	c.MaxDelay = lastTry
	return c
}()

// dial makes a connection, without TLS or a key where more says nothing else; nothing is sent before the first call.
func dial(target string, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: 20 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(server.MaxMessageBytes), grpc.MaxCallSendMsgSize(server.MaxMessageBytes)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return explainCall(target, invoke(ctx, method, req, reply, cc, o...))
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, d, cc, method, o...)
			if err != nil {
				return nil, explainCall(target, err)
			}
			return explainedStream{stream, target}, nil
		}),
	}, more...)...)
}

// explainCall says of a call that failed what to do, where that is known.
func explainCall(target string, err error) error {
	switch st := status.Convert(err); {
	case st.Code() == codes.Unavailable && strings.HasPrefix(st.Message(), "connection error"):
		if strings.Contains(st.Message(), "unknown authority") {
			return status.Errorf(codes.Unavailable, "the certificate of the server at %s comes from no authority that this machine knows; give the authority's, or the certificate itself where it is its own, with --ca FILE (%s)", target, st.Message())
		}
		if strings.Contains(st.Message(), "server preface") || strings.Contains(st.Message(), "tls: ") || strings.Contains(st.Message(), "x509: ") {
			return status.Errorf(codes.Unavailable, "the server at %s and this client do not agree on TLS (%s); see --tls, --ca and --cert", target, st.Message())
		}
		return status.Errorf(codes.Unavailable, "no answer from the server at %s (%s); start one with: embedd serve, or open a data directory with --data DIR", target, st.Message())
	case st.Code() == codes.Unauthenticated:
		return status.Errorf(codes.Unauthenticated, "%s; this program sends the key that EMBEDD_KEY or --key gives it", st.Message())
	}
	return err
}

// explainedStream is a stream whose error is explained.
type explainedStream struct {
	grpc.ClientStream
	target string
}

// RecvMsg implements grpc.ClientStream. It gives io.EOF as it is.
func (s explainedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil || err == io.EOF {
		return err
	}
	return explainCall(s.target, err)
}

// finish closes what a subcommand opened and keeps the first error.
func finish(err *error, close func() error) {
	if cerr := close(); cerr != nil && *err == nil {
		*err = cerr
	}
}
