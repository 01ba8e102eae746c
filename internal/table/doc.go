// Package table writes rows to a file that other programs read: Parquet, JSON Lines, CSV and TSV; and vectors, for NumPy too.
//
//	NewWriter   rows of a struct -> a file; each exported field is a column
//	Read        such a file      -> its rows
//	NewVectors  ids and vectors  -> a file
//
// # Rows
//
// A field is a string, a bool, an int32, int64, float32 or float64, or a list of strings or of float32. Its tags say its name, twice, and the
// two must agree; "dict" is for strings that come again and again, and only about the size of a Parquet file:
//
//	type edge struct {
//		Source string    `parquet:"source,dict" json:"source"`
//		Year   int32     `parquet:"year,optional" json:"year,omitempty"`
//		Vector []float32 `parquet:"vector,list" json:"vector"`
//	}
//
// "optional" with "omitempty" makes the zero value one that is not there: null in Parquet, no key in JSON, an empty cell in CSV. A list of
// Parquet is the LIST of three levels that the format's specification wants. A list in CSV and TSV is JSON in its cell.
//
// # Promises
//
//  1. The same rows give the same bytes, however they are spread over calls of Write.
//  2. What goes in comes out: a string that a format cannot keep as it is, is an error and never changed. That is invalid UTF-8 anywhere, and
//     NUL in CSV and TSV, which other readers take for the end of a cell.
//  3. Memory is bounded: in writing, by a group of rows of [groupBytes] and a row of at most [MaxRowBytes]; in reading, by a few pages of at
//     most [maxPageBytes] each. A file of which more would have to be believed is an error.
//  4. Whatever the bytes, Read gives rows or an error.
//
// # Caveats
//
// Read is for what NewWriter has written, with the same struct; the Parquet of others belongs to package ingest. An empty list is read as
// nil. CSV cells are as they are: a program for spreadsheets that opens such a file takes a title that begins with = for a formula.
package table
