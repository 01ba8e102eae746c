package server

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that is wrapped here
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// codec is gRPC's protobuf codec, but for the error of a message that cannot be decoded: the fast decoder does not say
// which field is not valid UTF-8, so the message is decoded again by reflection, which does.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Unmarshal decodes data into v, a proto.Message.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	if m, ok := v.(proto.Message); ok {
		if slow := proto.Unmarshal(data.Materialize(), dynamicpb.NewMessage(m.ProtoReflect().Descriptor())); slow != nil {
			return slow
		}
	}
	return err
}

// registerStrict registers a service whose undecodable requests are INVALID_ARGUMENT. gRPC reports them as INTERNAL,
// which would blame the server for what a client sent.
func registerStrict(r grpc.ServiceRegistrar, desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = slices.Clone(desc.Methods)
	for i := range d.Methods {
		handle := d.Methods[i].Handler
		d.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return handle(srv, ctx, func(v any) error {
				err := decode(v)
				if st := status.Convert(err); st.Code() == codes.Internal {
					_, why, _ := strings.Cut(st.Message(), "request: ")
					return status.Errorf(codes.InvalidArgument, "the request cannot be decoded: %s", why)
				}
				return err
			}, interceptor)
		}
	}
	r.RegisterService(&d, impl)
}
