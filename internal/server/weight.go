package server

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What a message takes when it is decoded is many times its bytes where it is made of small parts: an empty paper has two bytes, and takes
// two hundred.
const (
	messageWeight = 256 // of a message in another, beside its fields
	valueWeight   = 24  // of a string, beside its bytes; of a number in a list
	// maxNesting is how deep messages may lie in one another; metadata has two for each of its own.
	maxNesting = 64
)

// CheckWeight refuses a message that is so many small parts that it would take too much memory when it is decoded, for those who decode requests for
// [Server.Inside].
func CheckWeight(b []byte, d protoreflect.MessageDescriptor) error {
	n, err := weight(b, d)
	if err != nil {
		return fmt.Errorf("the request %w", err)
	}
	return checkWeight(n)
}

// CheckWeightOfJSON is CheckWeight for a message in JSON.
func CheckWeightOfJSON(b []byte) error { return checkWeight(weightOfJSON(b)) }

func checkWeight(n int64) error {
	if most := int64(weightShare * MaxMessageBytes); n > most {
		return &sizeError{"is made of so many parts that it would take", n, most}
	}
	return nil
}

// weightOfJSON is about how many bytes of memory a text in JSON takes when it is decoded: its bytes, and so many for each value. Commas and
// brackets within strings count too, which is little.
func weightOfJSON(b []byte) int64 {
	objects := bytes.Count(b, []byte("{")) + bytes.Count(b, []byte("["))
	return int64(len(b)) + messageWeight*int64(objects) + 3*valueWeight*int64(bytes.Count(b, []byte(",")))
}

// weight is about how many bytes of memory a message takes when it is decoded. What cannot be decoded weighs nothing: the decoder says why.
func weight(b []byte, d protoreflect.MessageDescriptor) (int64, error) { return weigh(b, d, 0) }

func weigh(b []byte, d protoreflect.MessageDescriptor, depth int) (sum int64, err error) {
	if depth > maxNesting {
		return 0, fmt.Errorf("has more than %d messages in one another", maxNesting)
	}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return sum, nil
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return sum, nil
		}
		value := b[:n]
		b = b[n:]
		f := d.Fields().ByNumber(number)
		switch {
		case kind != protowire.BytesType || f == nil: // what is not known is kept as it is
			sum += valueWeight + int64(len(value))
		case f.Message() != nil:
			inner, _ := protowire.ConsumeBytes(value)
			w, err := weigh(inner, f.Message(), depth+1)
			if err != nil {
				return sum, err
			}
			sum += messageWeight + w
		default: // packed numbers too: at most as many as bytes
			sum += valueWeight + int64(len(value))
			if f.IsList() && f.Kind() != protoreflect.StringKind && f.Kind() != protoreflect.BytesKind {
				sum += 8 * int64(len(value))
			}
		}
	}
	return sum, nil
}
