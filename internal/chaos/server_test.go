package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// server is embedd serve in a process of its own.
type server struct {
	cmd     *exec.Cmd
	admin   string // address
	control string // address of the failpoints; empty: the program has none
	output  testkit.Buffer
	done    chan struct{} // closed when the process has ended
	began   time.Time

	conn   *grpc.ClientConn
	papers embeddv1.PaperServiceClient
	search embeddv1.SearchServiceClient
	encode embeddv1.EncodeServiceClient
	info   embeddv1.InfoServiceClient
}

// start runs a program over a data directory. armed are failpoints that are set from the beginning, for a program that has them; more are flags.
func start(program, data string, failpoints bool, armed string, more ...string) (*server, error) {
	base, err := home()
	if err != nil {
		return nil, err
	}
	models, err := tinyModels()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s := &server{admin: ports[1], done: make(chan struct{}), began: time.Now()}
	s.cmd = exec.Command(program, "serve", "--listen", ports[0], "--http=", "--admin", s.admin, "--drain", "0", "--data", data,
		"--model", modelName, "--models", models, "--log-level", "warn")
	s.cmd.Args = append(s.cmd.Args, more...)
	s.cmd.Env = append(os.Environ(), "EMBEDD_HOME="+base)
	if failpoints {
		s.control = ports[2]
		s.cmd.Env = append(s.cmd.Env, "GOFAIL_HTTP="+s.control, "GOFAIL_FAILPOINTS="+armed)
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a kill takes its children along
	if s.conn, err = grpc.NewClient(ports[0], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20))); err != nil {
		return nil, err
	}
	s.papers, s.search = embeddv1.NewPaperServiceClient(s.conn), embeddv1.NewSearchServiceClient(s.conn)
	s.encode, s.info = embeddv1.NewEncodeServiceClient(s.conn), embeddv1.NewInfoServiceClient(s.conn)
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, s.conn.Close())
	}
	go func() {
		_ = s.cmd.Wait() // ProcessState has it
		close(s.done)
	}()
	return s, nil
}

func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // after all of them: they differ
		ports = append(ports, l.Addr().String())
	}
	return ports, nil
}

// errEnded: the process has ended by itself.
var errEnded = errors.New("the server has ended")

// ready waits for SERVING, and says how long after the start it came.
func (s *server) ready(limit time.Duration) (took time.Duration, err error) {
	ctx, cancel := context.WithDeadline(context.Background(), s.began.Add(limit))
	defer cancel()
	for {
		call, cancel := context.WithTimeout(ctx, time.Second)
		res, err := grpc_health_v1.NewHealthClient(s.conn).Check(call, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		cancel()
		if err == nil && res.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
			return time.Since(s.began), nil
		}
		select {
		case <-s.done:
			return 0, fmt.Errorf("%w: %v\n%s", errEnded, s.cmd.ProcessState, &s.output)
		case <-ctx.Done():
			return 0, fmt.Errorf("not ready after %v: %v\n%s", limit, err, &s.output)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// kill ends the process at once, and waits for that.
func (s *server) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-s.done
	_ = s.conn.Close()
}

// terminate asks the process to stop.
func (s *server) terminate() error { return s.cmd.Process.Signal(syscall.SIGTERM) }

// ended waits until the process has ended by itself, and gives its exit status.
func (s *server) ended(limit time.Duration) (status int, err error) {
	select {
	case <-s.done:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("the server has not ended after %v\n%s", limit, &s.output)
	}
}

// gauges reads the server's metrics that have no labels.
func (s *server) gauges() (map[string]float64, error) {
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			if x, err := strconv.ParseFloat(value, 64); err == nil {
				values[name] = x
			}
		}
	}
	return values, nil
}
