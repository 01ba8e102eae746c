package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"embedd/embed"
	"embedd/internal/server"
	"embedd/models"
	embeddv1 "embedd/proto/embedd/v1"
)

// clientFlags say whom a subcommand talks to.
type clientFlags struct {
	Server string      `help:"Address of a running server." default:"127.0.0.1:50051" placeholder:"HOST:PORT"`
	Data   string      `help:"Open this data directory without a server." placeholder:"DIR"`
	Engine engineFlags `embed:"" group:"With --data:"`
}

// client is a connection to a server, in another process or in this one.
type client struct {
	papers embeddv1.PaperServiceClient
	search embeddv1.SearchServiceClient
	encode embeddv1.EncodeServiceClient
	info   embeddv1.InfoServiceClient
	close  func() error
}

func newClient(conn *grpc.ClientConn, close func() error) *client {
	return &client{
		papers: embeddv1.NewPaperServiceClient(conn),
		search: embeddv1.NewSearchServiceClient(conn),
		encode: embeddv1.NewEncodeServiceClient(conn),
		info:   embeddv1.NewInfoServiceClient(conn),
		close:  close,
	}
}

// open connects. create allows --data to name a directory that is to be made, and prepares for many texts. The caller closes the client, and must
// report the error: with --data it is then that the index is saved.
func (f *clientFlags) open(e *env, create bool) (*client, error) {
	if f.Data == "" {
		if f.Engine.Model != models.Default || f.Engine.Dimension != 0 || f.Engine.Provider != string(embed.CPU) {
			fmt.Fprintln(e.stderr, "embedd: note: --model, --dimension and --provider are for --data; the server has its own")
		}
		conn, err := dial(f.Server)
		if err != nil {
			return nil, fmt.Errorf("--server: %w", err)
		}
		return newClient(conn, conn.Close), nil
	}
	if !create {
		if err := checkDataDir(f.Data); err != nil {
			return nil, err
		}
	}
	log := slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	bar := newProgress(e, "rebuilding the index", "papers")
	en, err := openEngine(e.ctx, &f.Engine, f.Data, opening{Warm: create, Log: log, Watch: bar})
	bar.Done()
	if err != nil {
		return nil, err
	}
	cl, err := localClient(en, log)
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

// localClient serves an engine inside this process. Closing the client closes the engine.
func localClient(en *engine, log *slog.Logger) (*client, error) {
	s := server.New(server.Options{Version: version, Log: log})
	s.Ready(en.collection)
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := dial("passthrough:///in-process", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return l.DialContext(ctx)
	}))
	stop := func() error {
		s.Stop(10 * time.Second)
		if err := <-served; err != nil {
			return err
		}
		return en.Close()
	}
	if err != nil {
		_ = stop() // the error to report is the first one
		return nil, err
	}
	return newClient(conn, func() error {
		if err := conn.Close(); err != nil {
			return err
		}
		return stop()
	}), nil
}

// dial makes a connection; nothing is sent before the first call.
func dial(target string, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(server.MaxMessageBytes), grpc.MaxCallSendMsgSize(server.MaxMessageBytes)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			err := invoke(ctx, method, req, reply, cc, o...)
			if st := status.Convert(err); st.Code() == codes.Unavailable && strings.HasPrefix(st.Message(), "connection error") {
				return status.Errorf(codes.Unavailable, "no answer from the server at %s (%s); start one with: embedd serve, or open a data directory with --data DIR", target, st.Message())
			}
			return err
		}),
	}, more...)...)
}

// finish closes what a subcommand opened and keeps the first error.
func finish(err *error, close func() error) {
	if cerr := close(); cerr != nil && *err == nil {
		*err = cerr
	}
}
