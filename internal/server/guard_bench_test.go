package server

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"

	"embedd/internal/access"
	embeddv1 "embedd/proto/embedd/v1"
)

// What a call pays at the door: its deadline, its key, its rate and the gate, without gRPC.
func BenchmarkDoor(b *testing.B) {
	key, secret, err := access.New(access.Key{Role: access.Read}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	keys, err := access.NewKeys([]access.Key{key})
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Options{Log: slog.New(slog.DiscardHandler), Keys: func() *access.Keys { return keys }, Limits: Limits{Rate: 1e9}})
	if err != nil {
		b.Fatal(err)
	}
	const method = "/embedd.v1.SearchService/Search"
	gate := s.gates[embeddv1.Class_CLASS_SEARCH]
	base := metadata.NewIncomingContext(peer.NewContext(b.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}), metadata.Pairs("authorization", "Bearer "+secret))
	for b.Loop() {
		call, end := context.WithCancel(base)
		ctx, err := s.limitTime(call, &tap.Info{FullMethodName: method})
		if err != nil {
			b.Fatal(err)
		}
		if ctx, err = s.guard(ctx, method); err != nil {
			b.Fatal(err)
		}
		ticket, err := gate.Enter(ctx)
		if err != nil {
			b.Fatal(err)
		}
		ticket.Leave()
		end()
	}
}
