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
	message any
	limit   int   // bytes
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
	if n := data.Len(); n > r.limit {
		r.err = &sizeError{n, r.limit}
		return nil
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	b := whole.ReadOnlyData()
	m, ok := r.message.(proto.Message)
	if !ok {
		return c.CodecV2.Unmarshal(data, r.message)
	}
	if r.weigh(b, m); r.err != nil {
		return nil
	}
	err := proto.Unmarshal(b, m)
	if err == nil {
		return nil
	}
	// The fast decoder does not name the field; decoding by reflection does.
	if named := proto.Unmarshal(b, dynamicpb.NewMessage(m.ProtoReflect().Descriptor())); named != nil {
		err = named
	}
	r.err = status.Errorf(codes.InvalidArgument, "the request cannot be decoded: %v", err)
	return nil
}

// weigh sets what the message will take, or the error where that is too much.
func (r *request) weigh(b []byte, m proto.Message) {
	w, err := weight(b, m.ProtoReflect().Descriptor())
	switch {
	case err != nil:
		r.err = status.Errorf(codes.InvalidArgument, "the request %v", err)
	case w > weightShare*int64(r.limit)+small:
		r.err = &weightError{w, weightShare*int64(r.limit) + small}
	}
	r.weight = w
}

// weightShare: a request may take so many times the bytes that its class may send.
const weightShare = 4

// weightError refuses a request that is made of too many parts.
type weightError struct{ bytes, limit int64 }

func (e *weightError) Error() string {
	return fmt.Sprintf("the request is made of so many parts that it would take %d bytes of memory; the limit of this method is %d; send less in one call", e.bytes, e.limit)
}

// sizeError refuses a request that is larger than those of its class may be.
type sizeError struct{ bytes, limit int }

func (e *sizeError) Error() string {
	return fmt.Sprintf("the request has %d bytes; the limit of this method is %d; send less in one call", e.bytes, e.limit)
}
