// Package server is the gRPC door of a collection. A method decodes, calls package retrieval, and encodes; what a
// request means is decided there. What every call needs (one table from error to status, recovery from a panic, the
// log) stands in interceptors.
//
// The server answers from the moment it listens: until [Server.Ready] gives it a collection, health is NOT_SERVING and
// every method is UNAVAILABLE.
package server
