package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	embeddv1 "embedd/proto/embedd/v1"
)

// serving is a server in a process of its own.
type serving struct {
	address string
	web     string // where it answers HTTP; empty for a bare one
	cmd     *exec.Cmd
	stdin   io.Closer // a bare server ends with it
	ended   chan error
	errs    *head
}

// What a server says when it is ready. What stands between is its address.
const servingSays, servingEnds, servingWebSays = "Serving gRPC on ", " until", "Serving pages and HTTP on "

// How long a server may take to start, and to end when it is told to.
const servingStarts, servingStops = 10 * time.Minute, time.Minute

// startServing runs this program anew as a server, and waits until it is ready. Of the environment it has no settings of this program but where
// the .embedd folder is.
func startServing(e *env, args ...string) (*serving, error) {
	cmd, err := thisProgram(args...)
	if err != nil {
		return nil, err
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "EMBEDD_") || strings.HasPrefix(v, "EMBEDD_HOME=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s := &serving{cmd: cmd, stdin: stdin, ended: make(chan error, 1), errs: &head{most: childErrors}}
	cmd.Stderr = s.errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which then ends the child
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	ready, web := make(chan string, 1), ""
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if _, rest, ok := strings.Cut(lines.Text(), servingWebSays); ok {
				web = rest
			}
			if _, rest, ok := strings.Cut(lines.Text(), servingSays); ok {
				address, _, _ := strings.Cut(rest, servingEnds)
				ready <- address
			}
		}
		s.ended <- cmd.Wait()
		close(ready)
	}()
	timer := time.NewTimer(servingStarts)
	defer timer.Stop()
	select {
	case address, ok := <-ready:
		if s.address = address; ok {
			s.web = web
			return s, nil
		}
		err = fmt.Errorf("the server ended before it was ready: %s", printableLines(s.errs.kept))
	case <-e.ctx.Done():
		err = e.ctx.Err()
	case <-timer.C:
		err = fmt.Errorf("the server was not ready within %v", servingStarts)
	}
	return nil, errors.Join(err, s.stop())
}

// stop ends the server, and waits for that.
func (s *serving) stop() error {
	_ = s.stdin.Close() // it may have ended
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-s.ended:
		if err != nil {
			return fmt.Errorf("the server: %s; %s", ending(err), printableLines(s.errs.kept))
		}
		return nil
	case <-time.After(servingStops):
		return errors.Join(fmt.Errorf("the server did not end within %v and was killed", servingStops), s.cmd.Process.Kill())
	}
}

// benchBareCmd is what bench serve compares with: a gRPC server that does nothing. It ends when stdin does.
type benchBareCmd struct{}

// bareService stands before the names of its methods that are not of embedd's services.
const bareService = "/embedd.bench.Bare/"

func (benchBareCmd) Run(e *env) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var answer atomic.Pointer[mem.BufferSlice]
	answer.Store(&mem.BufferSlice{})
	// A call of Prepare brings the answer to all others.
	s := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}))
	method := func(call func(request mem.BufferSlice)) grpc.MethodHandler {
		return func(_ any, _ context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request mem.BufferSlice
			if err := read(&request); err != nil {
				return nil, err
			}
			call(request)
			return *answer.Load(), nil
		}
	}
	s.RegisterService(&grpc.ServiceDesc{ServiceName: strings.Trim(bareService, "/"), HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		{MethodName: "Prepare", Handler: method(func(request mem.BufferSlice) {
			answer.Store(&mem.BufferSlice{mem.SliceBuffer(request.Materialize())})
		})},
	}}, nil)
	s.RegisterService(&grpc.ServiceDesc{ServiceName: embeddv1.SearchService_ServiceDesc.ServiceName, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		{MethodName: "Related", Handler: method(func(mem.BufferSlice) {})},
	}}, nil)
	go func() {
		_, _ = io.Copy(io.Discard, e.stdin) // to its end, whichever
		s.Stop()
	}()
	fmt.Fprintf(e.stdout, "%s%s%s its standard input ends.\n", servingSays, l.Addr(), servingEnds)
	return s.Serve(l)
}

// rawCodec leaves messages as they are on the wire.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(mem.BufferSlice)
	if !ok {
		return nil, fmt.Errorf("%T is no message on the wire", v)
	}
	m.Ref()
	return m, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*mem.BufferSlice)
	if !ok {
		return fmt.Errorf("%T is no message on the wire", v)
	}
	*m = mem.BufferSlice{mem.SliceBuffer(data.Materialize())}
	return nil
}
