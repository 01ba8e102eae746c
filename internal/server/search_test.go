package server

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	embeddv1 "embedd/proto/embedd/v1"
)

// Whatever can be said of related papers is said of the search that they are found by.
func TestRelatedIsASearch(t *testing.T) {
	r := &embeddv1.RelatedRequest{}
	fields := r.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		value := map[protoreflect.Kind]protoreflect.Value{
			protoreflect.StringKind: protoreflect.ValueOfString("x"), protoreflect.Int32Kind: protoreflect.ValueOfInt32(7), protoreflect.BoolKind: protoreflect.ValueOfBool(true),
			protoreflect.DoubleKind: protoreflect.ValueOfFloat64(0.7), protoreflect.EnumKind: protoreflect.ValueOfEnum(1),
		}[f.Kind()]
		if f.IsList() {
			list := r.ProtoReflect().NewField(f)
			list.List().Append(value)
			value = list
		}
		if !value.IsValid() {
			t.Fatalf("%s has the kind %v, which this test does not know", f.Name(), f.Kind())
		}
		r.ProtoReflect().Set(f, value)
	}
	s := asSearch(proto.CloneOf(r)).ProtoReflect()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Name() == "id" {
			continue
		}
		if same := s.Descriptor().Fields().ByName(f.Name()); same == nil || !s.Get(same).Equal(r.ProtoReflect().Get(f)) {
			t.Errorf("%s is not said of the search", f.Name())
		}
	}
}
