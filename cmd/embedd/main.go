// Command embedd finds related papers: a server, and the commands around it.
//
// The wiring of the rooms stands in engine.go; each subcommand has a file of its own. Subcommands talk to a server over
// gRPC; with --data they open the data directory themselves and talk to the same server inside their own process, so
// that there is one way through the house.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/status"

	"embedd/internal/retrieval"
	"embedd/internal/telemetry"
	"embedd/models"
)

// version is the program's version.
const version = "0.1.0-dev"

type cli struct {
	PrintVersion kong.VersionFlag `name:"version" hidden:"" env:"-"`

	Serve        serveCmd        `cmd:"" help:"Serve a data directory over gRPC and HTTP."`
	Index        indexCmd        `cmd:"" help:"Add papers from files: JSON Lines, tables, bibliographies, and the dumps of archives."`
	Search       searchCmd       `cmd:"" help:"Find the papers nearest to a text, a paper or a vector."`
	Related      relatedCmd      `cmd:"" help:"Find the papers related to a stored paper."`
	Recommend    recommendCmd    `cmd:"" help:"Find papers for a reading list."`
	Explain      explainCmd      `cmd:"" help:"Show which sentences make a stored paper alike to a text or another paper."`
	Get          getCmd          `cmd:"" help:"Show one paper."`
	List         listCmd         `cmd:"" help:"List the papers in the order of their ids."`
	Count        countCmd        `cmd:"" help:"Count papers, and the values of their fields."`
	Export       exportCmd       `cmd:"" help:"Write the papers, or the related papers of each, to files."`
	Similar      similarCmd      `cmd:"" help:"Find the similar among the papers of files: no server, one command, one file."`
	Job          jobCmd          `cmd:"" help:"Work over the whole corpus: neighbour graph, near duplicates, clusters, pairs, evaluation."`
	Map          mapCmd          `cmd:"" help:"Draw the map of the papers anew, and show its clusters."`
	Update       updateCmd       `cmd:"" help:"Change facts and metadata of stored papers."`
	Delete       deleteCmd       `cmd:"" help:"Remove papers."`
	Encode       encodeCmd       `cmd:"" help:"Turn texts into vectors."`
	Tokenize     tokenizeCmd     `cmd:"" help:"Show what the model reads of texts."`
	Compare      compareCmd      `cmd:"" help:"Show how alike texts and papers are."`
	Score        scoreCmd        `cmd:"" help:"Compare texts with a query by a cross-encoder."`
	Distil       distilCmd       `cmd:"" help:"Learn from judgments how to turn a collection's vectors, and make a model of it."`
	Check        checkCmd        `cmd:"" help:"Prove that a data directory is as it must be."`
	Repair       repairCmd       `cmd:"" help:"Repair a data directory."`
	Collections  collectionsCmd  `cmd:"" help:"Make, list and delete the collections of a server, and their aliases."`
	Migrations   migrationsCmd   `cmd:"" help:"Move a collection to another model while it is used."`
	Backup       backupCmd       `cmd:"" help:"Copy the data directory while it is in use."`
	VerifyBackup verifyBackupCmd `cmd:"" help:"Prove that a backup is whole."`
	Restore      restoreCmd      `cmd:"" help:"Make a data directory of a backup."`
	Info         infoCmd         `cmd:"" help:"Show model, limits and counts."`
	Doctor       doctorCmd       `cmd:"" help:"Look whether machine, model and data directory are well."`
	Eval         evalCmd         `cmd:"" help:"Measure retrieval quality on a BEIR folder."`
	Bench        benchCmd        `cmd:"" help:"Measure speed against its limits."`
	Keys         keysCmd         `cmd:"" help:"Make, list and revoke the keys of a server."`
	Models       modelsCmd       `cmd:"" help:"List, pull and verify sentence encoders."`
	Version      versionCmd      `cmd:"" help:"Print the version."`
}

const description = `Finds related papers with a sentence encoder and an HNSW index, in one process.

A flag can be set by the environment variable shown with it; the flag wins. What removes or overwrites something has none.

Example:
  embedd serve --samples samples/papers.jsonl
  embedd related ARXIV:1908.10084`

