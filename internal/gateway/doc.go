// Package gateway is the HTTP door: the methods of the gRPC server, and nothing of their meaning. Routes and JSON are read off the annotations
// google.api.http of the wire contract (rest.go, with the code that is generated in rest/), Connect and gRPC-Web speak of methods by name (connect.go). Both
// call through a channel of the server, inside of the process, so that keys, limits, errors, log and metrics are the same.
package gateway
