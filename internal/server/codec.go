package server

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that is wrapped here
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// gRPC answers INTERNAL to a request that cannot be decoded, invalid UTF-8 included, and does not say which field it was.
// That blames the server for what a client sent. So the messages of our own services are decoded as a *request, which
// keeps the error for the handler to report.

// request is a message on its way through codec, and the error of its decoding.
type request struct {
	message any
	err     error
}

// codec is gRPC's protobuf codec that also knows requests.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Unmarshal decodes data into v: a proto.Message, or a *request around one.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*request)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	r.err = c.CodecV2.Unmarshal(data, r.message)
	if m, ok := r.message.(proto.Message); ok && r.err != nil {
		// The fast decoder does not name the field; decoding by reflection does.
		if err := proto.Unmarshal(data.Materialize(), dynamicpb.NewMessage(m.ProtoReflect().Descriptor())); err != nil {
			r.err = err
		}
	}
	return nil
}

// registerStrict registers a service whose undecodable requests are INVALID_ARGUMENT, with the field named.
func registerStrict(s grpc.ServiceRegistrar, desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = slices.Clone(desc.Methods)
	for i := range d.Methods {
		handle := d.Methods[i].Handler
		d.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return handle(srv, ctx, func(v any) error {
				r := &request{message: v}
				if err := decode(r); err != nil {
					return err
				}
				if r.err != nil {
					return status.Errorf(codes.InvalidArgument, "the request cannot be decoded: %v", r.err)
				}
				return nil
			}, interceptor)
		}
	}
	s.RegisterService(&d, impl)
}
