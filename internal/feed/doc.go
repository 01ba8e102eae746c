// Package feed is Atom feeds (RFC 4287) of what is new and related to a paper, a text or a reading list, for readers of feeds. Nothing of who reads one is
// kept.
package feed
