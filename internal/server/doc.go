// Package server is the door of a collection, over gRPC (server.go) and, for the handler that package gateway makes, over HTTP (web.go, inside.go). A method decodes, calls package retrieval, and encodes; what a
// request means is decided there. What every call needs stands around the methods: who may call (guard.go), how often (rates.go), how
// much and for how long (limits.go), which papers there are for their key (filter.go), how many at once (package admission), how much memory
// their messages take (intake.go, weight.go), one table from error to status, recovery from a panic, the
// log.
//
// Each method has a rule, which stands beside it in the contract: the role that a key must have, and the class of work that it is counted
// as. A method without a rule keeps the server from starting, so that none is ever open by mistake.
//
// The server answers from the moment it listens: until [Server.Ready] gives it a collection, health is NOT_SERVING and
// every method is UNAVAILABLE.
package server
