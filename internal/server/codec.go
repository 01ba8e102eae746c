package server

import (
	"fmt"

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
	message proto.Message
	limit   int   // bytes
	bytes   int   // that it had on the wire
	weight  int64 // bytes of memory, about
	err     error
}

// codec is gRPC's protobuf codec that also knows requests and answers.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal encodes v: a proto.Message, or an *answer.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if a, ok := v.(*answer); ok {
		return a.encode()
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal decodes data into v: a proto.Message, or a *request around one.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*request)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	r.bytes = data.Len()
	if n := r.bytes; n > r.limit {
		r.err = &sizeError{"has", int64(n), int64(r.limit)}
		return nil
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	r.decode(whole.ReadOnlyData())
	return nil
}

// weightShare: a request may take so many times the bytes in memory that its class may send.
const weightShare = 4

// decode decodes the message, unless it would take too much memory.
func (r *request) decode(b []byte) {
	most := weightShare*int64(r.limit) + small
	if r.weight, r.err = weight(b, r.message.ProtoReflect().Descriptor()); r.err != nil {
		r.err = status.Errorf(codes.InvalidArgument, "the request %v", r.err)
		return
	}
	if r.weight > most {
		r.err = &sizeError{"is made of so many parts that it would take", r.weight, most}
		return
	}
	err := proto.Unmarshal(b, r.message)
	if err == nil {
		return
	}
	// The fast decoder does not name the field; decoding by reflection does.
	if named := proto.Unmarshal(b, dynamicpb.NewMessage(r.message.ProtoReflect().Descriptor())); named != nil {
		err = named
	}
	r.err = status.Errorf(codes.InvalidArgument, "the request cannot be decoded: %v", err)
}

// sizeError refuses a request that is larger than those of its class may be, on the wire or in memory.
type sizeError struct {
	what         string // has, or would take
	bytes, limit int64
}

func (e *sizeError) Error() string {
	return fmt.Sprintf("the request %s %d bytes; the limit of this method is %d; send less in one call", e.what, e.bytes, e.limit)
}
