// Package arch holds the import rules of ARCHITECTURE.md. It has no code of its own, only a test.
package arch
