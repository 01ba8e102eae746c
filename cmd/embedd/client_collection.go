package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"embedd/internal/collections"
	"embedd/internal/retrieval"
)

// collectionField is the number of the field that says which collection a request is about, in every request that is about one.
const collectionField = 100

// about has every request of a connection that says nothing else be about a collection, "" for the default one.
func about(collection string) []grpc.DialOption {
	if collection == "" {
		return nil
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return invoke(ctx, method, aboutCollection(req, collection), reply, cc, o...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := open(ctx, desc, cc, method, o...)
			return collectionStream{s, collection}, err
		}),
	}
}

// aboutConn is a connection whose requests that say nothing else are about a collection.
type aboutConn struct {
	grpc.ClientConnInterface
	collection string
}

// Invoke implements grpc.ClientConnInterface.
func (c aboutConn) Invoke(ctx context.Context, method string, req, reply any, o ...grpc.CallOption) error {
	return c.ClientConnInterface.Invoke(ctx, method, aboutCollection(req, c.collection), reply, o...)
}

// NewStream implements grpc.ClientConnInterface.
func (c aboutConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, o ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.ClientConnInterface.NewStream(ctx, desc, method, o...)
	return collectionStream{s, c.collection}, err
}

// about gives a client of the same connection whose requests are about a collection. It need not be closed.
func (c *client) about(collection string) *client {
	return newClient(aboutConn{c.conn, collection}, func() error { return nil })
}

// collectionStream is a stream whose requests are about a collection.
type collectionStream struct {
	grpc.ClientStream
	collection string
}

// SendMsg implements grpc.ClientStream.
func (s collectionStream) SendMsg(m any) error {
	return s.ClientStream.SendMsg(aboutCollection(m, s.collection))
}

// aboutCollection is a request that names the collection, in itself and in the requests that are in it. The caller's stays as it is: it may be
// sent by others at the same time.
func aboutCollection(req any, collection string) any {
	m, ok := req.(proto.Message)
	if !ok {
		return req
	}
	m = proto.CloneOf(m)
	name(m.ProtoReflect(), collection)
	return m
}

func name(m protoreflect.Message, collection string) {
	if f := m.Descriptor().Fields().ByNumber(collectionField); f != nil && f.Name() == "collection" && m.Get(f).String() == "" {
		m.Set(f, protoreflect.ValueOfString(collection))
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap() || f.Message().ParentFile().Package() != "embedd.v1":
		case f.IsList():
			for i := range v.List().Len() {
				name(v.List().Get(i).Message(), collection)
			}
		default:
			name(v.Message(), collection)
		}
		return true
	})
}

// findCollection gives the data directory of a collection of a data directory.
func findCollection(dir, called string) (string, error) {
	at, _, err := collections.Find(dir, called)
	switch {
	case retrieval.KindOf(err) == retrieval.NotFound && err != nil:
		return "", fmt.Errorf("%w in %s; make it with: embedd collections create --data %s %s", err, dir, shellWord(dir), shellWord(called))
	case errors.Is(err, fs.ErrNotExist):
		return "", cmp.Or(checkFolder(dir), err)
	}
	return at, err
}
