package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"unicode/utf8"
)

// This file walks JSON text that json.Valid has accepted, which makes walking simple: brackets match and strings end.
// It is here since package encoding/json takes fields in any case, lets the last of two equal fields win, and replaces
// what is not UTF-8.

// blanks is JSON's white space.
const blanks = " \t\r\n"

// members yields the keys, in quotes, and the values of an object.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		i := skipBlanks(object, 0) + 1 // past {
		for {
			i = skipBlanks(object, i)
			if object[i] == ',' {
				i = skipBlanks(object, i+1)
			}
			if object[i] == '}' {
				return
			}
			keyEnd := skipString(object, i)
			valueStart := skipBlanks(object, skipBlanks(object, keyEnd)+1) // past :
			valueEnd := skipValue(object, valueStart)
			if !yield(object[i:keyEnd], object[valueStart:valueEnd]) {
				return
			}
			i = valueEnd
		}
	}
}

// elements yields the elements of an array.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		i := skipBlanks(array, 0) + 1 // past [
		for {
			i = skipBlanks(array, i)
			if array[i] == ',' {
				i = skipBlanks(array, i+1)
			}
			if array[i] == ']' {
				return
			}
			end := skipValue(array, i)
			if !yield(array[i:end]) {
				return
			}
			i = end
		}
	}
}

func skipBlanks(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n' {
		i++
	}
	return i
}

// skipString returns the index after the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; ; {
		end := i + bytes.IndexByte(b[i:], '"')
		slash := bytes.IndexByte(b[i:end], '\\')
		if slash < 0 {
			return end + 1
		}
		i += slash + 2
	}
}

// skipValue returns the index after the value that begins at i.
func skipValue(b []byte, i int) int {
	depth := 0
	for {
		switch b[i] {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		default:
			if depth == 0 { // a number or a word: it ends where something else begins
				for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
					i++
				}
				return i
			}
			i++
			continue
		}
		if depth == 0 {
			return i
		}
	}
}

// decode returns the text of a string. Where the string is not in order, invalid UTF-8 or half a surrogate pair, it is
// repaired, which is good enough for an error to cite.
func decode(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic("ingest: a string of valid JSON: " + err.Error())
	}
	return s
}

// checkEscapes looks in all strings of a value for an escaped NUL and for half a surrogate pair.
func checkEscapes(value []byte) error {
	for i := 0; i < len(value); i++ {
		next := bytes.IndexByte(value[i:], '\\')
		if next < 0 {
			return nil
		}
		i += next + 1 // the character that the backslash is for
		if value[i] != 'u' {
			continue
		}
		unit := codeUnit(value[i+1:])
		switch {
		case unit == 0:
			return errors.New(`NUL (\u0000) in a string`)
		case unit >= 0xD800 && unit < 0xDC00:
			rest := value[i+5:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' || codeUnit(rest[2:])&^0x3FF != 0xDC00 {
				return fmt.Errorf(`half a surrogate pair (\u%04x) in a string`, unit)
			}
			i += 6 // the second half; the loop and the next line do the rest
		case unit >= 0xDC00 && unit < 0xE000:
			return fmt.Errorf(`half a surrogate pair (\u%04x) in a string`, unit)
		}
		i += 4
	}
	return nil
}

// codeUnit is the value of the four hexadecimal digits that b begins with.
func codeUnit(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(b[:4]), 16, 16) // json.Valid has seen the digits
	return n
}

// kindOf names the kind of a JSON value by its first character.
func kindOf(value []byte) string {
	switch value[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// article puts the article before a kind.
func article(kind string) string {
	switch kind {
	case "object", "array":
		return "an " + kind
	case "null":
		return kind
	}
	return "a " + kind
}

// invalidUTF8 returns the index of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}
