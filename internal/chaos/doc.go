// Package chaos kills the real server, again and again, and looks whether anything is lost. It has tests only: they build the program,
// run it as a child in a process group of its own, with a tiny model so that a start takes a second, and talk to it over gRPC as any
// client does. The driver is never killed. It keeps a ledger of what was acknowledged, which the server must agree with after each start.
package chaos
