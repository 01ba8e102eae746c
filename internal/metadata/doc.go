// Package metadata turns filters into sets of papers.
//
//	NewFields  a paper's facts and its metadata, JSON -> Fields
//	Parse      a text in the language of AIP-160      -> Filter
//	New        an Index: Add, Remove                  -> Select a Filter: a Set of ordinals; Facets of a Set; Fields; Dates and Firsts of ordinals
//	Published  a field, and the time between two dates -> Filter
//
// An Index lies in memory and is derived: it is made anew from the papers.
//
// # Fields
//
// The paper's own are id, authors, venue, doi, arxiv_id, url, which are strings, and year, a number. What its metadata has is metadata.NAME,
// or just NAME where that is none of these: categories is metadata.categories, metadata.year is the user's. An object in an object gives names
// with points; quotes are for what is no plain word: metadata."date of birth". title and abstract are for searching, not for filtering; what
// the user calls so is metadata.title.
//
// A field has any number of values in a paper; with none, it is missing. A value is a string, a number (a float64: whole numbers are exact up
// to 2^53), or true or false. A string of the user's that reads YYYY, YYYY-MM, YYYY-MM-DD or as a time of RFC 3339 is a date, too: the moment
// when what it names begins, in UTC, to the millisecond.
//
// Each value is what it is, whatever other papers have in the field: one paper with a misspelt date changes the meaning of no filter. The
// [Type] of a field is what all its values have in common, and is for messages: it refuses a comparison that no paper could meet.
//
// # Filters
//
// The language is that of https://google.aip.dev/160, read by go.einride.tech/aip/filtering.
//
//	categories:cs.CL AND year >= 2020            conditions are joined by AND, OR, NOT or -, and parentheses
//	a = 1 AND b = 2 OR c = 3                     OR binds more tightly than AND: a = 1 AND (b = 2 OR c = 3)
//	a = 1 b = 2                                  white space is AND
//	categories:("cs.CL" OR "cs.AI")              an operator before several values
//	authors = "Grace Hopper"                     some value is equal; : says the same
//	venue != "ACL"                               there is a value, and none is equal
//	NOT venue = "ACL"                            this a paper without a venue meets too
//	doi:*                                        there is a value
//	arxiv_id = "2401.*"                          some string begins so. A star stands at the end only; \\* in quotes is a star
//	year < 2020                                  some value is less; <=, >, >= likewise
//	metadata.submitted <= "2021-06"              dates: before July. = "2021" or = 2021 is any date of that year
//
// A string is in quotes, single or double, unless it is words with points between them; a number and the words true and false are without.
// Strings are compared byte by byte, upper case before lower case. A string is never equal to a number. A value that names a date is compared
// with dates as the period that it names, and with other strings as a string. Functions, and bare words to be searched for anywhere, are not
// taken.
//
// # Facts
//
// These always hold between calls, and Check proves them, by number:
//
//  1. all has exactly the papers.
//  2. A paper is among those of a value if and only if the value is among those of the paper, which are in the order of their fields; of one field
//     the paper's first comes first, and the others in order.
//  3. A value has a paper, and a place of its own; a field has the papers of its values, and counts those with several.
//  4. byText, byNumber and byDate have exactly the field's strings, numbers and dates, in order, in blocks of 1 to 128 values, whose papers are
//     those of their values.
//  5. The bytes of papers, fields and values are counted.
//  6. A page of a column has exactly the values of its papers.
//
// Select agrees with Matches on every paper.
package metadata