func main() {
	quietLibraries()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// quietLibraries has gRPC and grpc-gateway write nothing to stderr beside the log, as of each client that goes before its answer; unless gRPC's own variable asks
// for it.
func quietLibraries() {
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
}

// env is what a subcommand gets of the world.
type env struct {
	ctx    context.Context // ends at a signal to stop: see stoppedBy
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	flags  []*kong.Flag // of the subcommand, as they are in effect
	given  []*kong.Flag // those of them that the command line has, as often as it has them
	log    *slog.Logger // gets the progress of long work where it is not nil, instead of stderr
}

// logger is the log of a subcommand that is not a server.
func (e *env) logger(level slog.Level) *slog.Logger {
	return telemetry.NewLog(e.stderr, telemetry.Text, level)
}

// run is main with its world as parameters. It returns the exit status: 0, 1 for a failure, 2 for wrong usage, 130 for
// an interrupt.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	ctx, stop := untilStopped(stderr)
	defer stop()
	var c cli
	exited := -1
	parser, err := newParser(&c, kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }))
	if err != nil {
		fmt.Fprintln(stderr, "embedd: error:", err)
		return 2
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(stderr, "embedd: error: %s\nSee: %s --help\n", wrongUsage(err), commandOf(err))
		return 2
	}
	e := &env{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, flags: parsed.Flags(), given: givenFlags(parsed)}
	err = parsed.Run(e)
	switch {
	case err == nil:
		return 0
	case interrupted(ctx, err):
		fmt.Fprintln(stderr, "embedd: interrupted")
		return 130
	}
	fmt.Fprintln(stderr, "embedd: error:", explain(err)+e.advice(err))
	return 1
}

// advice is what to do about an error, behind its message, where that depends on the command; it begins with "; ".
func (e *env) advice(err error) string {
	if !errors.Is(err, retrieval.ErrInUse) {
		return ""
	}
	data := e.flag("data")
	if e.flag("server") == nil || data == nil {
		return "; stop that first, or use another data directory"
	}
	if name := e.inEnvironment(data); name != "" {
		return "; if that is a server, ask it: unset " + name + ", and give --server if it does not listen where embedd serve does by itself; or stop it"
	}
	return "; if that is a server, ask it: leave out --data, and give --server if it does not listen where embedd serve does by itself; or stop it"
}

// newParser is the parser of a command line, and of the environment.
func newParser(c *cli, more ...kong.Option) (*kong.Kong, error) {
	return kong.New(c, append([]kong.Option{
		kong.Name("embedd"), kong.Description(description), kong.DefaultEnvars("EMBEDD"),
		kong.Vars{"model": models.Default, "m": fmt.Sprint(usualM), "ef": fmt.Sprint(usualEfConstruction), "neighbours": fmt.Sprint(usualNeighbours), "version": "embedd " + version, "formats": formatNames()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.ValueFormatter(withDefault),
	}, more...)...)
}

// wrongUsage is the message of an error about the command line. It names the variable that a value came from.
func wrongUsage(err error) string {
	var wrong *kong.ParseError
	if errors.As(err, &wrong) && !strings.Contains(err.Error(), "(from envar") {
		e := &env{given: givenFlags(wrong.Context)}
		for _, f := range wrong.Context.Flags() {
			if name := e.inEnvironment(f); name != "" && strings.HasPrefix(err.Error(), "--"+f.Name+" ") {
				return fmt.Sprintf("%v (from the environment variable %s)", err, name)
			}
		}
	}
	return strings.ReplaceAll(err.Error(), "(from envar ", "(from the environment variable ")
}

// commandOf is the command that was wrongly used, as far as it was understood.
func commandOf(err error) string {
	name := "embedd"
	var wrong *kong.ParseError
	if errors.As(err, &wrong) {
		for _, p := range wrong.Context.Path {
			if p.Command != nil {
				name += " " + p.Command.Name
			}
		}
	}
	return name
}

// withDefault adds a flag's default to its help, where the help does not speak of it.
func withDefault(v *kong.Value) string {
	shown := *v
	if v.HasDefault && v.Default != "" && !strings.Contains(v.Help, "default") {
		shown.Help = strings.TrimSuffix(v.Help, ".") + "; default: " + v.Default + "."
	}
	return kong.DefaultHelpValueFormatter(&shown)
}

// explain makes a message for people of an error: a gRPC status without its wrapping.
func explain(err error) string {
	var wire interface{ GRPCStatus() *status.Status }
	if errors.As(err, &wire) {
		return wire.GRPCStatus().Message()
	}
	return err.Error()
}

type versionCmd struct{}

func (versionCmd) Run(e *env) error {
	_, err := fmt.Fprintln(e.stdout, "embedd", version)
	return err
}
