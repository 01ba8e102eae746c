package table

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxRowBytes is how large a row may be: the bytes of its strings, and 4 or 8 for each number.
const MaxRowBytes = 16 << 20

// column is a field of a row.
type column struct {
	name     string
	field    int
	kind     kind
	optional bool
}

type kind int

const (
	text kind = iota
	boolean
	number  // int32, int64, float32, float64
	texts   // []string
	numbers // []float32
)

// columnsOf are the columns of a row's type.
func columnsOf(t reflect.Type) ([]column, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("rows are %v; want a struct", t)
	}
	var columns []column
	for i := range t.NumField() {
		f := t.Field(i)
		c := column{field: i}
		tag := strings.Split(f.Tag.Get("parquet"), ",")
		c.name, c.optional = tag[0], slices.Contains(tag[1:], "optional")
		jsonTag := strings.Split(f.Tag.Get("json"), ",")
		if !f.IsExported() || c.name == "" || c.name == "-" || jsonTag[0] != c.name || slices.Contains(jsonTag[1:], "omitempty") != c.optional {
			return nil, fmt.Errorf("the field %s of %v wants to be exported, with tags for Parquet and JSON that have the same name, and optional together with omitempty", f.Name, t)
		}
		if slices.ContainsFunc(columns, func(other column) bool { return strings.EqualFold(other.name, c.name) }) {
			return nil, fmt.Errorf("two columns of %v have the name %q", t, c.name)
		}
		switch f.Type {
		case reflect.TypeFor[string]():
			c.kind = text
		case reflect.TypeFor[bool]():
			c.kind = boolean
		case reflect.TypeFor[int32](), reflect.TypeFor[int64](), reflect.TypeFor[float32](), reflect.TypeFor[float64]():
			c.kind = number
		case reflect.TypeFor[[]string]():
			c.kind = texts
		case reflect.TypeFor[[]float32]():
			c.kind = numbers
		default:
			return nil, fmt.Errorf("the field %s of %v is a %v, for which there is no column", f.Name, t, f.Type)
		}
		if isList := c.kind == texts || c.kind == numbers; isList != slices.Contains(tag[1:], "list") {
			return nil, fmt.Errorf("the field %s of %v: lists, and they alone, have the tag list", f.Name, t)
		}
		columns = append(columns, c)
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("%v has no fields", t)
	}
	return columns, nil
}

// weigh gives the size of a row, and checks its strings.
func weigh(columns []column, row reflect.Value, nul bool) (size int, err error) {
	check := func(c *column, s string) {
		size += len(s) + 4
		if !utf8.ValidString(s) {
			err = errors.Join(err, fmt.Errorf("%s is not valid UTF-8: %.40q", c.name, s))
		} else if !nul && strings.IndexByte(s, 0) >= 0 {
			err = errors.Join(err, fmt.Errorf("%s has a NUL, which CSV and TSV cannot keep; JSONL and Parquet can: %.40q", c.name, s))
		}
	}
	for i := range columns {
		c := &columns[i]
		switch v := row.Field(c.field); c.kind {
		case text:
			check(c, v.String())
		case texts:
			for j := range v.Len() {
				check(c, v.Index(j).String())
			}
		case numbers:
			size += 4 * v.Len()
		default:
			size += 8
		}
	}
	if err == nil && size > MaxRowBytes {
		err = fmt.Errorf("the row has %d bytes, more than %d", size, MaxRowBytes)
	}
	return size, err
}

// own makes the lists of a row its own, since who called Write may use them for the next row.
func own(columns []column, row reflect.Value) {
	for _, c := range columns {
		switch v := row.Field(c.field); c.kind {
		case texts:
			v.Set(reflect.ValueOf(slices.Clone(v.Interface().([]string))))
		case numbers:
			v.Set(reflect.ValueOf(slices.Clone(v.Interface().([]float32))))
		}
	}
}

// cell is a value as CSV has it.
func cell(c *column, v reflect.Value) (string, error) {
	if c.optional && (v.IsZero() || (c.kind == texts || c.kind == numbers) && v.Len() == 0) {
		return "", nil
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), nil
	case reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), nil
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()), nil
	}
	if v.Len() == 0 {
		return "[]", nil
	}
	b, err := plainJSON(v.Interface())
	return string(b), err
}

// setCell puts back what cell gave.
func setCell(c *column, v reflect.Value, s string) (err error) {
	if c.optional && s == "" {
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(s)
		v.SetBool(b)
	case reflect.Int32, reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(s, 10, v.Type().Bits())
		v.SetInt(n)
	case reflect.Float32, reflect.Float64:
		var f float64
		f, err = strconv.ParseFloat(s, v.Type().Bits())
		v.SetFloat(f)
	default:
		err = strictJSON([]byte(s), v.Addr().Interface())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}
