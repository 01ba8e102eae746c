// Package access knows who may use a server: keys, what each is good for, and the file that they are kept in.
//
// A key is 256 random bits. The file has its SHA-256, never the key itself, so that who reads the file cannot use it; with that many
// bits a slow hash would protect nothing more. A key that is lost is revoked and another one made.
//
// A publishable key stands in a web page, where everybody can read it. It can only read, it has the origins that it may be used from,
// and it has an end.
package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Role is what a key is good for. Each role may do what those before it may.
type Role uint8

const (
	// Nobody may do nothing.
	Nobody Role = iota
	// Read may search, read and encode.
	Read
	// Write may change the papers.
	Write
	// Admin may run the server.
	Admin
)

var roleNames = [...]string{"nobody", "read", "write", "admin"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("Role(%d)", r)
}

// ParseRole reads a role by its name.
func ParseRole(name string) (Role, error) {
	if i := slices.Index(roleNames[1:], name); i >= 0 {
		return Role(i + 1), nil
	}
	return Nobody, fmt.Errorf("role %q is not one of read, write, admin", name)
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Role) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRole(string(text))
	return err
}

// Key is a key as it is kept: everything but its secret.
type Key struct {
	// ID names the key in lists and logs. It is a part of the secret, by which the key is found.
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	Role Role   `json:"role"`
	// SHA256 is of the secret, in hexadecimal.
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
	// Expires and Revoked are zero for never.
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
	// Origins make the key publishable: it is only good for requests from a page of one of them.
	Origins []string `json:"origins,omitempty"`
	// Filter, where it is not empty, says which papers there are for who has the key; it only reads. Its language is not known here.
	Filter string `json:"filter,omitempty"`
	// Collections are those that the key is for, by their own names or by aliases, which it then follows; nil for all.
	Collections []string `json:"collections,omitempty"`
}

// prefix of a secret: who finds one somewhere, a scanner for secrets too, knows what it is.
const prefix = "embedd_"

// New makes a key, and the secret that is shown once. The other fields of the key are as given.
func New(k Key, now time.Time) (Key, string, error) {
	id, bits := make([]byte, 6), make([]byte, 32)
	rand.Read(id) // never fails
	rand.Read(bits)
	k.ID = hex.EncodeToString(id)
	secret := prefix + k.ID + "_" + base64.RawURLEncoding.EncodeToString(bits)
	k.SHA256 = hash(secret)
	k.Created = now.UTC().Truncate(time.Second)
	if !k.Expires.IsZero() {
		k.Expires = k.Expires.UTC().Truncate(time.Second)
	}
	return k, secret, k.check()
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// check refuses a key that cannot be meant.
func (k *Key) check() error {
	switch sum, err := hex.DecodeString(k.SHA256); {
	case k.ID == "" || strings.Contains(k.ID, "_"):
		return fmt.Errorf("id %q is empty or has an underscore", k.ID)
	case k.Role < Read || k.Role > Admin:
		return errors.New("role is missing; it is read, write or admin")
	case err != nil || len(sum) != sha256.Size:
		return errors.New("sha256 is not a SHA-256 in hexadecimal")
	case len(k.Origins) > 0 && k.Role != Read:
		return fmt.Errorf("a key with origins is for everybody to see: its role must be read, and is %v", k.Role)
	case k.Filter != "" && k.Role != Read:
		return fmt.Errorf("a key with a filter only reads: its role must be read, and is %v", k.Role)
	case len(k.Origins) > 0 && k.Expires.IsZero():
		return errors.New("a key with origins is for everybody to see: it must expire")
	}
	if k.Collections != nil && len(k.Collections) == 0 {
		return errors.New("collections is empty; name those that the key is for, or leave it out for all")
	}
	for _, name := range k.Collections {
		if !collectionName.MatchString(name) {
			return fmt.Errorf("collections has %q, which no collection is called: use 1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit", name)
		}
	}
	for _, o := range k.Origins {
		if err := checkOrigin(o); err != nil {
			return err
		}
	}
	return nil
}

// collectionName is what a collection or an alias may be called.
var collectionName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// checkOrigin refuses what a browser would never send as an origin.
func checkOrigin(o string) error {
	u, err := url.Parse(o)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || o != u.Scheme+"://"+strings.ToLower(u.Host) {
		return fmt.Errorf("origin %q is not of the form https://host or https://host:port, in small letters and with nothing behind", o)
	}
	return nil
}

// Knows tells whether there is a publishable key for the pages of an origin; one that has expired or was revoked too, so that they can read why they are
// refused.
func (k *Keys) Knows(origin string) bool {
	return slices.ContainsFunc(k.list, func(key Key) bool { return slices.Contains(key.Origins, origin) })
}

// Publishable tells whether the key may be read by everybody.
func (k *Key) Publishable() bool { return len(k.Origins) > 0 }

// State is active, expired or revoked.
func (k *Key) State(now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return "expired"
	}
	return "active"
}

// Why a secret is not accepted.
var (
	ErrUnknown = errors.New("the key is not known to this server; check that it is whole")
	ErrExpired = errors.New("the key has expired; ask for a new one")
	ErrRevoked = errors.New("the key was revoked; ask for a new one")
)

// Keys are the keys of a server at a moment.
type Keys struct {
	list []Key
	byID map[string]*Key
}

// NewKeys puts keys together.
func NewKeys(list []Key) (*Keys, error) {
	k := &Keys{list: list, byID: make(map[string]*Key, len(list))}
	for i := range list {
		one := &list[i]
		if err := one.check(); err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if k.byID[one.ID] != nil {
			return nil, fmt.Errorf("keys[%d]: id %s is there twice", i, one.ID)
		}
		k.byID[one.ID] = one
	}
	return k, nil
}

// List gives all keys in the order of the file. They must not be changed.
func (k *Keys) List() []Key { return k.list }

// nothing is compared with where there is no key, so that it takes as long.
var nothing = hash("")

// Find gives the key that a secret is of. The error is one of the errors of this package; only who has the secret learns that a key has
// expired or was revoked.
func (k *Keys) Find(secret string, now time.Time) (*Key, error) {
	id, _, _ := strings.Cut(strings.TrimPrefix(secret, prefix), "_")
	key, want := k.byID[id], nothing
	if key != nil {
		want = key.SHA256
	}
	if subtle.ConstantTimeCompare([]byte(hash(secret)), []byte(want)) != 1 || key == nil {
		return nil, ErrUnknown
	}
	switch key.State(now) {
	case "revoked":
		return nil, ErrRevoked
	case "expired":
		return nil, ErrExpired
	}
	return key, nil
}
